"""Lines that an operator adds to the units: what systemd reads, and what the collection decides."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Inventory
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.unit_options import (
    AS_OPTION,
    DECIDED,
    DECIDED_FOR_KINDS,
    DECIDED_FOR_WORKERS,
    VARIABLES,
    check_unit_options,
    read_unit_options,
)
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.workers import OPTIONS
from hypothesis import given
from hypothesis import strategies as st

#: Python writes no number of so many digits.
HUGE = st.just(5000).map(lambda digits: 16**digits)
ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), HUGE),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)


def found(**variables: Any) -> list[str]:
    problems = Problems()
    check_unit_options(Inventory({}, {}, variables, lambda _pattern: ()), problems)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize("variable", sorted(VARIABLES))
@pytest.mark.parametrize(
    "options",
    [
        {},
        None,
        {"Nice": 5, "PrivateDevices": False, "ProtectHome": "read-only"},
        {"SystemCallFilter": "", "RestrictAddressFamilies": "AF_NETLINK"},
        {"MemoryMax": "1G", "CPUQuota": "150%", "LoadCredential": "token:/etc/token"},
        {"ExecStartPost": "/bin/sh -c 'echo %i'"},
    ],
)
def test_what_is_accepted_for_all_services_of_a_role(variable: str, options: Any) -> None:
    assert found(**{variable: options}) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"Protect Home": "no"}, "CC222 @ has 'Protect Home': write the name of a directive"),
        ({"[Unit]\nAfter": "x"}, r"CC222 @ has '[Unit]\nAfter': write the name"),
        ({"": "x"}, "CC222 @ has '': write the name"),
        ({5: "x"}, "CC222 @ has 5: write the name"),
        ({"Nice": None}, "CC222 @.Nice is no text: write one text or number"),
        ({"Nice": ["5"]}, "CC222 @.Nice is no text"),
        ({"Nice": "5\nUser=root"}, "CC222 @.Nice holds a line break or another control character"),
        ({"Nice": "5\0"}, "CC222 @.Nice holds a line break or another control"),
        ({"Slice": "a\\"}, "CC222 @.Slice ends with a backslash, which would join the next line"),
        ({"User": "root"}, "CC223 @.User is decided by the collection: write celery_user instead"),
        ({"ExecStart": "/bin/sh hunter2"}, "CC223 @.ExecStart is decided by the collection: remove"),
    ],
)
def test_what_is_refused_and_what_to_write_instead(options: Any, message: str) -> None:
    messages = found(beat_unit_options=options)
    assert len(messages) == 1 and messages[0].startswith(message.replace("@", "error: beat_unit_options"))
    assert "hunter2" not in messages[0]


@pytest.mark.parametrize("directive", ["KillMode", "WatchdogSec"])
def test_what_keeps_beats_apart_is_decided_for_beat(directive: str) -> None:
    assert found(beat_unit_options={directive: "1"})[0].startswith(f"CC223 error: beat_unit_options.{directive} ")


@pytest.mark.parametrize("directive", ["KillMode", "KillSignal", "TimeoutStopSec", "WatchdogSec"])
def test_what_keeps_tasks_alive_is_decided_for_workers_only(directive: str) -> None:
    beat = {} if directive in ("KillMode", "WatchdogSec") else {directive: "1"}
    assert found(beat_unit_options=beat, flower_unit_options={directive: "1"}) == []
    assert found(worker_unit_options={directive: "1"})[0].startswith(f"CC223 error: worker_unit_options.{directive} ")


def test_limits_for_all_kinds_are_free_and_those_of_a_kind_are_options() -> None:
    assert set(DECIDED) < set(DECIDED_FOR_WORKERS) < set(DECIDED_FOR_KINDS)
    assert set(AS_OPTION.values()) <= set(OPTIONS)
    assert found(worker_unit_options={"TasksMax": 50}) == []
    assert "write the option tasks_max of this kind instead" in DECIDED_FOR_KINDS["TasksMax"]


@given(st.dictionaries(st.one_of(st.text(max_size=5), st.sampled_from(["Nice", "User", "A"]), st.integers()), ANY))
def test_whatever_is_read_is_one_line_each(options: dict[Any, Any]) -> None:
    told: list[tuple[str, ...]] = []
    read = read_unit_options(options, DECIDED, lambda *problem: told.append(problem))
    assert len(read) + len(told) == len(options)
    text = "".join(f"{name}={value}\n" for name, value in read.items())
    assert text.count("\n") == len(read) and "\\\n" not in text and not set(read) & set(DECIDED)
