"""The database in the model: whose server, how clients reach it, who may be its owner, and what is refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.databases import owner_name
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Cluster, Inventory
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problem, Problems
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.topology import build
from hypothesis import given, settings
from hypothesis import strategies as st

GROUPS = {
    "rabbitmq": ["mq"],
    "postgresql": ["db"],
    "celery_source": ["app"],
    "celery_workers": ["w1", "w2"],
    "celery_beat": ["app"],
    "flower": ["mon"],
}
HOSTS: dict[str, dict[str, Any]] = {
    name: {"celery_address": f"192.0.2.{number}"}
    for number, name in enumerate(["mq", "db", "app", "w1", "w2", "mon"], start=1)
}
SETTINGS: dict[str, Any] = {
    "celery_name": "shop",
    "celery_app": "x",
    "celery_workers": {"default": {"queues": ["celery"], "concurrency": 1}},
}
FILES = {
    "/ca.pem": "some words\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    "/both.pem": "-----BEGIN CERTIFICATE-----\nMIIB\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n",
    "/empty.pem": "",
}
ACCESS: dict[str, Any] = {"postgresql_mode": "access"}


def judge(
    groups: dict[str, list[str]] | None = None, own: frozenset[str] | None = None, /, **values: Any
) -> tuple[Cluster | None, list[Problem]]:
    members = {**GROUPS, **(groups or {})}
    merged = {**copy.deepcopy(SETTINGS), **values}
    problems = Problems()
    names = frozenset(merged) if own is None else own
    inventory = Inventory(members, HOSTS, merged, lambda name: members.get(name, []), names, True, FILES.get)
    return build(inventory, problems), list(problems)


def model(groups: dict[str, list[str]] | None = None, **values: Any) -> dict[str, Any]:
    cluster, problems = judge(groups, **values)
    assert cluster is not None, [str(problem) for problem in problems]
    return cluster.as_dict()


def found(groups: dict[str, list[str]] | None = None, own: frozenset[str] | None = None, /, **values: Any) -> list[str]:
    return [str(problem) for problem in judge(groups, own, **values)[1]]


def the_one(problems: list[str]) -> str:
    assert len(problems) == 1, problems
    return problems[0]


# --------------------------------------------------------------------------------------------------
# What is derived


def database_of(cluster: dict[str, Any]) -> dict[str, Any]:
    names = ("mode", "port", "server_port", "pooler", "login")
    return {name: cluster[f"database_{name}"] for name in names}


def test_without_a_word_the_server_is_ours_and_asks_for_a_password() -> None:
    cluster = model()
    assert database_of(cluster) == {
        "mode": "managed",
        "port": 5432,
        "server_port": 5432,
        "pooler": "none",
        "login": "password",
    }
    assert cluster["database_owners"] == [{"name": "app", "cidr": "192.0.2.3/32"}]
    assert cluster["database_users"] == ["app", "w1", "w2", "mon"]
    assert cluster["prepared_hosts"] == ["mq", "db", "app", "w1", "w2", "mon"]
    # Two workers with a child and a parent each, beat, Flower, and the application.
    assert cluster["database_connections"] == 2 * 2 + 1 + 1 + 10


def test_clients_use_the_poolers_port_and_the_owner_the_servers() -> None:
    cluster = model(postgresql_pooler="transaction", celery_database_port=5433)
    assert (cluster["database_port"], cluster["database_server_port"]) == (6432, 5433)
    assert model(postgresql_pooler="session", postgresql_pooler_port=7000)["database_port"] == 7000
    assert cluster["database_connections"] == model()["database_connections"]


def test_an_existing_server_has_its_port_and_no_part_in_the_cluster() -> None:
    cluster = model(**ACCESS, celery_database_port=5433, celery_database_login="certificate")
    assert database_of(cluster) == {
        "mode": "access",
        "port": 5433,
        "server_port": 5433,
        "pooler": "none",
        "login": "certificate",
    }
    assert cluster["prepared_hosts"] == ["mq", "app", "w1", "w2", "mon"]


@pytest.mark.parametrize("group", [group for group in GROUPS if group != "postgresql"])
def test_an_existing_server_on_a_host_of_the_cluster_is_prepared_like_it(group: str) -> None:
    hosts = ["db"] if group in ("rabbitmq", "celery_source") else [*GROUPS[group], "db"]
    cluster = model({group: hosts}, **ACCESS)
    assert "db" in cluster["prepared_hosts"]


def test_a_worker_that_a_pattern_places_there_counts_too() -> None:
    cluster = model(**ACCESS, celery_workers={"default": {"queues": ["celery"], "hosts": "postgresql"}})
    assert cluster["prepared_hosts"] == ["mq", "db", "app", "w1", "w2", "mon"]


def test_without_a_database_host_there_is_nothing_of_it() -> None:
    url = "redis://cache.example.org"
    cluster = model({"postgresql": []}, celery_result_backend_url=url, postgresql_mode="access")
    assert (cluster["database_mode"], cluster["database_port"], cluster["database_server_port"]) == (None, None, None)
    assert (cluster["database_owners"], cluster["database_users"]) == ([], [])
    assert (cluster["database_connections"], cluster["database_pooler"]) == (0, "none")
    assert cluster["prepared_hosts"] == ["mq", "app", "w1", "w2", "mon"]


def test_the_owner_logs_in_from_each_address_of_the_submitter() -> None:
    facts = {"default_ipv4": {"address": "192.0.2.3"}, "default_ipv6": {"address": "2001:db8::3"}}
    hosts = {**HOSTS, "app": {"celery_address": "app.example.org", "ansible_facts": facts}}
    cluster = build(Inventory(GROUPS, hosts, SETTINGS, lambda name: GROUPS.get(name, [])), Problems())
    assert cluster is not None
    assert [client.cidr for client in cluster.database_owners] == ["192.0.2.3/32", "2001:db8::3/128"]
    assert {client.name for client in cluster.database_owners} == {"app"}


def test_a_second_beat_host_is_let_in_and_has_a_release() -> None:
    cluster = model({"celery_beat": ["app", "db"]})
    assert (cluster["beat"], cluster["beat_hosts"]) == ("app", ["app", "db"])
    assert "db" in {client["name"] for client in cluster["database_clients"]}
    assert "db" in cluster["database_users"] and "db" in cluster["release_hosts"] and "db" in cluster["producers"]
    assert "producer" in cluster["hosts"]["db"]["identities"]
    # Without a pooler everybody reaches the server anyway.
    assert cluster["lock_clients"] == []


def test_the_lock_of_beat_goes_past_the_pooler() -> None:
    cluster = model({"celery_beat": ["app", "mon"]}, postgresql_pooler="transaction")
    assert cluster["lock_clients"] == [
        {"name": "app", "cidr": "192.0.2.3/32"},
        {"name": "mon", "cidr": "192.0.2.6/32"},
    ]
    # One host has no lock.
    assert model(postgresql_pooler="transaction")["lock_clients"] == []
    assert model({"celery_beat": []}, postgresql_pooler="transaction")["lock_clients"] == []


def test_the_name_of_the_owner_follows_from_the_users() -> None:
    assert owner_name({"celery_name": "shop"}) == "shop_owner"
    assert owner_name({"celery_name": "shop", "celery_database_user": "keeper"}) == "keeper_owner"
    assert owner_name({"celery_database_user": "keeper", "celery_database_owner": "boss"}) == "boss"


# --------------------------------------------------------------------------------------------------
# Words


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("postgresql_mode", "acces", "CC120 error: postgresql_mode is 'acces': write access"),
        ("postgresql_mode", "existing", "CC120 error: postgresql_mode is 'existing': write one of managed, access"),
        ("postgresql_mode", None, "CC120 error: postgresql_mode is None: write one of managed, access"),
        ("postgresql_pooler", "transactions", "CC121 error: postgresql_pooler is 'transactions': write transaction"),
        ("postgresql_pooler", True, "CC121 error: postgresql_pooler is True: write one of none, session, transaction"),
        ("postgresql_pooler", ["session"], "CC121 error: postgresql_pooler is ['session']: write one of"),
        (
            "celery_database_login",
            "cert",
            "CC624 error: celery_database_login is 'cert': write one of password, certif",
        ),
        (
            "celery_database_login",
            "certificat",
            "CC624 error: celery_database_login is 'certificat': write certificate",
        ),
    ],
)
def test_a_word_that_is_none_of_them(name: str, value: Any, message: str) -> None:
    assert the_one(found(**{name: value})).startswith(message)
    elsewhere = {"celery_result_backend_url": "redis://x", name: value}
    assert len(found({"postgresql": []}, **elsewhere)) == (0 if name.startswith("postgresql_") else 1)


# --------------------------------------------------------------------------------------------------
# Poolers


def test_nothing_is_installed_on_the_server_of_somebody_else() -> None:
    assert the_one(found(**ACCESS, postgresql_pooler="session")) == (
        "CC122 error: postgresql_pooler is session, and postgresql_mode is access: nothing is installed on the server "
        "of somebody else: write none"
    )
    assert found(**ACCESS, postgresql_pooler="none") == []


def test_a_pooler_cannot_log_in_with_a_certificate() -> None:
    told = the_one(found(postgresql_pooler="transaction", celery_database_login="certificate"))
    assert told.startswith("CC122 error: postgresql_pooler is transaction, and celery_database_login is certificate")
    assert told.endswith("write none, or write password into celery_database_login")


def test_the_pooler_keeps_its_consoles_name() -> None:
    told = the_one(found(postgresql_pooler="session", celery_database_name="pgbouncer"))
    assert told.startswith("CC122 error: celery_database_name is pgbouncer, the name under which the pooler offers")
    assert found(celery_database_name="pgbouncer") == []


@pytest.mark.parametrize("size", [0, -5, True, "20", None, 1.5])
def test_the_pooler_has_connections(size: Any) -> None:
    told = the_one(found(postgresql_pooler="transaction", postgresql_pooler_size=size))
    assert told.startswith(f"CC405 error: postgresql_pooler_size is {size!r}: write the number of connections")
    assert found(postgresql_pooler_size=size) == []


def test_the_pooler_looks_no_names_up() -> None:
    names = {"celery_allowed_clients": ["client.example.org", "198.51.100.7"]}
    error, warning = found(postgresql_pooler="transaction", **names)
    assert error.startswith("CC519 error: celery_allowed_clients has the name 'client.example.org', and the pooler")
    assert found(**names) == [warning] and warning.startswith("CC515 warning: ")


# --------------------------------------------------------------------------------------------------
# The owner


def test_one_role_logs_in_in_one_way() -> None:
    same = {"celery_database_user": "shop", "celery_database_owner": "shop"}
    assert found(**same) == []
    assert the_one(found(**same, celery_database_login="certificate")) == (
        "CC625 error: celery_database_owner is 'shop', the name of celery_database_user, and celery_database_login is "
        "certificate: the owner logs in with a password, and one role cannot do both: write another name, or write "
        "password into celery_database_login"
    )


# --------------------------------------------------------------------------------------------------
# An existing server

OURS = {
    "postgresql_version": "15",
    "postgresql_listen_addresses": "*",
    "postgresql_max_connections": 5,
    "postgresql_settings": {"work_mem": "8MB"},
    "postgresql_tls_directory": "/etc/tls",
    "postgresql_start_timeout": 60,
    "postgresql_pooler_port": 6432,
    "postgresql_pooler_size": 20,
}


def test_what_changes_nothing_on_an_existing_server_is_told() -> None:
    told = found(**ACCESS, **OURS)
    assert sorted(line.split()[2] for line in told) == sorted(OURS)
    assert {line.split(":")[0] for line in told} == {"CC123 warning"}
    # Defaults are nobody's words.
    assert found(None, frozenset({"postgresql_mode"}), **ACCESS, **OURS) == []


def test_the_room_of_an_existing_server_is_not_known_before_it_is_asked() -> None:
    assert [line[:5] for line in found(postgresql_max_connections=5)] == ["CC401"]
    assert found(None, frozenset(), **ACCESS, postgresql_max_connections=5) == []


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("/missing.pem", "CC640 error: celery_database_ca_file is /missing.pem, which is not there on the controller"),
        ("/empty.pem", "CC640 error: celery_database_ca_file is /empty.pem, which holds no certificate"),
        ("/both.pem", "CC640 error: celery_database_ca_file is /both.pem, which holds a private key"),
        (
            "ca.pem",
            "CC702 error: celery_database_ca_file is 'ca.pem', which is relative: write an absolute path on the",
        ),
        (5, "CC702 error: celery_database_ca_file is 5"),
    ],
)
def test_the_authority_of_an_existing_server_is_looked_at(file: Any, message: str) -> None:
    assert the_one(found(**ACCESS, celery_database_ca_file=file)).startswith(message)


@pytest.mark.parametrize("file", ["/ca.pem", "", None])
def test_an_authority_of_its_own_or_the_clusters(file: Any) -> None:
    assert found(**ACCESS, celery_database_ca_file=file) == []


def test_our_own_server_has_the_clusters_authority() -> None:
    assert the_one(found(celery_database_ca_file="/ca.pem")) == (
        "CC639 error: celery_database_ca_file is '/ca.pem', and postgresql_mode is managed: the cluster's authority "
        "signed that certificate: remove it, or write access into postgresql_mode if the server is somebody else's"
    )


# --------------------------------------------------------------------------------------------------
# Schemas


@pytest.mark.parametrize("schemas", [["public"], ["shop", "shop-2", "A.b", "x" * 63], ("public",)])
def test_schemas_that_are_opened(schemas: Any) -> None:
    assert found(celery_database_schemas=schemas) == []


@pytest.mark.parametrize(
    ("schemas", "words"),
    [
        ("public", "is 'public': write a list of names, for example [public]"),
        (None, "is None: write a list"),
        ({"public": {}}, "write a list"),
        ([], "is empty, so that celery_database_user could read and write nothing"),
        ([""], "has '': write up to 63 letters"),
        (["a b"], "has 'a b': write up to 63 letters"),
        (["x" * 64], "write up to 63 letters"),
        ([5], "has 5: write up to 63"),
        (["pg_catalog"], "has 'pg_catalog', which is PostgreSQL's own: remove it"),
        (["public", "Information_Schema"], "has 'Information_Schema', which is PostgreSQL's own"),
        (["public", "public"], "has 'public' more than once: write it once"),
    ],
)
def test_schemas_that_nobody_can_open(schemas: Any, words: str) -> None:
    told = the_one(found(celery_database_schemas=schemas))
    assert told.startswith("CC518 error: celery_database_schemas ") and words in told


# --------------------------------------------------------------------------------------------------
# All together


ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=5,
)
NAMES = [
    *OURS,
    "celery_database_ca_file",
    "celery_database_login",
    "celery_database_owner",
    "celery_database_owner_password",
    "celery_database_port",
    "celery_database_schemas",
    "celery_database_user",
    "celery_result_backend_url",
    "celery_settings",
    "postgresql_backup_directory",
    "postgresql_backup_keep",
    "postgresql_mode",
    "postgresql_pooler",
    "postgresql_socket_directory",
]
WORD = st.sampled_from(["access", "managed", "session", "transaction", "certificate", "shop", "/ca.pem"])


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), st.one_of(WORD, ANY)))
def test_any_value_is_taken_or_told(values: dict[str, Any]) -> None:
    cluster, problems = judge(**values)
    assert (cluster is None) == any(problem.is_error for problem in problems)
    assert all(str(problem) and problem.what and problem.instead for problem in problems)
    if cluster is not None:
        assert isinstance(cluster.database_port, int) and cluster.database_connections > 0
