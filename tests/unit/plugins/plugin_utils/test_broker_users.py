"""Who logs in to the broker: shared users and users of single hosts, passwords and certificates."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.broker_users import (
    LOGINS,
    broker_login,
    broker_users,
    check_broker_login,
    check_broker_users,
    users_of_host,
)
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Host, Inventory, Names
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems

BASE = {"celery_name": "shop", "celery_broker_user_prefix": "shop-"}
PER_HOST = {"celery_broker_identities_per_host": True}
PLACES = {"w1": ("worker",), "app": ("producer",), "all": ("worker", "producer", "flower"), "db": ()}


def hosts(settings: dict[str, Any], places: dict[str, tuple[str, ...]] | None = None) -> dict[str, Host]:
    return {
        name: Host(name, "192.0.2.1", (), Names((), ()), identities, users_of_host(name, identities, settings))
        for name, identities in (places or PLACES).items()
    }


def users(**changes: Any) -> list[tuple[str, str, str | None, str]]:
    settings = {**BASE, **changes}
    return [(user.name, user.identity, user.host, user.login) for user in broker_users(hosts(settings), settings)]


def found(places: dict[str, tuple[str, ...]] | None = None, /, **changes: Any) -> list[str]:
    settings = {**BASE, **changes}
    problems = Problems()
    inventory = Inventory({}, {}, settings, lambda _pattern: (), frozenset(changes))
    check_broker_login(inventory, problems)
    check_broker_users(broker_users(hosts(settings, places), settings), inventory, problems)
    return [str(problem) for problem in problems]


# --------------------------------------------------------------------------------------------------
# Who there is


def test_one_user_per_identity() -> None:
    assert users() == [
        ("shop-worker", "worker", None, "password"),
        ("shop-producer", "producer", None, "password"),
        ("shop-flower", "flower", None, "password"),
        ("shop-admin", "admin", None, "password"),
    ]
    assert users(celery_broker_login="password_and_certificate") == users()


def test_one_user_per_identity_and_host() -> None:
    assert users(**PER_HOST) == [
        ("shop-worker.w1", "worker", "w1", "password"),
        ("shop-worker.all", "worker", "all", "password"),
        ("shop-producer.app", "producer", "app", "password"),
        ("shop-producer.all", "producer", "all", "password"),
        ("shop-flower.all", "flower", "all", "password"),
        ("shop-admin", "admin", None, "password"),
    ]


def test_a_certificate_takes_the_place_of_a_password_where_no_other_service_asks_for_one() -> None:
    expected = {"worker": "certificate", "producer": "certificate", "flower": "password", "admin": "password"}
    for more in ({}, PER_HOST):
        logins = {identity: login for _name, identity, _host, login in users(celery_broker_login="certificate", **more)}
        assert logins == expected


def test_an_unknown_login_is_one_by_password() -> None:
    assert [broker_login({"celery_broker_login": value}) for value in (*LOGINS, "x", None, 7, [1])] == [
        *LOGINS,
        *["password"] * 4,
    ]


def test_the_prefix_follows_from_the_name_of_the_cluster_where_it_is_unknown() -> None:
    assert users_of_host("w1", ["worker"], {"celery_name": "shop"}) == {"worker": "shop-worker"}


# --------------------------------------------------------------------------------------------------
# What is wrong


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("per_host", [False, True])
def test_what_is_accepted(login: str, per_host: bool) -> None:
    assert found(celery_broker_login=login, celery_broker_identities_per_host=per_host) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("certificat", "CC618 error: celery_broker_login is 'certificat': write certificate"),
        (7, "CC618 error: celery_broker_login is 7: write one of password, password_and_certificate, certificate"),
        (None, "CC618 error: celery_broker_login is None"),
    ],
)
def test_an_unknown_way_to_log_in(value: Any, message: str) -> None:
    (problem,) = found(celery_broker_login=value)
    assert problem.startswith(message)


def test_a_user_that_is_too_long_for_amqp() -> None:
    long = "h" * 244
    assert found({"h" * 243: ("worker",)}, **PER_HOST) == []
    (problem,) = found({long: ("worker", "producer"), "w1": ("worker",)}, **PER_HOST)
    assert problem.startswith(
        f"CC619 error: celery_broker_user_prefix makes the user 'shop-producer.{long}' and 1 more"
    )
    assert "longer than the 255 bytes" in problem


@pytest.mark.parametrize("login", ["password_and_certificate", "certificate"])
def test_a_user_that_is_too_long_for_a_certificate(login: str) -> None:
    places: dict[str, tuple[str, ...]] = {"h" * 53: ("worker",)}
    assert found(places, **PER_HOST) == []
    (problem,) = found(places, **PER_HOST, celery_broker_login=login)
    assert problem.startswith("CC620 error: celery_broker_user_prefix makes the user 'shop-worker.hhh")
    assert found({"h" * 52: ("worker",)}, **PER_HOST, celery_broker_login=login) == []
    # Without users of their own the names of the hosts do not matter.
    assert found(places, celery_broker_login=login) == []


@pytest.mark.parametrize("prefix", ["Köln-", "a,b-", "a/b", "#", "a\\"])
def test_a_user_that_no_certificate_carries(prefix: str) -> None:
    assert found(celery_broker_user_prefix=prefix) == []
    (problem,) = found(celery_broker_user_prefix=prefix, celery_broker_login="certificate")
    assert problem.startswith("CC621 error: celery_broker_user_prefix makes the user ")


@pytest.mark.parametrize(
    ("changes", "unused"),
    [
        ({"celery_broker_login": "certificate"}, ["producer", "worker"]),
        ({"celery_broker_login": "password_and_certificate"}, []),
        (PER_HOST, ["flower", "producer", "worker"]),
        ({**PER_HOST, "celery_broker_login": "certificate"}, ["flower", "producer", "worker"]),
    ],
)
def test_a_password_that_nobody_uses(changes: dict[str, Any], unused: list[str]) -> None:
    passwords = {f"celery_broker_{name}_password": "x" for name in ("worker", "producer", "flower", "admin")}
    problems = found(**changes, **passwords)
    assert sorted(problem.split()[2] for problem in problems) == [f"celery_broker_{name}_password" for name in unused]
    assert all(problem.startswith("CC622 warning: ") for problem in problems)


@pytest.mark.parametrize("host", ["2001:db8::7", "a b", "a/b"])
def test_a_host_that_cannot_be_part_of_a_user(host: str) -> None:
    assert found({host: ("worker", "producer")}) == []
    (problem,) = found({host: ("worker", "producer")}, **PER_HOST)
    assert problem.startswith(f"CC623 error: {host}: its name in the inventory cannot become part of a broker user")
