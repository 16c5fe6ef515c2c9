"""How long, and how much, the journal keeps."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.log import check_log
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Inventory
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems


def found(**variables: Any) -> list[str]:
    problems = Problems()
    check_log(Inventory({}, {}, variables, lambda _pattern: ()), problems)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize("days", [0, 1, 14, 3650])
@pytest.mark.parametrize("size", ["", "64M", "2G", "1.5G"])
def test_what_is_accepted(days: int, size: str) -> None:
    assert found(celery_log_retention=days, celery_log_max_size=size) == []
    assert found() == []


@pytest.mark.parametrize("days", [-1, 3651, "14", True, 1.5, None, pytest.param(16**5000, id="huge")])
def test_days_that_are_none(days: Any) -> None:
    (message,) = found(celery_log_retention=days)
    assert message.startswith("CC130 error: celery_log_retention is ")
    assert message.endswith(": write a number of days from 1 to 3650, or 0 for the system's own rules")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("much", "is 'much': write a size such as 512M or 2G, or remove it"),
        ("2 GB", "is '2 GB'"),
        ("2G\n", r"is '2G\n'"),
        ("-1G", "is '-1G'"),
        (2048, "is 2048"),
        (None, "is None"),
        ("63M", "is '63M', of which journald keeps next to nothing: write 64M or more"),
        ("0", "is '0', of which"),
    ],
)
def test_a_size_that_is_none(size: Any, message: str) -> None:
    (told,) = found(celery_log_max_size=size)
    assert told.startswith(f"CC131 error: celery_log_max_size {message}")
