"""The brokers: names, the order in which they are tried, and settings that would undo what the roles decide."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.brokers import (
    DECIDED,
    VARIABLES,
    broker_name,
    check_brokers,
    is_cluster,
    node_names,
    rotated,
    short_name,
)
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Inventory
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from hypothesis import given
from hypothesis import strategies as st

BROKERS = ["mq1.example.org", "mq2.example.org", "mq3.example.org"]


def inventory(hosts: dict[str, Any] | None = None, *, complete: bool = True, **settings: Any) -> Inventory:
    return Inventory({}, hosts or {}, settings, lambda _pattern: (), frozenset(settings), complete)


def found(brokers: list[str], where: Inventory | None = None) -> list[str]:
    problems = Problems()
    check_brokers(brokers, where or inventory(), problems)
    return [str(problem) for problem in problems]


# --------------------------------------------------------------------------------------------------
# Number and names


@pytest.mark.parametrize("number", [1, 3, 5])
def test_one_broker_or_an_odd_number_from_three_on(number: int) -> None:
    assert found([f"mq{index}" for index in range(number)]) == []
    assert is_cluster([f"mq{index}" for index in range(number)]) is (number > 1)


@pytest.mark.parametrize(
    ("brokers", "message"),
    [
        ([], "CC103 error: group rabbitmq is empty: add the host that shall run the broker"),
        (["a", "b"], "CC103 error: group rabbitmq has 2 hosts (a, b), and an even number of brokers cannot outvote a "),
        (["a", "b", "c", "d"], "CC103 error: group rabbitmq has 4 hosts (a, b, c, d), and an even number"),
    ],
)
def test_other_numbers_are_refused(brokers: list[str], message: str) -> None:
    (problem,) = found(brokers)
    assert problem.startswith(message)
    if brokers:
        remedy = "add a third, or keep one" if len(brokers) == 2 else "add one or remove one"
        assert remedy in problem


@pytest.mark.parametrize(
    ("host", "variables", "short"),
    [
        ("mq1.example.org", {}, "mq1"),
        ("mq1", {"ansible_facts": {}}, "mq1"),
        ("mq1.example.org", {"ansible_facts": {"hostname": "vm-17"}}, "vm-17"),
        ("192.0.2.7", {}, "192.0.2.7"),
        ("192.0.2.7", {"ansible_facts": {"hostname": "vm-17"}}, "vm-17"),
    ],
)
def test_a_node_has_the_name_that_its_system_says(host: str, variables: dict[str, Any], short: str) -> None:
    assert short_name(host, variables) == short
    assert node_names([host], inventory({host: variables})) == {host: f"rabbit@{short}"}


def test_two_brokers_with_one_host_name_are_refused() -> None:
    hosts = {"mq1": {"ansible_facts": {"hostname": "debian"}}, "mq3": {"ansible_facts": {"hostname": "Debian"}}}
    assert found(["mq1", "mq2", "mq3"], inventory(hosts)) == [
        "CC115 error: mq3: its host name is debian, which is that of the broker mq1 too, and both nodes would be "
        "rabbit@debian: give the machine another host name (hostnamectl set-hostname), and run the play again"
    ]


def test_before_the_facts_are_known_no_host_name_is_judged() -> None:
    brokers = ["mq.a.example.org", "mq.b.example.org", "mq.c.example.org"]
    assert found(brokers, inventory(complete=False)) == []
    assert [problem[:5] for problem in found(brokers)] == ["CC115", "CC115"]


def test_the_common_name_follows_from_the_name_of_the_cluster() -> None:
    assert broker_name({"celery_name": "my_shop"}) == "my-shop-broker"
    assert broker_name({"celery_name": "shop", "celery_broker_name": "mq.example.org"}) == "mq.example.org"


@pytest.mark.parametrize("name", ["my_shop", "", "192.0.2.1", "::1", "a b", "-a", "a" * 64, 7, None, ["a"]])
def test_a_common_name_that_no_certificate_carries(name: Any) -> None:
    (problem,) = found(["mq"], inventory(celery_broker_name=name))
    assert problem.startswith("CC116 error: celery_broker_name is ")


@pytest.mark.parametrize("name", ["shop-broker", "mq.example.org", "A1"])
def test_a_common_name_that_all_carry(name: str) -> None:
    assert found(["mq"], inventory(celery_broker_name=name)) == []


# --------------------------------------------------------------------------------------------------
# The order in which brokers are tried


@given(st.lists(st.text(min_size=1), unique=True, max_size=7), st.text())
def test_every_host_tries_every_broker_once(addresses: list[str], host: str) -> None:
    order = rotated(addresses, host)
    assert sorted(order) == sorted(addresses)
    assert order == rotated(addresses, host)
    if addresses:
        start = addresses.index(order[0])
        assert list(order) == [*addresses[start:], *addresses[:start]]


def test_hosts_spread_over_the_brokers() -> None:
    first = Counter(rotated(BROKERS, f"node{number}.example.org")[0] for number in range(300))
    assert set(first) == set(BROKERS)
    assert min(first.values()) > 50


# --------------------------------------------------------------------------------------------------
# Lines of rabbitmq.conf


LINES = [
    ("listeners.tcp.default", "nothing of the cluster is served without TLS"),
    ("listeners.tcp", "nothing of the cluster is served without TLS"),
    ("management.tcp.port", "nothing of the cluster is served without TLS"),
    ("listeners.ssl.default", "celery_broker_port"),
    ("management.ssl.port", "celery_broker_management_port"),
    ("prometheus.tcp.port", "rabbitmq_prometheus_port"),
    ("distribution.listener.port_range.min", "rabbitmq_distribution_port"),
    ("ssl_options.verify", "celery_broker_login"),
    ("ssl_options.fail_if_no_peer_cert", "celery_broker_login"),
    ("ssl_options.keyfile", "the role certificates"),
    ("ssl_options.versions.1", "rabbitmq_tls_versions"),
    ("auth_mechanisms.1", "celery_broker_login"),
    ("anonymous_login_user", "celery_broker_login"),
    ("loopback_users.guest", "users are those of the cluster"),
    ("default_pass", "users are those of the cluster"),
    ("load_definitions", "the definitions of the cluster"),
    ("cluster_formation.classic_config.nodes.1", "the group rabbitmq"),
]


@pytest.mark.parametrize(("line", "instead"), LINES)
def test_a_line_that_would_undo_what_the_roles_decide(line: str, instead: str) -> None:
    (problem,) = found(["mq"], inventory(rabbitmq_settings={line: "x"}))
    assert problem.startswith(f"CC117 error: rabbitmq_settings.{line} is a setting that the role writes itself")
    assert instead in problem


@pytest.mark.parametrize("line", sorted(VARIABLES))
def test_a_line_that_has_a_variable(line: str) -> None:
    (problem,) = found(["mq"], inventory(rabbitmq_settings={line: 1}))
    assert problem.startswith(f"CC118 warning: rabbitmq_settings.{line} has a variable of its own")
    assert VARIABLES[line] in problem


def test_every_pattern_is_tried_above() -> None:
    assert [pattern for pattern in DECIDED if not any(re.fullmatch(pattern, line) for line, _instead in LINES)] == []


@pytest.mark.parametrize(
    "lines", [{"channel_max": 500, "log.console": "true", "ssl_options.depth": 2}, {}, None, "x", [1]]
)
def test_lines_that_are_the_users_own(lines: Any) -> None:
    assert found(["mq"], inventory(rabbitmq_settings=lines)) == []
