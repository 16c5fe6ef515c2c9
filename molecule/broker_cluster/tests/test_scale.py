"""From three brokers to one and back: messages that wait stay, tasks run all along."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import BROKERS, DEAD, NAME, QUEUES, executed, send
from conftest import PROJECT, SCENARIO, SECRETS, wait_for

pytestmark = [pytest.mark.long, pytest.mark.thorough]

HERE = PROJECT / "molecule" / SCENARIO / "inventory"
# A queue that no worker empties. It is not the cluster's own, and moves with it all the same.
WAITING = "waiting"
MESSAGES = 20
FIRST = 20_000_000


@pytest.fixture
def one_broker(tmp_path: Path) -> list[str]:
    """The inventory with broker1 only."""
    hosts = yaml.safe_load((HERE / "hosts.yml").read_text())
    for name in BROKERS[1:]:
        del hosts["all"]["hosts"][name]
        del hosts["all"]["children"]["rabbitmq"]["hosts"][name]
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(hosts))
    (tmp_path / "group_vars").symlink_to((HERE / "group_vars").resolve())
    return ["-i", str(tmp_path), "-e", json.dumps({"celery_secrets_directory": str(SECRETS)})]


@pytest.fixture
def waiting(cluster) -> Iterator[Callable[[], int]]:
    """waiting() is the number of messages in a quorum queue that holds MESSAGES of them now."""
    path = f"/queues/{NAME}/{WAITING}"
    cluster.change("PUT", path, {"durable": True, "arguments": {"x-queue-type": "quorum"}})
    message: dict[str, Any] = {
        "routing_key": WAITING,
        "payload": "kept",
        "payload_encoding": "string",
        "properties": {"delivery_mode": 2},
    }
    for _number in range(MESSAGES):
        cluster.change("POST", f"/exchanges/{NAME}/amq.default/publish", message)

    def count() -> int:
        return (cluster.get(path, BROKERS[:1]) or {}).get("messages", -1)

    assert wait_for(lambda: count() == MESSAGES, 30), count()
    yield count
    cluster.change("DELETE", path)


def run_tasks(rows: Callable[[str], list[str]], first: int) -> None:
    sent = send(first, 40)
    assert len(set(sent["ok"])) == 40, sent
    assert wait_for(lambda: len(executed(rows, first, first + 39)) == 40, 90), "not all tasks were executed"


def members_of(queue: dict[str, Any]) -> list[str]:
    return sorted(member.split("@", 1)[1] for member in queue.get("members") or [])


def test_three_to_one_and_back(cluster, succeed, one_broker, waiting, rows, on):
    kept = BROKERS[0]
    succeed("-e", f"broker_remove={BROKERS[1]},{BROKERS[2]}", name="playbooks/remove_broker.yml")
    assert wait_for(lambda: set(cluster.members([kept])) == {kept}, 30), cluster.members([kept])
    for name in BROKERS[1:]:
        assert on(name).run("systemctl is-active rabbitmq-server").stdout.strip() != "active"
    assert wait_for(lambda: waiting() == MESSAGES, 60), waiting()
    # The tasks below are the proof.
    succeed(*one_broker, "--skip-tags", "verify", alone=True)
    assert wait_for(lambda: cluster.is_whole([kept]), 60), cluster.members([kept])
    assert wait_for(lambda: waiting() == MESSAGES, 60), waiting()
    assert wait_for(lambda: cluster.all_served([kept]), 90), cluster.served([kept])
    run_tasks(rows, FIRST)

    succeed("--skip-tags", "verify")
    assert wait_for(cluster.is_whole, 180), cluster.members()
    assert wait_for(lambda: waiting() == MESSAGES, 60), waiting()
    assert wait_for(cluster.all_served, 90), cluster.served()

    def lacking() -> list[str]:
        queues = cluster.queues()
        return [name for name in (*QUEUES, DEAD, WAITING) if members_of(queues[name]) != sorted(BROKERS)]

    assert wait_for(lambda: not lacking(), 60), lacking()
    run_tasks(rows, FIRST + 1000)
