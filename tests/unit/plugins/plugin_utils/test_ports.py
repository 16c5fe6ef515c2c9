"""What may be open on which host."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Inventory
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.topology import build

ONE = {"rabbitmq": ["mq1"], "postgresql": ["db"], "celery_source": ["app"], "celery_workers": ["w1"], "flower": ["mon"]}
THREE = {**ONE, "rabbitmq": ["mq1", "mq2", "mq3"]}
HOSTS = {
    name: {"celery_address": f"192.0.2.{number}"}
    for number, name in enumerate(["mq1", "mq2", "mq3", "db", "app", "w1", "mon"], start=1)
}


def read(groups: dict[str, list[str]], **settings: Any) -> tuple[dict[str, Any], list[str]]:
    values = {
        "celery_name": "shop",
        "celery_app": "x",
        "celery_workers": {"default": {"queues": ["celery"]}},
        **settings,
    }
    problems = Problems()
    cluster = build(Inventory(groups, HOSTS, values, lambda pattern: groups.get(pattern, [])), problems)
    return cluster.as_dict()["hosts"] if cluster else {}, [str(problem) for problem in problems.errors]


def ports(groups: dict[str, list[str]], host: str, **settings: Any) -> dict[str, int]:
    hosts, errors = read(groups, **settings)
    assert errors == []
    return {port["purpose"]: port["port"] for port in hosts[host]["ports"]}


def test_each_service_has_its_port() -> None:
    hosts, _errors = read(ONE, flower_listen_address="0.0.0.0")
    assert {host: [(port["port"], port["tls"]) for port in known["ports"]] for host, known in hosts.items()} == {
        "mq1": [(5671, True), (15671, True)],
        "db": [(5432, True)],
        "app": [(22, False)],
        "w1": [],
        "mon": [(5555, True)],
    }


def test_several_brokers_talk_to_each_other() -> None:
    assert ports(THREE, "mq2") == {"AMQP": 5671, "management API": 15671, "distribution": 25672}


@pytest.mark.parametrize(
    ("host", "settings", "expected"),
    [
        ("mq1", {"celery_broker_port": 5691}, {"AMQP": 5691, "management API": 15671, "distribution": 25672}),
        ("mq1", {"celery_broker_management_port": 1}, {"AMQP": 5671, "management API": 1, "distribution": 25672}),
        ("mq1", {"rabbitmq_distribution_port": 2}, {"AMQP": 5671, "management API": 15671, "distribution": 2}),
        (
            "mq1",
            {"rabbitmq_prometheus_port": 15692, "rabbitmq_management_listen_address": "127.0.0.1"},
            {"AMQP": 5671, "distribution": 25672, "metrics of the broker": 15692},
        ),
        ("mq1", {"rabbitmq_listen_address": "::1"}, {"management API": 15671, "distribution": 25672}),
        ("mq1", {"celery_broker_port": "unknown"}, {"AMQP": 5671, "management API": 15671, "distribution": 25672}),
        ("db", {"celery_database_port": 5499}, {"PostgreSQL": 5499}),
        ("db", {"postgresql_listen_addresses": "localhost, ::1"}, {}),
        ("db", {"postgresql_pooler": "transaction"}, {"PostgreSQL": 5432, "pooler of PostgreSQL": 6432}),
        (
            "db",
            {"postgresql_pooler": "transaction", "postgresql_pooler_port": 7000, "celery_database_port": 7001},
            {"PostgreSQL": 7001, "pooler of PostgreSQL": 7000},
        ),
        ("db", {"postgresql_pooler": "transaction", "postgresql_listen_addresses": "127.0.0.1"}, {}),
        # What an existing server listens on is not ours to say.
        ("db", {"postgresql_mode": "access", "postgresql_listen_addresses": "localhost"}, {"PostgreSQL": 5432}),
        ("db", {"postgresql_listen_addresses": "localhost, 192.0.2.4"}, {"PostgreSQL": 5432}),
        ("app", {"code_source_ssh_port": 2222}, {"SSH": 2222}),
        ("mon", {}, {}),
        ("mon", {"flower_listen_address": "::", "flower_port": 80}, {"Flower": 80}),
        ("mon", {"flower_listen_address": "::", "flower_proxy": "none"}, {"Flower": 5555}),
    ],
)
def test_the_variables_decide(host: str, settings: dict[str, Any], expected: dict[str, int]) -> None:
    assert ports(THREE, host, **settings) == expected


def test_two_services_on_one_port_are_refused() -> None:
    _hosts, errors = read(THREE, celery_broker_management_port=25672)
    assert len(errors) == 3
    assert errors[0] == (
        "CC119 error: mq1: rabbitmq_distribution_port is 25672, which is the port of management API "
        "(celery_broker_management_port) on the same host: write another one"
    )
    assert read({**ONE, "postgresql": ["mq1"]}, celery_database_port=5671)[1][0].startswith("CC119 error: mq1: ")
    same = {"postgresql_pooler": "transaction", "postgresql_pooler_port": 5432}
    for listen in ("*", "127.0.0.1"):
        (problem,) = read(ONE, postgresql_listen_addresses=listen, **same)[1]
        assert problem == (
            "CC119 error: db: postgresql_pooler_port is 5432, which is the port of PostgreSQL (celery_database_port) "
            "on the same host: write another one"
        )
    for more in ({"flower_port": 5556}, {"flower_backend_port": 5555}):
        assert [one[:11] for one in read(ONE, **more)[1]] == ["CC119 error", "CC119 error"]
        assert read(ONE, flower_proxy="none", **more)[1] == []
    # Each on an address of its own.
    apart = {"flower_port": 5671, "flower_listen_address": "127.0.0.1"}
    assert read({**ONE, "flower": ["mq1"]}, **apart)[1] == []
