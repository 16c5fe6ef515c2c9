"""The collector of problems, and the catalogue they come from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.filter.versions import FilterModule
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.catalogue import CATALOGUE, CHAPTERS
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import (
    Problems,
    did_you_mean,
    report,
    summary,
)

CHECKOUT = Path(__file__).resolve().parents[4]
PLUGINS = CHECKOUT / "plugins"
TESTS = CHECKOUT / "tests" / "unit"


def mentioned(folder: Path, *, without: str) -> set[str]:
    texts = (path.read_text() for path in folder.rglob("*.py") if path.name != without)
    return {code for text in texts for code in re.findall(r"\bCC\d{3}\b", text)}


def collected() -> Problems:
    problems = Problems()
    problems.add("CC114", "group celery_beat", "is empty", "add one host")
    problems.add("CC102", "celery_app", "is not set", "write it")
    problems.add("CC101", "celery_name", "is 'X'", "write x", "w1")
    problems.add("CC102", "celery_app", "is not set", "write it")
    return problems


def test_errors_come_first_and_nothing_comes_twice() -> None:
    lines = [
        "CC101 error: w1: celery_name is 'X': write x",
        "CC102 error: celery_app is not set: write it",
        "CC114 warning: group celery_beat is empty: add one host",
    ]
    problems = collected()
    assert [str(problem) for problem in problems] == lines and len(problems) == 3
    assert report(problems) == "\n".join(f"- {line}" for line in lines)
    assert summary(problems) == {"errors": lines[:2], "warnings": lines[2:], "report": report(problems)}
    assert next(iter(problems)).as_dict()["severity"] == "error"


def test_a_code_that_nobody_documented_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        Problems().add("CC199", "x", "y", "z")


def test_every_code_belongs_to_a_chapter_and_is_told_by_somebody() -> None:
    assert all(re.fullmatch(r"CC[1-9]\d\d", code) and code[2] in CHAPTERS for code in CATALOGUE)
    assert mentioned(PLUGINS, without="catalogue.py") == set(CATALOGUE)


def test_every_code_has_a_test() -> None:
    assert set(CATALOGUE) - mentioned(TESTS, without=Path(__file__).name) == set()


@pytest.mark.parametrize(("wrong", "right"), [("celery_vhots", "celery_vhost"), ("xyz", ""), (7, "")])
def test_the_nearest_name(wrong: object, right: str) -> None:
    assert did_you_mean(wrong, ["celery_vhost", "celery_app"]) == right


def test_versions_that_do_not_work_together_are_told_with_their_host() -> None:
    judge = FilterModule().filters()["version_problems"]
    quorum = {"celery_settings": {"task_default_queue_type": "quorum", "task_default_exchange_type": "topic"}}
    told = judge({"broker": "4.0.5-8", "celery": "5.4.0", "kombu": "5.4.2"}, quorum, "w1")
    assert [line.split(":")[:2] for line in told["errors"]] == [["CC852 error", " w1"]]
    assert judge({"broker": "4.0.5-8", "celery": "5.7.0", "kombu": "5.7.0"}, quorum, "w1")["report"] == ""
    assert judge({"celery": "5.4.0"}, {"celery_queue_type": "classic"}, "w1")["errors"] == []
    assert judge({"broker": "", "celery": None}, {}, "w1") == {"errors": [], "warnings": [], "report": ""}
