"""The workers of all networks get in with a verified TLS connection, and what their tasks answer is stored."""

from __future__ import annotations

import pytest
from foreign import addresses
from ledgerdb import DATABASE, NAME, RUN, SUBMITTER, USER, WAYS, WORKERS, Cluster, Server
from testing import host, script_on

FIRST = 1_000_000
BATCH, BATCHES = 40, 6

SERVICE = f"""
import json, sys
import psycopg
found = []
for words in json.load(sys.stdin):
    try:
        with psycopg.connect("service={NAME} " + words, connect_timeout=10) as connection:
            found.append(connection.execute(
                "SELECT current_user, current_database(), ssl, host(inet_client_addr()) "
                "FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone())
    except psycopg.OperationalError as error:
        found.append(str(error))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def answered(cluster: Cluster) -> dict[str, dict[str, str]]:
    """Host -> task -> status, of tasks sent until every worker host had one."""
    found: dict[str, dict[str, str]] = {name: {} for name in WORKERS}
    for batch in range(BATCHES):
        for answer in cluster.receipts(FIRST + batch * BATCH, BATCH):
            assert answer["status"] == "SUCCESS", answer
            found[answer["value"][1].rpartition("@")[2]][answer["id"]] = answer["status"]
        if all(found.values()):
            break
    return found


def test_tasks_of_every_host_have_their_result_in_the_database(answered, server: Server):
    assert all(answered.values()), {name: len(tasks) for name, tasks in answered.items()}
    for tasks in answered.values():
        # Read back by the client before; here they are read from the table itself.
        assert server.statuses(list(tasks)) == tasks


def test_their_sessions_are_encrypted_and_come_from_where_they_should(answered, server: Server):
    known = {addresses(name)[way]: name for name in (*WORKERS, SUBMITTER) for way in WAYS[name]}
    sessions = server.sessions()
    assert {known[session["address"]] for session in sessions} >= set(WORKERS), sessions
    assert all(session["ssl"] and session["usename"] == USER for session in sessions), sessions


@pytest.mark.parametrize("name", WORKERS)
def test_the_service_file_connects_with_a_verified_server(name: str, cluster: Cluster):
    there = addresses(cluster.server.name)[WAYS[name][0]]
    wanted = [
        "",
        # The server of that address has no certificate for this name, and not from the cluster's own authority.
        f"host=elsewhere.invalid hostaddr={there}",
        f"sslrootcert=/opt/{NAME}/config/ca.pem",
    ]
    good, other_name, other_authority = script_on(name, SERVICE, wanted, [RUN, "python"])
    assert good == [USER, DATABASE, True, addresses(name)[WAYS[name][0]]]
    assert "does not match host name" in other_name
    assert "certificate verify failed" in other_authority


def test_the_password_is_not_for_everybody_on_a_worker(cluster: Cluster):
    file = host("worker1").file(f"/opt/{NAME}/config/pg_service.conf")
    assert (file.user, file.group, file.mode) == ("root", NAME, 0o640)
