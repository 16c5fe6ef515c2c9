"""Answers of RabbitMQ 3.10.8 and 4.0.5, recorded from brokers with the same content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_plan import plan
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_problems import conflicts
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_state import (
    State,
    parse_definitions,
    wanted_from,
)
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_survey import with_metadata

RECORDED = Path(__file__).parent / "recorded"
VERSIONS = ["3.10", "4.0"]
# What was on the brokers, as the module takes it.
WANTED: dict[str, Any] = {
    "vhosts": [{"name": "probe", "limits": {"max-connections": 64, "max-queues": 30}}],
    "users": [
        {
            "name": "admin",
            "password": "recorded-admin",
            "tags": ["administrator"],
            "permissions": [{"vhost": "probe", "configure": ".*", "write": ".*", "read": ".*"}],
        },
        {
            "name": "certy",
            "certificate": True,
            "limits": {"max-connections": 10, "max-channels": 20},
            "permissions": [{"vhost": "probe", "configure": "^$", "write": "^(a)$", "read": "^(a)$"}],
            "topic_permissions": [{"vhost": "probe", "exchange": "ex1", "write": "^a", "read": "^b"}],
        },
    ],
    "policies": [
        {
            "vhost": "probe",
            "name": "pol",
            "pattern": "^(a)$",
            "apply_to": "queues",
            "priority": 1,
            "definition": {"dead-letter-exchange": "dead", "delivery-limit": 20},
        }
    ],
    "exchanges": [{"vhost": "probe", "name": "ex1", "type": "topic"}],
    "queues": [
        {"vhost": "probe", "name": "c1", "arguments": {"x-queue-type": "classic"}},
        {"vhost": "probe", "name": "q1", "arguments": {"x-queue-type": "quorum"}},
    ],
    "bindings": [{"vhost": "probe", "source": "ex1", "destination": "q1", "routing_key": "a.b"}],
}


class Api:
    def __init__(self, version: str) -> None:
        self.version, self.asked = version, 0

    def read(self, *path: str, query: str = "") -> Any:
        assert (path, query) == (("vhosts",), "")
        self.asked += 1
        return json.loads((RECORDED / f"{self.version}-vhosts.json").read_text())


def recorded(version: str) -> State:
    return parse_definitions(json.loads((RECORDED / f"{version}-definitions.json").read_text()))


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_there_needs_no_change(version: str) -> None:
    state, wanted = recorded(version), wanted_from(WANTED)
    assert state.version.startswith(version)
    assert conflicts(state, wanted, ()) == []
    assert plan(state, wanted, "admin").operations == []


@pytest.mark.parametrize("version", VERSIONS)
def test_each_change_is_seen(version: str) -> None:
    state = recorded(version)
    for kind, change in (
        ("vhosts", {"limits": {"max-connections": 64, "max-queues": 31}}),
        ("users", {"limits": {}}),
        ("users", {"topic_permissions": []}),
        ("users", {"tags": ["monitoring", "administrator"]}),
        ("policies", {"priority": 2}),
        ("policies", {"definition": {}}),
        ("bindings", {"routing_key": "a.c"}),
        ("bindings", {"arguments": {"x": 1}}),
    ):
        changed = {**WANTED, kind: [*WANTED[kind][:-1], {**WANTED[kind][-1], **change}]}
        assert plan(state, wanted_from(changed), "admin").operations != [], (kind, change)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_queue_of_another_type_or_with_other_arguments_is_a_conflict(version: str) -> None:
    def told(**change: Any) -> list[str]:
        queue = {"vhost": "probe", "name": "c1", **change}
        return conflicts(recorded(version), wanted_from({"queues": [queue]}), ())

    assert told() == []  # no type: whatever the broker chose
    (message,) = told(arguments={"x-queue-type": "quorum"})
    assert message.startswith(
        "queue c1 on vhost probe exists with type classic; wanted is type quorum. RabbitMQ cannot"
    )
    assert "delete_queue --if-empty" in message
    (message,) = told(durable=False, arguments={"x-max-length": 1})
    assert 'exists with durable true, arguments {}; wanted is durable false, arguments {"x-max-length": 1}' in message


@pytest.mark.parametrize(("version", "requests"), [("3.10", 1), ("4.0", 0)])
def test_the_description_of_a_vhost_costs_a_request_only_where_the_definitions_do_not_tell_it(
    version: str, requests: int
) -> None:
    api, vhost = Api(version), {"name": "probe", "description": "a probe", "tags": ["t2", "t1"]}
    wanted = wanted_from({"vhosts": [vhost, {"name": "new", "description": "x"}]})
    state = with_metadata(api, recorded(version), wanted)
    assert api.asked == requests
    assert [step.text for step in plan(state, wanted, "admin").operations] == [
        "create the vhost new",
        "take from user admin the permissions that creating vhost new gave it",
    ]
    # A change repeats what stays, because the API forgets it otherwise.
    (change,) = plan(state, wanted_from({"vhosts": [{"name": "probe", "tags": ["t3"]}]}), "admin").operations
    assert change.text == "change the vhost probe: tags"
    assert change.body is not None
    assert (change.body["description"], change.body["tags"]) == ("a probe", "t3")
    assert with_metadata(api, state, wanted_from({"vhosts": [{"name": "probe"}]})) is state


def test_what_the_older_version_cannot_do_is_refused() -> None:
    wanted = wanted_from(
        {
            "vhosts": [{"name": "probe", "default_queue_type": "quorum"}],
            "policies": [{**WANTED["policies"][0], "apply_to": "quorum_queues"}],
        }
    )
    vhost, policy = sorted(conflicts(recorded("3.10"), wanted, ()), reverse=True)
    assert "RabbitMQ 3.10.8 sets default_queue_type only when it makes the vhost; leave it out" in vhost
    assert "RabbitMQ 3.10.8 cannot apply a policy to quorum_queues" in policy
    assert conflicts(recorded("4.0"), wanted, ()) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_the_default_queue_type_of_4_can_be_changed(version: str) -> None:
    wanted = wanted_from({"vhosts": [{"name": "probe", "default_queue_type": "classic"}]})
    # 4.0 tells the type that applies also when nobody set it.
    assert (plan(recorded(version), wanted, "admin").operations == []) == (version == "4.0")
