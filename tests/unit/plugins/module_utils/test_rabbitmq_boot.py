"""What a broker loads at its first start."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_boot import boot_definitions
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_passwords import password_matches
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_permissions import broker_user
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_plan import plan
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_state import (
    parse_definitions,
    wanted_from,
)

EVERYTHING = {"configure": ".*", "write": ".*", "read": ".*"}
WANTED: dict[str, Any] = {
    "vhosts": [{"name": "shop", "description": "a shop", "default_queue_type": "quorum", "limits": {"max-queues": 5}}],
    "users": [
        broker_user("worker", "w", None, "shop", ["a", "b.c"]),
        broker_user("admin", "adm", "pw", "shop", []),
        {
            "name": "u",
            "password": "pw",
            "limits": {"max-channels": 7},
            "topic_permissions": [{"vhost": "shop", "exchange": "x", "write": "^a", "read": "^b"}],
        },
    ],
    "policies": [
        {"vhost": "shop", "name": "p", "pattern": "^a$", "apply_to": "queues", "definition": {"max-length": 1}}
    ],
}


def test_vhosts_users_and_policies() -> None:
    first, again = boot_definitions(WANTED), boot_definitions(WANTED)
    assert json.dumps(first) == json.dumps(again)
    metadata = {"description": "a shop", "default_queue_type": "quorum"}
    assert first["vhosts"] == [{"name": "shop", **metadata, "metadata": metadata}]
    worker, admin, user = first["users"]
    assert (worker["name"], worker["password_hash"], worker["tags"]) == ("w", "", [])
    assert password_matches("pw", admin["password_hash"], admin["hashing_algorithm"])
    assert (admin["tags"], user["limits"]) == (["administrator"], {"max-channels": 7})
    assert first["permissions"][1] == {"user": "adm", "vhost": "shop", **EVERYTHING}
    assert first["topic_permissions"] == [{"user": "u", "vhost": "shop", "exchange": "x", "write": "^a", "read": "^b"}]
    assert first["parameters"] == [
        {"vhost": "shop", "component": "vhost-limits", "name": "limits", "value": {"max-queues": 5}}
    ]
    assert first["policies"] == [
        {
            "vhost": "shop",
            "name": "p",
            "pattern": "^a$",
            "apply-to": "queues",
            "priority": 0,
            "definition": {"max-length": 1},
        }
    ]


def test_only_what_there_is() -> None:
    assert boot_definitions({"vhosts": [{"name": "v"}], "users": []}) == {
        "vhosts": [{"name": "v"}],
        "users": [],
        "permissions": [],
    }


def test_what_waits_for_the_cluster_is_left_out() -> None:
    later = {
        "owner": "shop",
        "exchanges": [{"vhost": "shop", "name": "x"}],
        "queues": [{"vhost": "elsewhere", "name": "q"}],
        "bindings": [{"vhost": "shop", "source": "x", "destination": "q"}],
    }
    assert boot_definitions({**WANTED, **later}) == boot_definitions(WANTED)


def test_a_broker_that_booted_with_them_needs_no_change() -> None:
    booted = parse_definitions(boot_definitions(WANTED))
    assert plan(booted, wanted_from({**WANTED, "absent_users": ["guest"]}), "adm").operations == []


@pytest.mark.parametrize(
    ("users", "message"),
    [
        (
            [broker_user("worker", "w", "pw", "nowhere", ["a"])],
            "permissions of user w on vhost nowhere: this vhost does",
        ),
        ([{"name": "w", "password": ""}], "empty password"),
        ([{"name": "w"}], "has no password"),
        ([{"name": "w", "password": "p"}, {"name": "w", "password": "p"}], "user w is named more than once"),
    ],
)
def test_what_a_broker_would_refuse_is_refused(users: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        boot_definitions({"vhosts": [{"name": "shop"}], "users": users})
