# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, The taskfleet developers
"""Makes the tables of Celery's results as the owner of the database, so that no worker needs the right to create.

Run with the interpreter and the environment of a release, where the owner may log in from:

    CELERY_AGENT_OWNER_BACKEND=db+postgresql+psycopg://owner:...@db/shop python -m celery_tables

The application says which tables: their names and schemas, and, by its version of Celery, their columns. Columns that
a newer Celery needs are added to tables that are there; nothing else of them is changed.

One line on standard output says what was done. Exit codes: 0 the application can store its results, or stores none in
this database; 1 the database refused; 2 the application or its environment is at fault. The syntax is that of Python
3.6, as for the agent.
"""

import os
import re
import socket
import sys
import traceback
from urllib.parse import unquote

OWNER = "CELERY_AGENT_OWNER_BACKEND"
BACKENDS = "celery.backends.database"
# Of two that run at once, the second one waits and then finds everything there.
LOCK = "SELECT pg_advisory_xact_lock(hashtext('celery_cluster.celery_tables'))"
# While a change of a table waits, every worker that stores a result waits behind it.
PATIENCE = "SET LOCAL lock_timeout = '15s'"


class TablesError(Exception):
    """What is wrong, and the exit code that says so."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def secrets(url):
    """The password of a URL, in both spellings: an error message might repeat it."""
    match = re.match(r"[^:]+://[^:/@]*:(.*)@", url)
    return {match.group(1), unquote(match.group(1))} - {""} if match else set()


def readable(error, url=""):
    """One line about an exception, without secrets and without SQLAlchemy's link to its web pages."""
    message = " ".join(str(getattr(error, "orig", None) or error).split()) or "no message"
    for secret in sorted(secrets(url), key=len, reverse=True):
        message = message.replace(secret, "***")
    message = re.sub(r"(\w+://[^:/@\s]*):[^@\s]+@", r"\1:***@", message)
    return f"{type(error).__name__}: {message}"[:500]


def load_app():
    try:
        import celery_agent

        app = celery_agent.app
        # Its backend might otherwise make the tables itself, as the user and not as the owner.
        celery_agent.update_conf(app, app.conf, {"database_create_tables_at_setup": False})
    except BaseException as error:  # an application may call sys.exit()
        raise TablesError(2, f"the application cannot be imported here: {readable(error)}") from error
    return app


def backend_of(app):
    """The application's result backend if it is Celery's own database backend, else None.

    It has to be made: that is what gives the tables the names and schemas of the settings.
    """
    try:
        backend = app.backend
    except Exception as error:
        raise TablesError(2, f"the application's result backend cannot be used: {readable(error)}") from error
    return backend if any(kind.__module__ == BACKENDS for kind in type(backend).__mro__) else None


def parse(url, name):
    from sqlalchemy.engine.url import make_url

    try:
        # `db+` is Celery's, SQLAlchemy does not know it.
        return make_url(url[3:] if url.startswith("db+") else url)
    except Exception as error:
        raise TablesError(2, f"{name} is no URL of a database: {readable(error, url)}") from error


def addresses(url):
    """Where the hosts of a URL are; a name that does not resolve stands for itself."""
    hosts = url.query.get("host") or url.host or "localhost"  # several of them, or a socket, are in the query
    hosts = ",".join(hosts) if isinstance(hosts, (tuple, list)) else hosts
    found = set()
    for host in hosts.split(","):
        try:
            found.update(answer[4][0] for answer in socket.getaddrinfo(host, None))
        except OSError:
            found.add(host)
    return found


def same_database(one, other):
    """Whether two URLs lead to one database. Their ports may differ: a pooler has its own."""
    kinds = {url.drivername.split("+")[0] for url in (one, other)}
    return len(kinds) == 1 and one.database == other.database and bool(addresses(one) & addresses(other))


def label(table):
    return f"{table.schema}.{table.name}" if table.schema else table.name


def add_columns(connection, table):
    """The names of the columns that were missing. One that must not be empty cannot be added: there are rows."""
    from sqlalchemy import inspect, text

    present = {column["name"] for column in inspect(connection).get_columns(table.name, schema=table.schema)}
    missing = [column for column in table.columns if column.name not in present and column.nullable]
    preparer = connection.dialect.identifier_preparer
    for column in missing:
        kind = column.type.compile(dialect=connection.dialect)
        name = preparer.format_column(column)
        connection.execute(text(f"ALTER TABLE {preparer.format_table(table)} ADD COLUMN {name} {kind}"))
    return [column.name for column in missing]


def make_tables(connection, metadata):
    """Within one transaction. Returns what was done, in words."""
    from sqlalchemy import text

    connection.execute(text(LOCK))
    connection.execute(text(PATIENCE))
    done, missing = [], []
    for table in metadata.sorted_tables:
        if not connection.dialect.has_table(connection, table.name, schema=table.schema):
            missing.append(table)
            continue
        columns = add_columns(connection, table)
        if columns:
            done.append(f"added {', '.join(columns)} to {label(table)}")
    if missing:
        metadata.create_all(connection, tables=missing)
        done.insert(0, "made " + ", ".join(label(table) for table in missing))
    return done


def make_as_owner(url, metadata, given):
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    try:
        engine = create_engine(url, poolclass=NullPool)
    except Exception as error:
        message = f"the release cannot connect to {url.drivername}: {readable(error, given)}"
        raise TablesError(
            2, f"{message}. Name the driver in its requirements, or set celery_database_driver"
        ) from error
    try:
        with engine.begin() as connection:
            return make_tables(connection, metadata)
    except Exception as error:
        where = f"as {url.username} in {url.database} at {url.host}"
        raise TablesError(1, f"the tables of results cannot be made {where}: {readable(error, given)}") from error


def prepare():
    """Do it, and say what was done."""
    backend = backend_of(load_app())
    if backend is None:
        return "nothing to do: the application's results go to no database backend of Celery"
    given = os.environ.get(OWNER, "").strip()
    if not given:
        raise TablesError(2, f"{OWNER} is not set: write there the result backend's URL with the owner's login")
    owner, used = parse(given, OWNER), parse(str(backend.url), "the application's result backend")
    if not same_database(used, owner):
        place = f"{used.database} at {used.host}" if used.host else used.drivername
        return f"nothing to do: the application's results go to another database, {place}"
    from celery.backends.database.session import ResultModelBase

    metadata = ResultModelBase.metadata
    done = make_as_owner(owner, metadata, given)
    names = " and ".join(label(table) for table in metadata.sorted_tables)
    return "; ".join(done) or f"nothing to do: {names} are there"


def main():
    # Applications print while they are imported, some from C: only our line may reach the real standard output.
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    code = 0
    try:
        output.write(prepare() + "\n")
        output.flush()
    except TablesError as error:
        code = error.code
        sys.stderr.write(f"celery_tables: {error}\n")
    except Exception:
        code = 2
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)  # not even a thread of the application may delay or change the end


if __name__ == "__main__":
    main()
