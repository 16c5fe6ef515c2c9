"""Options of a kind of worker: what is completed, what is refused, and the command line Celery itself parses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Inventory, Worker
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problem, Problems
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.text import systemd_quote
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.workers import (
    AS_OPTION,
    DECIDED,
    ENFORCED_BY,
    FLAGS,
    LOG_LEVELS,
    MOST,
    OPTIONS,
    POOLS,
    PURGING,
    SHORT,
    read_worker,
    read_workers,
    worker_arguments,
)
from celery import Celery
from celery.bin.base import CLIContext
from celery.bin.worker import worker as celery_worker
from hypothesis import given, settings
from hypothesis import strategies as st

COMMAND_LINE = CLIContext(app=Celery(set_as_current=False), no_color=True, workdir=None)

#: Python writes no number of so many digits; YAML reads it in hexadecimal.
HUGE = st.just(5000).map(lambda digits: 16**digits)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    HUGE,
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.sampled_from(["", " ", "a\n", "\0", "8G", "celery_workers", "prefork", "INFO", "mail", "-n", "--pool=solo"]),
)
KEYS = st.one_of(st.text(max_size=8), st.none(), st.booleans(), st.integers(-5, 5), HUGE, st.dates())
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
    "hosts": st.sampled_from(["celery_workers", "big:!w1", "all", "w*"]),
    "prefetch_multiplier": POSITIVE,
    "time_limit": POSITIVE,
    "soft_time_limit": POSITIVE,
    "max_tasks_per_child": POSITIVE,
    "max_memory_per_child": POSITIVE,
    "memory_max": st.from_regex(r"[1-9][0-9]?T", fullmatch=True),
    "memory_high": st.from_regex(r"[1-9][0-9]?[KMG]?", fullmatch=True),
    "cpu_quota": st.from_regex(r"[1-9][0-9]{0,3}%", fullmatch=True),
    "tasks_max": POSITIVE,
    "stop_timeout": POSITIVE,
    "log_level": st.sampled_from(LOG_LEVELS),
    "environment": st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True), st.integers(), max_size=3),
    "arguments": st.lists(st.one_of(st.integers(0), st.just("--task-events")), max_size=3),
    "unit_options": st.dictionaries(st.sampled_from(["Nice", "ProtectHome"]), st.one_of(st.booleans(), st.integers())),
}
WORKERS = st.fixed_dictionaries({}, optional={key: st.one_of(value, ANY) for key, value in RIGHT.items()})
RIGHT_WORKERS = st.fixed_dictionaries(
    {"queues": RIGHT["queues"]}, optional={key: value for key, value in RIGHT.items() if key != "queues"}
)

GROUPS = {
    "all": ["w1", "w2", "stranger"],
    "celery_workers": ["w1", "w2"],
    "big": ["w2"],
    "elsewhere": ["stranger"],
    "empty": [],
}
MATCHES = {**GROUPS, "w1": ["w1"], "w*": ["w1", "w2"], "big:!w1": ["w2"], "2001:db8::7": ["w1"]}


def inventory(**changes: Any) -> Inventory:
    hosts = {host: {} for host in [*GROUPS["all"], "2001:db8::7"]}
    # Classic queues: with quorum queues autoscale is a problem of its own.
    classic = {"celery_queue_type": "classic"}
    values = {"groups": GROUPS, "hosts": hosts, "settings": classic, "match": lambda pattern: MATCHES.get(pattern, [])}
    return Inventory(**{**values, **changes})


QUORUM = inventory(settings={})


def read(options: Any, where: Inventory | None = None) -> tuple[Worker, list[Problem]]:
    problems = Problems()
    worker = read_worker("w", options, where or inventory(), problems)
    return worker, list(problems)


def accepted(**options: Any) -> Worker:
    worker, problems = read({"queues": ["celery"], **options})
    assert problems == []
    return worker


def told(options: Mapping[str, Any], where: Inventory | None = None) -> list[str]:
    _worker, problems = read({"queues": ["celery"], **options}, where)
    return [f"{problem.code} {problem.place} {problem.what}: {problem.instead}" for problem in problems]


def as_templates_have_it(worker: Worker) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(worker).items()}


def check_usable(worker: Worker) -> None:
    """Whatever was told, later steps can use what was read."""
    assert worker.stop_timeout >= 1
    assert 1 <= worker.children <= MOST
    assert worker.pool in POOLS
    systemd_quote(worker_arguments(as_templates_have_it(worker)))


# --------------------------------------------------------------------------------------------------
# Anything, and what is right


@settings(max_examples=100, deadline=None)
@given(st.one_of(ANY, st.dictionaries(st.one_of(KEYS, st.sampled_from(sorted(OPTIONS))), ANY, max_size=5), WORKERS))
def test_any_value_gives_a_worker_that_can_be_used(options: Any) -> None:
    worker, problems = read(options)
    check_usable(worker)
    assert worker.queues or problems
    assert all(problem.what and problem.instead[0].islower() for problem in problems)


@settings(max_examples=60, deadline=None)
@given(st.one_of(ANY, st.dictionaries(st.one_of(KEYS, st.just("video")), st.one_of(ANY, WORKERS), max_size=4)))
def test_any_value_of_celery_workers_gives_kinds_or_problems(wanted: Any) -> None:
    problems = Problems()
    workers = read_workers(wanted, inventory(), problems)
    assert workers or problems.errors
    assert all(kind == worker.kind for kind, worker in workers.items())


@settings(max_examples=60, deadline=None)
@given(RIGHT_WORKERS)
def test_right_options_are_told_for_a_contradiction_only(options: dict[str, Any]) -> None:
    worker, problems = read({**options, "hosts": "w1"})
    check_usable(worker)
    pool = options.get("pool", "prefork")
    limits = {key: options[key] for key in ENFORCED_BY if key in options and pool in ENFORCED_BY[key]}
    hard = limits.get("time_limit", 0)
    contradictions = {
        "CC215": "autoscale" in options and pool != "prefork",
        "CC217": "autoscale" in options and "concurrency" in options and pool == "prefork",
        "CC218": pool == "solo" and options.get("concurrency", 1) > 1,
        "CC219": any(key in options and pool not in pools for key, pools in ENFORCED_BY.items()),
        "CC220": 0 < hard <= limits.get("soft_time_limit", 0),
        "CC221": options.get("stop_timeout", MOST) < hard,
    }
    assert {problem.code for problem in problems} == {code for code, is_there in contradictions.items() if is_there}


@settings(max_examples=40, deadline=None)
@given(RIGHT_WORKERS)
def test_celery_itself_understands_the_arguments(options: dict[str, Any]) -> None:
    worker, _problems = read({**options, "arguments": []})
    arguments = worker_arguments(as_templates_have_it(worker))
    pools = {"gevent", "eventlet"}  # Celery imports these pools while it parses; they are not installed here.
    if worker.pool in pools:
        arguments[arguments.index("--pool") + 1] = "prefork"
    parsed = celery_worker.make_context("worker", arguments, obj=COMMAND_LINE).params
    assert parsed["queues"] == list(worker.queues)
    assert (parsed["without_gossip"], parsed["without_mingle"], parsed["heartbeat_interval"]) == (True, True, 10)
    assert parsed["loglevel"] == worker.log_level or isinstance(parsed["loglevel"], int)
    for key in ("prefetch_multiplier", "time_limit", "soft_time_limit", "max_tasks_per_child", "max_memory_per_child"):
        assert getattr(worker, key) in (None, parsed[key])
    if worker.autoscale:
        assert tuple(parsed["autoscale"]) == (worker.autoscale[1], worker.autoscale[0])
    else:
        assert parsed["concurrency"] == worker.concurrency


def test_defaults() -> None:
    worker = accepted()
    assert (worker.kind, worker.queues, worker.pattern, worker.hosts) == (
        "w",
        ("celery",),
        "celery_workers",
        ("w1", "w2"),
    )
    assert (worker.pool, worker.concurrency, worker.children, worker.autoscale) == ("prefork", 2, 2, None)
    assert (worker.log_level, worker.arguments, worker.stop_timeout) == ("INFO", (), 600)


def test_a_stop_waits_for_the_longest_task() -> None:
    assert accepted(time_limit=7200).stop_timeout == 7260
    assert accepted(time_limit=7200, stop_timeout=7200).stop_timeout == 7200
    assert told({"time_limit": 7200, "stop_timeout": 7199}) == [
        "CC221 celery_workers.w.stop_timeout (7199 s) is shorter than time_limit (7200 s), so that a stop would kill "
        "tasks that may still run: write at least the time limit"
    ]


def test_numbers_become_text_where_text_is_wanted() -> None:
    worker = accepted(queues=[2024], environment={"OMP_NUM_THREADS": 1}, arguments=["-O", 5])
    assert worker.queues == ("2024",)
    assert worker.arguments == ("-O", "5")
    assert worker_arguments(as_templates_have_it(worker))[-2:] == ["-O", "5"]


def test_solo_runs_and_reserves_for_one_task() -> None:
    worker = accepted(pool="solo")
    assert (worker.concurrency, worker.children) == (1, 1)
    assert accepted(pool="solo", concurrency=1).concurrency == 1


def test_autoscale_counts_its_most_children() -> None:
    worker = accepted(autoscale=[0, 8])
    assert (worker.autoscale, worker.children) == ((0, 8), 8)


def test_the_environment_is_no_part_of_the_worker() -> None:
    assert "hunter2" not in repr(accepted(environment={"TOKEN": "hunter2"}))


def test_lines_of_the_unit_are_texts_as_systemd_reads_them() -> None:
    worker = accepted(
        unit_options={"MemoryDenyWriteExecute": False, "PrivateUsers": True, "Nice": 5, "ProtectHome": "tmpfs"}
    )
    assert worker.unit_options == {
        "MemoryDenyWriteExecute": "no",
        "PrivateUsers": "yes",
        "Nice": "5",
        "ProtectHome": "tmpfs",
    }
    assert accepted().unit_options == {}


def test_how_a_new_release_takes_its_place() -> None:
    assert accepted().strategy == "overlap"
    assert accepted(strategy="rolling").strategy == "rolling"


# --------------------------------------------------------------------------------------------------
# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queues": []}, "CC207 celery_workers.w.queues is empty: write the queues"),
        ({"queues": None}, "CC207 celery_workers.w.queues is missing: write the queues"),
        ({"queues": "celery"}, "CC203 celery_workers.w.queues is 'celery': write a list"),
        ({"queues": ["x", "a,b"]}, "CC208 celery_workers.w.queues has 'a,b': write a name of letters, digits"),
        ({"queues": ["x", "a\n"]}, r"CC208 celery_workers.w.queues has 'a\n'"),
        ({"queues": ["x", True]}, "CC208 celery_workers.w.queues has True"),
        ({"queues": ["x", None]}, "CC208 celery_workers.w.queues has None"),
        ({"queues": ["x", ["a"]]}, "CC208 celery_workers.w.queues has ['a']"),
        ({"queues": ["x", 16**5000]}, "CC208 celery_workers.w.queues has a number"),
        ({"queues": ["a", "b", "a"]}, "CC209 celery_workers.w.queues has 'a' more than once: write it once"),
        ({"queues": [1, "1"]}, "CC209 celery_workers.w.queues has '1' more than once"),
        ({"pool": "process"}, "CC205 celery_workers.w.pool is 'process': write one of prefork, threads"),
        ({"pool": "prefrok"}, "CC205 celery_workers.w.pool is 'prefrok': write prefork"),
        ({"log_level": "info"}, "CC205 celery_workers.w.log_level is 'info': write INFO"),
        ({"hosts": " "}, "CC205 celery_workers.w.hosts is ' ': write an inventory pattern"),
        ({"hosts": ["a"]}, "CC203 celery_workers.w.hosts is ['a']: write a text"),
        ({"concurrency": 0}, "CC206 celery_workers.w.concurrency is 0: write 1 or more"),
        ({"concurrency": 10**10}, "CC206 celery_workers.w.concurrency is 10000000000: write at most 1000000000"),
        ({"concurrency": 16**5000}, "CC206 celery_workers.w.concurrency is a number: write at most"),
        ({"concurrency": True}, "CC203 celery_workers.w.concurrency is True: write a whole number"),
        ({"concurrency": "4"}, "CC203 celery_workers.w.concurrency is '4': write a whole number"),
        ({"concurrency": 1.5}, "CC203 celery_workers.w.concurrency is 1.5: write a whole number"),
        ({"prefetch_multiplier": 0}, "CC206 celery_workers.w.prefetch_multiplier is 0: write 1 or more"),
        ({"memory_max": "8 GB"}, "CC205 celery_workers.w.memory_max is '8 GB': write a size such as"),
        ({"memory_max": "8G\n"}, r"CC205 celery_workers.w.memory_max is '8G\n'"),
        ({"memory_max": "9" * 5000}, "CC205 celery_workers.w.memory_max is '999"),
        ({"memory_high": "50%"}, "CC205 celery_workers.w.memory_high is '50%': write a size such as"),
        (
            {"memory_high": "8G", "memory_max": "8192M"},
            "CC224 celery_workers.w.memory_high is 8G, and memory_max (8192M) is reached before it does",
        ),
        ({"cpu_quota": "1.5"}, "CC205 celery_workers.w.cpu_quota is '1.5': write a percentage of one processor, such"),
        ({"cpu_quota": "0%"}, "CC205 celery_workers.w.cpu_quota is '0%'"),
        ({"cpu_quota": 150}, "CC203 celery_workers.w.cpu_quota is 150: write a text"),
        ({"tasks_max": 0}, "CC206 celery_workers.w.tasks_max is 0: write 1 or more"),
        ({"tasks_max": "15%"}, "CC203 celery_workers.w.tasks_max is '15%': write a whole number"),
        ({"strategy": "roling"}, "CC205 celery_workers.w.strategy is 'roling': write rolling"),
        ({"strategy": "overlap-all"}, "CC205 celery_workers.w.strategy is 'overlap-all': write"),
        ({"unit_options": ["Nice=5"]}, "CC203 celery_workers.w.unit_options is ['Nice=5']: write a mapping"),
        ({"unit_options": {"Nice": [5]}}, "CC222 celery_workers.w.unit_options.Nice is no text: write one text or"),
        (
            {"unit_options": {"MemoryMax": "8G"}},
            "CC223 celery_workers.w.unit_options.MemoryMax is decided by the collection: write the option",
        ),
        ({"autoscale": [8, 2]}, "CC214 celery_workers.w.autoscale is [8, 2]: write [least, most]"),
        ({"autoscale": [0, 0]}, "CC214 celery_workers.w.autoscale is [0, 0]"),
        ({"autoscale": [False, True]}, "CC214 celery_workers.w.autoscale is [False, True]"),
        ({"autoscale": ["2", "8"]}, "CC214 celery_workers.w.autoscale is ['2', '8']"),
        ({"autoscale": [1, 2, 3]}, "CC214 celery_workers.w.autoscale is [1, 2, 3]"),
        ({"autoscale": [1, "a", 3]}, "CC214 celery_workers.w.autoscale is [1, 'a', 3]"),
        ({"autoscale": [1, 2], "pool": "threads"}, "CC215 celery_workers.w.autoscale is set, and the pool is threads"),
        ({"autoscale": [1, 2], "concurrency": 2}, "CC217 celery_workers.w.concurrency is set beside autoscale"),
        ({"pool": "solo", "concurrency": 2}, "CC218 celery_workers.w.concurrency is 2, and the pool solo runs one"),
        ({"environment": ["TOKEN=hunter2"]}, "CC203 celery_workers.w.environment is a list: write a mapping"),
        (
            {"environment": {"A-B": "x"}},
            "CC210 celery_workers.w.environment has a wrong entry ('A-B' is not a name of an environment variable): "
            "use letters, digits and _",
        ),
        ({"environment": {1: "x"}}, "CC210 celery_workers.w.environment has a wrong entry (1 is not a name"),
        ({"environment": {"A": None}}, "CC210 celery_workers.w.environment has a wrong entry (the value of A is no"),
        ({"environment": {"A": "hunter2\ny"}}, "CC210 celery_workers.w.environment has a wrong entry (the value of A"),
        ({"environment": {"A": 16**5000}}, "CC210 celery_workers.w.environment has a wrong entry (a number has"),
        ({"arguments": [None]}, "CC211 celery_workers.w.arguments has an item that is empty"),
        ({"arguments": [{"--broker": "hunter2"}]}, "CC211 celery_workers.w.arguments has an item that is a mapping"),
        ({"arguments": ["hunter2\0"]}, "CC211 celery_workers.w.arguments has a text with a NUL character"),
        ({"memory": "8G"}, "CC204 celery_workers.w.memory is no option of a worker: write memory_max"),
        ({"zzz": "hunter2"}, "CC204 celery_workers.w.zzz is no option of a worker: write one of arguments, autoscale"),
        ({"enviroment": {"A": "hunter2"}}, "CC204 celery_workers.w.enviroment is no option of a worker: write envir"),
        ({None: 1}, "CC204 celery_workers.w.None is no option"),
        ({16**5000: 1}, "CC204 celery_workers.w.a number is no option"),
        ({"time_limit": 60, "soft_time_limit": 60}, "CC220 celery_workers.w.soft_time_limit (60 s) is not shorter"),
    ],
)
def test_what_is_told_and_what_to_write_instead(options: dict[str, Any], message: str) -> None:
    messages = told(options)
    assert len(messages) == 1
    assert messages[0].startswith(message)
    assert "hunter2" not in messages[0]


@pytest.mark.parametrize(
    "options",
    [
        {"queues": ["galaxy.internal", "a:b", "A-1", "2024"]},
        {"pool": "threads", "concurrency": 3, "prefetch_multiplier": 2, "memory_max": "1G"},
        {"autoscale": [1, 2], "time_limit": 300, "soft_time_limit": 280, "max_memory_per_child": 400000},
        {"time_limit": 60, "soft_time_limit": 59},
        {"soft_time_limit": 60},
        {"concurrency": MOST},
        {"hosts": None, "autoscale": None, "environment": None},
        {"memory_high": "7G", "memory_max": "8G", "cpu_quota": "150%", "tasks_max": 200},
        {"memory_high": "7G"},
    ],
)
def test_what_is_accepted(options: dict[str, Any]) -> None:
    accepted(**options)


def test_all_problems_come_at_once() -> None:
    assert len(told({"queues": ["a b"], "pool": "x", "concurrency": 0, "memory_max": "much"})) == 4
    assert (
        len(told({"queues": 1, "pool": 2, "typo": 3, "concurrency": 0, "hosts": "nowhere", "arguments": [True]})) == 6
    )


def test_a_wrong_option_is_read_as_if_it_were_not_there() -> None:
    worker, problems = read({"queues": ["mail", "a b"], "pool": "fork", "concurrency": 0, "time_limit": "1h"})
    assert len(problems) == 4
    assert (worker.queues, worker.pool, worker.concurrency, worker.time_limit) == (("mail",), "prefork", 2, None)


@pytest.mark.parametrize("options", [None, [{"environment": {"TOKEN": "hunter2"}}], "celery", 4, True])
def test_a_worker_that_is_no_mapping(options: Any) -> None:
    worker, problems = read(options)
    assert [problem.code for problem in problems] == ["CC203"]
    assert problems[0].place == "celery_workers.w"
    assert "hunter2" not in str(problems[0])
    assert worker.queues == ()


def test_autoscale_does_not_work_on_quorum_queues() -> None:
    assert told({"autoscale": [1, 2]}, inventory()) == []
    assert told({"concurrency": 2}, QUORUM) == []
    assert told({"autoscale": [1, 2]}, QUORUM) == [
        "CC216 celery_workers.w.autoscale is set, and celery_queue_type asks for quorum queues: write concurrency "
        "instead, or write classic into celery_queue_type"
    ]
    asked = {"celery_queue_type": "classic", "celery_settings": {"task_create_missing_queue_type": "quorum"}}
    (message,) = told({"autoscale": [1, 2]}, inventory(settings=asked))
    assert message.endswith("or write classic into celery_settings.task_create_missing_queue_type")


@pytest.mark.parametrize("limit", sorted(ENFORCED_BY))
@pytest.mark.parametrize("pool", POOLS)
def test_a_limit_is_accepted_only_where_it_is_enforced(pool: str, limit: str) -> None:
    enforced = pool == "prefork" or (pool, limit) == ("gevent", "time_limit")
    messages = told({"pool": pool, limit: 100})
    assert [message[:5] for message in messages] == ([] if enforced else ["CC219"])


# --------------------------------------------------------------------------------------------------
# Arguments


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["-n", "same@%h"], "--hostname"),
        (["--hostname=same"], "--hostname"),
        (["-nsame"], "--hostname"),
        (["-Qmail"], "--queues"),
        (["-EB"], "--beat"),
        (["-DE"], "--detach"),
        (["-O", "fair", "-c", 8], "--concurrency"),
        (["--autoscale", "8,2"], "--autoscale"),
        (["--pidfile=/run/x.pid"], "--pidfile"),
        (["--pidfile", "/run/x.pid"], "--pidfile"),
        (["-f", "/var/log/x"], "--logfile"),
        (["--purge"], "--purge"),
    ],
)
def test_an_argument_that_the_collection_decides(arguments: list[Any], name: str) -> None:
    code = "CC213" if name in PURGING else "CC212"
    messages = told({"arguments": arguments})
    assert len(messages) == 1
    assert messages[0].startswith(f"{code} celery_workers.w.arguments has {name}: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--pidfile="],
        ["--pidfile", ""],
        ["-E", "-O", "fair"],
        ["-Ofair"],
        ["--include=shop.tasks"],
        ["-I", "shop.n"],
        ["--", "-n"],
        ["-s", "x.db", "--umask=022"],
        ["-"],
    ],
)
def test_an_argument_that_is_left_to_the_user(arguments: list[str]) -> None:
    assert accepted(arguments=arguments).arguments == tuple(arguments)


def test_celery_has_every_argument_that_is_judged() -> None:
    known = {name: option for option in celery_worker.params for name in option.opts}
    assert {*AS_OPTION, *DECIDED, *PURGING, *SHORT.values()} <= {*known}
    for letter, name in SHORT.items():
        assert known[f"-{letter}"] is known[name]
    flags = {name[1] for name, option in known.items() if len(name) == 2 and option.is_flag}
    assert flags == {*FLAGS}
    assert set(AS_OPTION.values()) <= {*OPTIONS}


# --------------------------------------------------------------------------------------------------
# Hosts


@pytest.mark.parametrize(
    ("pattern", "codes"),
    [
        ("w1", []),
        ("celery_workers", []),
        ("w*", []),
        ("big:!w1", []),
        ("2001:db8::7", []),
        ("empty", ["CC108"]),
        ("~w[12]|x", ["CC108"]),
        ("celery_workers[7]", ["CC108"]),
        ("w?,w[ab],all,ungrouped,&big,!w1", ["CC108"]),
        ("nowhere", ["CC110"]),
        ("bigg[0]", ["CC110"]),
        ("big,w[12]", ["CC110"]),
        ("big:&nowhere:!elsewhree", ["CC110", "CC110"]),
        ("big, nowhere", ["CC110"]),
        ("2001:db8::8", ["CC110"]),
        (",", ["CC108"]),
        ("elsewhere", ["CC109"]),
    ],
)
def test_a_pattern_names_hosts_of_the_cluster(pattern: str, codes: list[str]) -> None:
    _worker, problems = read({"queues": ["celery"], "hosts": pattern})
    assert [problem.code for problem in problems] == codes


def test_a_misspelled_group_is_told_with_the_one_that_was_meant() -> None:
    assert told({"hosts": "celery_wokers"}) == [
        "CC110 celery_workers.w.hosts names 'celery_wokers', which is neither a group nor a host of the inventory: "
        "write celery_workers"
    ]


def test_an_empty_group_of_workers_is_told_once_for_all_kinds() -> None:
    problems = Problems()
    empty = inventory(groups={}, match=lambda pattern: [])
    workers = read_workers({"a": {"queues": ["a"]}, "b": {"queues": ["b"]}}, empty, problems)
    assert [(problem.code, problem.place) for problem in problems] == [("CC108", "group celery_workers")]
    assert workers["a"].hosts == ()


def test_a_host_outside_the_cluster_is_told_once_for_all_kinds() -> None:
    problems = Problems()
    kind = {"queues": ["a"], "hosts": "elsewhere"}
    read_workers({"a": kind, "b": kind}, inventory(), problems)
    assert [(problem.code, problem.host) for problem in problems] == [("CC109", "stranger")]


# --------------------------------------------------------------------------------------------------
# celery_workers as a whole


@pytest.mark.parametrize(
    ("wanted", "codes"),
    [
        (None, ["CC107"]),
        ({}, ["CC107"]),
        ([{"queues": ["a"]}], ["CC203"]),
        ("default", ["CC203"]),
        ({"default": {"queues": ["a"]}, "video_2": {"queues": ["b"]}}, []),
        ({"Video": {"queues": ["a"]}}, ["CC201"]),
        ({"a-b": {"queues": ["a"]}}, ["CC201"]),
        ({"a" * 32: {"queues": ["a"]}}, ["CC201"]),
        ({"a\n": {"queues": ["a"]}}, ["CC201"]),
        ({True: {"queues": ["a"]}}, ["CC201"]),
        ({1: {"queues": ["a"]}, "1": {"queues": ["b"]}}, ["CC201", "CC202"]),
    ],
)
def test_the_names_of_the_kinds(wanted: Any, codes: list[str]) -> None:
    problems = Problems()
    read_workers(wanted, inventory(), problems)
    assert [problem.code for problem in problems] == codes


def test_the_problems_of_all_kinds_come_at_once() -> None:
    problems = Problems()
    workers = read_workers(
        {"a": {"queues": ["a b"]}, "b": None, "C": {"queues": ["c"], "pol": 1}}, inventory(), problems
    )
    assert [problem.place for problem in problems] == [
        "celery_workers.C",
        "celery_workers.b",
        "celery_workers.C.pol",
        "celery_workers.a.queues",
    ]
    assert list(workers) == ["a", "b", "C"]
