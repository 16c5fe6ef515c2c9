"""The callback: which failures are told, what they say, and what they must not say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.callback.phases import (
    TaskTime,
    clock,
    failure_message,
    phase_report,
    task_report,
)

CHECKOUT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(("seconds", "text"), [(0, "00:00"), (59.9, "00:59"), (61, "01:01"), (3601, "60:01")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_command_speaks_for_itself() -> None:
    result = {"msg": "non-zero return code", "stderr": "no such queue\n", "cmd": ["secret"], "rc": 2}
    assert failure_message(result, hidden=False) == "non-zero return code\nno such queue"


def test_only_the_failed_items_of_a_loop_speak() -> None:
    items = [{"msg": "fine"}, {"failed": True, "msg": "bad name"}, {"failed": True, "msg": "bad name"}]
    assert failure_message({"msg": "One or more items failed", "results": items}, hidden=False) == "bad name"


@pytest.mark.parametrize(
    "result",
    [
        {"msg": "pw123", "_ansible_no_log": True},
        {"censored": "hidden", "msg": "pw123"},
        {"results": [{"failed": True, "msg": "pw123", "_ansible_no_log": True}]},
    ],
)
def test_no_log_is_respected(result: dict[str, object]) -> None:
    assert "pw123" not in failure_message(result, hidden=False)


def test_a_hidden_task_says_nothing() -> None:
    assert "pw123" not in failure_message({"msg": "pw123"}, hidden=True)


def test_reports() -> None:
    assert phase_report([("Build", 61.0), ("Run", 5.0)]) == [
        "Phases",
        "  01:01  Build",
        "  00:05  Run",
        "  01:06  together",
    ]
    times = [TaskTime(float(number), "db1", f"task {number}") for number in range(12)]
    lines = task_report(times, 10)
    assert lines[1] == "     11.0 s  db1  task 11"
    assert len(lines) == 11


PLAYBOOK = [
    {
        "name": "First",
        "hosts": "one:two",
        "gather_facts": False,
        "strategy": "free",
        "tasks": [
            {
                "block": [{"name": "Rescued", "ansible.builtin.fail": {"msg": "was rescued"}}],
                "rescue": [{"name": "Mend", "ansible.builtin.debug": {"msg": "mended"}}],
            },
            {"name": "Slow", "ansible.builtin.command": "sleep 1", "when": "inventory_hostname == 'two'"},
        ],
    },
    {"name": "Second", "hosts": "one", "gather_facts": False, "tasks": []},
    {
        "name": "Third",
        "hosts": "one:two",
        "gather_facts": False,
        "tasks": [
            {
                "name": "Hide",
                "ansible.builtin.fail": {"msg": "pw123"},
                "no_log": True,
                "when": "inventory_hostname == 'two'",
            },
            {"name": "Break", "ansible.builtin.fail": {"msg": "write a queue name"}},
        ],
    },
]


def run_playbook(directory: Path, plays: list[dict[str, object]], slowest: int = 10) -> tuple[str, str]:
    """What a real run prints, and what it writes as progress."""
    playbook, progress = directory / "play.yml", directory / "progress"
    playbook.write_text(json.dumps(plays), encoding="utf-8")
    env = {
        **os.environ,
        "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"),
        "ANSIBLE_HOME": str(directory / "home"),
        "CELERY_CLUSTER_PROGRESS": str(progress),
        "CELERY_CLUSTER_SLOWEST": str(slowest),
    }
    ansible = Path(sys.executable).with_name("ansible-playbook")
    done = subprocess.run(
        [ansible, "-i", "one,two,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}", playbook],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr, progress.read_text(encoding="utf-8")


def test_a_real_run_tells_phases_slow_tasks_and_failures(tmp_path: Path) -> None:
    output, progress = run_playbook(tmp_path, PLAYBOOK)
    assert "Slowest tasks" in output
    assert "unable to load" not in output
    report = output[output.index("Phases") :]
    assert [line.split("  ")[-1] for line in report.splitlines()[1:4]] == ["First", "Second", "Third"]
    slow = report[report.index("Slowest tasks") :].splitlines()[1]
    assert "two  Slow" in slow
    assert "FAILED  one: Break\n         write a queue name\n" in progress
    assert "FAILED  two: Hide\n" in progress
    assert "was rescued" not in progress
    assert "pw123" not in progress
    assert [line[7:] for line in progress.splitlines()[:3]] == ["First", "Second", "Third"]


def test_fewer_slow_tasks_may_be_asked_for(tmp_path: Path) -> None:
    output, _progress = run_playbook(tmp_path, PLAYBOOK, slowest=1)
    assert len(output[output.index("Slowest tasks") :].strip().splitlines()) == 2


def test_helpers_of_one_play_stay_quiet(tmp_path: Path) -> None:
    output, _progress = run_playbook(tmp_path, PLAYBOOK[:1])
    assert "Slowest tasks" not in output
