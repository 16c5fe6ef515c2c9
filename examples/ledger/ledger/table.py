"""The tables. `python -m ledger.table` makes them.

ledger_runs has one row for every execution of a number. ledger_tasks has one for every start of a task, and its end is
written into the same row. ledger_ticks has one for every periodic task, however often its message is delivered.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg

CREATE = """
CREATE TABLE IF NOT EXISTS ledger_runs (
    number bigint NOT NULL,
    node text NOT NULL,
    queue text,
    started timestamptz NOT NULL
)
"""
# `start` is made by whoever writes the row: a sequence would need a right of its own.
CREATE_TASKS = """
CREATE TABLE IF NOT EXISTS ledger_tasks (
    start uuid PRIMARY KEY,
    task_id text NOT NULL,
    kind text NOT NULL,
    number bigint NOT NULL,
    step smallint NOT NULL,
    attempt smallint NOT NULL,
    release text,
    edition text NOT NULL,
    host text,
    node text NOT NULL,
    pid integer NOT NULL,
    started timestamptz NOT NULL,
    ended timestamptz,
    ended_release text,
    ended_edition text
)
"""
CREATE_TICKS = """
CREATE TABLE IF NOT EXISTS ledger_ticks (
    task_id text PRIMARY KEY,
    sent timestamptz,
    sender text,
    host text,
    started timestamptz NOT NULL
)
"""
# A long task that waits for its number to be here ends when somebody says so, and not after some time.
CREATE_GATES = "CREATE TABLE IF NOT EXISTS ledger_gates (number bigint PRIMARY KEY)"
IS_OPEN = "SELECT 1 FROM ledger_gates WHERE number = %s"
INSERT = "INSERT INTO ledger_runs (number, node, queue, started) VALUES (%s, %s, %s, %s)"
# How long a database that is away is waited for.
PATIENCE = 60.0
PAUSE = 1.0


class Kept:
    """One connection for each process, made when it is needed first: after the pool has forked."""

    connection: psycopg.Connection | None = None


def connect() -> psycopg.Connection:
    return psycopg.connect(os.environ["CELERY_DATABASE_URL"], autocommit=True, connect_timeout=10)


def write(number: int, node: str, queue: str | None, started: datetime) -> None:
    """Insert one row into ledger_runs."""
    execute(INSERT, (number, node, queue, started))


def is_open(number: int) -> bool:
    """Whether the gate of this number is open."""
    return execute(IS_OPEN, [number]).fetchone() is not None


def execute(statement: str, values: Sequence[Any]) -> psycopg.Cursor[Any]:
    """Run one statement. A lost connection is made anew until PATIENCE has passed."""
    deadline = time.monotonic() + PATIENCE
    while True:
        # Threads share the connection: what one of them closes, another may hold.
        connection = Kept.connection
        try:
            if connection is None:
                connection = Kept.connection = connect()
            return connection.execute(statement, values)
        except psycopg.OperationalError:
            if connection is not None:
                connection.close()
                if Kept.connection is connection:
                    Kept.connection = None
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)


def main() -> None:
    with connect() as connection:
        connection.execute(CREATE)
        connection.execute(CREATE_TASKS)
        connection.execute(CREATE_GATES)
        connection.execute(CREATE_TICKS)


if __name__ == "__main__":
    main()
