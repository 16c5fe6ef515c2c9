"""Long commands whose output goes to a log, and that end with everything they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from common import CHECKOUT


def tools_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment in which the pinned tools are found first, and the checkout's configuration is used."""
    return {
        **os.environ,
        "PATH": f"{CHECKOUT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        # The tools around Ansible do not read `home` from its configuration.
        "ANSIBLE_HOME": str(CHECKOUT / ".ansible"),
        **(extra or {}),
    }


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def tail(path: Path, lines: int) -> str:
    if not path.exists():
        return ""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


@contextmanager
def termination_as_exit() -> Iterator[None]:
    """SIGTERM unwinds the stack, so that every `finally` that removes containers runs."""

    def leave(number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + number)

    previous = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def end(process: subprocess.Popen[bytes], patience: float = 60) -> None:
    """End a command and all that it started; a driver of ours gets the time to remove its containers."""
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def logged(
    argv: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path = CHECKOUT,
    meanwhile: Callable[[], None] = lambda: None,
) -> int:
    """Run a command with its output appended to `log`; call `meanwhile` a few times a second."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Its own group: `end` reaches what it starts, and Ctrl-C reaches only this driver.
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                meanwhile()
                time.sleep(0.2)
            meanwhile()
        finally:
            end(process)
    return process.returncode
