"""Quorum or classic queues, and what contradicts the choice."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Inventory
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.queue_type import (
    EXCHANGE_TYPES,
    QUEUE_TYPES,
    QUORUM_SETTINGS,
    celery_setting,
    check_queue_type,
    queue_settings,
    queue_type,
    quorum_place,
)
from celery.app.defaults import _TO_OLD_KEY, DEFAULTS
from hypothesis import given
from hypothesis import strategies as st

VARIABLE = "celery_queue_type"
CLASSIC: dict[str, Any] = {VARIABLE: "classic"}
BOTH = dict.fromkeys(QUEUE_TYPES, "classic")
ONE_QUEUE = {"mail": {"queue_arguments": {"x-queue-type": "quorum"}}}


def inventory(**variables: Any) -> Inventory:
    return Inventory({}, {}, variables, lambda _pattern: (), frozenset(variables))


def found(**variables: Any) -> list[str]:
    problems = Problems()
    check_queue_type(inventory(**variables), problems)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize("name", ["task_default_queue", "task_queues", "task_routes", *QUEUE_TYPES])
def test_a_setting_is_found_by_its_new_and_its_old_name(name: str) -> None:
    old = _TO_OLD_KEY[name]
    assert celery_setting(inventory(celery_settings={name: "x"}), name) == (f"celery_settings.{name}", "x")
    assert celery_setting(inventory(celery_settings={old: "x"}), name) == (f"celery_settings.{old}", "x")
    assert celery_setting(inventory(), name) == (f"celery_settings.{name}", None)


def test_celery_knows_the_settings() -> None:
    assert set(QUORUM_SETTINGS) <= set(DEFAULTS)
    assert {*QUEUE_TYPES, *EXCHANGE_TYPES} <= set(QUORUM_SETTINGS)


def test_quorum_queues_are_the_default() -> None:
    assert queue_type(inventory()) == queue_type(inventory(celery_queue_type="quorum")) == "quorum"
    assert queue_settings(inventory()) == QUORUM_SETTINGS
    assert queue_type(inventory(**CLASSIC)) == "classic"
    assert queue_settings(inventory(**CLASSIC)) == {}


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, VARIABLE),
        ({VARIABLE: "quorum"}, VARIABLE),
        (CLASSIC, ""),
        ({"celery_settings": BOTH}, ""),
        ({"celery_settings": {"task_default_queue_type": "classic"}}, VARIABLE),
        (
            {**CLASSIC, "celery_settings": {"task_default_queue_type": "quorum"}},
            "celery_settings.task_default_queue_type",
        ),
        (
            {**CLASSIC, "celery_settings": {"CELERY_CREATE_MISSING_QUEUE_TYPE": "quorum"}},
            "celery_settings.CELERY_CREATE_MISSING_QUEUE_TYPE",
        ),
        ({**CLASSIC, "celery_settings": {"task_queues": ONE_QUEUE}}, "celery_settings.task_queues"),
        ({**CLASSIC, "celery_settings": {"task_queues": {"mail": {"queue_arguments": {}}}}}, ""),
        ({**CLASSIC, "celery_settings": {"task_queues": ["mail"]}}, ""),
        ({**CLASSIC, "celery_settings": "no mapping"}, ""),
    ],
)
def test_who_asks_for_quorum_queues(variables: dict[str, Any], place: str) -> None:
    assert quorum_place(inventory(**variables)) == place


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"celery_settings": {"task_default_queue_type": "classic"}},
            "CC309 error: celery_settings.task_default_queue_type is classic, and celery_queue_type is quorum: remove "
            "it, and write classic into celery_queue_type if",
        ),
        (
            {**CLASSIC, "celery_settings": {"CELERY_CREATE_MISSING_QUEUE_TYPE": "quorum"}},
            "CC309 error: celery_settings.CELERY_CREATE_MISSING_QUEUE_TYPE is quorum, and celery_queue_type is classic",
        ),
        (
            {"celery_settings": {"task_default_exchange_type": "direct"}},
            "CC309 error: celery_settings.task_default_exchange_type is direct, and celery_queue_type is quorum",
        ),
        (
            {"celery_settings": {"task_create_missing_queue_exchange_type": "direct"}},
            "CC309 error: celery_settings.task_create_missing_queue_exchange_type is direct",
        ),
        ({VARIABLE: "quorom"}, "CC311 error: celery_queue_type is 'quorom': write quorum"),
        ({VARIABLE: 7}, "CC311 error: celery_queue_type is 7: write one of quorum, classic"),
        ({"celery_delivery_limit": 0}, "CC312 error: celery_delivery_limit is 0: write how often one message may be"),
        ({"celery_delivery_limit": True}, "CC312"),
        ({"celery_delivery_limit": "20"}, "CC312"),
        ({"celery_dead_letter_days": 0}, "CC313 error: celery_dead_letter_days is 0: write how many days"),
        ({"celery_dead_letter_days": 50}, "CC313 error: celery_dead_letter_days is 50: write how many days the dead"),
        ({**CLASSIC, "celery_delivery_limit": 5}, "CC314 warning: celery_delivery_limit is set, and celery_queue_type"),
    ],
)
def test_what_cannot_be(variables: dict[str, Any], message: str) -> None:
    (problem,) = found(**variables)
    assert problem.startswith(message)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"celery_delivery_limit": 1, "celery_dead_letter_days": 1},
        {"celery_dead_letter_days": 49, "celery_settings": QUORUM_SETTINGS},
        {**CLASSIC, "celery_settings": {**BOTH, "task_default_exchange_type": "direct", "task_queues": ONE_QUEUE}},
        {"celery_settings": {"task_default_exchange_type": "fanout"}},
    ],
)
def test_what_can_be(variables: dict[str, Any]) -> None:
    assert found(**variables) == []


def test_the_longest_time_is_one_that_rabbitmq_counts() -> None:
    assert 49 * 24 * 3600 * 1000 < 2**32 < 50 * 24 * 3600 * 1000


ANY = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=5),
        st.just(5000).map(lambda digits: 16**digits),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([*QUORUM_SETTINGS]), inner)),
    max_leaves=6,
)


@given(ANY, ANY, ANY)
def test_any_value_is_accepted_or_told(kind: Any, celery: Any, number: Any) -> None:
    values = {VARIABLE: kind, "celery_settings": celery, "celery_delivery_limit": number}
    assert all(found(**values))
    assert isinstance(quorum_place(inventory(**values)), str)
