"""The tasks. They are acknowledged after their row is written: a number may be there twice, but it is never missing."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
from celery import Task
from celery.exceptions import Reject

from ledger import table
from ledger.celery import app


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
    try:
        table.write(number, self.request.hostname, queue, datetime.now(UTC))
    except psycopg.OperationalError as error:
        # A failed task would be acknowledged, and the number lost: the broker keeps it for another worker.
        raise Reject(error, requeue=True) from error
