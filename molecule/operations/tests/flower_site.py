"""Flower of this scenario as somebody on another machine reaches it: its name, its authority, its login."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# The tools come last: their names are common ones.
sys.path.append(str(Path(__file__).resolve().parents[3] / "tools"))

from testing import SECRETS, container, host

import browser
from devtools import Login

NAME, USER = "core1", "admin"
URL = f"https://{NAME}:5555"
AUTHORITY = SECRETS / "ca" / "ca.pem"
RUN = "/opt/ledger/bin/celery-run"
# Numbers that no other test sends.
FIRST = 70_000_000


def address() -> str:
    """Asked of the engine: no name server of this machine knows the hosts."""
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    argv = ["docker", "inspect", "--format", template, container(NAME)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def login() -> Login:
    return Login(USER, (SECRETS / "flower").read_text().strip())


@contextmanager
def visitor(*authorities: Path) -> Iterator[browser.Browser]:
    """A browser that knows where Flower is, and trusts whom it is told to."""
    with browser.opened(authorities=authorities, addresses={NAME: address()}) as found:
        yield found


def send_tasks(count: int = 20) -> None:
    """Short tasks, to both kinds of workers in turn."""
    options = f"--app celery_agent:app --only short --rate 20 --count {count} --first {FIRST} --log /dev/null"
    done = host(NAME).run(f"{RUN} python -m ledger.traffic {options}")
    assert done.rc == 0, done.stdout + done.stderr
