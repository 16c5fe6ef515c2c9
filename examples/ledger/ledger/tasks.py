"""The tasks. They are acknowledged after their row is written: a number may be there twice, but it is never missing."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from celery import Task
from celery.exceptions import Reject

from ledger import edition, table
from ledger.celery import app

BEGIN = """
INSERT INTO ledger_tasks (start, task_id, kind, number, step, attempt, release, edition, host, node, pid, started)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
END = "UPDATE ledger_tasks SET ended = %s, ended_release = %s, ended_edition = %s WHERE start = %s"
LOST: dict[str, Any] = {"bind": True, "acks_late": True, "reject_on_worker_lost": True, "ignore_result": True}
TICK = """
INSERT INTO ledger_ticks (task_id, sent, sender, host, started) VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
# flaky fails so many times before it succeeds.
FAILURES = 2
FLAKY_SECONDS = 2
STEP_SECONDS = 0.5


@app.task(name="ledger.record", bind=True, acks_late=True, reject_on_worker_lost=True, ignore_result=True)
def record(self, number: int) -> None:
    """Writes down that the number was executed: by which node, from which queue, and when it began."""
    execute(self, number)


@app.task(name="ledger.receipt", bind=True, acks_late=True, reject_on_worker_lost=True)
def receipt(self, number: int) -> list[int | str]:
    """As record, and answers the number and the node: a result, which has to be stored."""
    execute(self, number)
    return [number, self.request.hostname]


def execute(self: Task, number: int) -> None:
    queue = (self.request.delivery_info or {}).get("routing_key")
    with kept_by_the_broker():
        table.write(number, self.request.hostname, queue, datetime.now(UTC))


@app.task(name="ledger.short", **LOST)
def short(self, number: int, kind: str = "short") -> None:
    """Begins and ends; kind: `eta` for one that was sent with a countdown."""
    with entered(self, kind, number):
        pass


@app.task(name="ledger.long", **LOST)
def long(self, number: int, seconds: float, gated: bool = False) -> None:
    """Sleeps in small steps, as a task that does something gives way again and again.

    gated: until its gate is open, but no longer than the seconds.
    """
    with entered(self, "long", number):
        until = time.monotonic() + seconds
        while (rest := until - time.monotonic()) > 0 and not (gated and table.is_open(number)):
            time.sleep(min(rest, STEP_SECONDS))


@app.task(name="ledger.link", **LOST)
def link(self, number: int, step: int) -> None:
    """One link of a chain, counted from 1."""
    with entered(self, "chain", number, step):
        pass


@app.task(name="ledger.flaky", max_retries=FAILURES, **LOST)
def flaky(self, number: int) -> None:
    """Fails the first times, and is sent again by the worker, to the queue it came from."""
    with entered(self, "retry", number):
        pass
    if self.request.retries < FAILURES:
        # A message that was delayed has a longer routing key, whose last word is the queue.
        queue = self.request.delivery_info["routing_key"].rpartition(".")[2]
        raise self.retry(countdown=FLAKY_SECONDS, queue=queue)


@app.task(name="ledger.tick", **LOST)
def tick(self) -> None:
    """For a schedule: writes down when which host sent it. A message that is delivered again is the same row."""
    request, sent = self.request, self.request.get("ledger_sent")
    when = None if sent is None else datetime.fromtimestamp(sent, UTC)
    host = os.environ.get("CELERY_AGENT_HOST")
    with kept_by_the_broker():
        table.execute(TICK, [request.id, when, request.get("ledger_sender"), host, datetime.now(UTC)])


@contextmanager
def entered(self: Task, kind: str, number: int, step: int = 0) -> Iterator[None]:
    """A row for this start; the end is written when the body ends."""
    start, request = uuid.uuid4(), self.request
    release, host = os.environ.get("CELERY_AGENT_RELEASE"), os.environ.get("CELERY_AGENT_HOST")
    # As it was imported: by a worker of prefork in the process that all of its children come from.
    began_with = edition.EDITION
    values = [start, request.id, kind, number, step, request.retries, release, began_with, host, request.hostname]
    with kept_by_the_broker():
        table.execute(BEGIN, [*values, os.getpid(), datetime.now(UTC)])
    yield
    with kept_by_the_broker():
        table.execute(END, [datetime.now(UTC), os.environ.get("CELERY_AGENT_RELEASE"), edition.in_tree(), start])


@contextmanager
def kept_by_the_broker() -> Iterator[None]:
    """A failed task would be acknowledged, and the number lost: the broker keeps it for another worker."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise Reject(error, requeue=True) from error
