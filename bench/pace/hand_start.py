"""Starts a worker as an operator would by hand, without TLS, agent and unit. Answers its process id when it is ready.

Given: `plain` (see settings), `arguments` (of `celery`), and `directory`: where it works and writes its log.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from pace.settings import enter, given

PATIENCE = 60


def main() -> None:
    wanted = given()
    enter(wanted["plain"])
    directory = Path(wanted["directory"])
    directory.mkdir(exist_ok=True)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", *wanted["arguments"]],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=dict(os.environ),
        )
    deadline = time.monotonic() + PATIENCE
    while b" ready." not in (told := (directory / "log").read_bytes()):
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the worker is not ready:\n{told.decode(errors='replace')[-2000:]}")
        time.sleep(0.2)
    print(json.dumps(process.pid))


if __name__ == "__main__":
    main()
