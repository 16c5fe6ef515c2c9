"""The two tasks write the same row, and one of them answers."""

from __future__ import annotations

import psycopg
import pytest
from celery.exceptions import Reject
from ledger import table, tasks


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    numbers: list[int] = []
    monkeypatch.setattr(table, "write", lambda number, *_rest: numbers.append(number))
    return numbers


def test_a_receipt_is_a_result_that_is_stored(written: list[int]) -> None:
    assert not tasks.receipt.ignore_result and tasks.record.ignore_result
    assert tasks.receipt.apply((7,)).get()[0] == 7
    tasks.record.apply((8,))
    assert written == [7, 8]


def test_without_a_database_the_number_stays_with_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_arguments: object) -> None:
        raise psycopg.OperationalError("gone")

    monkeypatch.setattr(table, "write", write)
    with pytest.raises(Reject) as rejected:
        tasks.receipt.run(7)
    assert rejected.value.requeue
