"""What the drivers in this directory share. Standard library only: it runs before the tools are installed."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

CHECKOUT = Path(__file__).resolve().parents[1]
CACHE = CHECKOUT / ".cache"
LABEL = "org.taskfleet.celery_cluster"


class UserError(Exception):
    """Something the user has to change; the text is one line that says what."""


def main(action: Callable[[], None]) -> None:
    """Run a driver: what the user must change is one line, not a traceback."""
    try:
        action()
    except UserError as refusal:
        sys.exit(f"{Path(sys.argv[0]).name}: {refusal}")
    except KeyboardInterrupt:
        sys.exit(130)


def say(text: str) -> None:
    print(text, flush=True)


def run(
    argv: Sequence[str],
    *,
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    stdin: IO[bytes] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command quietly; a missing program or a timeout is a failed command, not an exception."""
    try:
        return subprocess.run(
            list(argv),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=env,
            stdin=stdin or subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(list(argv), 127, "", f"{argv[0]}: not found")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(list(argv), 124, "", f"{argv[0]}: no answer within {timeout} s")


def must(
    argv: Sequence[str],
    *,
    attempts: int = 1,
    env: Mapping[str, str] | None = None,
    stdin: IO[bytes] | None = None,
    hint: str = "",
) -> str:
    """The output of a command that has to succeed; `attempts` is for commands that use the network."""
    for attempt in range(1, attempts + 1):
        done = run(argv, env=env, stdin=stdin)
        if done.returncode == 0:
            return done.stdout
        if attempt < attempts:
            time.sleep(3 * attempt)
    reason = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
    # A script among the arguments would bury the reason.
    command = " ".join(part if len(part) < 80 and "\n" not in part else "…" for part in argv)
    raise UserError(f"{command} failed ({done.returncode}): {reason}{'. ' + hint if hint else ''}")


@contextmanager
def exclusively(name: str) -> Iterator[None]:
    """Two runs in one checkout must not install the engine or build an image at the same time."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def apt_install(packages: Sequence[str], *, purpose: str) -> None:
    """Install distribution packages, or say in one line which ones the user must install."""
    wanted = " ".join(packages)
    if shutil.which("apt-get") is None:
        raise UserError(f"{purpose}: install {wanted} (or your distribution's equivalent), then run this again")
    if os.geteuid() != 0:
        raise UserError(f"{purpose}: run `sudo apt-get install {wanted}`, then run this again")
    say(f"installing {wanted}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # Another package manager that holds the lock is waited for: a fresh machine often updates itself.
    apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
    must([*apt, "update"], attempts=3, env=env, hint="is the package mirror reachable?")
    must([*apt, "install", "-y", "--no-install-recommends", *packages], attempts=3, env=env)
