"""The model of the cluster: what is derived from an inventory, and what is refused."""

from __future__ import annotations

import copy
import ipaddress
import json
from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.topology import (
    GROUPS,
    TopologyError,
    build,
    certificate_names,
    connect_address,
    is_address,
    source_addresses,
)
from hypothesis import given, settings
from hypothesis import strategies as st

REFERENCE: dict[str, Any] = {
    "groups": {
        "rabbitmq": ["mq"],
        "postgresql": ["db"],
        "celery_source": ["app"],
        "celery_workers": ["w1", "w2"],
        "celery_beat": ["app"],
        "flower": ["mon"],
        "big": ["w2"],
        "elsewhere": ["stranger"],
    },
    "hosts": {
        name: {"celery_address": f"192.0.2.{number}"}
        for number, name in enumerate(["mq", "db", "app", "w1", "w2", "mon", "stranger"], start=1)
    },
    "cluster": {
        "name": "shop",
        "app": "shop.celery:app",
        "workers": {"default": {"queues": ["celery", "mail"]}, "video": {"queues": ["video", "mail"], "hosts": "big"}},
        "allowed_clients": [],
        "result_backend_url": "",
    },
}


def model(**changes: Any) -> dict[str, Any]:
    """The model of the reference cluster with groups__x, hosts__x or cluster__x replaced."""
    inventory = copy.deepcopy(REFERENCE)
    for key, value in changes.items():
        part, name = key.split("__")
        inventory[part][name] = value
    groups: dict[str, Sequence[str]] = inventory["groups"]
    return build(groups, inventory["hosts"], inventory["cluster"], lambda pattern: groups.get(pattern, []))


def refused(**changes: Any) -> list[str]:
    with pytest.raises(TopologyError) as caught:
        model(**changes)
    assert str(caught.value) == "\n".join(f"- {problem}" for problem in caught.value.problems)
    return caught.value.problems


# --------------------------------------------------------------------------------------------------
# What is derived


def test_who_runs_what() -> None:
    cluster = model()
    assert cluster["brokers"] == ["mq"]
    assert (cluster["database"], cluster["source"], cluster["beat"], cluster["flower"]) == ("db", "app", "app", ["mon"])
    assert cluster["worker_hosts"] == ["w1", "w2"]
    assert cluster["release_hosts"] == ["app", "w1", "w2", "mon"]
    assert (cluster["producers"], cluster["submitter"]) == (["app"], "app")
    assert cluster["workers"]["default"]["hosts"] == ["w1", "w2"]
    assert cluster["workers"]["video"]["hosts"] == ["w2"]
    assert cluster["queues"] == {
        "celery": [{"worker": "default", "host": "w1"}, {"worker": "default", "host": "w2"}],
        "mail": [
            {"worker": "default", "host": "w1"},
            {"worker": "default", "host": "w2"},
            {"worker": "video", "host": "w2"},
        ],
        "video": [{"worker": "video", "host": "w2"}],
    }
    assert "stranger" not in cluster["hosts"]
    json.dumps(cluster)


def test_without_source_and_beat_a_worker_submits_the_proof() -> None:
    assert model(groups__celery_source=[])["submitter"] == "app"
    cluster = model(groups__celery_source=[], groups__celery_beat=[])
    assert (cluster["submitter"], cluster["source"], cluster["beat"], cluster["producers"]) == ("w1", None, None, [])


def test_one_host_can_be_everything() -> None:
    groups = {f"groups__{group}": ["one"] for group in GROUPS}
    for address in ("127.0.0.1", "192.0.2.9"):
        cluster = model(
            **groups,
            hosts__one={"celery_address": address},
            cluster__workers={"default": {"queues": ["celery"]}},
        )
        assert cluster["release_hosts"] == ["one"]
        assert cluster["database_clients"] == [{"name": "one", "cidr": f"{address}/32"}]


def test_a_database_elsewhere() -> None:
    cluster = model(groups__postgresql=[], cluster__result_backend_url="db+postgresql://db.example/x")
    assert cluster["database"] is None
    # Nobody writes a pg_hba.conf then: an address that is a name is enough.
    assert model(
        groups__postgresql=[], cluster__result_backend_url="redis://x", hosts__w1={"celery_address": "w1.example.org"}
    )


# --------------------------------------------------------------------------------------------------
# Addresses

FACTS = {
    "default_ipv4": {"address": "10.0.0.7"},
    "default_ipv6": {"address": "2001:db8::7"},
    "hostname": "w",
    "fqdn": "w.x",
}


@pytest.mark.parametrize(
    ("variables", "connect", "sources"),
    [
        ({"celery_address": "192.0.2.1", "ansible_host": "192.0.2.2"}, "192.0.2.1", ["192.0.2.1", "192.0.2.2"]),
        ({"celery_address": "db.example.org"}, "db.example.org", []),
        ({"celery_address": "db.x", "ansible_facts": FACTS}, "db.x", ["10.0.0.7", "2001:db8::7"]),
        ({"ansible_host": "192.0.2.2", "ansible_facts": FACTS}, "192.0.2.2", ["192.0.2.2", "10.0.0.7", "2001:db8::7"]),
        ({"ansible_host": "container-1", "ansible_facts": FACTS}, "10.0.0.7", ["10.0.0.7", "2001:db8::7"]),
        # A forwarded port on the controller says nothing about the host.
        ({"ansible_host": "127.0.0.1", "ansible_facts": FACTS}, "10.0.0.7", ["10.0.0.7", "2001:db8::7"]),
        ({"ansible_facts": {"default_ipv6": {"address": "2001:DB8:0::7"}}}, "2001:DB8:0::7", ["2001:db8::7"]),
        ({"ansible_facts": {"default_ipv4": {}, "default_ipv6": None}}, None, []),
        ({"ansible_facts": {"default_ipv6": {"address": "fe80::1%eth0"}}}, None, []),
        ({"celery_address": "10.0.0.7", "ansible_facts": FACTS}, "10.0.0.7", ["10.0.0.7", "2001:db8::7"]),
        ({}, None, []),
    ],
)
def test_addresses(variables: dict[str, Any], connect: str | None, sources: list[str]) -> None:
    assert connect_address(variables) == connect
    assert source_addresses(variables) == sources


@pytest.mark.parametrize("value", ["192.0.2.1", "::1", ipaddress.ip_address("192.0.2.1")])
def test_an_address(value: object) -> None:
    assert is_address(value)


@pytest.mark.parametrize("value", ["192.0.2.0/24", "fe80::1%eth0", "name", "", None, 5, "192.0.2.256", ["192.0.2.1"]])
def test_no_address(value: object) -> None:
    assert not is_address(value)


def test_a_certificate_holds_every_name_and_address() -> None:
    names = certificate_names(
        "w1", {"celery_address": "w1.example.org", "ansible_host": "10.0.0.9", "ansible_facts": FACTS}
    )
    assert names == {
        "dns": ["w1", "w", "w.x", "localhost", "w1.example.org"],
        "ip": ["127.0.0.1", "::1", "10.0.0.9", "10.0.0.7", "2001:db8::7"],
    }
    assert certificate_names("a_b", {"celery_address": "x\n"})["dns"] == ["localhost"]


@pytest.mark.parametrize(
    "address", ["192.0.2.0/24", "192.0.2.256", "http://x", "mq:5671", "a b", "mq\n", "fe80::1%eth0", "[::1]", "my_db"]
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    assert refused(hosts__mq={"celery_address": address}) == [
        f"celery_address of mq is {address!r}: write one address or host name, without port or network"
    ]


def test_an_address_that_leads_every_host_to_itself_is_refused() -> None:
    (problem,) = refused(hosts__w1={"celery_address": "127.0.0.1"})
    assert problem.startswith("celery_address of w1 is 127.0.0.1, which leads every other host to itself")


# --------------------------------------------------------------------------------------------------
# Who may log in to the database

ADDRESS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).filter(lambda a: not a.is_loopback).map(str)
HOST = st.fixed_dictionaries(
    {"celery_address": ADDRESS},
    optional={
        "ansible_host": st.one_of(ADDRESS, st.sampled_from(["127.0.0.1", "name", None])),
        "ansible_facts": st.fixed_dictionaries(
            {},
            optional={
                family: st.fixed_dictionaries({"address": ADDRESS}) for family in ("default_ipv4", "default_ipv6")
            },
        ),
    },
)
NAMES = ["a", "b", "c", "d", "e", "f"]
PLACES = st.fixed_dictionaries(
    {
        "rabbitmq": st.lists(st.sampled_from(NAMES), min_size=1, max_size=1),
        "postgresql": st.lists(st.sampled_from(NAMES), min_size=1, max_size=1),
        "celery_source": st.lists(st.sampled_from(NAMES), max_size=1),
        "celery_workers": st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
        "celery_beat": st.lists(st.sampled_from(NAMES), unique=True),
        "flower": st.lists(st.sampled_from(NAMES), unique=True),
    }
)


@settings(max_examples=40, deadline=None)
@given(
    PLACES,
    st.fixed_dictionaries(dict.fromkeys(NAMES, HOST)),
    st.lists(st.one_of(st.ip_addresses(), st.just(ipaddress.ip_network("198.51.100.0/24"))), max_size=3),
)
def test_exactly_the_addresses_of_its_users_may_log_in_to_the_database(
    groups: dict[str, list[str]], hosts: dict[str, Any], allowed: list[Any]
) -> None:
    cluster = {
        "name": "shop",
        "app": "x",
        "workers": {"default": {"queues": ["celery"]}},
        "allowed_clients": [str(client) for client in allowed],
        "result_backend_url": "",
    }
    clients = build(groups, hosts, cluster, lambda pattern: groups[pattern])["database_clients"]

    # Written out again, on purpose not with the functions of the model.
    users = {host for group in ("celery_workers", "celery_source", "celery_beat", "flower") for host in groups[group]}
    wanted = {ipaddress.ip_network(client) for client in allowed}
    for host in users:
        facts = hosts[host].get("ansible_facts", {})
        texts = [hosts[host]["celery_address"], *(facts[family]["address"] for family in facts)]
        if hosts[host].get("ansible_host") not in (None, "name", "127.0.0.1"):
            texts.append(hosts[host]["ansible_host"])
        wanted |= {ipaddress.ip_network(text) for text in texts}
    networks = [ipaddress.ip_network(client["cidr"]) for client in clients]
    assert set(networks) == wanted
    assert len(networks) == len(set(networks)), "a line of pg_hba.conf more than once"


def test_a_host_known_by_name_only_cannot_be_let_in() -> None:
    (problem,) = refused(hosts__w1={"celery_address": "w1.example.org"})
    assert problem.startswith("w1 needs the database but no address of it is known")
    # The broker is nobody's client.
    assert model(hosts__mq={"celery_address": "mq.example.org"})["hosts"]["mq"]["addresses"] == []


@pytest.mark.parametrize("client", ["192.0.2.1/24", "example.org", "", 5, None, "fe80::1%eth0"])
def test_a_wrong_allowed_client_is_refused(client: object) -> None:
    (problem,) = refused(cluster__allowed_clients=[client])
    assert problem.startswith(
        f"celery_allowed_clients has {client!r}: write one address or a network without host bits"
    )


def test_allowed_clients_that_are_no_list_are_refused() -> None:
    (problem,) = refused(cluster__allowed_clients="192.0.2.1")
    assert problem.startswith("celery_allowed_clients is '192.0.2.1': write a list")


# --------------------------------------------------------------------------------------------------
# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cluster__name": "Shop"}, "celery_name is 'Shop': write a lower-case letter"),
        ({"cluster__name": "shop\n"}, r"celery_name is 'shop\n'"),
        ({"cluster__name": "s" * 32}, "celery_name is"),
        ({"cluster__app": ""}, "celery_app is not set"),
        ({"groups__rabbitmq": []}, "the group rabbitmq has 0 hosts"),
        ({"groups__rabbitmq": ["mq", "db"]}, "the group rabbitmq has 2 hosts"),
        ({"groups__postgresql": ["db", "mq"]}, "the group postgresql has 2 hosts"),
        ({"groups__celery_source": ["app", "w1"]}, "the group celery_source has 2 hosts"),
        ({"groups__postgresql": []}, "the group postgresql is empty and celery_result_backend_url is not set"),
        ({"cluster__workers": {}}, "celery_workers is empty"),
        ({"cluster__workers": None}, "celery_workers is empty"),
        ({"cluster__workers": ["default"]}, "celery_workers is ['default']: write a mapping"),
        ({"cluster__workers": {"Big": {"queues": ["a"]}}}, "celery_workers.Big: a kind of worker is"),
        ({"cluster__workers": {True: {"queues": ["a"]}}}, "celery_workers.True: a kind of worker is"),
        ({"cluster__workers": {"a": {"queues": ["a"], "hosts": "none"}}}, "celery_workers.a.hosts: the pattern 'none'"),
        ({"cluster__workers": {"a": {"queues": ["a"], "hosts": "elsewhere"}}}, "stranger is matched by celery_workers"),
        ({"cluster__workers": {"a": {"queues": ["celeryev"]}}}, "celery_workers has the queue celeryev: Celery itself"),
        ({"hosts__w1": {}}, "the address of w1 is unknown: set celery_address"),
        ({"hosts__w1": {"ansible_host": "127.0.0.1"}}, "the address of w1 is unknown"),
    ],
)
def test_one_wrong_thing_is_one_problem(changes: dict[str, Any], message: str) -> None:
    (problem,) = refused(**changes)
    assert problem.startswith(message)


def test_all_problems_come_at_once() -> None:
    problems = refused(
        cluster__name="Shop",
        cluster__app="",
        cluster__workers={"default": {"queues": ["a b"], "typo": 1}, "video": {"queues": ["v"], "hosts": "nowhere"}},
        cluster__allowed_clients=["example.org", "192.0.2.1"],
        groups__rabbitmq=[],
        groups__postgresql=["db", "mq"],
        hosts__app={},
    )
    assert len(problems) == 8


SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates())
KEY = st.one_of(st.text(max_size=8), st.none(), st.booleans(), st.integers(-5, 5), st.dates())
ANY = st.recursive(
    SCALAR,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEY, inner, max_size=4)),
    max_leaves=8,
)
KIND = st.one_of(KEY, st.sampled_from(["default", "video", "x"]))
WORKER = st.one_of(
    ANY,
    st.fixed_dictionaries(
        {"queues": st.one_of(ANY, st.just(["celery"]))},
        optional={"hosts": st.one_of(ANY, st.just("big")), "environment": ANY, "arguments": ANY, "autoscale": ANY},
    ),
)


@settings(max_examples=80, deadline=None)
@given(
    workers=st.one_of(ANY, st.dictionaries(KIND, WORKER, max_size=4)),
    allowed=st.one_of(ANY, st.lists(ANY, max_size=3)),
    address=st.one_of(ANY, st.sampled_from(["192.0.2.1", "fe80::1%eth0", "::", "a.b"])),
    app=ANY,
    name=ANY,
)
def test_any_value_gives_a_model_or_problems(workers: Any, allowed: Any, address: Any, app: Any, name: Any) -> None:
    inventory = {
        "cluster__workers": workers,
        "cluster__allowed_clients": allowed,
        "hosts__w1": {"celery_address": address},
    }
    for more in ({}, {"cluster__app": app, "cluster__name": name}):
        try:
            cluster = model(**inventory, **more)
        except TopologyError as error:
            assert error.problems
            assert all(isinstance(problem, str) and problem for problem in error.problems)
        else:
            assert set(cluster["workers"]) == set(workers)
