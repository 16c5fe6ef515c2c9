"""Of bench/runtime.py what needs no containers: from notes to figures, from figures to cases, and the plain URLs."""

from __future__ import annotations

import io
import json
import os
import sys

import pytest

import runtime
from common import UserError
from pace import records, settings
from pace.notes import FILE, RECORD
from runtime_figures import milliseconds, of_numbers, per_second, seconds_after

PLAIN = {"user": "bench", "password": "a/b", "vhost": "bench", "port": 5672, "settings": {"imports": ["pace.tasks"]}}


def test_each_number_counts_once_with_its_first_execution():
    notes = [(2, 0.0, 5.0), (1, 0.0, 1.0), (2, 0.0, 3.0), (-1, 0.0, 0.5), (3, 0.0, 9.0)]
    assert of_numbers(notes, 1, 2) == [(1, 0.0, 1.0), (2, 0.0, 3.0)]


def test_a_lost_task_is_no_figure():
    with pytest.raises(UserError, match="1 of 3 tasks were never executed: 2"):
        of_numbers([(1, 0.0, 1.0), (3, 0.0, 2.0)], 1, 3)


def test_the_rate_is_counted_from_the_first_to_the_last_execution():
    assert per_second([(number, 0.0, 10 + number / 4) for number in range(9)]) == pytest.approx(4)


@pytest.mark.parametrize("notes", [[], [(1, 0.0, 1.0)]])
def test_too_few_tasks_have_no_rate(notes):
    with pytest.raises(UserError, match="say nothing of a rate"):
        per_second(notes)


def test_half_and_nearly_all_of_the_delays():
    half, most = milliseconds([(number, 1.0, 1 + number / 1000) for number in range(101)])
    assert (half, most) == (pytest.approx(50), pytest.approx(95))


def test_too_few_tasks_have_no_slowest_twentieth():
    with pytest.raises(UserError, match="19 tasks say nothing"):
        milliseconds([(number, 0.0, 1.0) for number in range(19)])


def test_a_task_that_was_under_way_is_not_the_next_one():
    # Sent before the broker died, and executed by a worker that had it already.
    assert seconds_after([(1, 9.9, 10.1), (3, 10.2, 13.0), (2, 10.1, 12.5)], 10.0) == pytest.approx(2.5)


def test_no_task_after_the_death_is_told():
    with pytest.raises(UserError, match="no task that was sent afterwards"):
        seconds_after([(1, 9.9, 10.1)], 10.0)


def test_the_same_brokers_in_plaintext():
    urls = (
        "pyamqp://ledger-worker:x%2Fy@10.0.0.2:5671/ledger?ssl=1;pyamqp://ledger-worker:x@[fd00::1]:5671/ledger?ssl=1"
    )
    assert settings.in_plaintext(urls, PLAIN) == (
        "pyamqp://bench:a%2Fb@10.0.0.2:5672/bench;pyamqp://bench:a%2Fb@[fd00::1]:5672/bench"
    )


def test_the_plain_programs_know_nothing_of_the_agent(monkeypatch):
    monkeypatch.setattr(os, "environ", {"CELERY_BROKER_URL": "pyamqp://u:p@h:5671/v?ssl=1", "CELERY_AGENT_APP": "x"})
    settings.enter(None)
    assert os.environ["CELERY_AGENT_APP"] == "x"
    settings.enter(PLAIN)
    assert os.environ == {
        "CELERY_BROKER_URL": "pyamqp://bench:a%2Fb@h:5672/bench",
        "CELERY_SETTINGS": '{"imports": ["pace.tasks"]}',
    }


def test_notes_are_read_once(tmp_path, monkeypatch, capsys):
    def read():
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"directory": str(tmp_path)})))
        records.main()
        return json.loads(capsys.readouterr().out)

    assert read() == []
    # The last one is being written.
    (tmp_path / FILE).write_bytes(RECORD.pack(1, 2.0, 3.0) + RECORD.pack(2, 2.5, 3.5) + b"\0")
    assert read() == [[1, 2.0, 3.0], [2, 2.5, 3.5]]
    assert read() == []


def test_the_cases_name_their_goals():
    figures = {name: {"ours": [9.0], "plain": [10.0]} for name in ("publish", "consume", "p50", "p95")}
    found = runtime.cases(figures, [2.5], 100)
    goals = {case["case"]: case["goals"] for case in found}
    ratio = [{"figure": "ours", "against": "plain", "at_least": 0.9}]
    assert goals["Default units: publish"] == goals["Default units: consume"] == ratio
    assert goals["Broker killed → next task executed"] == [{"figure": "ours", "against": None, "at_most": 5}]
    assert all(goals[case["case"]] or case["unit"] == "ms" for case in found)


def test_a_case_that_was_not_measured_is_left_out():
    figures = {name: {"ours": [9.0], "plain": [10.0]} for name in ("publish", "consume", "p50", "p95")}
    names = [case["case"] for case in runtime.cases(figures, [], 100)]
    assert len(names) == 4 and not any("killed" in name for name in names)
