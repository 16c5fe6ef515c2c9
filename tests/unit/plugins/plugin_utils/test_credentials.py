"""Credentials of the services: names that are carried, contents that are texts, and none of them in a message."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.credentials import MOST, check_credentials
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Inventory
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems


def found(credentials: Any) -> list[str]:
    problems = Problems()
    check_credentials(Inventory({}, {}, {"celery_credentials": credentials}, lambda _pattern: ()), problems)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    "credentials",
    [{}, None, {"token": "hunter2"}, {"shop.pem": "a\nb\n", "API_key-2": "ü"}, {"big": "x" * (MOST - 3)}],
    ids=["none", "unknown", "one", "several", "the most"],
)
def test_what_is_accepted(credentials: Any) -> None:
    assert found(credentials) == []


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "a:b", "%n", "..", "ä", "a\n", "x" * 101, "-x", 7, None])
def test_a_name_that_is_not_carried(name: Any) -> None:
    (message,) = found({name: "hunter2"})
    assert message.startswith("CC650 error: celery_credentials has the name ") and "hunter2" not in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is no text: write its content as a text"),
        (7, "is no text"),
        (["hunter2"], "is no text"),
        ({"hunter2": 1}, "is no text"),
        ("", "is empty: write its content, or remove the name"),
        ("hunter2\udc80", "is no text of Unicode: write what is binary as base64"),
    ],
)
def test_a_content_that_cannot_be_written(content: Any, message: str) -> None:
    (told,) = found({"token": content})
    assert told.startswith(f"CC651 error: celery_credentials.token {message}") and "hunter2" not in told


def test_together_they_fit_into_what_systemd_takes() -> None:
    (told,) = found({"one": "x" * (MOST // 2), "two": "x" * (MOST // 2)})
    assert told.startswith(f"CC652 error: celery_credentials has {MOST + 6} bytes: write at most {MOST} bytes")
