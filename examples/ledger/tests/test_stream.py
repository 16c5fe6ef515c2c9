"""The stream's promises, without a broker."""

from __future__ import annotations

import io
from itertools import count, islice

import pytest
from ledger import stream


def test_every_queue_gets_numbers() -> None:
    assert [stream.queue_of(number) for number in (1, 2, 10, 20, 21)] == ["odd", "numbers", "celery", "celery", "odd"]


def test_an_unsure_number_is_sent_until_it_is_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "RETRY_SECONDS", 0)
    answers = iter([TimeoutError("no\nanswer"), ConnectionResetError("gone"), None])
    forgotten = []

    def send(_number: int) -> None:
        answer = next(answers)
        if answer:
            raise answer

    log = io.StringIO()
    stream.deliver(send, lambda: forgotten.append(True), 7, log)
    assert log.getvalue().splitlines() == [
        "try 7",
        "unsure 7 TimeoutError: no answer",
        "try 7",
        "unsure 7 ConnectionResetError: gone",
        "try 7",
        "ok 7",
    ]
    assert len(forgotten) == 2


def test_a_stopped_stream_goes_on_until_enough_are_sent() -> None:
    stop = stream.Stop()
    numbers = []
    for number in stream.paced(count(1), 1e6, 10, stop):
        numbers.append(number)
        if number == 3:
            stop.ask(15, None)
    assert numbers == list(range(1, 11))


def test_a_number_of_numbers() -> None:
    assert list(stream.paced(islice(count(5), 3), 1e6, 0, stream.Stop())) == [5, 6, 7]


def test_the_sender_uses_the_cluster_s_task() -> None:
    sender = stream.Sender(stream.load("ledger.celery"))
    assert sender.task.name == "ledger.record" and sender.task.acks_late and sender.task.reject_on_worker_lost
