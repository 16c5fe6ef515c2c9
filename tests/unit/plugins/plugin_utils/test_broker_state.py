"""The broker's identities, derived from the model."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.broker_state import ROLES, rabbitmq_desired

PASSWORDS = {role: f"secret of {role}" for role in ROLES}


def desired(queues: list[str], declare: bool = True) -> dict[str, Any]:
    return rabbitmq_desired({"queues": {queue: [] for queue in queues}}, "/shop", "shop-", declare, PASSWORDS)


def allowed(state: dict[str, Any], role: str, right: str, name: str) -> bool:
    (user,) = (user for user in state["users"] if user["name"] == f"shop-{role}")
    (permission,) = user["permissions"]
    assert permission["vhost"] == "/shop"
    return re.search(permission[right], name) is not None


def test_every_identity_has_its_own_name_and_password() -> None:
    state = desired(["celery"])
    assert state["vhosts"] == [{"name": "/shop"}]
    assert {user["name"]: user["password"] for user in state["users"]} == {
        f"shop-{role}": password for role, password in PASSWORDS.items()
    }
    assert {user["name"]: user["tags"] for user in state["users"]} == {
        "shop-worker": [],
        "shop-producer": [],
        "shop-flower": ["monitoring"],
        "shop-admin": ["administrator"],
    }


def test_the_rights_follow_the_queues_of_the_model() -> None:
    state = desired(["celery", "mail.bulk"])
    for queue in ("celery", "mail.bulk"):
        assert allowed(state, "worker", "read", queue)
        assert allowed(state, "worker", "write", queue)
        assert allowed(state, "producer", "write", queue)
        assert not allowed(state, "flower", "read", queue)
    for role in ("worker", "producer", "flower"):
        for right in ("configure", "write", "read"):
            assert not allowed(state, role, right, "mailxbulk"), "a dot of a name is a dot"
            assert not allowed(state, role, right, "other")


@pytest.mark.parametrize("declare", [True, False])
def test_producers_declare_only_when_they_may(declare: bool) -> None:
    assert allowed(desired(["celery"], declare), "producer", "configure", "celery") is declare
    assert allowed(desired(["celery"], declare), "producer", "write", "celery")
    assert not allowed(desired(["celery"], declare), "producer", "write", "celery.pidbox")


def test_the_order_of_the_inventory_changes_nothing() -> None:
    assert desired(["b", "a"]) == desired(["a", "b"])
