# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The digests of files that were read before, so that only those which changed since are read again.

A file is known by device, inode, size, modification time and change time. The change time is the kernel's: whoever
writes to a file moves it on, also when the modification time is put back by hand. A file that was changed so shortly
before it was read that the clock may have stood still since is not kept, as git does it with its index.

A new name for a file, which is how a release shares it with the one before, moves its change time as well. So what was
still as it had been right before such names are made or removed is taken to be the same right after (`before_linking`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

#: Device, inode, size, modification time and change time in nanoseconds.
Key = tuple[int, int, int, int, int]
RECORD = struct.Struct("<QQqqq32s")
MAGIC = b"taskfleet.celery_cluster known files 1\n"
SECOND = 1_000_000_000
#: The clock of a file system moves on 100 times a second or more often, and where it shows whole seconds once in two.
SETTLED, SETTLED_COARSE = SECOND // 20, 2 * SECOND


class Stat(Protocol):
    """What is used of os.stat_result."""

    @property
    def st_dev(self) -> int: ...
    @property
    def st_ino(self) -> int: ...
    @property
    def st_size(self) -> int: ...
    @property
    def st_mtime_ns(self) -> int: ...
    @property
    def st_ctime_ns(self) -> int: ...


def key_of(info: Stat) -> Key:
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns


class KnownFiles:
    """Digests of files: those of earlier runs, and, for the next run, those that were asked for in this one."""

    def __init__(
        self,
        known: dict[Key, bytes] | None = None,
        clock: Callable[[], int] = time.time_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.known = dict(known or {})
        self.used: dict[Key, bytes] = {}
        self._linked: dict[Key, bytes] = {}
        self._clock = clock
        self._sleep = sleep
        self._begun = 0

    def begin(self) -> None:
        """To be called before a tree is read. What this host has just written counts as settled afterwards."""
        self._sleep(2 * SETTLED / SECOND)
        self._begun = self._clock()

    def recall(self, info: Stat) -> bytes | None:
        key = key_of(info)
        digest = self.known.get(key) or self._linked.get((*key[:4], 0))
        if digest is not None:
            self._keep(key, digest)
        return digest

    def remember(self, info: Stat, digest: bytes) -> None:
        """info is what stat said before the file was read: what changes while it is read is not known."""
        self._keep(key_of(info), digest)

    def _keep(self, key: Key, digest: bytes) -> None:
        changed = key[4]
        margin = SETTLED if changed % SECOND else SETTLED_COARSE
        if changed < self._begun - margin:
            self.used[key] = digest

    def before_linking(self, root: str) -> dict[Key, bytes]:
        """Notes which files of the tree are as they were, for a moment in which only their names change in number."""
        for info in _files(os.fsencode(root)):
            key = key_of(info)
            if digest := self.known.get(key):
                self._linked[(*key[:4], 0)] = digest
        return self._linked

    def linked(self, noted: dict[Key, bytes]) -> None:
        """What another process noted by `before_linking`, right before."""
        self._linked.update(noted)

    def renew(self, root: str) -> None:
        """The files of the tree after their names changed in number; no file is read."""
        self.begin()
        for info in _files(os.fsencode(root)):
            self.recall(info)


def _files(root: bytes) -> Iterator[os.stat_result]:
    pending = [root]
    while pending:
        try:
            with os.scandir(pending.pop()) as scan:
                for entry in scan:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        yield entry.stat(follow_symlinks=False)
        except OSError:
            # What went away or cannot be read is not known: it is read, or told, when the tree is.
            continue


class Store:
    """The files of a directory in which known files are kept. Nothing here is ever a reason to fail: without it, every
    file is read."""

    def __init__(self, directory: str, name: str) -> None:
        self.path = Path(directory) / name

    @classmethod
    def of_tree(cls, directory: str, tree: str) -> Store | None:
        """The one of a tree; None where it would lie in the tree itself, which it would change."""
        place, root = Path(directory).resolve(), Path(tree).resolve()
        if place == root or root in place.parents:
            return None
        return cls(directory, "tree-" + hashlib.sha256(os.fsencode(root)).hexdigest()[:16])

    def load(self) -> dict[Key, bytes]:
        """Empty unless it is whole and nobody else can have written it."""
        try:
            if not _is_own(self.path.parent.lstat(), stat.S_IFDIR):
                return {}
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not _is_own(os.fstat(descriptor), stat.S_IFREG):
                    return {}
                content = file.read()
        except OSError:
            return {}
        body, checksum = content[:-32], content[-32:]
        if not body.startswith(MAGIC) or (len(body) - len(MAGIC)) % RECORD.size or _digest(body) != checksum:
            return {}
        return {
            (dev, ino, size, mtime, ctime): digest
            for dev, ino, size, mtime, ctime, digest in RECORD.iter_unpack(memoryview(body)[len(MAGIC) :])
        }

    def save(self, files: dict[Key, bytes]) -> bool:
        """Whether it could be written."""
        body = MAGIC + b"".join(RECORD.pack(*key, digest) for key, digest in files.items())
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_own(self.path.parent.lstat(), stat.S_IFDIR):
                return False
            # Readable by its owner alone.
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(body + _digest(body))
                Path(name).replace(self.path)
            except BaseException:
                Path(name).unlink()
                raise
        except OSError:
            return False
        return True

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink()


def _is_own(info: os.stat_result, kind: int) -> bool:
    return stat.S_IFMT(info.st_mode) == kind and info.st_uid == os.geteuid() and not info.st_mode & 0o022


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
