"""What is wrong is said, with its place and its reason; nothing is reset, and what runs goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from authority import Authority, Pair
from cluster import BROKER_PORT, BROKERS, HOSTS, NAME, WORKERS, source
from conftest import SECRETS, message, wait_for
from testing import script_on

# What the messages have to say, each word after the one before.
WORDS = {
    "expired": ("broker1.pem", "expired"),
    "not yet valid": ("broker2.pem", "not valid before"),
    "wrong name": ("broker3.pem", "not valid for", f"{NAME}-broker"),
    "foreign authority": ("db1.pem", "Somebody Else"),
    "cookie": ("rabbit@broker3", "cookie"),
    "half-joined": ("rabbit@broker3", "half-joined", "Nothing was reset"),
    "memory, restart": ("rabbit@broker1 was not touched", "memory alarm"),
    "memory, verify": ("rabbit@broker1", "memory alarm", "publishers are blocked"),
    "disk, verify": ("rabbit@broker2", "disk alarm", "publishers are blocked"),
}
UNTOUCHED = "No host was changed"
COOKIE = "/var/lib/rabbitmq/.erlang.cookie"
CONFIGURATION = "/etc/rabbitmq/rabbitmq.conf"
MNESIA = "/var/lib/rabbitmq/mnesia"
# So that a refusal does not take as long as a slow machine may.
QUICKLY = ("-e", json.dumps({"rabbitmq_start_timeout": 30, "verify_deadline": 30}))
AMQP = b"AMQP\x00\x00\x09\x01"


def says(text: str, case: str) -> bool:
    """Near each other: an output that has the words in different messages does not count."""
    return re.search(".{0,400}?".join(re.escape(word) for word in WORDS[case]), text) is not None


@pytest.fixture(autouse=True)
def _whole(cluster) -> Iterator[None]:
    """Every test finds a cluster that is whole, and leaves one."""
    yield
    assert wait_for(cluster.is_whole, 180), cluster.members()
    assert wait_for(cluster.all_served, 90), cluster.served()


# --- certificates


@pytest.fixture
def brought(tmp_path: Path, cluster, model) -> Path:
    """Everything the operator has to bring for this cluster; four of the files will not do."""
    ours, others = Authority.make("The Operator"), Authority.make("Somebody Else")
    directory = tmp_path / "brought"
    directory.mkdir(mode=0o700)

    def names(host: str) -> list[str]:
        found = [host, "localhost", "127.0.0.1", cluster.addresses[host]]
        return [*found, f"{NAME}-broker"] if host in BROKERS else found

    pairs: dict[str, Pair] = {host: ours.issue(host, names(host)) for host in HOSTS}
    pairs |= {user["name"]: ours.issue(user["name"]) for user in model["broker_users"]}
    pairs["broker1"] = ours.issue("broker1", names("broker1"), begins=-300, ends=-3)
    pairs["broker2"] = ours.issue("broker2", names("broker2"), begins=3)
    pairs["broker3"] = ours.issue("broker3", ["broker3", "elsewhere.invalid"])
    pairs["db1"] = others.issue("db1", names("db1"))
    for name, pair in pairs.items():
        (directory / f"{name}.pem").write_text(pair.certificate)
        (directory / f"{name}.key").write_text(pair.key)
    (directory / "ca.pem").write_text(ours.text())
    return directory


@pytest.mark.long
def test_certificates_that_will_not_do_are_refused_before_a_host_is_touched(playbook, brought, untouched):
    variables = {"certificates_source": "files", "certificates_files_directory": str(brought)}
    text = message(playbook("-e", json.dumps(variables)))
    for case in ("expired", "not yet valid", "wrong name", "foreign authority"):
        assert says(text, case), f"{case}: {text}"
    assert UNTOUCHED in text
    # And only these: the others are as they must be.
    assert not [host for host in ("app1", *WORKERS) if f"{host}.pem" in text], text
    assert not re.search(r"PRIVATE KEY", text)


def client_certificates(user: str) -> dict[str, Pair]:
    """Certificates with which a client wants to be that user."""
    ours, others = Authority.read(SECRETS / "ca"), Authority.make("Somebody Else")
    return {
        "good": ours.issue(user),
        "foreign": others.issue(user),
        "expired": ours.issue(user, begins=-1, ends=-0.5),
        "future": ours.issue(user, begins=3),
    }


def test_a_broker_refuses_such_certificates_at_the_handshake(cluster):
    found = client_certificates(f"{NAME}-worker.worker1")
    for broker in BROKERS:
        attempts = [
            {
                "address": cluster.addresses[broker],
                "port": BROKER_PORT,
                "send": AMQP.hex(),
                "tls": True,
                "certificate": pair.certificate,
                "key": pair.key,
            }
            for pair in found.values()
        ]
        answers = dict(zip(found, script_on("worker1", source("try_port.py"), attempts), strict=True))
        # The broker's own greeting proves that it is the certificate that decides.
        good = answers.pop("good")
        assert good["answer"], good
        for case, answer in answers.items():
            assert not answer["answer"] and not answer["open"], f"{broker} lets in {case}: {answer}"


# --- nodes that do not fit


@pytest.mark.long
def test_another_cookie_is_stated(playbook, cluster, on, untouched):
    host = on("broker3")
    assert host.run("cp -p %s %s.kept && printf OTHERCOOKIE >%s", COOKIE, COOKIE, COOKIE).rc == 0
    try:
        text = message(playbook(name="playbooks/preflight.yml"))
        assert says(text, "cookie"), text
        assert host.file(COOKIE).content_string == "OTHERCOOKIE", "it was replaced under a running node"
    finally:
        assert host.run("mv %s.kept %s", COOKIE, COOKIE).rc == 0


@pytest.mark.long
@pytest.mark.thorough
def test_a_half_joined_node_is_stated_and_not_reset(playbook, succeed, cluster, on):
    host = on("broker3")
    others = [name for name in BROKERS if name != "broker3"]
    processes = cluster.broker_processes(others)
    state = f"cat {MNESIA}/rabbit@broker3/cluster_nodes.config; find {MNESIA} -type f | sort"
    assert host.run("systemctl stop rabbitmq-server").rc == 0
    before = host.run(state)
    assert before.rc == 0, before.stderr
    forgotten = on("broker1").run("rabbitmqctl -q forget_cluster_node rabbit@broker3")
    assert forgotten.rc == 0, forgotten.stdout + forgotten.stderr
    try:
        text = message(playbook(name="playbooks/preflight.yml"))
        assert says(text, "half-joined"), text
        assert host.run(state).stdout == before.stdout
        assert cluster.broker_processes(others) == processes
    finally:
        # What the message tells the operator to do.
        host.run("systemctl stop rabbitmq-server && mv %s %s.old", MNESIA, MNESIA)
        succeed("--tags", "rabbitmq")
    assert wait_for(cluster.is_whole, 120), cluster.members()
    assert cluster.broker_processes(others) == processes


# --- alarms


def raised(cluster, broker: str, which: str) -> bool:
    return bool((cluster.members([broker]).get(broker) or {}).get(which))


@pytest.fixture
def memory_alarm(cluster, on) -> Iterator[None]:
    """broker1 believes that it uses too much memory."""
    host = on("broker1")
    assert host.run("rabbitmqctl -q set_vm_memory_high_watermark absolute 1MB").rc == 0
    try:
        assert wait_for(lambda: raised(cluster, "broker1", "mem_alarm"), 60)
        yield
    finally:
        assert host.run("rabbitmqctl -q set_vm_memory_high_watermark 0.4").rc == 0
        assert wait_for(lambda: not raised(cluster, "broker1", "mem_alarm"), 60)


@pytest.fixture
def disk_alarm(cluster, on) -> Iterator[None]:
    """broker2 believes that its disk is full: no disk has so many bytes free."""
    host = on("broker2")
    assert host.run("rabbitmqctl -q set_disk_free_limit 1000000000000000").rc == 0
    try:
        assert wait_for(lambda: raised(cluster, "broker2", "disk_free_alarm"), 60)
        yield
    finally:
        assert host.run("rabbitmqctl -q set_disk_free_limit 1GB").rc == 0
        assert wait_for(lambda: not raised(cluster, "broker2", "disk_free_alarm"), 60)


@pytest.fixture
def due_restart(on) -> Iterator[None]:
    """broker1 is older than its configuration, so the playbook wants to restart it."""
    host = on("broker1")
    then = host.run("stat -c %%Y %s", CONFIGURATION).stdout.strip()
    assert host.run("touch %s", CONFIGURATION).rc == 0
    yield
    assert host.run("touch -d %s %s", f"@{then}", CONFIGURATION).rc == 0


@pytest.mark.long
def test_no_broker_is_restarted_during_a_memory_alarm(playbook, memory_alarm, due_restart, untouched):
    text = message(playbook(*QUICKLY, "--tags", "rabbitmq"))
    assert says(text, "memory, restart"), text


def test_a_memory_alarm_is_stated(playbook, memory_alarm, untouched):
    text = message(playbook(*QUICKLY, name="playbooks/verify.yml"))
    assert says(text, "memory, verify"), text


def test_a_full_disk_is_stated(playbook, disk_alarm, untouched):
    text = message(playbook(*QUICKLY, name="playbooks/verify.yml"))
    assert says(text, "disk, verify"), text


def test_afterwards_nothing_is_wrong(playbook: Any):
    done = playbook(name="playbooks/verify.yml")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
