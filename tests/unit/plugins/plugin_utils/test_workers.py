"""Options of a kind of worker: what is completed, what is refused, and the command line Celery itself parses."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.text import env_file, systemd_quote
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.workers import (
    LOG_LEVELS,
    OPTIONS,
    POOLS,
    normalize_worker,
    worker_arguments,
)
from celery import Celery
from celery.bin.base import CLIContext
from celery.bin.worker import worker as celery_worker
from hypothesis import given, settings
from hypothesis import strategies as st

COMMAND_LINE = CLIContext(app=Celery(set_as_current=False), no_color=True, workdir=None)

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.sampled_from(["", " ", "a\n", "\0", "8G", "celery_workers", "prefork", "INFO", "mail"]),
)
KEYS = st.one_of(st.text(max_size=8), st.none(), st.booleans(), st.integers(-5, 5), st.dates())
ANY = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=8,
)

POSITIVE = st.integers(1, 100000)
#: For every option values that are right, so that right and wrong ones meet in one worker.
RIGHT: dict[str, st.SearchStrategy[Any]] = {
    "queues": st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,9}", fullmatch=True), min_size=1, unique=True),
    "pool": st.sampled_from(POOLS),
    "concurrency": POSITIVE,
    "autoscale": st.tuples(st.integers(0, 9), st.integers(9, 99)).map(list),
    "hosts": st.sampled_from(["celery_workers", "big:!small", "all"]),
    "prefetch_multiplier": POSITIVE,
    "time_limit": POSITIVE,
    "soft_time_limit": POSITIVE,
    "max_tasks_per_child": POSITIVE,
    "max_memory_per_child": POSITIVE,
    "memory_max": st.from_regex(r"[1-9][0-9]?[KMGT]?", fullmatch=True),
    "stop_timeout": POSITIVE,
    "log_level": st.sampled_from(LOG_LEVELS),
    "environment": st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True), st.integers(), max_size=3),
    "arguments": st.lists(st.one_of(st.integers(), st.just("--purge")), max_size=3),
}
WORKERS = st.fixed_dictionaries({}, optional={key: st.one_of(value, ANY) for key, value in RIGHT.items()})
RIGHT_WORKERS = st.fixed_dictionaries(
    {"queues": RIGHT["queues"]}, optional={key: value for key, value in RIGHT.items() if key != "queues"}
)


def normalized(**options: Any) -> dict[str, Any]:
    worker, problems = normalize_worker("w", options)
    assert problems == []
    assert worker is not None
    return worker


def problems_of(**options: Any) -> list[str]:
    worker, problems = normalize_worker("w", {"queues": ["celery"], **options})
    assert worker is None
    return problems


def check_usable(worker: dict[str, Any] | None, problems: list[str]) -> None:
    """Either a worker that every later step can use, or problems that say where they are."""
    if worker is None:
        assert problems
        assert all(problem.startswith("w") for problem in problems)
        return
    assert problems == []
    assert worker["queues"]
    assert worker["stop_timeout"] >= (worker["time_limit"] or 1)
    env_file(worker["environment"])
    systemd_quote(worker_arguments(worker))


@settings(max_examples=80, deadline=None)
@given(st.one_of(ANY, st.dictionaries(st.one_of(KEYS, st.sampled_from(sorted(OPTIONS))), ANY, max_size=5), WORKERS))
def test_any_value_gives_a_worker_or_problems(options: Any) -> None:
    check_usable(*normalize_worker("w", options))


@settings(max_examples=40, deadline=None)
@given(RIGHT_WORKERS)
def test_right_options_are_refused_for_a_contradiction_only(options: dict[str, Any]) -> None:
    worker, problems = normalize_worker("w", options)
    check_usable(worker, problems)
    autoscale_elsewhere = "autoscale" in options and options.get("pool", "prefork") != "prefork"
    stop_too_short = options.get("stop_timeout", 10**6) < options.get("time_limit", 0)
    assert (worker is None) == (autoscale_elsewhere or stop_too_short)


@settings(max_examples=40, deadline=None)
@given(RIGHT_WORKERS)
def test_celery_itself_understands_the_arguments(options: dict[str, Any]) -> None:
    options = {**options, "arguments": []}
    worker, _problems = normalize_worker("w", options)
    if worker is None:
        return
    arguments = worker_arguments(worker)
    pools = {"gevent", "eventlet"}  # Celery imports these pools while it parses; they are not installed here.
    if worker["pool"] in pools:
        arguments[arguments.index("--pool") + 1] = "prefork"
    parsed = celery_worker.make_context("worker", arguments, obj=COMMAND_LINE).params
    assert parsed["queues"] == worker["queues"]
    assert (parsed["without_gossip"], parsed["without_mingle"], parsed["heartbeat_interval"]) == (True, True, 10)
    assert parsed["loglevel"] == worker["log_level"] or isinstance(parsed["loglevel"], int)
    for key in ("prefetch_multiplier", "time_limit", "soft_time_limit", "max_tasks_per_child", "max_memory_per_child"):
        assert worker[key] in (None, parsed[key])
    if worker["autoscale"]:
        assert list(parsed["autoscale"]) == [worker["autoscale"][1], worker["autoscale"][0]]
    else:
        assert parsed["concurrency"] == worker["concurrency"]


def test_defaults() -> None:
    worker = normalized(queues=["celery"])
    assert (worker["pool"], worker["concurrency"], worker["pattern"]) == ("prefork", 2, "celery_workers")
    assert (worker["environment"], worker["arguments"], worker["stop_timeout"]) == ({}, [], 600)
    assert "hosts" not in worker


def test_a_stop_waits_for_the_longest_task() -> None:
    assert normalized(queues=["a"], time_limit=7200)["stop_timeout"] == 7260
    assert normalized(queues=["a"], time_limit=7200, stop_timeout=7200)["stop_timeout"] == 7200
    assert problems_of(time_limit=7200, stop_timeout=7199) == [
        "w.stop_timeout (7199 s) is shorter than time_limit (7200 s): "
        "a stop would kill tasks that are still allowed to run; write at least the time limit"
    ]


def test_numbers_become_text_where_text_is_wanted() -> None:
    worker = normalized(queues=[2024], environment={"OMP_NUM_THREADS": 1}, arguments=["-O", 5])
    assert worker["queues"] == ["2024"]
    assert worker["environment"] == {"OMP_NUM_THREADS": "1"}
    assert worker["arguments"] == ["-O", "5"]
    assert worker_arguments(worker)[-2:] == ["-O", "5"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queues": []}, "w.queues is missing"),
        ({"queues": None}, "w.queues is missing"),
        ({"queues": "celery"}, "w.queues is 'celery': write a list"),
        ({"queues": ["a,b"]}, "w.queues has 'a,b'"),
        ({"queues": ["a\n"]}, r"w.queues has 'a\n'"),
        ({"queues": [True]}, "w.queues has True"),
        ({"queues": [None]}, "w.queues has None"),
        ({"queues": [["a"]]}, "w.queues has ['a']"),
        ({"queues": ["a", "b", "a"]}, "w.queues has 'a' more than once: write it once"),
        ({"queues": [1, "1"]}, "w.queues has '1' more than once"),
        ({"pool": "process"}, "w.pool is 'process': write one of prefork, threads"),
        ({"log_level": "info"}, "w.log_level is 'info'"),
        ({"hosts": " "}, "w.hosts is empty"),
        ({"hosts": ["a"]}, "w.hosts is ['a']: write a text"),
        ({"concurrency": 0}, "w.concurrency is 0: write 1 or more"),
        ({"concurrency": True}, "w.concurrency is True: write a whole number"),
        ({"concurrency": "4"}, "w.concurrency is '4': write a whole number"),
        ({"concurrency": 1.5}, "w.concurrency is 1.5: write a whole number"),
        ({"prefetch_multiplier": 0}, "w.prefetch_multiplier is 0: write 1 or more"),
        ({"memory_max": "8 GB"}, "w.memory_max is '8 GB': write a size such as"),
        ({"memory_max": "8G\n"}, "w.memory_max is"),
        ({"autoscale": [8, 2]}, "w.autoscale is [8, 2]: write [least, most]"),
        ({"autoscale": [0, 0]}, "w.autoscale is [0, 0]"),
        ({"autoscale": [False, True]}, "w.autoscale is [False, True]"),
        ({"autoscale": ["2", "8"]}, "w.autoscale is ['2', '8']"),
        ({"autoscale": [1, 2, 3]}, "w.autoscale is [1, 2, 3]"),
        ({"autoscale": [1, 2], "pool": "threads"}, "w.autoscale works with the prefork pool only"),
        ({"environment": ["TOKEN=hunter2"]}, "w.environment is of another kind: write a mapping"),
        ({"environment": {"A-B": "x"}}, "w.environment: 'A-B' is not a name of an environment variable"),
        ({"environment": {1: "x"}}, "w.environment: 1 is not a name"),
        ({"environment": {"A": None}}, "w.environment: the value of A is no text"),
        ({"environment": {"A": "x\ny"}}, "w.environment: the value of A holds a control character"),
        ({"arguments": [None]}, "w.arguments has None"),
        ({"arguments": ["a\0"]}, "w.arguments has"),
        ({"memory": "8G"}, "w.memory: unknown option; the options are arguments, autoscale"),
        ({None: 1}, "w.None: unknown option"),
    ],
)
def test_what_is_refused_and_what_to_write_instead(options: dict[str, Any], message: str) -> None:
    worker, problems = normalize_worker("w", {"queues": ["celery"], **options})
    assert worker is None
    assert len(problems) == 1
    assert problems[0].startswith(message)
    assert "hunter2" not in problems[0]


def test_all_problems_come_at_once() -> None:
    assert len(problems_of(queues=["a b"], pool="x", concurrency=0, memory_max="much")) == 4
    assert len(problems_of(queues=1, pool=2, typo=3)) == 3


@pytest.mark.parametrize("options", [None, [], "celery", 4, True])
def test_a_worker_that_is_no_mapping(options: Any) -> None:
    worker, problems = normalize_worker("celery_workers.default", options)
    assert worker is None
    assert problems == [
        f"celery_workers.default is {options!r}: write a mapping, for example {{queues: [celery], concurrency: 4}}"
    ]
