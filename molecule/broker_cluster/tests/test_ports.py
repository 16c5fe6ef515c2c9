"""The open ports of every host are those of the model, and none of them answers a stranger."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cluster import (
    BROKER_PORT,
    BROKERS,
    DISTRIBUTION_PORT,
    HOSTS,
    MANAGEMENT_PORT,
    NAME,
    PROMETHEUS_PORT,
    source,
)
from conftest import SECRETS, container
from testing import script_on

# The SSH server of the image is how an operator reaches a machine; it was there before the collection.
OF_THE_IMAGE = {22}
# Ports where nobody gets in without a certificate of the cluster, whatever else he knows.
BY_CERTIFICATE = {BROKER_PORT, DISTRIBUTION_PORT, PROMETHEUS_PORT}

AMQP = b"AMQP\x00\x00\x09\x01"
GET = b"GET /api/overview HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n"
NOISE = bytes(range(255, 191, -1))


def scan(caller: str, target: str, addresses: dict[str, str]) -> set[int]:
    return set(script_on(caller, source("scan_ports.py"), {"address": addresses[target]}))


@pytest.fixture(scope="module")
def seen(cluster) -> dict[tuple[str, str], set[int]]:
    """(who looks, at whom) -> open ports. Nobody looks at himself: on the loopback address more may answer."""
    pairs = [(caller, target) for caller in ("outsider", "worker1") for target in HOSTS if caller != target]
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda pair: scan(*pair, cluster.addresses), pairs)
        return dict(zip(pairs, found, strict=True))


def attempt(cluster, target: str, port: int, send: bytes, **options: Any) -> dict[str, Any]:
    return {"address": cluster.addresses[target], "port": port, "send": send.hex(), "tls": False, **options}


def try_ports(caller: str, attempts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The answers, each together with what was tried."""
    answers = script_on(caller, source("try_port.py"), attempts)
    return [{**tried, **answer} for tried, answer in zip(attempts, answers, strict=True)]


def speaks(answer: str) -> bool:
    """Whether somebody answered in AMQP (its header, or a frame of method 10) or in HTTP (not: that TLS is missing)."""
    data = bytes.fromhex(answer)
    return data.startswith((b"AMQP", b"\x01\x00\x00\x00\x00")) or data.startswith(b"HTTP/1")


@pytest.mark.parametrize("name", HOSTS)
def test_exactly_the_ports_of_the_model_are_open(name, model, seen):
    expected = {entry["port"] for entry in model["hosts"][name]["ports"]} | OF_THE_IMAGE
    for caller in ("outsider", "worker1"):
        if caller != name:
            assert seen[caller, name] == expected, f"{name}, seen from {caller}"


def test_the_brokers_have_the_ports_of_a_cluster(seen):
    for name in BROKERS:
        assert {BROKER_PORT, MANAGEMENT_PORT, DISTRIBUTION_PORT, PROMETHEUS_PORT} <= seen["worker1", name]


@pytest.mark.parametrize("caller", ["outsider", "worker1"])
def test_no_port_answers_plaintext(caller, cluster, seen):
    attempts = [
        attempt(cluster, target, port, send)
        for (looker, target), ports in seen.items()
        if looker == caller
        for port in sorted(ports - OF_THE_IMAGE)
        for send in (AMQP, GET, NOISE)
    ]
    assert attempts
    answered = [tried for tried in try_ports(caller, attempts) if speaks(tried["answer"])]
    assert not answered, answered


@pytest.mark.parametrize("caller", ["outsider", "worker1"])
def test_without_a_certificate_nobody_gets_further(caller, cluster, seen):
    attempts = [
        attempt(cluster, target, port, AMQP if port == BROKER_PORT else GET, tls=True)
        for target in BROKERS
        for port in sorted(seen[caller, target] & BY_CERTIFICATE)
    ]
    assert len(attempts) == len(BROKERS) * len(BY_CERTIFICATE)
    # With TLS 1.3 the client believes that the handshake is over before the server has seen its certificate.
    let_in = [tried for tried in try_ports(caller, attempts) if tried["answer"] or tried["open"]]
    assert not let_in, let_in


def test_with_a_certificate_of_the_cluster_the_same_ports_answer(cluster):
    # Without this, a port that refuses everybody would pass as one that refuses strangers.
    own = {
        "tls": True,
        "certificate_file": f"/opt/{NAME}/config/tls/worker.pem",
        "key_file": f"/opt/{NAME}/config/tls/worker.key",
    }
    metrics = b"GET /metrics HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n"
    for target in BROKERS:
        broker, prometheus = try_ports(
            "worker1",
            [
                attempt(cluster, target, BROKER_PORT, AMQP, **own),
                attempt(cluster, target, PROMETHEUS_PORT, metrics, **own),
            ],
        )
        assert speaks(broker["answer"]), broker
        assert bytes.fromhex(prometheus["answer"]).startswith(b"HTTP/1.1 200"), prometheus


@pytest.mark.parametrize("caller", ["outsider", "worker1"])
def test_the_management_api_is_closed_to_anonymous_callers(caller, cluster):
    answers = try_ports(caller, [attempt(cluster, name, MANAGEMENT_PORT, GET, tls=True) for name in BROKERS])
    for tried in answers:
        assert bytes.fromhex(tried["answer"]).startswith(b"HTTP/1.1 401"), tried


def test_no_default_account_may_use_the_management_api(cluster):
    for name in BROKERS:
        assert cluster.ask(name, "GET", "/overview", login=("guest", "guest"))[0] == 401
    users = json.loads(cluster.ask(BROKERS[0], "GET", "/users")[1])
    assert "guest" not in {user["name"] for user in users}


def test_the_database_refuses_strangers_and_plaintext(ad_hoc, cluster):
    ca_file = "/root/ca.pem"
    command = ["docker", "cp", "-q", str(SECRETS / "ca" / "ca.pem"), f"{container('outsider')}:{ca_file}"]
    subprocess.run(command, check=True)
    login = {
        "name": "login",
        "to": "db1",
        "host": cluster.addresses["db1"],
        "port": 5432,
        "username": NAME,
        "database": NAME,
    }
    strange = [
        {**login, "check": "postgres_refused", "from": "outsider", "ca_file": ca_file},
        {**login, "check": "postgres_plaintext_refused", "from": "outsider"},
    ]
    for row in ad_hoc("outsider", "link_probe", {"probes": strange})["rows"]:
        assert row["ok"], row
    (plain,) = ad_hoc("worker1", "link_probe", {"probes": [{**strange[1], "from": "worker1"}]})["rows"]
    assert plain["ok"], plain
