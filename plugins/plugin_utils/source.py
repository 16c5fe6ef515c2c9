# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the code and its packages come from: one source, named without a login."""

from __future__ import annotations

import re
from typing import Any

from .model import Inventory
from .problems import Problems, shown
from .text import environment_problems

SCHEMES = ("https", "ssh", "http", "git", "file")
#: Nothing proves who answers.
UNPROVED = ("http", "git")
URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/]*)(?P<rest>.*)", re.DOTALL)
#: git@host:path. Two colons would name a program that git runs.
REMOTE = re.compile(r"([A-Za-z0-9._-]+@)?[A-Za-z0-9][A-Za-z0-9._-]*:(?!:).+", re.DOTALL)
#: What a netrc file carries without quotes, which not everybody reads alike.
WORD = re.compile(r"[!$-&(-\[\]-~]+")


def check_source(inventory: Inventory, problems: Problems) -> None:
    settings = inventory.settings
    if "code_git_repository" in settings and "code_git_revision" in settings:
        _check_git(settings["code_git_repository"], settings["code_git_revision"], inventory, problems)
    _check_index(settings, problems)


def _check_git(repository: Any, revision: Any, inventory: Inventory, problems: Problems) -> None:
    if repository:
        if inventory.settings.get("code_source_path"):
            what = "is set, and so is code_git_repository"
            problems.add("CC730", "code_source_path", what, "remove one of them")
        for host in inventory.groups.get("celery_source", ()):
            problems.add(
                "CC730",
                "code_git_repository",
                f"is set, and the tree of {host} in the group celery_source is the code",
                "remove the variable, or the host from the group",
            )
        _check_repository(repository, problems)
    if bool(repository) != bool(revision):
        missing, given = "code_git_revision", "code_git_repository"
        if revision:
            missing, given = given, missing
        instead = "write a branch, tag or commit" if repository else "write the URL of the repository"
        problems.add("CC731", missing, f"is not set, and {given} is", instead)


def _login(url: Any) -> tuple[str, str]:
    """Scheme, and what stands before the host."""
    match = URL.fullmatch(url) if isinstance(url, str) else None
    if not match:
        return "", ""
    return match["scheme"].lower(), match["authority"].rpartition("@")[0]


def _check_repository(repository: Any, problems: Problems) -> None:
    name = "code_git_repository"
    scheme, login = _login(repository)
    instead = "write https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH or an absolute path"
    if login and (":" in login or scheme in ("http", "https")):
        # The value is a secret: it is not shown.
        problems.add(
            "CC732",
            name,
            "holds a login",
            "write the URL without it, and give the login to a credential helper of git on the controller",
        )
    elif not _can_be_asked(repository, scheme):
        problems.add("CC733", name, f"is {shown(repository)}", instead)
    elif scheme in UNPROVED:
        problems.add("CC734", name, f"is {shown(repository)}", "write https:// or ssh://")


def _can_be_asked(repository: Any, scheme: str) -> bool:
    if not isinstance(repository, str) or environment_problems({"URL": repository}):
        return False
    if scheme:
        return scheme in SCHEMES
    return repository.startswith("/") or REMOTE.fullmatch(repository) is not None


def _check_index(settings: Any, problems: Problems) -> None:
    url = settings.get("code_index_url", "")
    _scheme, login = _login(url)
    if login:
        problems.add(
            "CC735",
            "code_index_url",
            "holds a login",
            "write it into code_index_username and code_index_password",
        )
    names = ("code_index_username", "code_index_password")
    given = [name for name in names if settings.get(name)]
    if not given or not all(name in settings for name in names):
        return
    for name in names:
        if name not in given:
            problems.add("CC736", name, f"is not set, and {given[0]} is", "write both, or none")
        elif not WORD.fullmatch(str(settings[name])):
            problems.add(
                "CC736",
                name,
                "holds a space, a quote, a backslash, # or a character beyond ASCII",
                "write a login without them, for example a token",
            )
    if not url:
        problems.add("CC736", "code_index_url", f"is not set, and {given[0]} is", "write the URL of the index")
    elif not str(url).lower().startswith("https://"):
        problems.add("CC736", "code_index_url", f"is {shown(url)}", "write https://, or the login travels in the open")
