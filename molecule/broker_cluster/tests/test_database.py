"""The database lets nobody in without the certificate of its role: there is no password that would do."""

from __future__ import annotations

from cluster import NAME
from testing import SECRETS, query, script_on

RUN = f"/opt/{NAME}/bin/celery-run"
LOG_IN = """
import json, os, sys
import psycopg
from psycopg.conninfo import conninfo_to_dict
wanted = {**conninfo_to_dict(os.environ["CELERY_DATABASE_URL"]), **json.load(sys.stdin)}
try:
    with psycopg.connect(**wanted) as connection:
        (dn,) = connection.execute("SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    print(json.dumps({"in": True, "dn": dn}))
except psycopg.OperationalError as error:
    print(json.dumps({"in": False, "why": str(error)}))
"""


def log_in(name: str, **given: str) -> dict:
    return script_on(name, LOG_IN, given, [RUN, "python"])


def test_each_host_shows_the_certificate_of_the_role():
    for name in ("worker1", "worker2", "app1"):
        found = log_in(name)
        assert found["in"] and f"CN={NAME}" in found["dn"], found
    assert query("postgres", f"SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = '{NAME}'") == ["t"]


def test_without_it_or_with_another_nobody_gets_in():
    password = (SECRETS / "database").read_text().strip()
    # libpq would look for a certificate in the account's home: it is told of a place where none is.
    without = log_in("worker1", sslcert="/nonexistent", sslkey="/nonexistent", password=password)
    assert not without["in"] and "requires a valid client certificate" in without["why"], without
    folder = f"/opt/{NAME}/config/tls"
    anothers = log_in("worker1", sslcert=f"{folder}/worker.pem", sslkey=f"{folder}/worker.key", password=password)
    assert not anothers["in"] and "certificate authentication failed" in anothers["why"].lower(), anothers
