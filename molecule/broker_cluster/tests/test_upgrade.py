"""An upgrade of the brokers, one after the other; and one that RabbitMQ does not support."""

from __future__ import annotations

import json
from collections.abc import Iterator

import guide
import pytest
from cluster import BROKERS, NAME, executed, send, source
from conftest import SECRETS, message, wait_for
from testing import script_on

pytestmark = pytest.mark.long

FIRST = 30_000_000


def installed(on) -> dict[str, str]:
    command = "dpkg-query --show --showformat='${Version}' rabbitmq-server"
    return {name: on(name).run(command).stdout for name in BROKERS}


@pytest.fixture
def offered(on) -> Iterator[object]:
    """offered(version) has the package sources of all brokers offer the installed RabbitMQ as this version."""
    base = installed(on)[BROKERS[0]]

    def offer(version: str) -> str:
        for name in BROKERS:
            script_on(name, source("offer.py"), {"base": base, "version": version}, seconds=300)
        return version

    yield offer
    offer("")


@pytest.mark.thorough
def test_a_jump_that_is_not_supported_is_refused(offered, playbook, untouched, on):
    before = installed(on)
    offered("9.1.0-1")
    told = message(playbook(name="playbooks/upgrade_broker.yml"))
    assert "CC856" in told
    assert f"is {before[BROKERS[0]]}, which cannot become 9.1.0-1 in place" in told
    assert "No host was changed" in told
    assert installed(on) == before


@pytest.mark.thorough
def test_the_brokers_are_upgraded_one_after_the_other(offered, succeed, cluster, rows, on):
    before, processes = installed(on), cluster.broker_processes()
    version = offered(before[BROKERS[0]] + "+offered1")
    playbook, arguments = guide.playbook("upgrade the brokers")
    output = succeed(*arguments, name=playbook)
    assert set(installed(on).values()) == {version}
    after = cluster.broker_processes()
    assert not [name for name in BROKERS if after[name] == processes[name]]
    # In turns: each was back before the next one was stopped.
    turns = [
        line for line in output.splitlines() if line.startswith("TASK [") and "Install the offered version" in line
    ]
    assert len(turns) == len(BROKERS), turns
    assert cluster.is_whole()
    kept = json.loads((SECRETS / "broker-definitions" / f"{before[BROKERS[0]]}.json").read_text())
    assert {user["name"] for user in kept["users"]} >= {f"{NAME}-admin", f"{NAME}-worker.worker1"}
    assert (SECRETS / "broker-definitions").stat().st_mode & 0o077 == 0
    sent = send(FIRST, 20)
    assert wait_for(lambda: len(executed(rows, FIRST, FIRST + 19)) == len(set(sent["ok"])) == 20, 90)

    again = succeed(name="playbooks/upgrade_broker.yml")
    assert "changed=0" in again
    assert not [line for line in again.splitlines() if "changed=" in line and "changed=0" not in line], again[-2000:]
