# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one process that gets its input at once and must end in time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import NamedTuple

# Seconds between asking a process to end and ending it.
GRACE = 5.0


class Done(NamedTuple):
    rc: int
    stdout: str = ""
    stderr: str = ""
    timed_out: bool = False


def run_process(command: list[str], text: str, limit: float) -> Done:
    """Its output, whether or not it ended by itself. What cannot be started has the code that a shell gives it."""
    try:
        process = subprocess.Popen(  # noqa: S603 - a list, whose program is the caller's
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="backslashreplace",
            start_new_session=True,
        )
    except FileNotFoundError as error:
        return Done(127, stderr=str(error))
    except OSError as error:
        return Done(126, stderr=str(error))
    try:
        stdout, stderr = process.communicate(text, timeout=limit)
        return Done(process.returncode, stdout, stderr)
    except subprocess.TimeoutExpired:
        stdout, stderr = _end(process)
        return Done(process.returncode, stdout, stderr, timed_out=True)


def _end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """With all it started: its session is its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            return process.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired:
            continue
    # Somebody who left the session holds the pipes.
    return "", ""
