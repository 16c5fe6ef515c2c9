"""Which certificates a host needs, for which names, and where they are."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.taskfleet.celery_cluster.plugins.filter.certificates import FilterModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.certificate_work import WANTED
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.certificates import (
    brought_certificates,
    certificate_problems,
    made_certificates,
    placed_certificates,
    wanted_certificates,
)

SETTINGS = {
    "source": "authority",
    "tls_directory": "/etc/shop-cluster/tls",
    "config_directory": "/opt/shop/config",
    "user": "shop",
    "database_user": "shopkeeper",
    "extra_names": ["queue.example.org"],
}
HOSTS = ["mq1", "mq2", "mq3", "db", "w1", "fl"]


def model(brokers: int = 3, login: str = "password", **changes: Any) -> dict[str, Any]:
    return {
        "brokers": HOSTS[:brokers],
        "database": "db",
        "database_mode": "managed",
        "database_login": "password",
        "database_users": ["w1", "fl"],
        "prepared_hosts": HOSTS,
        "flower": ["fl"],
        "release_hosts": ["w1", "fl"],
        "broker_name": "shop-broker",
        "broker_login": login,
        "broker_nodes": {host: f"rabbit@{host}-short" for host in HOSTS[:brokers]},
        "hosts": {
            host: {
                "address": f"{host}.example.org",
                "names": {"dns": [host, "localhost"], "ip": ["127.0.0.1"]},
                "broker_users": {"w1": {"worker": "shop-worker.w1"}, "fl": {"flower": "shop-flower"}}.get(host, {}),
            }
            for host in HOSTS
        },
        **changes,
    }


def wanted(host: str, cluster: dict[str, Any] | None = None, **settings: Any) -> list[dict[str, Any]]:
    return wanted_certificates(cluster or model(), host, {**SETTINGS, **settings})


def test_the_own_authority_gives_every_host_every_name() -> None:
    (leaf,) = wanted("w1")
    assert leaf["names"] == ["w1", "localhost", "127.0.0.1", "queue.example.org"]
    assert leaf["usages"] == ["server", "client"]
    assert (leaf["certificate"], leaf["key"]) == ("/etc/shop-cluster/tls/cert.pem", "/etc/shop-cluster/tls/key.pem")


@pytest.mark.parametrize(
    ("host", "brokers", "names", "usages"),
    [
        ("mq1", 1, ["mq1.example.org", "shop-broker", "127.0.0.1", "queue.example.org"], ["server"]),
        (
            "mq1",
            3,
            ["mq1.example.org", "shop-broker", "127.0.0.1", "mq1-short", "queue.example.org"],
            ["server", "client"],
        ),
        ("db", 3, ["db.example.org", "queue.example.org"], ["server"]),
        ("fl", 3, ["fl.example.org", "127.0.0.1", "queue.example.org"], ["server"]),
    ],
)
def test_from_elsewhere_only_names_in_use_are_needed(
    host: str, brokers: int, names: list[str], usages: list[str]
) -> None:
    (leaf,) = wanted(host, model(brokers), source="files")
    assert (leaf["names"], leaf["usages"]) == (names, usages)


def test_the_page_of_flower_may_have_a_name_of_its_own() -> None:
    named = model(flower_site={"name": "flower.example.org"})
    for host, expected in (("fl", True), ("mq1", False)):
        (leaf,) = wanted(host, named, source="files")
        assert ("flower.example.org" in leaf["names"]) is expected


def test_files_are_needed_only_where_something_is_served() -> None:
    assert wanted("w1", source="files") == []
    # The command brings the authority as well, which every host needs.
    assert [one["names"] for one in wanted("w1", source="command")] == [["w1.example.org", "queue.example.org"]]


@pytest.mark.parametrize("login", ["password_and_certificate", "certificate"])
@pytest.mark.parametrize("source", ["authority", "files", "command"])
def test_identities_have_certificates_where_the_broker_wants_them(login: str, source: str) -> None:
    client = wanted("w1", model(login=login), source=source)[-1]
    assert client == {
        "certificate": "/opt/shop/config/tls/worker.pem",
        "key": "/opt/shop/config/tls/worker.key",
        "common_name": "shop-worker.w1",
        "names": [],
        "usages": ["client"],
        "owner": "root",
        "group": "shop",
        "key_mode": "0640",
        "certificate_mode": "0640",
    }
    # A broker has no identity, whatever the login.
    assert len(wanted("mq1", model(login=login), source=source)) == 1


@pytest.mark.parametrize("source", ["authority", "files", "command"])
@pytest.mark.parametrize("login", ["password", "certificate"])
def test_the_database_may_want_a_certificate_of_its_users(login: str, source: str) -> None:
    by_certificate = model(login=login, database_login="certificate")
    others = [one["common_name"] for one in wanted("w1", model(login=login), source=source)]
    *before, client = wanted("w1", by_certificate, source=source)
    assert [one["common_name"] for one in before] == others
    assert client == {
        "certificate": "/opt/shop/config/tls/database.pem",
        "key": "/opt/shop/config/tls/database.key",
        "common_name": "shopkeeper",
        "names": [],
        "usages": ["client"],
        "owner": "root",
        "group": "shop",
        "key_mode": "0640",
        "certificate_mode": "0640",
    }
    # Neither the server nor a broker is a client of the database.
    for host in ("db", "mq1"):
        assert wanted(host, by_certificate, source=source) == wanted(host, model(login=login), source=source)


@pytest.mark.parametrize("source", ["authority", "files", "command"])
def test_the_server_of_somebody_else_gets_no_certificate(source: str) -> None:
    alone = model(database_mode="access", prepared_hosts=["mq1", "mq2", "mq3", "w1", "fl"])
    assert wanted("db", alone, source=source) == []
    # One that is a host of the cluster besides has its certificate for that.
    shared = wanted("db", model(database_mode="access"), source=source)
    assert len(shared) == (0 if source == "files" else 1)


def test_the_modules_take_the_list() -> None:
    validated = ArgumentSpecValidator({"certificates": WANTED}).validate(
        {"certificates": wanted("fl", model(login="certificate", database_login="certificate"))}
    )
    assert validated.error_messages == []


def test_where_the_files_are() -> None:
    both = wanted("fl", model(login="certificate"), source="files")
    brought = brought_certificates(both, "/secrets")
    assert [(one["certificate"], one["key"], one["ca_file"]) for one in brought] == [
        ("/secrets/fl.pem", "/secrets/fl.key", "/secrets/ca.pem"),
        ("/secrets/shop-flower.pem", "/secrets/shop-flower.key", "/secrets/ca.pem"),
    ]
    placed = placed_certificates(both, "fl", "/ca.pem")
    assert [(one["certificate"], one["host"], one["ca_file"]) for one in placed] == [
        ("/etc/shop-cluster/tls/cert.pem", "fl", "/ca.pem"),
        ("/opt/shop/config/tls/flower.pem", "fl", "/ca.pem"),
    ]
    made = made_certificates(both, "/made")
    assert [(one["certificate"], one["key"], one["ca_file"]) for one in made] == [
        ("/made/cert.pem", "/made/key.pem", "/made/ca.pem"),
        ("/made/flower.pem", "/made/flower.key", "/made/ca.pem"),
    ]
    for one in (*brought, *placed, *made):
        assert (one["common_name"], one["usages"]) in [("fl", ["server"]), ("shop-flower", ["client"])]


def test_findings_become_lines_with_their_severity() -> None:
    finding = {"code": "CC627", "place": "/secrets/mq1.pem", "what": "expired", "instead": "renew", "host": ""}
    soon = {**finding, "code": "CC635", "what": "ends soon", "host": "mq1"}
    told = certificate_problems([soon, finding, finding])
    assert told["errors"] == ["CC627 error: /secrets/mq1.pem expired: renew"]
    assert told["warnings"] == ["CC635 warning: mq1: /secrets/mq1.pem ends soon: renew"]
    assert certificate_problems([]) == {"errors": [], "warnings": [], "report": ""}


def test_the_filters_are_there() -> None:
    assert len(FilterModule().filters()) == 5
