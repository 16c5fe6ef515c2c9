# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What decides which packages an environment gets, and whether parts of the application's tree are among them.

An environment of packages alone can serve every release that has the same list. One with a part of the tree in it (a
local package, a wheel beside the code, a list that is computed) belongs to its release. What is not understood here
counts as a part of the tree: an environment that is made once too often costs seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

#: Another number when environments are made in another way: those that are there are then not taken any more.
FORMAT = 1
#: A named package: extras, a version or a URL, a marker, hashes.
NAMED = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[A-Za-z0-9._,\s-]*\])?\s*"
    r"(\(?\s*(===|==|~=|!=|<=|>=|<|>)[^;@/]*|@\s*(https?|git\+https?|git\+ssh)://\S+)?\s*(;.*)?"
)
#: Options that name no file.
OPTION = re.compile(
    r"(-i|--index-url|--extra-index-url|--trusted-host|--no-binary|--only-binary)[\s=]\s*\S+"
    r"|--no-index|--pre|--prefer-binary|--require-hashes"
)
INCLUDE = re.compile(r"(?:-r|--requirements?|-c|--constraints?)(?:\s+|=)\s*(\S+)")
#: uv takes such a name for a file beside the code.
ARCHIVE = re.compile(r"[^@;\s]*\.(whl|zip|tar|tgz|tbz|txz|tar\.\w+)\s*(\[.*)?(;.*)?", re.IGNORECASE)
HASHES = re.compile(r"\s+--hash=\S+")
#: Where a lock of uv takes a package from. "." is the application, which is not installed.
LOCAL_SOURCE = re.compile(r"""\b(?:editable|directory|virtual|path)\s*=\s*(["'])(?!\.\1)""")


class Lists(NamedTuple):
    """The files that name the packages (path in the tree -> SHA-256), and why they cannot stand for them, if so."""

    files: dict[str, str]
    local: str = ""


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def logical_lines(text: str) -> list[str]:
    """Lines of a requirements file: continued ones joined, without comments and empty ones."""
    joined = re.sub(r"\\\r?\n", " ", text)
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def is_named(line: str) -> bool:
    """Whether a requirement names a package of an index or of a URL, and so nothing of the tree."""
    line = HASHES.sub("", f" {line}").strip()
    return bool(NAMED.fullmatch(line) and not ARCHIVE.fullmatch(line)) or bool(OPTION.fullmatch(line))


def read_lists(tree: Path, way: str, name: str, extra: Iterable[str] = ()) -> Lists:
    """way: lock (uv.lock), requirements or none, as the role code names it; name: the list, relative to the tree."""
    files: dict[str, str] = {}
    local = next((f"{line} in code_extra_packages" for line in extra if not is_named(line)), "")
    if way == "lock":
        for file in (name, "pyproject.toml"):
            content = _read(tree, file)
            if content is None:
                return Lists(files, f"{file} cannot be read")
            files[file] = _sha256(content)
            if file == name and LOCAL_SOURCE.search(content.decode("utf-8", "replace")):
                local = f"{name} has packages of the tree"
        if pinned := _read(tree, ".python-version"):
            files[".python-version"] = _sha256(pinned)
    elif way == "requirements":
        local = _requirements(tree, name, files) or local
    return Lists(files, local)


def _requirements(tree: Path, name: str, files: dict[str, str]) -> str:
    if name in files:
        return ""
    content = _read(tree, name)
    if content is None:
        return f"{name} cannot be read"
    files[name] = _sha256(content)
    for line in logical_lines(content.decode("utf-8", "replace")):
        include = INCLUDE.fullmatch(line)
        if include is None:
            if not is_named(line):
                return f"{line} in {name}"
        elif problem := _requirements(tree, os.path.normpath(Path(name).parent / include[1]), files):
            return problem
    return ""


def _read(tree: Path, name: str) -> bytes | None:
    """A file of the tree; None for one that is none, or lies elsewhere."""
    place = (tree / name).resolve()
    if tree.resolve() not in place.parents or not place.is_file():
        return None
    try:
        return place.read_bytes()
    except OSError:
        return None


def environment_name(lists: Lists, given: Mapping[str, Any]) -> str:
    """The directory of an environment. given: what else decides it, such as the interpreter and the package index."""
    text = json.dumps({"format": FORMAT, "files": lists.files, **given}, sort_keys=True)
    return _sha256(text.encode())[:16]


#: What an interpreter says of itself: an environment made for one is none for another.
ASK_INTERPRETER = (
    "import json, platform, sys, sysconfig;"
    "print(json.dumps([sys.version, sys.implementation.cache_tag, sys.executable, platform.machine(),"
    " sysconfig.get_config_var('SOABI')]))"
)


def interpreter(run: Callable[[list[str]], tuple[int, str, str]], python: str) -> list[Any]:
    """Raises ValueError when it does not say."""
    rc, out, err = run([python, "-I", "-c", ASK_INTERPRETER])
    if rc:
        raise ValueError(f"{python} does not run: {(err or out).strip()}")
    found = json.loads(out.splitlines()[-1])
    return [*found, os.path.realpath(python)]
