"""The filters as templates call them, and their documentation."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.taskfleet.celery_cluster.plugins.filter import rendering
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils import (
    broker_state,
    flower,
    latencies,
    links,
    releases,
    text,
    workers,
)

FILTERS = rendering.FilterModule().filters()
BROKER = {
    "celery_vhost": "v",
    "celery_producers_declare": True,
    "celery_delivery_limit": 20,
    "celery_dead_letter_days": 14,
}
WORKER = {"name": "p-worker", "identity": "worker", "host": None, "login": "password"}
MODEL: dict[str, Any] = {"name": "p", "queue_type": "quorum", "broker_users": [WORKER]}


def test_the_filters_are_the_functions_of_the_model() -> None:
    functions = [
        broker_state.rabbitmq_desired,
        latencies.verify_text,
        links.canaries,
        links.deserted_queues,
        links.probes,
        flower.oauth_environment,
        releases.release_instance,
        releases.release_of,
        text.broker_url,
        text.database_url,
        text.env_file,
        text.management_url,
        text.own_files,
        text.service_file,
        text.systemd_quote,
        text.table,
        workers.worker_arguments,
    ]
    assert {name: inspect.unwrap(function) for name, function in FILTERS.items()} == {
        function.__name__: function for function in functions
    }


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_the_documentation_names_every_parameter(name: str) -> None:
    path = Path(rendering.__file__).with_name(f"{name}.yml")
    document = yaml.safe_load(path.read_text(encoding="utf-8"))["DOCUMENTATION"]
    parameters = list(inspect.signature(FILTERS[name]).parameters.values())
    assert document["name"] == name
    names = ["_input", *(parameter.name for parameter in parameters[1:])]
    assert list(document["options"]) == names
    positional = document["positional"].split(", ")
    assert positional == names[: len(positional)]
    for parameter in parameters:
        option = document["options"]["_input" if parameter is parameters[0] else parameter.name]
        optional = parameter.default is not inspect.Parameter.empty
        assert option.get("required", False) is not optional
        if optional:
            assert option["default"] == parameter.default


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("env_file", [{"A-B": "x"}], "'A-B' is not a name of an environment variable"),
        ("env_file", [{"A": "hunter2\n"}], "the value of A holds a control character"),
        ("service_file", [{"a": {"password": "hunter2\n"}}], "a: the value of password holds a line break"),
        ("systemd_quote", ["\0"], "NUL"),
        ("broker_url", [["mq"], 5671, "u", "\ud800", "v"], "surrogates"),
        (
            "rabbitmq_desired",
            [{**MODEL, "queues": {"celeryev": []}}, BROKER, {"p-worker": "hunter2"}],
            "Celery itself uses this name",
        ),
        (
            "rabbitmq_desired",
            [{**MODEL, "queues": {"celery": []}}, BROKER, {"p-other": "hunter2"}],
            "passwords lacks the password of the broker user 'p-worker'",
        ),
    ],
)
def test_what_the_model_refuses_is_an_error_of_the_filter(name: str, arguments: list[Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message) as caught:
        FILTERS[name](*arguments)
    assert "hunter2" not in str(caught.value)
