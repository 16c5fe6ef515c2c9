"""A tick says when and from where it was sent."""

from __future__ import annotations

from typing import Any

import pytest
from ledger import table, tasks
from ledger.celery import sign


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    found: list[list[Any]] = []
    monkeypatch.setattr(table, "execute", lambda _statement, values: found.append(list(values)))
    monkeypatch.setenv("CELERY_AGENT_HOST", "beat1")
    return found


def test_every_message_is_signed(rows: list[list[Any]]) -> None:
    headers: dict[str, Any] = {}
    sign(headers=headers)
    assert headers["ledger_sender"] == "beat1" and headers["ledger_sent"] > 0
    sign()


def test_a_tick_is_written_with_its_sender(rows: list[list[Any]]) -> None:
    tasks.tick.push_request(id="a", ledger_sent=1.5, ledger_sender="beat2")
    try:
        tasks.tick.run()
    finally:
        tasks.tick.pop_request()
    ((task_id, sent, sender, host, _started),) = rows
    assert (task_id, sent.timestamp(), sender, host) == ("a", 1.5, "beat2", "beat1")


def test_an_unsigned_one_is_written_too(rows: list[list[Any]]) -> None:
    tasks.tick.apply()
    assert rows[0][1:3] == [None, None]
