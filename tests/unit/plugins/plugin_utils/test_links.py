"""Which refusals are tried from which host."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.taskfleet.celery_cluster.plugins.modules.link_probe import ARGUMENTS
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.links import STRANGER, canaries, probes
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Inventory
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.topology import build

LINKS = {
    "broker_port": 5671,
    "vhost": "shop",
    "user": "shop-worker",
    "database": "shop",
    "database_user": "shop",
    "database_port": 5432,
    "ca_file": "/ca.pem",
}
BROKER_CHECKS = ["port_closed", "amqp_plaintext", "tls_unknown_ca", "amqp_wrong_password"]


def cluster(allowed: list[str] | None = None, database: bool = True, address: str = "192.0.2.{}") -> dict[str, Any]:
    groups = {"rabbitmq": ["mq"], "postgresql": ["db"] if database else [], "celery_workers": ["w1"]}
    hosts = {
        name: {"celery_address": address.format(number)} for number, name in enumerate(["mq", "db", "w1"], start=1)
    }
    settings = {
        "celery_name": "shop",
        "celery_app": "x",
        "celery_workers": {"default": {"queues": ["celery"]}},
        "celery_allowed_clients": allowed or [],
        "celery_result_backend_url": "redis://x",
    }
    problems = Problems()
    model = build(Inventory(groups, hosts, settings, lambda pattern: groups[pattern]), problems)
    assert model is not None, list(problems)
    return model.as_dict()


def checks(model: dict[str, Any], asked_from: str, /, **wanted: Any) -> list[str]:
    found = probes(model, asked_from, LINKS)
    return [probe["check"] for probe in found if all(probe.get(key) == value for key, value in wanted.items())]


def test_a_worker_tries_the_broker_and_its_own_login_without_tls() -> None:
    model = cluster()
    assert checks(model, "w1", to="mq", host="192.0.2.1") == BROKER_CHECKS
    assert checks(model, "w1", to="db", host="192.0.2.2") == ["postgres_plaintext_refused"]
    ports = {probe["check"]: probe["port"] for probe in probes(model, "w1", LINKS)}
    assert ports["port_closed"] == 5672
    assert {ports[check] for check in BROKER_CHECKS[1:]} == {5671}


def test_a_host_without_a_right_to_the_database_is_refused() -> None:
    assert checks(cluster(), "mq") == ["postgres_refused"]


def test_the_database_host_stands_for_a_stranger_too() -> None:
    model = cluster()
    assert checks(model, "db", source_address=STRANGER, host="127.0.0.1") == ["postgres_refused"]
    assert checks(model, "db", **{"from": "db"}) == ["postgres_refused"]


@pytest.mark.parametrize("allowed", ["192.0.2.1", "192.0.2.0/29", "192.0.2.0/28"])
def test_a_host_that_the_operator_allowed_is_not_expected_to_be_refused(allowed: str) -> None:
    assert checks(cluster([allowed]), "mq") == ["postgres_plaintext_refused"]


def test_an_allowed_network_lets_nobody_else_in() -> None:
    assert checks(cluster(["192.0.2.8/29", "2001:db8::/64"]), "mq") == ["postgres_refused"]
    assert checks(cluster(["2001:db8::/64"], address="2001:db8::{}"), "mq") == ["postgres_plaintext_refused"]


def test_without_a_database_nobody_asks_for_one() -> None:
    model = cluster(database=False)
    assert checks(model, "mq") == []
    assert checks(model, "w1") == BROKER_CHECKS


@pytest.mark.parametrize("host", ["mq", "db", "w1"])
def test_the_module_takes_every_probe(host: str) -> None:
    found = probes(cluster(), host, LINKS)
    assert found
    assert ArgumentSpecValidator(ARGUMENTS).validate({"probes": found}).error_messages == []


def test_every_consumer_of_every_queue_must_answer_the_canary() -> None:
    model = {"queues": {"mail": [{"worker": "default", "host": "w1"}, {"worker": "bulk", "host": "w2"}], "none": []}}
    assert canaries(model, "4f2c") == [
        {"queue": "mail", "worker": "default", "host": "w1", "release": "4f2c", "node": "default-4f2c@w1"},
        {"queue": "mail", "worker": "bulk", "host": "w2", "release": "4f2c", "node": "bulk-4f2c@w2"},
    ]


def test_a_client_known_by_name_lets_no_host_of_the_inventory_in() -> None:
    model = cluster()
    model["database_clients"] = [{"name": "celery_allowed_clients", "cidr": "client.example.org"}]
    assert checks(model, "w1", to="db") == ["postgres_refused"]
