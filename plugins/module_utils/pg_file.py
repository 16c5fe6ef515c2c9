# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replacing pg_hba.conf while its old content stays within reach, until the server has judged the new one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_PATIENCE = 20.0
_PAUSE = 0.1


class FileError(Exception):
    """A file that cannot be replaced, and what to do about it."""


class Swap:
    """pg_hba.conf and, beside it, what it was before. Links are followed, so that the file itself is replaced."""

    def __init__(self, path: str) -> None:
        self.path = Path(path).resolve()
        self.before = self.path.parent / f".{self.path.name}.celery-cluster-before"

    def problems(self) -> list[str]:
        """Why this account could not replace the file; told before anything is changed."""
        try:
            there = self.path.stat()
        except OSError as error:
            return [f"{self.path} cannot be looked at ({error.strerror}): let the server's account read it"]
        if not os.access(self.path.parent, os.W_OK | os.X_OK):
            return [
                f"the directory {self.path.parent} cannot be written to, so that {self.path.name} cannot be replaced as"
                " a whole: make it the property of the account the server runs as"
            ]
        if os.geteuid() not in (0, there.st_uid):
            return [
                f"{self.path} belongs to the account with the number {there.st_uid}, and as another one would not keep"
                " its owner: make it the property of the account the server runs as"
            ]
        return []

    def left_over(self) -> bytes | None:
        """What the file was before a run that ended before the judgement; nothing when there was none."""
        if not self.before.exists():
            return None
        with self.locked():  # a run that still goes on takes it away when it is done
            try:
                return self.before.read_bytes()
            except FileNotFoundError:
                return None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One run at a time replaces files in this directory."""
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            deadline = time.monotonic() + _PATIENCE
            while True:
                try:
                    fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise FileError(
                            f"another run has been replacing a file in {self.path.parent} for {_PATIENCE:.0f} s: run"
                            " again when it is done"
                        ) from None
                    time.sleep(_PAUSE)
            yield
        finally:
            os.close(directory)

    def replace(self, old: bytes, new: bytes) -> None:
        """The new content in place of the old, which stays beside it. Refused when it is not the old one any more."""
        if self.path.read_bytes() != old:
            raise FileError(f"{self.path} was changed by somebody else while this ran: run again")
        aside = self._written_aside(new)
        try:
            self.before.unlink(missing_ok=True)
            # The same file under a second name: put back, it is in every respect what it was.
            os.link(self.path, self.before)
            if self.path.read_bytes() != old:
                self.before.unlink()
                raise FileError(f"{self.path} was changed by somebody else while this ran: run again")
            aside.replace(self.path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        self._sync()

    def restore(self, touch: bool = False) -> None:
        """The old content again. touch: as of now, so that a server that loaded the other one reads it again."""
        if touch:
            os.utime(self.before)
        self.before.replace(self.path)
        self._sync()

    def settle(self) -> None:
        """The new content counts."""
        self.before.unlink(missing_ok=True)
        self._sync()

    def _written_aside(self, new: bytes) -> Path:
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.celery-cluster-")
        aside = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(new)
                file.flush()
                there, made = self.path.stat(), aside.stat()
                if (there.st_uid, there.st_gid) != (made.st_uid, made.st_gid):
                    os.chown(name, there.st_uid, there.st_gid)
                # Mode and access lists. The time is that of the new content.
                shutil.copystat(self.path, name)
                os.utime(name)
                os.fsync(file.fileno())
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        return aside

    def _sync(self) -> None:
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def write_secret(path: Path, content: bytes) -> None:
    """A file that only this account reads, there completely or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
