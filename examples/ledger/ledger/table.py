"""The table ledger_runs, one row for every execution. `python -m ledger.table` makes it."""

from __future__ import annotations

import os
import time
from datetime import datetime

import psycopg

CREATE = """
CREATE TABLE IF NOT EXISTS ledger_runs (
    number bigint NOT NULL,
    node text NOT NULL,
    queue text,
    started timestamptz NOT NULL
)
"""
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
    """Insert one row. A lost connection is made anew until PATIENCE has passed."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if Kept.connection is None:
                Kept.connection = connect()
            Kept.connection.execute(INSERT, (number, node, queue, started))
        except psycopg.OperationalError:
            if Kept.connection is not None:
                Kept.connection.close()
                Kept.connection = None
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)
        else:
            return


def main() -> None:
    with connect() as connection:
        connection.execute(CREATE)


if __name__ == "__main__":
    main()
