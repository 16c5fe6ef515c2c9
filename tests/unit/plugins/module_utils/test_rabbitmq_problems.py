"""What is refused before any change, all at once and each with its remedy."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_problems import conflicts, problems
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_state import (
    parse_definitions,
    wanted_from,
)

EVERYTHING = {"configure": ".*", "write": ".*", "read": ".*"}
THERE = parse_definitions(
    {
        "rabbitmq_version": "4.0.5",
        "vhosts": [{"name": "shop"}, {"name": "old"}],
        "exchanges": [
            {
                "vhost": "shop",
                "name": "x",
                "type": "topic",
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
        ],
        "queues": [{"vhost": "shop", "name": "q", "durable": True, "auto_delete": False, "arguments": {}}],
    }
)


def found(acting_user: str = "admin", **options: Any) -> list[str]:
    return problems(options, wanted_from(options), acting_user)


def clashes(leaving: set[Any] | None = None, **options: Any) -> list[str]:
    return conflicts(THERE, wanted_from(options), leaving or set())


def test_every_problem_is_told_at_once() -> None:
    right = {"vhost": "shop", **EVERYTHING}
    assert [
        text.split(";", maxsplit=1)[0]
        for text in found(
            owner="x" * 300,
            users=[
                {"name": "w", "password": "", "permissions": [right, right]},
                {"name": "w", "password": "p", "certificate": True, "tags": []},
                {"name": "n", "password": None, "limits": {"max-queues": 1, "max-channels": True}},
                {"name": "admin", "certificate": True},
            ],
            vhosts=[{"name": "shop", "limits": {"max-queues": -1, "max-connections": "5"}}],
            absent_users=["admin", "w"],
        )
    ] == [
        "permissions of user w on vhost shop is named more than once",
        "user w is named more than once",
        "'admin' is in users and in absent_users",
        "'w' is in users and in absent_users",
        "absent_users: 'admin' is the user this module logs in as",
        "users: 'w' has an empty password",
        "users: 'w' has a password and certificate: true, which means none",
        "users: 'n' has no password",
        "users: 'admin' is the user this module logs in as",
        "users: 'admin' is the user this module logs in as",
        "limit max-queues of vhost shop is -1",
        "limit max-connections of vhost shop is '5'",
        "limit max-queues of user n: there is no such limit",
        "limit max-channels of user n is True",
        "owner: it has 300 characters",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queues": [{"vhost": "v", "name": "amq.x"}]}, "queue amq.x on vhost v: RabbitMQ keeps"),
        ({"exchanges": [{"vhost": "v", "name": ""}]}, "exchange  on vhost v: RabbitMQ keeps"),
        ({"bindings": [{"vhost": "v", "source": "", "destination": "q"}]}, "bound to the default exchange already"),
        (
            {"parameters": [{"vhost": "v", "component": "vhost-limits", "name": "limits", "value": {}}]},
            "write it as limits of the vhost",
        ),
        (
            {"parameters": [{"vhost": "v", "component": "policy", "name": "p", "value": {}}]},
            "write it into policies",
        ),
        ({"global_parameters": [{"name": "celery_cluster.owned.x", "value": {}}]}, "this module's own records"),
    ],
)
def test_names_that_are_taken(options: dict[str, Any], message: str) -> None:
    (told,) = found(**options)
    assert message in told


def test_what_is_right_is_no_problem() -> None:
    admin = {"name": "admin", "password": "p", "tags": ["administrator"]}
    options: dict[str, Any] = {"users": [admin, {"name": "c", "certificate": True}], "absent_users": ["guest"]}
    assert found(**options) == []
    assert clashes(**options) == []


@pytest.mark.parametrize(
    "options",
    [
        {"users": [{"name": "w", "password": "p", "permissions": [{"vhost": "no", **EVERYTHING}]}]},
        {
            "users": [
                {
                    "name": "w",
                    "password": "p",
                    "topic_permissions": [{"vhost": "no", "exchange": "x", "write": "", "read": ""}],
                }
            ]
        },
        {"policies": [{"vhost": "no", "name": "p", "pattern": "", "definition": {}}]},
        {"parameters": [{"vhost": "no", "component": "c", "name": "n", "value": 1}]},
        {"exchanges": [{"vhost": "no", "name": "n"}]},
        {"queues": [{"vhost": "no", "name": "n"}]},
        {"bindings": [{"vhost": "no", "source": "x", "destination": "q"}]},
    ],
)
def test_everything_needs_its_vhost(options: dict[str, Any]) -> None:
    (told,) = clashes(**options)
    assert "does not exist, or is about to go; add it to vhosts" in told
    assert clashes(**options, vhosts=[{"name": "no"}]) == [] or "bindings" in options


def test_a_vhost_that_is_about_to_go_cannot_be_used() -> None:
    queue = {"queues": [{"vhost": "old", "name": "n"}]}
    assert clashes(**queue) == []
    assert len(clashes({("vhosts", ("old",))}, **queue)) == 1


def test_a_binding_needs_both_ends() -> None:
    def binding(source: str, destination: str, kind: str = "queue") -> dict[str, Any]:
        ends = {"source": source, "destination": destination, "destination_type": kind}
        return {"bindings": [{"vhost": "shop", **ends}]}

    assert clashes(**binding("x", "q")) == []
    assert clashes(**binding("amq.topic", "amq.fanout", "exchange")) == []
    assert "exchange y on vhost shop does not exist; add it to exchanges" in clashes(**binding("y", "q"))[0]
    assert "queue r on vhost shop does not exist; add it to queues" in clashes(**binding("x", "r"))[0]
    assert "exchange q on vhost shop does not exist" in clashes(**binding("x", "q", "exchange"))[0]
    assert clashes(**binding("x", "r"), queues=[{"vhost": "shop", "name": "r"}]) == []
    assert "add it to queues" in clashes({("queues", ("shop", "q"))}, **binding("x", "q"))[0]


def test_an_exchange_of_another_type_is_a_conflict() -> None:
    assert clashes(exchanges=[{"vhost": "shop", "name": "x", "type": "topic", "arguments": {}}]) == []
    (told,) = clashes(exchanges=[{"vhost": "shop", "name": "x", "type": "fanout", "internal": True}])
    assert 'exists with type "topic", internal false; wanted is type "fanout", internal true' in told
    assert "use another name, or delete it when nothing is bound to it" in told
