# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases of a host: what is there, whether it is what it was, and which of them nobody needs any more."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.environments import is_intact
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.known_files import KnownFiles, Store
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.manifest import Manifest, ManifestError, build

#: Files of all releases, most of which share theirs with each other.
STORE = "releases"


class State(NamedTuple):
    """Of one release, and of what is switched on."""

    complete: bool
    #: Why it is not what it was when it was made. Empty for one that is, and for one that is not complete.
    changed: str
    links: dict[str, str]
    current_code: str


def look(root: str, release: str, known_files: str, keep: bool = True) -> State:
    """keep: note for the next time what was read."""
    base = Path(root)
    directory = base / "releases" / release
    complete = bool(release) and (directory / "complete").is_file()
    links = {}
    if base.is_dir():
        for path in sorted(base.iterdir()):
            if path.is_symlink() and str(path.readlink()).startswith("releases/"):
                links[path.name] = path.readlink().name
    code = base / "current" / "code"
    return State(
        complete,
        _changed(directory, known_files, keep) if complete else "",
        links,
        str(code.resolve()) if code.is_dir() else "",
    )


def _changed(directory: Path, known_files: str, keep: bool) -> str:
    try:
        wanted = json.loads((directory / "complete").read_text(encoding="utf-8"))["manifest"]
        found = read(directory / "code", known_files, keep).digest
    except (OSError, ValueError, KeyError, TypeError, ManifestError) as error:
        return f"{directory} cannot be read: {error}"
    if found != wanted:
        return f"{directory}/code is not what was deployed"
    link = directory / "venv"
    if not link.is_dir():
        return f"{link} is not there"
    if link.is_symlink():
        place = link.resolve().parent
        if place.parent == (directory.parents[1] / "environments").resolve() and not is_intact(
            place, known_files, keep
        ):
            return f"{place} is not what was installed"
    return ""


def read(code: Path, known_files: str, keep: bool) -> Manifest:
    """The manifest of a release's code; only files that changed since are read."""
    store = Store(known_files, STORE)
    files = KnownFiles(store.load())
    manifest = build(str(code), (), files)
    # What other releases have besides is forgotten: what is switched on next begins with this one.
    if keep and files.used != files.known:
        store.save(files.used)
    return manifest


def gone(found: Iterable[tuple[str, float]], kept: Iterable[str], keep: int, units: Iterable[str]) -> list[str]:
    """The releases that can go. found: (release, when it was made); kept: those that stay whatever their age; units:
    the services that systemd knows."""
    staying = {name for name in kept if name}
    newest_first = [name for name, _made in sorted(found, key=lambda item: item[1], reverse=True)]
    others = [name for name in newest_first if name not in staying]
    running = {re.sub(r"(\.\d+)?\.service$", "", unit.rsplit("@", 1)[-1]) for unit in units if "@" in unit}
    return [name for name in others[max(keep - len(staying), 0) :] if name not in running]


class Removed(NamedTuple):
    releases: list[str]
    links: list[str]
    environments: list[str]


def prune(
    root: str,
    config: str,
    kept: Sequence[str],
    keep: int,
    units: Iterable[str],
    known_files: str,
    check: bool,
) -> Removed:
    """Removes releases with what they ran with, names that lead nowhere then, and environments that no release has."""
    releases = Path(root) / "releases"
    places = [releases, Path(config) / "releases"]
    found = [(path.name, path.stat().st_mtime) for path in _directories(releases)]
    old = gone(found, kept, keep, units)
    if not check:
        with _names_change(root, known_files) if old else contextlib.nullcontext():
            for name in old:
                # The code last: a release that is half removed is not complete.
                for path in (places[0] / name / "complete", places[1] / name, places[0] / name):
                    _remove(path)
    links = [
        path
        for place in places
        if place.is_dir()
        for path in sorted(place.iterdir())
        if path.is_symlink() and (not path.exists() or path.resolve().name in old)
    ]
    if not check:
        for path in links:
            path.unlink()
    return Removed(old, [str(path) for path in links], _prune_environments(Path(root), old, known_files, check))


def _prune_environments(root: Path, without: Sequence[str], known_files: str, check: bool) -> list[str]:
    place = root / "environments"
    if not place.is_dir():
        return []
    with (place / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # One is being made, for a release that has no link to it yet. There is another time.
            return []
        used = {
            path.resolve().parent
            for release in _directories(root / "releases")
            if release.name not in without
            for path in [release / "venv"]
            if path.is_symlink()
        }
        unused = [path for path in _directories(place) if path.resolve() not in used]
        if not check:
            for path in unused:
                # Without its mark it is none, whatever happens to the removal.
                _remove(path / "complete")
                _remove(path)
                Store(known_files, f"environment-{path.name}").remove()
        return [path.name for path in unused]


@contextlib.contextmanager
def _names_change(root: str, known_files: str) -> Iterator[None]:
    """What is removed shares files with what stays, whose change time moves on then."""
    code = str(Path(root) / "current" / "code")
    store = Store(known_files, STORE)
    files = KnownFiles(store.load())
    files.before_linking(code)
    yield
    files.renew(code)
    if files.used:
        store.save(files.used)


def _directories(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    return sorted(path for path in place.iterdir() if path.is_dir() and not path.is_symlink())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
