"""Which refusals are tried from which host."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.taskfleet.celery_cluster.plugins.modules.link_probe import ARGUMENTS
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.links import (
    STRANGER,
    canaries,
    deserted_queues,
    probes,
)
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Inventory
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.topology import build

LINKS = {
    "broker_port": 5671,
    "management_port": 15671,
    "vhost": "shop",
    "client_directory": "/config/tls",
    "certificate_days": 14,
    "database": "shop",
    "database_user": "shop",
    "database_owner": "shop_owner",
    "ca_file": "/ca.pem",
}
BROKER_CHECKS = [
    "port_closed",
    "amqp_plaintext",
    "tls_unknown_ca",
    "tls_certificate",
    "tls_certificate",
    "amqp_wrong_password",
]


def cluster(
    allowed: list[str] | None = None, database: bool = True, address: str = "192.0.2.{}", **changes: Any
) -> dict[str, Any]:
    brokers = list(changes.pop("brokers", ["mq"]))
    workers = list(changes.pop("workers", ["w1"]))
    groups = {"rabbitmq": brokers, "postgresql": ["db"] if database else [], "celery_workers": workers}
    groups["flower"] = list(changes.pop("flower", []))
    names = dict.fromkeys(["mq", "db", "w1", *workers, *brokers[1:]])
    hosts = {name: {"celery_address": address.format(number)} for number, name in enumerate(names, start=1)}
    settings = {
        "celery_name": "shop",
        "celery_app": "x",
        "celery_workers": {"default": {"queues": ["celery"]}},
        "celery_allowed_clients": allowed or [],
        "celery_result_backend_url": "redis://x",
        **changes,
    }
    problems = Problems()
    model = build(Inventory(groups, hosts, settings, lambda pattern: groups[pattern]), problems)
    assert model is not None, list(problems)
    return model.as_dict()


def checks(model: dict[str, Any], asked_from: str, /, **wanted: Any) -> list[str]:
    found = probes(model, asked_from, LINKS)
    return [probe["check"] for probe in found if all(probe.get(key) == value for key, value in wanted.items())]


def database_probes(model: dict[str, Any], asked_from: str, **links: Any) -> list[tuple[Any, ...]]:
    """The probes of the database, as name, port, role and database."""
    found = [probe for probe in probes(model, asked_from, {**LINKS, **links}) if probe["to"] == "db"]
    return [(one["name"], one["port"], one.get("username"), one.get("database")) for one in found]


#: What every user of the database tries.
OWN = [
    ("certificate of the database", 5432, None, None),
    ("database login without TLS", 5432, "shop", "shop"),
]
OWNER = ("owner's login, not the submitter", 5432, "shop_owner", "shop")
ELSEWHERE = ("database login, other database", 5432, "shop", "postgres")
NO_RIGHT = ("database login, no right to it", 5432, "shop", "shop")


def test_a_worker_tries_the_broker_and_its_own_login_without_tls() -> None:
    model = cluster()
    assert checks(model, "w1", to="mq", host="192.0.2.1") == BROKER_CHECKS
    found = checks(model, "w1", to="db", host="192.0.2.2")
    assert found == ["postgres_certificate", "postgres_plaintext_refused", "postgres_refused"]
    ports = [(probe["check"], probe["port"]) for probe in probes(model, "w1", LINKS) if probe["to"] == "mq"]
    assert ports[0] == ("port_closed", 5672)
    assert [port for check, port in ports[1:] if check != "tls_certificate"] == [5671] * 3
    assert [port for check, port in ports[1:] if check == "tls_certificate"] == [5671, 15671]


def test_every_certificate_is_looked_at_under_the_name_that_clients_check() -> None:
    found = [probe for probe in probes(cluster(), "w1", LINKS) if "min_days" in probe]
    assert [(probe["check"], probe["port"], probe["server_name"], probe["min_days"]) for probe in found] == [
        ("tls_certificate", 5671, "shop-broker", 14),
        ("tls_certificate", 15671, "shop-broker", 14),
        ("postgres_certificate", 5432, "192.0.2.2", 14),
    ]


@pytest.mark.parametrize("login", ["password", "password_and_certificate", "certificate"])
def test_the_probes_fit_the_way_of_login(login: str) -> None:
    found = probes(cluster(celery_broker_login=login), "w1", LINKS)
    by_check = {(probe["check"], probe["port"]): probe for probe in found}
    files = {("client_certificate", "/config/tls/worker.pem"), ("client_key", "/config/tls/worker.key")}
    mutual = {key for key, probe in by_check.items() if files <= set(probe.items())}
    assert (("amqp_no_client_certificate", 5671) in by_check) is (login != "password")
    assert (("amqp_password_refused", 5671) in by_check) is (login == "certificate")
    assert (("amqp_wrong_password", 5671) in by_check) is (login != "certificate")
    wrong = "amqp_password_refused" if login == "certificate" else "amqp_wrong_password"
    assert by_check[wrong, 5671]["username"] == "shop-worker"
    # The management API and the database ask nobody for a certificate.
    needed = {("tls_unknown_ca", 5671), ("tls_certificate", 5671), (wrong, 5671)}
    assert mutual == (set() if login == "password" else needed)


def test_each_host_tries_its_own_user() -> None:
    model = cluster(celery_broker_identities_per_host=True)
    assert checks(model, "w1", username="shop-worker.w1") == ["amqp_wrong_password"]


def test_every_broker_is_tried() -> None:
    model = cluster(brokers=("mq", "mq2", "mq3"))
    for broker in ("mq", "mq2", "mq3"):
        assert checks(model, "w1", to=broker) == BROKER_CHECKS


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


def test_a_user_of_the_database_tries_all_other_doors() -> None:
    model = cluster(workers=["w1", "w2"])
    assert database_probes(model, "w1") == [*OWN, ELSEWHERE]
    assert database_probes(model, "w2") == [*OWN, OWNER, ELSEWHERE]
    assert checks(model, "w2", username="shop_owner") == ["postgres_refused"]
    # One role for both may log in everywhere.
    one = {**LINKS, "database_owner": "shop"}
    assert [probe["name"] for probe in probes(model, "w2", one) if probe["to"] == "db"][2:] == [ELSEWHERE[0]]


def test_with_a_pooler_nobody_goes_past_it() -> None:
    model = cluster(workers=["w1", "w2"], postgresql_pooler="transaction")
    pooled = [(name, 6432, *rest) for name, _port, *rest in OWN]
    past = ("database login, past the pooler", 5432, "shop", "shop")
    assert database_probes(model, "w1") == [*pooled, past]
    assert database_probes(model, "w2") == [*pooled, OWNER, past]
    assert database_probes(model, "mq") == [(NO_RIGHT[0], 6432, "shop", "shop")]
    # The lock of beat needs a session of its own.
    locked = {**model, "lock_clients": [{"name": "w1", "cidr": f"{model['hosts']['w1']['address']}/32"}]}
    assert database_probes(locked, "w1") == pooled
    assert database_probes(locked, "w2") == [*pooled, OWNER, past]
    # The one role of both goes past it to set up the tables.
    assert database_probes(model, "w1", database_owner="shop") == pooled
    assert database_probes(model, "w2", database_owner="shop") == [*pooled, past]


def test_from_the_host_of_an_existing_server_nothing_is_tried() -> None:
    model = cluster(workers=["w1", "w2"], postgresql_mode="access")
    assert probes(model, "db", LINKS) == []
    assert database_probes(model, "w2") == [*OWN, OWNER, ELSEWHERE]
    assert database_probes(model, "mq") == [NO_RIGHT]


def test_the_certificate_of_an_existing_server_has_its_own_authority() -> None:
    found = probes(cluster(postgresql_mode="access"), "w1", {**LINKS, "database_ca_file": "/database-ca.pem"})
    files = {(probe["to"], probe["ca_file"]) for probe in found}
    assert files == {("mq", "/ca.pem"), ("db", "/database-ca.pem")}


def test_who_else_has_a_role_that_was_there_before_is_not_tried() -> None:
    model = cluster(workers=["w1", "w2"], postgresql_mode="access")
    assert database_probes(model, "w2", foreign_roles=["shop_owner"]) == [*OWN, ELSEWHERE]
    assert database_probes(model, "w2", foreign_roles=["shop"]) == [*OWN, OWNER]
    assert database_probes(model, "mq", foreign_roles=["shop"]) == []
    shared = cluster(workers=["w1", "db"], postgresql_mode="access")
    assert not [row[0] for row in database_probes(shared, "db", foreign_roles=["shop"]) if "inventory" in row[0]]


def test_a_stranger_reaches_an_existing_server_at_its_address() -> None:
    model = cluster(workers=["w1", "db"], postgresql_mode="access")
    assert checks(model, "db", source_address=STRANGER, host="192.0.2.2") == ["postgres_refused"]
    # An address of IPv4 cannot connect to one of IPv6, and what a name stands for is not known here.
    for address in ("2001:db8::2", "db.example.org"):
        model["hosts"]["db"]["address"] = address
        assert checks(model, "db", source_address=STRANGER) == []


@pytest.mark.parametrize("host", ["mq", "db", "w1"])
@pytest.mark.parametrize("pooler", ["none", "session"])
def test_the_module_takes_every_probe(host: str, pooler: str) -> None:
    found = probes(cluster(postgresql_pooler=pooler, postgresql_pooler_size=50), host, LINKS)
    assert found
    assert ArgumentSpecValidator(ARGUMENTS).validate({"probes": found}).error_messages == []


def test_every_consumer_of_every_queue_must_answer_the_canary() -> None:
    model = {"queues": {"mail": [{"worker": "default", "host": "w1"}, {"worker": "bulk", "host": "w2"}], "none": []}}
    assert canaries(model, "4f2c") == [
        {"queue": "mail", "worker": "default", "host": "w1", "release": "4f2c", "node": "default-4f2c@w1"},
        {"queue": "mail", "worker": "bulk", "host": "w2", "release": "4f2c", "node": "bulk-4f2c@w2"},
    ]


def test_only_some_hosts_are_asked_for_the_canary() -> None:
    model = {"queues": {"mail": [{"worker": "default", "host": "w1"}, {"worker": "bulk", "host": "w2"}]}}
    assert [found["host"] for found in canaries(model, "4f2c", ["w2"])] == ["w2"]
    assert canaries(model, "4f2c", []) == []


def test_the_workers_of_other_hosts_are_named_as_such() -> None:
    model = {"queues": {"mail": [{"worker": "default", "host": "w1"}], "video": [{"worker": "bulk", "host": "w2"}]}}
    found = canaries(model, "4f2c", ["w2"], True)
    assert [(one["queue"], one["host"], one.get("asked", True)) for one in found] == [
        ("mail", "w1", False),
        ("video", "w2", True),
    ]


def test_queues_that_lose_their_last_consumer() -> None:
    served = {
        "mail": [{"worker": "default", "host": "w1"}, {"worker": "bulk", "host": "w2"}],
        "video": [{"worker": "video", "host": "w2"}, {"worker": "bulk", "host": "w2"}],
        "none": [],
    }
    assert deserted_queues({"queues": served}, ["w1"]) == {}
    assert deserted_queues({"queues": served}, ["w2"]) == {"video": ["bulk", "video"]}
    assert sorted(deserted_queues({"queues": served}, ["w1", "w2"])) == ["mail", "video"]


def test_a_client_known_by_name_lets_no_host_of_the_inventory_in() -> None:
    model = cluster()
    model["database_clients"] = [{"name": "celery_allowed_clients", "cidr": "client.example.org"}]
    assert database_probes(model, "w1") == [OWN[0], NO_RIGHT, ELSEWHERE]


# --------------------------------------------------------------------------------------------------
# Flower


def page_probes(asked_from: str, **settings: Any) -> list[tuple[Any, ...]]:
    model = cluster(flower=["w1"], workers=["w1", "w2"], **settings)
    return [
        (one["to"], one["host"], one["port"], one["path"], one["statuses"])
        for one in probes(model, asked_from, LINKS)
        if one["check"] == "https_refused"
    ]


def test_a_page_of_flower_wants_a_login_and_hides_its_metrics() -> None:
    own = ("w1", "127.0.0.1", 5555, "/workers", [401])
    assert page_probes("w1") == [own]
    # Nobody else reaches it.
    assert page_probes("w2") == []
    opened = {"flower_listen_address": "0.0.0.0", "flower_port": 443, "flower_url_prefix": "f"}
    address = "192.0.2.3"
    assert page_probes("w1", **opened) == [("w1", "127.0.0.1", 443, "/f/workers", [401])]
    login = ("w1", address, 443, "/f/workers", [401])
    assert page_probes("w2", **opened) == [login, ("w1", address, 443, "/f/metrics", [403])]
    assert page_probes("w2", **opened, flower_metrics_allowed=["192.0.2.0/24"]) == [login]
    assert page_probes("w2", **opened, flower_proxy="none") == [login]
    assert page_probes("w1", flower_listen_address=address)[0][1] == address


def test_a_page_with_a_login_elsewhere_sends_there() -> None:
    oauth = {"provider": "google", "key": "k", "secret": "s", "emails": ["*@example.org"]}
    assert page_probes("w1", flower_auth="oauth", flower_oauth=oauth) == [("w1", "127.0.0.1", 5555, "/workers", [302])]


def test_the_module_takes_the_probes_of_flower() -> None:
    model = cluster(flower=["w1"], workers=["w1", "w2"], flower_listen_address="0.0.0.0")
    result = ArgumentSpecValidator(ARGUMENTS).validate({"probes": probes(model, "w2", LINKS)})
    assert result.error_messages == []
