"""Every command of docs/guide.md that no other test claims, executed as it is written there."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import guide
import pytest
from guide_claims import CLAIMS
from testing import INVENTORY, PROJECT, container, host, wait_for

HOSTS = ("core1", "beat1", "beat2", "worker1", "worker2")
COMMANDS = [name for name in guide.commands() if name not in CLAIMS]
RESTARTS = ("restart the workers of a host", "restart Flower", "restart beat")
ACTIVE = "systemctl list-units --state=active --plain --no-legend 'ledger-*@*.service'"


@pytest.fixture(autouse=True)
def healthy_afterwards():
    """Whatever ran before runs afterwards."""
    before = active()
    assert all(before.values()), before
    yield
    assert wait_for(lambda: active() == before, 180), (before, active())


def active() -> dict[str, set[str]]:
    """Host -> its services of the cluster that run."""
    found = {}
    for name in HOSTS:
        lines = host(name).run(ACTIVE).stdout.splitlines()
        found[name] = {line.split()[0] for line in lines}
    return found


def execute(name: str) -> str:
    words = guide.local(name, str(INVENTORY), {short: container(short) for short in HOSTS})
    begun = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, cwd=PROJECT, check=False, timeout=900)
    print(f"{name}: {time.monotonic() - begun:.1f} s")
    assert done.returncode == 0, f"{words}\n{(done.stdout + done.stderr)[-4000:]}"
    return done.stdout


def marked(name: str) -> Any:
    # The whole of site.yml: every scenario runs it, too.
    return pytest.param(name, marks=[pytest.mark.thorough] if name in ("see what would change", "make it so") else [])


@pytest.mark.parametrize("name", [marked(name) for name in COMMANDS if name not in RESTARTS])
def test_the_command_does_what_the_guide_says(name):
    output = execute(name)
    # Each of them tells something.
    assert output.strip()
    if name in ("what the agent says", "does Flower run", "which beat is active"):
        assert "ActiveState=active" in output
    if name == "which releases are there":
        assert len(output.split()) >= 1
    if name == "who consumes":
        assert "celery" in output
    if name == "do the workers answer":
        assert "worker1" in output and "worker2" in output
    if name == "make it so":
        assert "failed=0" in output and "unreachable=0" in output


@pytest.mark.parametrize("name", [name for name in COMMANDS if name in RESTARTS])
def test_what_mends_restarts(name):
    since = processes()
    execute(name)
    assert wait_for(lambda: processes() != since, 120), "nothing was restarted"


def processes() -> dict[str, str]:
    show = "systemctl show -p Id,MainPID --state=active 'ledger-*@*.service'"
    return {name: host(name).run(show).stdout for name in HOSTS}
