# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that run once, whoever asks at the same moment: under a lock, with a mark as the last act.

The lock belongs to the processes that work, not to the run that started them: a controller that dies leaves
either steps that go on to the mark, or a lock that is free and no mark.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

POLL = 0.5
#: Of what a step printed, its end is enough to see what happened.
SHOWN = 4000
#: The step comes on the standard input: its text is in no list of processes and in no environment.
SHELL = ("sh", "-euc", 'step=$(cat); exec </dev/null; cd "$0"; eval "$step"')


AGAIN = "Nothing was marked as done: the next run repeats all steps."


class SetupError(Exception):
    """A step that failed, or a lock that was not to be had; the message says which and what to do."""


class Busy(NamedTuple):
    """Who has the lock, as far as he said."""

    what: str
    since: str


class Result(NamedTuple):
    ran: bool  #: the steps ran here, and their mark is written
    busy: Busy | None = None  #: another process is at it, and this one was not to wait
    output: tuple[str, ...] = ()


def once(
    steps: Sequence[str],
    *,
    prefix: Sequence[str],
    directory: str,
    lock: str,
    mark: str,
    timeout: float,
    label: str = "",
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Runs the steps in order unless the mark is there; with a timeout of 0 it does not wait for another process."""
    with _locked(lock, label, timeout, clock) as held:
        if isinstance(held, Busy):
            if timeout > 0:
                raise SetupError(_too_long(held, timeout))
            return Result(ran=False, busy=held)
        # Whoever had the lock may have done it.
        if os.path.lexists(mark):
            return Result(ran=False)
        count = len(steps)
        output = [
            _run(step, f"step {number} of {count}", prefix, directory, held) for number, step in enumerate(steps, 1)
        ]
        _write_mark(Path(mark), steps)
        return Result(ran=True, output=tuple(output))


def _too_long(other: Busy, timeout: float) -> str:
    return (
        f"another run has been setting up{f' {other.what}' if other.what else ''}"
        f"{f' since {other.since}' if other.since else ''} and was not done after {timeout:g} s: see what it does "
        "(its commands run as the application's account on this host), or allow more by code_setup_timeout"
    )


@contextlib.contextmanager
def _locked(path: str, label: str, timeout: float, clock: Callable[[], float]) -> Iterator[int | Busy]:
    """Holds the lock, or yields who holds it. The file stays: who removed it would let two in."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        deadline = clock() + timeout
        while not _try(descriptor):
            if clock() >= deadline:
                yield _holder(descriptor)
                return
            time.sleep(min(POLL, max(0.0, deadline - clock())))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"what": label, "since": time.strftime("%F %T %z")}).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(descriptor: int) -> Busy:
    try:
        said = json.loads(os.pread(descriptor, 4096, 0))
        return Busy(str(said["what"]), str(said["since"]))
    except (ValueError, KeyError, TypeError):
        # He has the lock and has not said anything yet.
        return Busy("", "")


def _run(step: str, name: str, prefix: Sequence[str], directory: str, lock: int) -> str:
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - the words are those of the role
                [*prefix, *SHELL, directory],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                # A step that outlives this process still keeps everybody else out.
                pass_fds=(lock,),
                # A terminal that goes away takes no step with it.
                start_new_session=True,
            )
        except OSError as error:
            raise SetupError(f"{name} cannot be started: {error.filename or prefix}: {error.strerror}") from error
        process.communicate(step.encode())
        size = output.seek(0, os.SEEK_END)
        output.seek(max(0, size - SHOWN))
        said = output.read().decode("utf-8", "replace").strip()
    code = process.returncode
    if code:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        raise SetupError(f"{name} {how}: {said or 'it printed nothing'}\n{AGAIN}")
    return said


def _write_mark(path: Path, steps: Sequence[str]) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(list(steps), indent=4) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(name).rename(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def ignore_hangup() -> None:
    """The connection that started the steps may go away; they go on."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
