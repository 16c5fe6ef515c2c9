"""What of a change of the cluster concerns a host."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils import inputs
from test_topology import REFERENCE, model

GROUPS: dict[str, list[str]] = {**REFERENCE["groups"], "all": list(REFERENCE["hosts"])}
ADDRESS = {"celery_address": "192.0.2.9"}
LARGER = {**GROUPS, "celery_workers": ["w1", "w2", "w3"], "all": [*GROUPS["all"], "w3"]}


def larger(**changes: Any) -> dict[str, Any]:
    return model(groups__celery_workers=LARGER["celery_workers"], hosts__w3=ADDRESS, **changes)


def test_only_workers_are_hosts_of_workers_alone() -> None:
    assert inputs.workers_alone(model()) == ["w1", "w2"]
    assert inputs.workers_alone(model(groups__celery_beat=["w1"])) == ["w2"]
    assert inputs.workers_alone(model(groups__flower=["w2"])) == ["w1"]


def test_another_worker_concerns_the_servers_alone() -> None:
    before, after = model(), larger()
    told = {
        host: inputs.concerning(before, GROUPS, host) == inputs.concerning(after, LARGER, host)
        for host in before["hosts"]
    }
    assert told == {"mq": False, "db": False, "app": False, "mon": False, "w1": True, "w2": True}


@pytest.mark.parametrize(
    "change",
    [
        {"hosts__mq": {"celery_address": "192.0.2.77"}},
        {"hosts__db": {"celery_address": "192.0.2.77"}},
        {"hosts__w1": {"celery_address": "192.0.2.77"}},
        {"groups__flower": ["mon", "w1"]},
        {"groups__celery_beat": ["w1"]},
        {"groups__postgresql": [], "settings__celery_result_backend_url": "redis://x"},
        {"groups__rabbitmq": ["mq", "mon", "app"]},
        {"groups__big": ["w1", "w2"]},
        {"settings__celery_broker_identities_per_host": True},
        {"settings__celery_workers": {"default": {"queues": ["celery", "mail"], "concurrency": 7}}},
    ],
)
def test_everything_else_concerns_a_worker(change: dict[str, Any]) -> None:
    assert model(**change) != model()
    assert inputs.concerning(model(**change), GROUPS, "w1") != inputs.concerning(model(), GROUPS, "w1")


def test_a_group_of_the_operator_concerns_a_worker_that_enters_it() -> None:
    before = inputs.concerning(model(), GROUPS, "w1")
    assert inputs.concerning(model(), {**GROUPS, "fast": ["w2"]}, "w1") != before
    both = {**GROUPS, "fast": ["w1", "w2"]}
    assert inputs.concerning(model(), {**GROUPS, "fast": ["w1"]}, "w1") == inputs.concerning(model(), both, "w1")


def test_nothing_of_another_worker_is_left() -> None:
    text = str(inputs.concerning(larger(settings__celery_broker_identities_per_host=True), LARGER, "w1"))
    assert "w3" not in text and "w2" not in text and ADDRESS["celery_address"] not in text


RECEIPT = {"a": "1", inputs.CLUSTER: "2", inputs.ALL_GROUPS: "3", inputs.CONCERNS: "4"}


@pytest.mark.parametrize(
    ("now", "concerned"),
    [
        ({}, False),
        ({inputs.CLUSTER: "x", inputs.ALL_GROUPS: "x"}, False),
        ({inputs.CLUSTER: "x", inputs.CONCERNS: "x"}, True),
        ({"a": "x"}, True),
        ({"new": "x"}, True),
    ],
)
def test_a_host_is_concerned_by_all_that_is_not_of_others(now: dict[str, str], concerned: bool) -> None:
    assert inputs.concerns(RECEIPT, {**RECEIPT, **now}) is concerned


def test_a_receipt_that_does_not_say_it_is_no_proof() -> None:
    old = {name: digest for name, digest in RECEIPT.items() if name != inputs.CONCERNS}
    assert inputs.concerns(old, RECEIPT) and inputs.concerns(old, old)


def test_what_concerns_the_host_is_no_reason_of_its_own() -> None:
    assert inputs.differences(RECEIPT, {**RECEIPT, inputs.CLUSTER: "x", inputs.CONCERNS: "x"}) == [
        "the cluster has changed"
    ]
