"""The diff tells everything that changes, and no secret."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_describe import diff, passwords_in
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_passwords import SHA256, password_hash
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_plan import plan
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_state import (
    parse_definitions,
    wanted_from,
)

UPSTREAM = {"vhost": "shop", "component": "federation-upstream", "name": "u"}


def stored(name: str, password: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "password_hash": password_hash(password, b"salt"),
        "hashing_algorithm": SHA256,
        "tags": [],
        **more,
    }


def right(user: str, expression: str) -> dict[str, str]:
    return {"user": user, "vhost": "shop", "configure": expression, "write": expression, "read": expression}


BEFORE: dict[str, Any] = {
    "vhosts": [{"name": "shop"}, {"name": "theirs"}],
    "users": [stored("w", "old-secret"), stored("gone", "gone-secret"), stored("theirs", "their-secret")],
    "permissions": [right("w", "^(a)$"), right("theirs", ".*")],
    "parameters": [{**UPSTREAM, "value": {"uri": "amqps://f:old-secret@far"}}],
    "global_parameters": [{"name": "celery_cluster.owned.me", "value": {"users": ["gone"], "vhosts": ["shop"]}}],
}
WANTED: dict[str, Any] = {
    "owner": "me",
    "vhosts": [{"name": "shop", "limits": {"max-queues": 5}}],
    "users": [
        {
            "name": "w",
            "password": "new-secret",
            "tags": ["monitoring"],
            "permissions": [{key: value for key, value in right("", "^(b)$").items() if key != "user"}],
        },
        {"name": "c", "certificate": True},
    ],
    "parameters": [{**UPSTREAM, "value": {"uri": "amqps://f:new-secret@far"}}],
    "queues": [{"vhost": "shop", "name": "q"}],
}


def shown(before: dict[str, Any], wanted: dict[str, Any]) -> dict[str, str]:
    state, asked = parse_definitions(before), wanted_from(wanted)
    return diff(state, asked, plan(state, asked, "admin"))


def test_before_and_after() -> None:
    found = shown(BEFORE, WANTED)
    assert found["before"].splitlines() == [
        "vhost shop",
        "user gone:",
        "  tags: []",
        "user w:",
        "  tags: []",
        "permissions of user w on vhost shop:",
        '  configure: "^(a)$"',
        '  read: "^(a)$"',
        '  write: "^(a)$"',
        "parameter u of federation-upstream on vhost shop:",
        '  uri: "amqps://f:********@far"',
        "owned by me:",
        "  - user gone",
        "  - vhost shop",
    ]
    assert found["after"].splitlines() == [
        "vhost shop",
        "limit max-queues of vhost shop:",
        "  value: 5",
        "user c:",
        "  tags: []",
        "  # login by certificate only",
        "user w:",
        '  tags: ["monitoring"]',
        "  # password changed",
        "permissions of user w on vhost shop:",
        '  configure: "^(b)$"',
        '  read: "^(b)$"',
        '  write: "^(b)$"',
        "parameter u of federation-upstream on vhost shop:",
        '  uri: "amqps://f:********@far"',
        "  # a password in it changes",
        "queue q on vhost shop:",
        "  arguments: {}",
        "  auto_delete: false",
        "  durable: true",
        "owned by me:",
        "  - parameter u of federation-upstream on vhost shop",
        "  - queue q on vhost shop",
        "  - user c",
        "  - user w",
        "  - limit max-queues of vhost shop",
        "  - vhost shop",
    ]


def test_no_secret_in_texts_or_diff() -> None:
    state, asked = parse_definitions(BEFORE), wanted_from(WANTED)
    planned = plan(state, asked, "admin")
    told = json.dumps([[step.text for step in planned.operations], diff(state, asked, planned)])
    assert "secret" not in told
    for user in BEFORE["users"]:
        assert user["password_hash"] not in told


def test_without_a_change_both_are_the_same() -> None:
    queue = {"vhost": "shop", "name": "q", "durable": True, "auto_delete": False}
    before = {**BEFORE, "queues": [{**queue, "arguments": {"x-queue-type": "classic"}}], "global_parameters": []}
    user = {"name": "theirs", "password": "their-secret", "permissions": [right("", ".*")]}
    found = shown(before, {"vhosts": [{"name": "shop"}], "users": [user], "queues": [{**queue, "arguments": {}}]})
    assert found["before"] == found["after"] != ""


def test_passwords_in_addresses_are_found_wherever_they_are() -> None:
    assert passwords_in({"a": ["amqp://u:p1@h/%2f", 1, None], "b": {"c": "amqps://:p2@h amqp://u:p3@h"}}) == {
        "p1",
        "p2",
        "p3",
    }
    assert passwords_in(["amqp://host", "http://h/a:b@c", True]) == set()
