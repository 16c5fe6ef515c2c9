"""Results that nobody removes."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.results import check_results, needs_cleanup

URL = "celery_result_backend_url"
REDIS: dict[str, Any] = {URL: "redis://cache.example.org"}
DATABASE: dict[str, Any] = {URL: "db+postgresql://db.example.org/shop"}


def found(beat: list[str], /, database: bool = True, **values: Any) -> list[str]:
    problems = Problems()
    check_results(beat, database, values, problems)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("db+postgresql+psycopg://shop:secret@db.example.org/shop", True),
        ("database+mysql://db.example.org/shop", True),
        ("mongodb://store.example.org", True),
        ("file:///srv/results", True),
        ("redis://cache.example.org", False),
        ("rpc://", False),
        ("cache+memcached://127.0.0.1", False),
        ("db", False),
    ],
)
def test_where_results_stay_until_somebody_removes_them(url: str, expected: bool) -> None:
    # A URL decides, whether there is a database host or not.
    for database in (True, False):
        assert needs_cleanup(database, {URL: url}) is expected
    assert needs_cleanup(True, {URL: ""}) is True
    assert needs_cleanup(False, {}) is False


def test_without_beat_nobody_removes_results() -> None:
    (problem,) = found([])
    assert problem == (
        "CC114 warning: group celery_beat is empty, so nobody removes results that are older than "
        "celery_settings.result_expires: add one host to the group, or run `celery call celery.backend_cleanup` every "
        "day another way"
    )
    assert found([], database=False, **DATABASE) == [problem]
    assert found(["app"]) == []
    # In Redis they expire by themselves.
    assert found([], **REDIS) == []
    # A schedule without beat is an error of its own.
    assert found([], celery_settings={"beat_schedule": {"nightly": {"task": "tidy"}}}) == []


@pytest.mark.parametrize("expires", [0, None, False, 0.0])
@pytest.mark.parametrize("name", ["result_expires", "CELERY_TASK_RESULT_EXPIRES"])
def test_results_that_never_expire(name: str, expires: Any) -> None:
    (problem,) = found(["app"], celery_settings={name: expires})
    assert problem.startswith(
        f"CC124 warning: celery_settings.{name} is {expires!r}, with which beat sends no clean-up"
    )
    assert found(["app"], celery_settings={name: expires}, **REDIS) == []


@pytest.mark.parametrize("wanted", [None, "x", [], {}, {"result_expires": 3600}])
def test_results_expire_after_a_day_unless_somebody_says_otherwise(wanted: Any) -> None:
    assert found(["app"], celery_settings=wanted) == []
