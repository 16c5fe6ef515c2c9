"""The queues of the cluster: names, routes and the time a message may be held."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Inventory, Worker
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.queues import check_queues
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.workers import read_workers
from hypothesis import given, settings
from hypothesis import strategies as st

SETTINGS = ("task_default_queue", "task_default_queue_type", "task_create_missing_queue_type", "task_queues")
CLASSIC = {"celery_queue_type": "classic"}
GROUPS = {"celery_workers": ["w1", "w2"], "empty": []}


def inventory(**variables: Any) -> Inventory:
    return Inventory(GROUPS, {"w1": {}, "w2": {}}, variables, lambda pattern: GROUPS.get(pattern, []))


def workers(*queues: str, **options: Any) -> dict[str, Worker]:
    return read_workers({"w": {"queues": list(queues), **options}}, inventory(), Problems())


def told(kinds: dict[str, Worker], **variables: Any) -> list[str]:
    problems = Problems()
    check_queues(kinds, inventory(**variables), problems)
    return [f"{problem.code} {problem.place} {problem.what}: {problem.instead}" for problem in problems]


def codes(kinds: dict[str, Worker], **variables: Any) -> list[str]:
    return [message[:5] for message in told(kinds, **variables)]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(5000).map(lambda digits: 16**digits),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["queue", "quorum", "mail", "shop.*", "4000"]),
)
ANY = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(SCALARS, st.sampled_from(SETTINGS)), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(ANY, st.fixed_dictionaries({}, optional=dict.fromkeys([*SETTINGS, "task_routes"], ANY))),
    ANY,
    st.one_of(ANY, st.fixed_dictionaries({"consumer_timeout": ANY})),
)
def test_any_settings_give_problems_and_no_exception(celery: Any, timeout: Any, lines: Any) -> None:
    told(workers("celery", "mail"), celery_settings=celery, rabbitmq_consumer_timeout=timeout, rabbitmq_settings=lines)


# --------------------------------------------------------------------------------------------------
# Names


@pytest.mark.parametrize(
    "queue",
    [
        "amq.mail",
        "celeryev",
        "celeryev.x",
        "celery.pidbox",
        "w1.celery.pidbox",
        "celery_delayed_27",
        "celery_delayed_x",
    ],
)
def test_a_name_that_is_taken(queue: str) -> None:
    messages = told(workers("celery", queue))
    assert messages[0] == (
        f"CC301 celery_workers.w.queues has {queue!r}, a name that Celery or the broker uses itself: write another"
    )


@pytest.mark.parametrize("queue", ["amqp", "celeryevents", "mypidbox", "celery_delayed", "galaxy.internal"])
def test_a_name_that_is_free(queue: str) -> None:
    assert told(workers("celery", queue)) == []


def test_a_dot_suffix_is_refused_for_quorum_queues() -> None:
    kinds = workers("celery", "mail", "bulk.mail")
    assert codes(kinds, **CLASSIC) == ["CC303"]
    assert told(kinds) == [
        "CC302 celery_workers.w.queues has 'bulk.mail', which ends in the name of the queue 'mail', so that delayed "
        "messages for the first reach the second, too: rename one of them, for example to 'bulk-mail', or write "
        "classic into celery_queue_type"
    ]


def test_the_queue_of_dead_letters_has_no_worker() -> None:
    assert told(workers("celery", "shop.dead"), celery_name="shop") == [
        "CC310 celery_workers.w.queues has 'shop.dead', the queue that keeps the messages no worker could finish: "
        "write another name"
    ]
    assert told(workers("celery", "store.dead"), celery_name="shop") == []


@pytest.mark.parametrize(
    "queues", [("galaxy.internal", "galaxy.external"), ("mail", "bulkmail"), ("mail", "mail.bulk")]
)
def test_names_that_only_look_alike(queues: tuple[str, str]) -> None:
    assert told(workers("celery", *queues)) == []


def test_every_suffix_is_seen() -> None:
    assert codes(workers("celery", "c", "b.c", "a.b.c")) == ["CC302"] * 3


# --------------------------------------------------------------------------------------------------
# Who consumes what


@pytest.mark.parametrize(
    "routes",
    [
        {"shop.*": "mial"},
        {"shop.*": {"queue": "mial", "routing_key": "x"}},
        [["shop.*", {"queue": "mial"}]],
        [["shop.*", "mial"], ["other", "mail"]],
        [{"other": "mail"}, {"shop.*": "mial"}],
        ["shop.routers.Router", {"shop.*": "mial"}, {"other": "mail"}],
        ["shop.routers.Router", {"shop.*": {"queue": "mial"}}],
        [[["shop.*", "mial"], ["other", "mail"]]],
    ],
)
def test_a_route_to_a_queue_nobody_consumes(routes: Any) -> None:
    assert told(workers("celery", "mail"), celery_settings={"task_routes": routes}) == [
        "CC304 celery_settings.task_routes sends 'shop.*' to the queue 'mial', which no kind of worker consumes: "
        "write 'mail', or add 'mial' to the queues of a kind in celery_workers"
    ]


@pytest.mark.parametrize(
    "routes",
    [
        {"shop.*": "mail"},
        {"shop.*": {"queue": "mail"}},
        {"shop.*": {"exchange": "x"}},
        {"shop.*": None},
        {"shop.*": 5},
        [["shop.*", {"queue": "mail"}]],
        "shop.routers.Router",
        ["shop.routers.Router"],
        ["shop.routers.Router", "shop.routers.Other"],
        [["shop.*"], [["shop.*"], "x"], 7],
        [],
        None,
        7,
    ],
)
def test_routes_that_are_accepted_or_cannot_be_judged(routes: Any) -> None:
    assert told(workers("celery", "mail"), celery_settings={"task_routes": routes}) == []


def test_the_default_queue_is_consumed() -> None:
    assert told(workers("celery")) == []
    assert told(workers("mail"), celery_settings={"task_default_queue": "mail"}) == []
    assert told(workers("mail"), celery_settings={"task_default_queue": "mial"}) == [
        "CC305 celery_settings.task_default_queue is 'mial', which no kind of worker consumes: write 'mail', or add "
        "'mial' to the queues of a kind in celery_workers"
    ]


def test_a_default_queue_that_nobody_chose_is_a_warning() -> None:
    problems = Problems()
    check_queues(workers("mail"), inventory(), problems)
    assert problems.errors == []
    assert [problem.code for problem in problems.warnings] == ["CC306"]


def test_nothing_is_missing_while_the_queues_of_a_kind_are_unknown() -> None:
    wrong = {"task_routes": {"shop.*": "video"}, "task_default_queue": "video"}
    assert codes(workers("mail"), celery_settings=wrong) == ["CC304", "CC305"]
    assert codes({}, celery_settings=wrong) == []
    kinds = read_workers({"a": {"queues": ["mail"]}, "b": ["video"]}, inventory(), Problems())
    assert codes(kinds, celery_settings=wrong) == []


def test_a_queue_is_consumed_on_a_host() -> None:
    kinds = {"a": {"queues": ["celery", "video"], "hosts": "empty"}, "b": {"queues": ["celery"]}}
    assert told(read_workers(kinds, inventory(), Problems())) == [
        "CC307 celery_workers.a.queues has 'video', which is consumed on no host: let a kind that has hosts consume it"
    ]


# --------------------------------------------------------------------------------------------------
# How long a message may be held


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"rabbitmq_consumer_timeout": 660}, ""),
        ({"rabbitmq_consumer_timeout": "660"}, ""),
        ({"rabbitmq_consumer_timeout": 659}, "rabbitmq_consumer_timeout"),
        ({"rabbitmq_consumer_timeout": "659"}, "rabbitmq_consumer_timeout"),
        ({"rabbitmq_settings": {"consumer_timeout": 660000}}, ""),
        ({"rabbitmq_settings": {"consumer_timeout": 659999}}, "rabbitmq_settings.consumer_timeout"),
        ({"rabbitmq_consumer_timeout": 1, "rabbitmq_settings": {"consumer_timeout": 660000}}, ""),
        ({"rabbitmq_consumer_timeout": True}, ""),
        ({"rabbitmq_consumer_timeout": "soon"}, ""),
        ({}, ""),
    ],
)
def test_the_longest_task_and_stop_fit_the_consumer_timeout(variables: dict[str, Any], place: str) -> None:
    kinds = read_workers(
        {"a": {"queues": ["celery"]}, "b": {"queues": ["b"], "time_limit": 300}}, inventory(), Problems()
    )
    assert kinds["b"].stop_timeout == 360
    messages = told(kinds, **variables)
    assert len(messages) == bool(place)
    if place:
        assert messages[0].startswith(f"CC308 {place} gives a delivered task 659")
        assert "a worker of the kind b may hold one for 660 s" in messages[0]
