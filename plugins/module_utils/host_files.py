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

SECRET = "(content is secret)\n"


class FileError(Exception):
    """A wish that cannot be fulfilled, with what to write instead."""


class Entry:
    """One wanted entry, defaults filled in."""

    def __init__(self, options):
        self.path = options["path"]
        self.state = options.get("state") or "file"
        self.content = options.get("content")
        self.parts = options.get("parts")
        self.src = options.get("src")
        self.owner = options.get("owner") or "root"
        self.group = options.get("group") or self.owner
        self.mode = _mode(options.get("mode") or ("0755" if self.state == "directory" else "0644"))
        self.secret = bool(options.get("secret"))


def _mode(text):
    # YAML reads an unquoted 0640 as the number 416, which as octal digits is another mode.
    if not re.match(r"0[0-7]{3,4}\Z", text):
        raise FileError("the mode {0} is not a quoted octal number with a leading 0, such as '0640'".format(text))
    return int(text, 8)


def apply(entry, check, planned=None):
    """Make the entry true. None when it is already, else (before, after) as texts for a diff.

    planned: path -> content of the files that earlier entries of a check would have written. Kept up to date here.
    """
    planned = {} if planned is None else planned
    if not os.path.isabs(entry.path):
        raise FileError("write an absolute path")
    there = _lstat(entry.path)
    if entry.state == "absent":
        return _absent(entry, there, check)
    if entry.state == "link":
        return _link(entry, there, check)
    if entry.state == "directory":
        return _directory(entry, there, check)
    return _file(entry, there, check, planned)


def _lstat(path):
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _absent(entry, there, check):
    if there is None:
        return None
    if stat.S_ISDIR(there.st_mode):
        raise FileError("is a directory; only files and links are removed here")
    if not check:
        os.unlink(entry.path)
    return "state: present\n", "state: absent\n"


def _link(entry, there, check):
    before = None
    if there is not None:
        if not stat.S_ISLNK(there.st_mode):
            raise FileError("is not a link: move it away, so that the link can take its place")
        before = os.readlink(entry.path)
    if before == entry.src:
        return None
    if not check:
        temporary = "{0}.{1}".format(entry.path, os.getpid())
        os.symlink(entry.src, temporary)
        try:
            os.replace(temporary, entry.path)
        except BaseException:
            os.unlink(temporary)
            raise
    return "state: absent\n" if before is None else "src: {0}\n".format(before), "src: {0}\n".format(entry.src)


def _directory(entry, there, check):
    if there is not None and not stat.S_ISDIR(there.st_mode):
        raise FileError("is not a directory: move it away, so that the directory can take its place")
    ids = _ids(entry, check)
    wanted = _attributes(entry.owner, entry.group, entry.mode)
    if there is None:
        if not check:
            os.mkdir(entry.path)
            os.chown(entry.path, ids[0], ids[1])
            os.chmod(entry.path, entry.mode)
        return "state: absent\n", "state: directory\n" + wanted
    return _fix_attributes(entry, there, ids, check)


def _file(entry, there, check, planned):
    if there is not None and not stat.S_ISREG(there.st_mode):
        raise FileError("is not a regular file: move it away, so that the file can take its place")
    wanted = _wanted(entry, check, planned)
    planned[entry.path] = wanted
    ids = _ids(entry, check)
    present = None
    if there is not None:
        with open(entry.path, "rb") as file:
            present = file.read()
    if present is not None and present == wanted:
        return _fix_attributes(entry, there, ids, check)
    if not check:
        _write(entry, wanted, ids)
    before = "" if present is None else _text(entry, present)
    return before, _text(entry, wanted if wanted is not None else b"(made of files that do not exist yet)\n")


def _wanted(entry, check, planned):
    if entry.parts is None:
        return entry.content.encode("utf-8")
    contents = []
    for part in entry.parts:
        if check and part in planned:
            if planned[part] is None:
                return None
            contents.append(planned[part])
            continue
        try:
            with open(part, "rb") as file:
                contents.append(file.read())
        except FileNotFoundError:
            if check:
                return None
            raise FileError("its part {0} does not exist".format(part)) from None
    return b"".join(content if content.endswith(b"\n") or not content else content + b"\n" for content in contents)


def _write(entry, wanted, ids):
    directory = os.path.dirname(entry.path)
    if not os.path.isdir(directory):
        raise FileError("the directory {0} does not exist: list it before the file".format(directory))
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".{0}.".format(os.path.basename(entry.path)))
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(wanted)
            file.flush()
            os.fsync(file.fileno())
        os.chown(temporary, ids[0], ids[1])
        os.chmod(temporary, entry.mode)
        os.replace(temporary, entry.path)
    except BaseException:
        os.unlink(temporary)
        raise


def _ids(entry, check):
    try:
        return pwd.getpwnam(entry.owner).pw_uid, grp.getgrnam(entry.group).gr_gid
    except KeyError:
        if check:
            return None
        raise FileError("there is no user {0} or no group {1} on this host".format(entry.owner, entry.group)) from None


def _fix_attributes(entry, there, ids, check):
    mode = stat.S_IMODE(there.st_mode)
    if ids == (there.st_uid, there.st_gid) and mode == entry.mode:
        return None
    if not check:
        os.chown(entry.path, ids[0], ids[1])
        os.chmod(entry.path, entry.mode)
    return (
        _attributes(_name(pwd.getpwuid, there.st_uid), _name(grp.getgrgid, there.st_gid), mode),
        _attributes(entry.owner, entry.group, entry.mode),
    )


def _name(lookup, number):
    try:
        return lookup(number)[0]
    except KeyError:
        return str(number)


def _attributes(owner, group, mode):
    return "owner: {0}\ngroup: {1}\nmode: {2:04o}\n".format(owner, group, mode)


def _text(entry, content):
    return SECRET if entry.secret else content.decode("utf-8", "replace")
