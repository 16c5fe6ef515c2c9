"""Before a release is set up, the database is dumped; without a dump it is not set up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ledgerdb import DATABASE, NAME, OWNER, Cluster, Server
from testing import message

DIRECTORY = f"/var/lib/postgresql/backups/{NAME}"
DUMP = "molecule/database/backup.yml"
# Made by a setup command of the new release: a dump that has it came too late.
EDITION = "edition"
MAKE = (
    "python -c \"import os, psycopg; psycopg.connect(os.environ['CELERY_DATABASE_URL'], autocommit=True)"
    f".execute('CREATE TABLE IF NOT EXISTS {EDITION} (number int)')\""
)
SCRATCH = "restored"
KEEP = 2


# The playbook decides this, not the server.
once = pytest.mark.servers("db15")


def new_release(cluster: Cluster) -> dict[str, Any]:
    """What makes a release that was not set up before, and tells that it is now."""
    # Stays for later runs: another one would have to be built for the old environment.
    cluster.kept["celery_environment"] = {"LEDGER_EDITION": cluster.server.name}
    return {"celery_setup_commands": ["python -m ledger.table", MAKE], "postgresql_backup": True}


def tables(server: Server, database: str = DATABASE) -> set[str]:
    owned = f"SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tableowner = '{OWNER}'"
    return set(server.rows(owned, database))


def rows_of(server: Server, database: str = DATABASE) -> list[str]:
    return server.rows("SELECT count(*), min(number), max(number) FROM ledger_runs", database)


def dumps(server: Server) -> list[str]:
    return server.run(f"test ! -d {DIRECTORY} || find {DIRECTORY} -type f -size +0").split()


@pytest.fixture
def scratch(server: Server) -> Iterator[str]:
    server.run("runuser -u postgres -- createdb %s", SCRATCH)
    yield SCRATCH
    server.run("runuser -u postgres -- dropdb %s", SCRATCH)


def restore(server: Server, dump: str, database: str) -> None:
    server.run("runuser -u postgres -- pg_restore --exit-on-error --dbname %s %s", database, dump)


@once
def test_a_release_is_not_set_up_without_its_dump(cluster: Cluster):
    server = cluster.server
    given = {**new_release(cluster), "postgresql_backup_directory": "/etc/hostname/dumps"}
    text = message(cluster.run("--tags", "code", name="site.yml", **given))
    assert "/etc/hostname" in text, text
    assert EDITION not in tables(server)
    # What ran before goes on.
    assert all(answer["status"] == "SUCCESS" for answer in cluster.receipts(5_000_000, 12))


@once
def test_a_release_is_set_up_after_its_dump(cluster: Cluster, scratch: str):
    server = cluster.server
    cluster.succeed("--tags", "code", name="site.yml", **new_release(cluster))
    assert EDITION in tables(server)
    (dump,) = dumps(server)
    restore(server, dump, scratch)
    assert tables(server, scratch) == tables(server) - {EDITION}


def test_a_dump_holds_everything_and_is_closed(cluster: Cluster, scratch: str):
    server = cluster.server
    before = dumps(server)
    cluster.succeed(name=DUMP, postgresql_backup=True, postgresql_backup_keep=KEEP)
    (dump,) = set(dumps(server)) - set(before)
    assert server.run("stat -c '%%U %%a' %s %s", DIRECTORY, dump).split() == ["postgres", "700", "postgres", "600"]
    restore(server, dump, scratch)
    assert tables(server, scratch) == tables(server)
    assert rows_of(server, scratch) == rows_of(server) != ["0||"]
    assert server.rows("SELECT count(*) > 0 FROM celery_taskmeta WHERE status = 'SUCCESS'", scratch) == ["t"]


def test_only_the_newest_dumps_are_kept(cluster: Cluster):
    server = cluster.server
    before = dumps(server)
    note = f"{DIRECTORY}/of-the-administrator.txt"
    server.run("echo kept >%s", note)
    for _number in range(KEEP):
        cluster.succeed(name=DUMP, postgresql_backup=True, postgresql_backup_keep=KEEP)
    kept = dumps(server)
    assert before and not set(before) & set(kept)
    assert note in kept and len(kept) == KEEP + 1, kept
