"""Stands in for psql: its server is a file that one process at a time has locked.

The file `mode` says how it behaves from the next question on: silent, garbage, refuse, idle (the session has ended), or
another (a pooler gives the session to somebody else).
"""

import fcntl
import os
import sys
import time
from pathlib import Path

ROOT = Path(os.environ["FAKE_PSQL_ROOT"])
lock = (ROOT / "lock").open("a+")
mine = False

for question in sys.stdin:
    with (ROOT / "asked").open("a") as stream:
        stream.write(f"{os.environ['PGAPPNAME']}|{os.environ['PGOPTIONS']}|{sys.argv[-1]}|{question}")
    mark = question.split("'")[1]
    mode = (ROOT / "mode").read_text() if (ROOT / "mode").exists() else ""
    if mode == "silent":
        time.sleep(3600)
    if mode == "refuse":
        sys.exit("psql: error: connection to server failed: Connection refused")
    if mode == "idle":
        sys.exit("FATAL:  terminating connection due to idle-session timeout")
    if "pg_try_advisory_lock" in question:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
            (ROOT / "holder").write_text(os.environ["PGAPPNAME"])
        except BlockingIOError:
            pass
        answer = f"{'t' if mine else 'f'}|{(ROOT / 'holder').read_text()}"
    else:
        answer = "t" if mine else "f"
    if mode == "garbage":
        answer = "maybe"
    print(f"{mark}|{os.getpid() + (1 if mode == 'another' else 0)}|{answer}", flush=True)
