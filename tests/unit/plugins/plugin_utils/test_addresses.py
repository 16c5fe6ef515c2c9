"""Where hosts are reached, where their connections come from, and who may log in to the database."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.addresses import (
    certificate_names,
    cidr,
    connect_address,
    is_address,
    is_host_name,
    is_loopback,
    read_clients,
    read_hosts,
    source_addresses,
)
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Client, Host, Inventory
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from hypothesis import given, settings
from hypothesis import strategies as st

FACTS = {
    "default_ipv4": {"address": "10.0.0.7"},
    "default_ipv6": {"address": "2001:db8::7"},
    "hostname": "w",
    "fqdn": "w.x",
}


def inventory(hosts: dict[str, Any] | None = None, complete: bool = True, **values: Any) -> Inventory:
    return Inventory({}, hosts or {}, values, lambda _pattern: (), complete=complete)


def hosts_of(complete: bool = True, **hosts: Any) -> tuple[dict[str, Host], list[str]]:
    problems = Problems()
    found = read_hosts(list(hosts), inventory(hosts, complete), problems)
    return found, [str(problem) for problem in problems]


def clients_of(
    *allowed: Any, hosts: dict[str, Any] | None = None, **values: Any
) -> tuple[tuple[Client, ...], list[str]]:
    found = read_hosts(list(hosts or {}), inventory(hosts), Problems())
    problems = Problems()
    values.setdefault("celery_allowed_clients", list(allowed))
    clients = read_clients(list(found), found, True, inventory(hosts, **values), problems)
    return clients, [str(problem) for problem in problems]


# --------------------------------------------------------------------------------------------------
# One host


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
        ({"ansible_facts": {"default_ipv4": "x", "default_ipv6": ["y"]}}, None, []),
        ({"ansible_facts": "none"}, None, []),
        ({"ansible_facts": {"default_ipv6": {"address": "fe80::1%eth0"}}}, None, []),
        ({"celery_address": "10.0.0.7", "ansible_facts": FACTS}, "10.0.0.7", ["10.0.0.7", "2001:db8::7"]),
        ({}, None, []),
    ],
)
def test_addresses_of_a_host(variables: dict[str, Any], connect: str | None, sources: list[str]) -> None:
    assert connect_address(variables) == connect
    assert source_addresses(variables) == sources


@pytest.mark.parametrize(
    "text", ["10.0.0.1/32", "host", "fe80::1%eth0", "fe80::1%eth0\n", "", "10.0.0.1:80", "1", True, None]
)
def test_what_is_no_address(text: object) -> None:
    assert not is_address(text)
    assert not is_loopback(text)


@pytest.mark.parametrize("text", ["db", "db-1.example.org", "1db", "xn--bcher-kva.example", "a" * 63])
def test_what_is_a_host_name(text: str) -> None:
    assert is_host_name(text)


@pytest.mark.parametrize(
    "text", ["", "-db", "db-", "a b", "a_b", "db.", "10.0.0", "db:5432", "bü.x", "a" * 64, "a." * 127 + "a", True]
)
def test_what_is_no_host_name(text: object) -> None:
    assert not is_host_name(text)


def test_a_network_of_one_host() -> None:
    assert cidr("10.0.0.1") == "10.0.0.1/32"
    assert cidr("2001:DB8::1") == "2001:db8::1/128"
    for wrong in ("10.0.0.5/24", "fe80::1%eth0", "x"):
        with pytest.raises(ValueError, match=r"."):
            cidr(wrong)


def test_a_certificate_has_every_name_a_client_may_use() -> None:
    names = certificate_names(
        "w1", {"celery_address": "w.example.org", "ansible_host": "192.0.2.2", "ansible_facts": FACTS}
    )
    assert names["dns"] == ["w1", "w", "w.x", "localhost", "w.example.org"]
    assert names["ip"] == ["127.0.0.1", "::1", "192.0.2.2", "10.0.0.7", "2001:db8::7"]


# --------------------------------------------------------------------------------------------------
# The hosts of a cluster


def test_hosts_with_their_addresses() -> None:
    found, problems = hosts_of(
        w1={"celery_address": "192.0.2.1", "ansible_facts": FACTS},
        w2={"celery_address": "2001:db8::2"},
        w3={"celery_address": "w3.x"},
    )
    assert problems == []
    assert (found["w1"].address, found["w1"].addresses) == ("192.0.2.1", ("192.0.2.1", "10.0.0.7", "2001:db8::7"))
    assert found["w2"].addresses == ("2001:db8::2",)
    assert (found["w3"].address, found["w3"].addresses) == ("w3.x", ())
    assert "2001:db8::2" in found["w2"].names.ip


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "CC501 error: w1: celery_address is not set and no other address is known"),
        ({"celery_address": ""}, "CC501 error: w1: celery_address is not set"),
        ({"ansible_host": "container"}, "CC501 error: w1: celery_address is not set"),
        ({"celery_address": "10.0.0.1:5671"}, "CC502 error: w1: celery_address is '10.0.0.1:5671': write one address"),
        ({"celery_address": "10.0.0.0/24"}, "CC502 error: w1: celery_address is '10.0.0.0/24'"),
        ({"celery_address": "10.0.0"}, "CC502 error: w1: celery_address is '10.0.0'"),
        ({"celery_address": "fe80::1%eth0"}, "CC502 error: w1: celery_address is 'fe80::1%eth0'"),
        ({"celery_address": "a b"}, "CC502 error: w1: celery_address is 'a b'"),
        ({"celery_address": "x\n"}, r"CC502 error: w1: celery_address is 'x\n'"),
        ({"celery_address": True}, "CC502 error: w1: celery_address is True"),
        ({"celery_address": 0}, "CC502 error: w1: celery_address is 0"),
        ({"celery_address": ["10.0.0.1"]}, "CC502 error: w1: celery_address is ['10.0.0.1']"),
        ({"celery_address": "127.0.0.1"}, "CC503 error: w1: celery_address is 127.0.0.1, which leads every other host"),
        ({"celery_address": "::1"}, "CC503 error: w1: celery_address is ::1"),
        ({"celery_address": "localhost"}, "CC503 error: w1: celery_address is localhost"),
    ],
)
def test_an_address_that_cannot_work_leaves_the_host_out(variables: dict[str, Any], message: str) -> None:
    found, (problem,) = hosts_of(w1=variables, w2={"celery_address": "192.0.2.2"})
    assert problem.startswith(message)
    assert list(found) == ["w2"]


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "224.0.0.1", "fe80::1"])
def test_an_address_without_a_host_is_doubtful(address: str) -> None:
    found, (problem,) = hosts_of(w1={"celery_address": address})
    assert problem.startswith(f"CC505 warning: w1: celery_address is {address}")
    assert list(found) == ["w1"]


def test_before_the_facts_an_unknown_address_is_no_problem_and_a_wrong_one_is() -> None:
    assert hosts_of(complete=False, w1={}, w2={"ansible_host": "container"}) == ({}, [])
    assert hosts_of(complete=False, w1={"celery_address": "a b"})[1][0].startswith("CC502")


def test_one_host_alone_may_talk_to_itself() -> None:
    for address in ("127.0.0.1", "::1", "localhost"):
        found, problems = hosts_of(one={"celery_address": address})
        assert (found["one"].address, problems) == (address, [])


@pytest.mark.parametrize(
    ("first", "second", "place"),
    [
        ({"celery_address": "192.0.2.1"}, {"celery_address": "192.0.2.1"}, "celery_address"),
        ({"celery_address": "2001:db8::1"}, {"ansible_host": "2001:DB8:0::1"}, "ansible_host"),
        ({"celery_address": "db.x"}, {"celery_address": "DB.x"}, "celery_address"),
        ({"celery_address": "10.0.0.7"}, {"ansible_facts": FACTS}, "ansible_facts"),
    ],
)
def test_an_address_shared_by_two_hosts_is_refused(first: dict[str, Any], second: dict[str, Any], place: str) -> None:
    _found, (problem,) = hosts_of(a=first, b=second)
    assert problem.startswith(f"CC507 error: b: {place} is ")
    assert "the address of a too" in problem


def test_machines_behind_one_address_translation_differ() -> None:
    """Every virtual machine of a kind sees 10.0.2.15 as its own address."""
    facts = {"default_ipv4": {"address": "10.0.2.15"}}
    _found, problems = hosts_of(
        a={"celery_address": "192.0.2.1", "ansible_facts": facts},
        b={"celery_address": "192.0.2.2", "ansible_facts": facts},
    )
    assert problems == []


# --------------------------------------------------------------------------------------------------
# Clients of the database


def test_one_entry_per_address_and_the_first_wins() -> None:
    hosts = {
        "a": {"celery_address": "192.0.2.1", "ansible_facts": FACTS},
        "b": {"celery_address": "192.0.2.2", "ansible_facts": FACTS},
    }
    clients, problems = clients_of("198.51.100.0/28", hosts=hosts)
    assert problems == []
    assert [(client.name, client.cidr) for client in clients] == [
        ("a", "192.0.2.1/32"),
        ("a", "10.0.0.7/32"),
        ("a", "2001:db8::7/128"),
        ("b", "192.0.2.2/32"),
        ("celery_allowed_clients", "198.51.100.0/28"),
    ]


def test_a_user_known_by_name_only_is_refused_where_there_is_a_database() -> None:
    hosts = read_hosts(["w1"], inventory({"w1": {"celery_address": "w1.x"}}), Problems())
    problems = Problems()
    read_clients(["w1", "left out"], hosts, False, inventory(), problems)
    read_clients(["w1"], hosts, True, inventory(complete=False), problems)
    assert len(problems) == 0
    assert read_clients(["w1"], hosts, True, inventory(), problems) == ()
    (problem,) = problems
    assert str(problem).startswith("CC504 error: w1: celery_address is the name w1.x, and no address")


@pytest.mark.parametrize(
    ("client", "entry"),
    [
        ("192.0.2.10", "192.0.2.10/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
        ("2001:DB8::10", "2001:db8::10/128"),
        ("2001:db8::/64", "2001:db8::/64"),
        ("fe80::1", "fe80::1/128"),
    ],
)
def test_an_allowed_client(client: str, entry: str) -> None:
    assert clients_of(client) == ((Client("celery_allowed_clients", entry),), [])


@pytest.mark.parametrize(
    ("client", "message"),
    [
        ("10.0.0.0/23", "CC513 error: celery_allowed_clients has '10.0.0.0/23', which lets 512 addresses in"),
        ("0.0.0.0/0", "CC513 error: celery_allowed_clients has '0.0.0.0/0', which lets all addresses in"),
        ("::/0", "CC513 error: celery_allowed_clients has '::/0', which lets all addresses in"),
        ("2001:db8::/48", "CC513 error: celery_allowed_clients has '2001:db8::/48', which lets 2^80 addresses in"),
        ("all", "CC513 error: celery_allowed_clients has 'all', which pg_hba.conf reads as more than one host"),
        ("SameNet", "CC513 error: celery_allowed_clients has 'SameNet'"),
        ("fe80::1%eth0", "CC516 error: celery_allowed_clients has 'fe80::1%eth0', which is known to one link only"),
        ("fe80::1%eth0/64", "CC516 error"),
        (".example.org", "CC511 error: celery_allowed_clients has '.example.org'"),
        ("10.0.0", "CC511 error"),
        ("10.0.0.1 ", "CC511 error"),
        ("", "CC511 error"),
        ("x\nhost all all all trust", "CC511 error"),
        (10, "CC511 error: celery_allowed_clients has 10, which is no text"),
        (True, "CC511 error: celery_allowed_clients has True"),
        (None, "CC511 error"),
        ({"a": 1}, "CC511 error"),
    ],
)
def test_a_client_that_is_refused(client: Any, message: str) -> None:
    clients, (problem,) = clients_of(client)
    assert clients == ()
    assert problem.startswith(message)


@pytest.mark.parametrize(
    ("client", "instead"),
    [
        ("10.0.0.5/24", "write 10.0.0.0/24 for the network, or 10.0.0.5 for the one host"),
        # The network that was meant would be refused for its size.
        ("10.0.0.5/8", "write 10.0.0.5 for the one host"),
        ("2001:db8::5/64", "write 2001:db8::/64 for the network, or 2001:db8::5 for the one host"),
    ],
)
def test_host_bits_in_a_network_are_refused_with_what_was_meant(client: str, instead: str) -> None:
    (problem,) = clients_of(client)[1]
    what = f"has '{client}', which names a host and a network at once"
    assert problem == f"CC512 error: celery_allowed_clients {what}: {instead}"


def test_a_name_is_allowed_and_its_two_lookups_explained() -> None:
    clients, (problem,) = clients_of("db-client.example.org")
    assert clients == (Client("celery_allowed_clients", "db-client.example.org"),)
    assert problem.startswith("CC515 warning: celery_allowed_clients has the name 'db-client.example.org'")
    assert "backwards" in problem and "PTR" in problem


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        (["10.0.0.1", "10.0.0.1"], "has '10.0.0.1' more than once"),
        (["10.0.0.1", "10.0.0.1/32"], "has '10.0.0.1/32', which is '10.0.0.1'"),
        (["2001:db8::1", "2001:DB8:0::1"], "has '2001:DB8:0::1', which is '2001:db8::1'"),
        (["10.0.0.1", "10.0.0.0/28"], "has '10.0.0.1', which 10.0.0.0/28 covers already"),
        (["2001:db8::/64", "2001:db8::/96"], "has '2001:db8::/96', which 2001:db8::/64 covers already"),
        (["192.0.2.1"], "has '192.0.2.1', which is the host w1 of the inventory"),
    ],
)
def test_a_client_that_is_there_already_is_a_warning(allowed: list[str], message: str) -> None:
    clients, (problem,) = clients_of(*allowed, hosts={"w1": {"celery_address": "192.0.2.1"}})
    assert problem == f"CC514 warning: celery_allowed_clients {message}: remove it"
    assert len(clients) == len({client.cidr for client in clients})


def test_names_that_differ_in_case_are_one_client() -> None:
    assert [problem[:5] for problem in clients_of("a.example", "A.example")[1]] == ["CC514", "CC515", "CC515"]


def test_the_limit_of_networks_is_the_operators() -> None:
    assert clients_of("10.0.0.0/16", celery_allowed_clients_max=65536)[1] == []
    assert clients_of("10.0.0.0/30", celery_allowed_clients_max=2)[1][0].startswith("CC513")
    assert clients_of("2001:db8::/64", celery_allowed_clients_max=2)[1] == []
    assert clients_of("2001:db8::/48", celery_allowed_clients_max=2**80)[1] == []
    assert clients_of("0.0.0.0/0", celery_allowed_clients_max=2**40)[1][0].startswith("CC513")


@pytest.mark.parametrize("limit", [0, -1, True, "256", None, 1.5])
def test_a_limit_that_is_no_number_is_refused(limit: Any) -> None:
    assert clients_of(celery_allowed_clients_max=limit)[1][0].startswith("CC517 error: celery_allowed_clients_max is ")


@pytest.mark.parametrize("value", ["10.0.0.1", {"a": "b"}, 5, True])
def test_allowed_clients_are_a_list(value: Any) -> None:
    (problem,) = clients_of(celery_allowed_clients=value)[1]
    assert problem.startswith(f"CC510 error: celery_allowed_clients is {value!r}: write a list")


def test_no_allowed_clients() -> None:
    assert clients_of(celery_allowed_clients=None) == ((), [])
    assert clients_of() == ((), [])


def test_all_wrong_clients_are_told_at_once() -> None:
    clients, problems = clients_of("10.0.0.5/24", "x y", "10.0.0.1", "0.0.0.0/0")
    assert [problem[:5] for problem in problems] == ["CC511", "CC512", "CC513"]
    assert [client.cidr for client in clients] == ["10.0.0.1/32"]


# --------------------------------------------------------------------------------------------------
# Properties

ADDRESS = st.ip_addresses().map(str)
VARIABLES = st.fixed_dictionaries(
    {"celery_address": ADDRESS},
    optional={
        "ansible_host": st.one_of(ADDRESS, st.sampled_from(["127.0.0.1", "name"])),
        "ansible_facts": st.fixed_dictionaries(
            {},
            optional={
                family: st.fixed_dictionaries({"address": ADDRESS}) for family in ("default_ipv4", "default_ipv6")
            },
        ),
    },
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), VARIABLES, min_size=1))
def test_derived_entries_cover_every_address_of_the_users_and_no_other(hosts: dict[str, Any]) -> None:
    problems = Problems()
    found = read_hosts(list(hosts), inventory(hosts), problems)
    users = list(found)[::2]
    clients = read_clients(users, found, True, inventory(hosts), problems)
    networks = [ipaddress.ip_network(client.cidr) for client in clients]
    assert len(networks) == len(set(networks))
    assert all(network.num_addresses == 1 for network in networks)
    # Written out again, on purpose not with the functions of the model.
    wanted = set()
    for user in users:
        facts = hosts[user].get("ansible_facts", {})
        texts = [hosts[user]["celery_address"], *(facts[family]["address"] for family in facts)]
        managed = hosts[user].get("ansible_host", "name")
        if managed != "name" and not ipaddress.ip_address(managed).is_loopback:
            texts.append(managed)
        wanted |= {ipaddress.ip_network(text) for text in texts}
    assert set(networks) == wanted


ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.dates(), ADDRESS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=6,
)
NEARLY = st.builds(
    "{}{}{}".format,
    ADDRESS,
    st.sampled_from(["", "/", "%"]),
    st.one_of(st.just(""), st.integers(-1, 130), st.text(max_size=3)),
)


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {}, optional={"celery_address": st.one_of(ANY, NEARLY), "ansible_host": ANY, "ansible_facts": ANY}
    ),
    st.one_of(ANY, st.lists(st.one_of(ANY, NEARLY), max_size=5)),
    ANY,
    st.booleans(),
)
def test_any_value_gives_entries_or_problems(variables: Any, allowed: Any, limit: Any, complete: bool) -> None:
    problems = Problems()
    hosts = {"w1": variables, "w2": {"celery_address": "192.0.2.2"}}
    values = {"celery_allowed_clients": allowed, "celery_allowed_clients_max": limit}
    asked = inventory(hosts, complete, **values)
    found = read_hosts(list(hosts), asked, problems)
    clients = read_clients(list(found), found, True, asked, problems)
    assert "w1" in found or not complete or len(problems)
    for client in clients:
        # One word of pg_hba.conf, whatever was written.
        assert client.cidr and not set(client.cidr) & set(' \t\n#",@+')
    assert all(str(problem) for problem in problems)
