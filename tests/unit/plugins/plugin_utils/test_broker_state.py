"""The broker's content, derived from the model: users and their rights, and where dead letters go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.broker_state import rabbitmq_desired
from kombu.transport.native_delayed_delivery import (
    CELERY_DELAYED_DELIVERY_EXCHANGE,
    MAX_NUMBER_OF_BITS_TO_USE,
    level_name,
)

IDENTITIES = ("worker", "producer", "flower", "admin")
PASSWORDS = {f"shop-{identity}": f"secret of {identity}" for identity in IDENTITIES}
RIGHTS = ("configure", "write", "read")
DAY = 24 * 60 * 60 * 1000


def model(*queues: str, kind: str = "quorum", **logins: str) -> dict[str, Any]:
    return {
        "name": "shop",
        "queues": {queue: [] for queue in queues},
        "queue_type": kind,
        "broker_users": [
            {"name": f"shop-{name}", "identity": name, "host": None, "login": logins.get(name, "password")}
            for name in IDENTITIES
        ],
    }


def desired(cluster: dict[str, Any], declare: bool = True, passwords: dict[str, str] | None = None) -> dict[str, Any]:
    settings = {
        "celery_vhost": "/shop",
        "celery_producers_declare": declare,
        "celery_delivery_limit": 7,
        "celery_dead_letter_days": 3,
    }
    return rabbitmq_desired(cluster, settings, PASSWORDS if passwords is None else passwords)


def allowed(state: dict[str, Any], identity: str, right: str, name: str) -> bool:
    (user,) = (user for user in state["users"] if user["name"] == f"shop-{identity}")
    (permission,) = user["permissions"]
    assert permission["vhost"] == "/shop"
    return re.search(permission[right], name) is not None


# --------------------------------------------------------------------------------------------------
# Users


def test_every_identity_has_its_own_name_and_password() -> None:
    state = desired(model("celery"))
    assert state["owner"] == "shop"
    assert state["vhosts"] == [{"name": "/shop"}]
    assert {user["name"]: user["password"] for user in state["users"]} == PASSWORDS
    assert {user["name"]: user["tags"] for user in state["users"]} == {
        "shop-worker": [],
        "shop-producer": [],
        "shop-flower": ["monitoring"],
        "shop-admin": ["administrator"],
    }


def test_who_logs_in_by_certificate_has_no_password() -> None:
    cluster = model("celery", worker="certificate", producer="certificate")
    passwords = {name: PASSWORDS[name] for name in ("shop-flower", "shop-admin")}
    users = {user["name"]: user for user in desired(cluster, passwords=passwords)["users"]}
    for name in ("shop-worker", "shop-producer"):
        assert users[name]["certificate"] is True and "password" not in users[name]
    for name, password in passwords.items():
        assert users[name]["password"] == password and not users[name].get("certificate")


@pytest.mark.parametrize("passwords", [{}, {**PASSWORDS, "shop-flower": ""}])
def test_a_user_without_a_password_is_a_mistake(passwords: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="passwords lacks the password of the broker user 'shop-"):
        desired(model("celery"), passwords=passwords)


def test_users_of_single_hosts_have_the_rights_of_their_identity() -> None:
    cluster = model("celery")
    cluster["broker_users"] = [
        {"name": f"shop-worker.{host}", "identity": "worker", "host": host, "login": "password"}
        for host in ("w1", "w2")
    ]
    one, other = desired(cluster, passwords={"shop-worker.w1": "a", "shop-worker.w2": "b"})["users"]
    assert (one["name"], other["name"]) == ("shop-worker.w1", "shop-worker.w2")
    assert (one["password"], other["password"]) == ("a", "b")
    assert one["permissions"] == other["permissions"]


# --------------------------------------------------------------------------------------------------
# Rights


def test_the_rights_follow_the_queues_of_the_model() -> None:
    state = desired(model("celery", "mail.bulk"))
    for queue in ("celery", "mail.bulk"):
        assert allowed(state, "worker", "read", queue)
        assert allowed(state, "worker", "write", queue)
        assert allowed(state, "producer", "write", queue)
        assert not allowed(state, "flower", "read", queue)
    for identity in ("worker", "producer", "flower"):
        for right in RIGHTS:
            assert not allowed(state, identity, right, "mailxbulk"), "a dot of a name is a dot"
            assert not allowed(state, identity, right, "other")


def delayed() -> Iterator[str]:
    yield CELERY_DELAYED_DELIVERY_EXCHANGE
    yield from (level_name(level) for level in range(MAX_NUMBER_OF_BITS_TO_USE))


def test_a_worker_may_declare_and_bind_what_delayed_delivery_needs() -> None:
    state = desired(model("celery"))
    for name in delayed():
        # Declaring takes configure; a queue with a dead-letter exchange takes write on that and read on the queue; a
        # binding takes write on its end and read on its source.
        assert all(allowed(state, "worker", right, name) for right in RIGHTS), name
        assert not any(allowed(state, "producer", right, name) for right in ("configure", "read")), name
        assert not any(allowed(state, "flower", right, name) for right in RIGHTS), name
    entrance = level_name(MAX_NUMBER_OF_BITS_TO_USE - 1)
    assert [name for name in delayed() if allowed(state, "producer", "write", name)] == [entrance]


def test_nobody_but_the_administrator_reaches_the_dead_letters() -> None:
    state = desired(model("celery", "shop"))
    for identity in ("worker", "producer", "flower"):
        assert not any(allowed(state, identity, right, "shop.dead") for right in RIGHTS)
    assert allowed(state, "admin", "read", "shop.dead")


@pytest.mark.parametrize("declare", [True, False])
def test_producers_declare_only_when_they_may(declare: bool) -> None:
    state = desired(model("celery"), declare)
    assert allowed(state, "producer", "configure", "celery") is declare
    assert allowed(state, "producer", "write", "celery")
    assert not allowed(state, "producer", "write", "celery.pidbox")


# --------------------------------------------------------------------------------------------------
# Dead letters


def policies(state: dict[str, Any]) -> dict[str, dict[str, Any]]:
    assert {policy["vhost"] for policy in state["policies"]} == {"/shop"}
    assert {policy["apply_to"] for policy in state["policies"]} == {"queues"}
    return {policy["name"]: policy for policy in state["policies"]}


def in_force(state: dict[str, Any], queue: str, kind: str) -> dict[str, Any]:
    """The definition that RabbitMQ applies: of the policies that fit name and type, the one of highest priority."""
    fitting = [
        policy
        for policy in state["policies"]
        if re.search(policy["pattern"], queue) and (kind == "quorum" or "delivery-limit" not in policy["definition"])
    ]
    return max(fitting, key=lambda policy: policy["priority"], default={"definition": {}})["definition"]


def test_a_message_that_no_worker_finishes_is_kept() -> None:
    state = desired(model("celery", "mail.bulk"))
    assert policies(state)["shop-tasks"] == {
        "vhost": "/shop",
        "name": "shop-tasks",
        "pattern": r"^(celery|mail\.bulk)$",
        "apply_to": "queues",
        "priority": 1,
        "definition": {"dead-letter-exchange": "shop.dead", "delivery-limit": 7},
    }
    common = {"vhost": "/shop", "name": "shop.dead", "durable": True, "auto_delete": False}
    assert state["exchanges"] == [{**common, "type": "fanout", "internal": False, "arguments": {}}]
    assert state["queues"] == [{**common, "arguments": {"x-queue-type": "quorum"}}]
    (binding,) = state["bindings"]
    assert (binding["source"], binding["destination"], binding["destination_type"]) == (
        "shop.dead",
        "shop.dead",
        "queue",
    )


def test_every_queue_has_exactly_its_policy() -> None:
    state = desired(model("celery"))
    assert in_force(state, "celery", "quorum") == {"dead-letter-exchange": "shop.dead", "delivery-limit": 7}
    # One that the application declares as a classic queue counts no deliveries.
    assert in_force(state, "celery", "classic") == {"dead-letter-exchange": "shop.dead"}
    assert in_force(state, "shop.dead", "quorum") == {"message-ttl": 3 * DAY}
    for queue in ("shopxdead", "celery2", "celery_delayed_3", "w1.celery.pidbox"):
        assert in_force(state, queue, "quorum") == {}


def test_classic_queues_have_no_limit_of_deliveries() -> None:
    state = desired(model("celery", kind="classic"))
    assert sorted(policies(state)) == ["shop-dead", "shop-tasks"]
    assert in_force(state, "celery", "classic") == {"dead-letter-exchange": "shop.dead"}


def test_the_order_of_the_inventory_changes_nothing() -> None:
    assert desired(model("b", "a")) == desired(model("a", "b"))
