# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One directory, file or link: what is there, what shall be there, and the step between."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HIDDEN = "(content is secret)\n"

Ids = tuple[int, int]
Change = tuple[str, str]


class FileError(Exception):
    """A wish that cannot be fulfilled, with what to write instead."""


class Entry:
    """One wanted entry, defaults filled in."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.path = Path(options["path"])
        self.state = options.get("state") or "file"
        self.content = options.get("content")
        self.parts = options.get("parts")
        self.src = options.get("src")
        self.owner = options.get("owner") or "root"
        self.group = options.get("group") or self.owner
        self.mode = _mode(options.get("mode") or ("0755" if self.state == "directory" else "0644"))
        self.secret = bool(options.get("secret"))


def _mode(text: str) -> int:
    # YAML reads an unquoted 0640 as the number 416, which as octal digits is another mode.
    if not re.match(r"0[0-7]{3,4}\Z", text):
        raise FileError(f"the mode {text} is not a quoted octal number with a leading 0, such as '0640'")
    return int(text, 8)


def apply(entry: Entry, check: bool, planned: dict[str, bytes | None] | None = None) -> Change | None:
    """Make the entry true. None when it is already, else (before, after) as texts for a diff.

    planned: path -> content of the files that earlier entries of a check would have written. Kept up to date here.
    """
    planned = {} if planned is None else planned
    if not entry.path.is_absolute():
        raise FileError("write an absolute path")
    there = _lstat(entry.path)
    if entry.state == "absent":
        return _absent(entry, there, check)
    if entry.state == "link":
        return _link(entry, there, check)
    if entry.state == "directory":
        return _directory(entry, there, check)
    return _file(entry, there, check, planned)


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _absent(entry: Entry, there: os.stat_result | None, check: bool) -> Change | None:
    if there is None:
        return None
    if stat.S_ISDIR(there.st_mode):
        raise FileError("is a directory; only files and links are removed here")
    if not check:
        entry.path.unlink()
    return "state: present\n", "state: absent\n"


def _link(entry: Entry, there: os.stat_result | None, check: bool) -> Change | None:
    before = None
    if there is not None:
        if not stat.S_ISLNK(there.st_mode):
            raise FileError("is not a link: move it away, so that the link can take its place")
        before = str(entry.path.readlink())
    if before == entry.src:
        return None
    if not check:
        temporary = Path(f"{entry.path}.{os.getpid()}")
        temporary.symlink_to(str(entry.src))
        try:
            temporary.replace(entry.path)
        except BaseException:
            temporary.unlink()
            raise
    return "state: absent\n" if before is None else f"src: {before}\n", f"src: {entry.src}\n"


def _directory(entry: Entry, there: os.stat_result | None, check: bool) -> Change | None:
    if there is not None and not stat.S_ISDIR(there.st_mode):
        raise FileError("is not a directory: move it away, so that the directory can take its place")
    ids = _ids(entry, check)
    wanted = _attributes(entry.owner, entry.group, entry.mode)
    if there is None:
        if ids is not None and not check:
            entry.path.mkdir()
            os.chown(entry.path, *ids)
            entry.path.chmod(entry.mode)
        return "state: absent\n", "state: directory\n" + wanted
    return _fix_attributes(entry, there, ids, check)


def _file(entry: Entry, there: os.stat_result | None, check: bool, planned: dict[str, bytes | None]) -> Change | None:
    if there is not None and not stat.S_ISREG(there.st_mode):
        raise FileError("is not a regular file: move it away, so that the file can take its place")
    wanted = _wanted(entry, check, planned)
    planned[str(entry.path)] = wanted
    ids = _ids(entry, check)
    present = entry.path.read_bytes() if there is not None else None
    if there is not None and present == wanted:
        return _fix_attributes(entry, there, ids, check)
    if wanted is not None and ids is not None and not check:
        _write(entry, wanted, ids)
    before = "" if present is None else _text(entry, present)
    return before, _text(entry, wanted if wanted is not None else b"(made of files that do not exist yet)\n")


def _wanted(entry: Entry, check: bool, planned: dict[str, bytes | None]) -> bytes | None:
    if entry.parts is None:
        return str(entry.content).encode("utf-8")
    contents: list[bytes] = []
    for part in entry.parts:
        if check and part in planned:
            content = planned[part]
            if content is None:
                return None
            contents.append(content)
            continue
        try:
            contents.append(Path(part).read_bytes())
        except FileNotFoundError:
            if check:
                return None
            raise FileError(f"its part {part} does not exist") from None
    return b"".join(content if content.endswith(b"\n") or not content else content + b"\n" for content in contents)


def _write(entry: Entry, wanted: bytes, ids: Ids) -> None:
    directory = entry.path.parent
    if not directory.is_dir():
        raise FileError(f"the directory {directory} does not exist: list it before the file")
    handle, name = tempfile.mkstemp(dir=directory, prefix=f".{entry.path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(wanted)
            file.flush()
            os.fsync(file.fileno())
        os.chown(temporary, *ids)
        temporary.chmod(entry.mode)
        temporary.replace(entry.path)
    except BaseException:
        temporary.unlink()
        raise


def _ids(entry: Entry, check: bool) -> Ids | None:
    try:
        return pwd.getpwnam(entry.owner).pw_uid, grp.getgrnam(entry.group).gr_gid
    except KeyError:
        if check:
            return None
        raise FileError(f"there is no user {entry.owner} or no group {entry.group} on this host") from None


def _fix_attributes(entry: Entry, there: os.stat_result, ids: Ids | None, check: bool) -> Change | None:
    mode = stat.S_IMODE(there.st_mode)
    if ids == (there.st_uid, there.st_gid) and mode == entry.mode:
        return None
    if ids is not None and not check:
        os.chown(entry.path, *ids)
        entry.path.chmod(entry.mode)
    return (
        _attributes(_name(pwd.getpwuid, there.st_uid), _name(grp.getgrgid, there.st_gid), mode),
        _attributes(entry.owner, entry.group, entry.mode),
    )


def _name(lookup: Callable[[int], Sequence[Any]], number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def _attributes(owner: str, group: str, mode: int) -> str:
    return f"owner: {owner}\ngroup: {group}\nmode: {mode:04o}\n"


def _text(entry: Entry, content: bytes) -> str:
    return HIDDEN if entry.secret else content.decode("utf-8", "replace")
