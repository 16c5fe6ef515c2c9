"""Logged commands: nothing that they started survives them."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

import process


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_output_is_appended_and_the_code_returned(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log"
    assert process.logged(["sh", "-c", "echo one; echo two >&2; exit 3"], log) == 3
    assert process.logged(["echo", "three"], log) == 0
    assert process.tail(log, 2) == "two\nthree"


def test_an_interrupted_command_takes_its_children_with_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    class EnoughError(Exception):
        pass

    def meanwhile() -> None:
        if pid_file.exists() and pid_file.read_text(encoding="ascii").strip():
            raise EnoughError

    with pytest.raises(EnoughError):
        process.logged(["sh", "-c", f"sleep 60 & echo $! >{pid_file}; wait"], tmp_path / "log", meanwhile=meanwhile)
    child = int(pid_file.read_text(encoding="ascii"))
    deadline = time.monotonic() + 5
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def test_sigterm_runs_the_cleanup() -> None:
    cleaned = []
    with pytest.raises(SystemExit) as caught, process.termination_as_exit():
        try:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
            time.sleep(10)
        finally:
            cleaned.append(True)
    assert caught.value.code == 143
    assert cleaned == [True]
