"""Somebody else writes a faulty line: the play says so, nothing changes, and the rules that were loaded go on."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from ledgerdb import ACCESS, DATABASE, Cluster, is_unchanged, ours
from testing import message

FIRST = 3_000_000
FAULT = "hostsll   all  all  192.0.2.0/24  trsut"
# Where somebody makes it: in the file itself, and where there are included ones, in one of them as well.
PLACES = {"db15": ["pg_hba.conf"], "db17": ["pg_hba.conf", "hba_stock.conf"]}
# One psql reads everything: what belongs to the whole server, then what is in the cluster's database.
ONE_READ = [(DATABASE, "celery_cluster"), ("postgres", "celery_cluster")]


@pytest.fixture(scope="module")
def faulty(cluster: Cluster) -> Iterator[list[str]]:
    """FILE:LINE of every faulty line."""
    server, found = cluster.server, []
    for name in PLACES[server.name]:
        path = f"{server.configuration}/{name}"
        server.run("cp -p %s %s.kept", path, path)
        # The line before may have no end.
        server.run("printf '\\n%%s\\n' %s >>%s", FAULT, path)
        found.append(f"{path}:{server.run('wc -l <%s', path).strip()}")
    yield found
    for name in PLACES[server.name]:
        path = f"{server.configuration}/{name}"
        server.run("if [ -e %s.kept ]; then mv %s.kept %s; fi", path, path, path)


def test_the_play_fails_and_the_old_rules_stay_in_force(cluster: Cluster, faulty: list[str]):
    server = cluster.server
    before, loaded = server.hba(), server.loaded()
    text = message(cluster.run(celery_allowed_clients=["192.0.2.55"]))
    for place in faulty:
        path, line = place.rsplit(":", 1)
        assert re.search(rf"{re.escape(path)}\D{{0,20}}\b{line}\b|\bline {line} of {re.escape(path)}", text), (
            place,
            text,
        )
    assert "hostsll" in text and re.search("correct|mend|remove", text), text
    assert server.hba() == before
    assert server.loaded() == loaded
    assert all(answer["status"] == "SUCCESS" for answer in cluster.receipts(FIRST, 12))
    (allowed,) = server.log_in("worker1")
    assert allowed["in"], allowed
    refused = server.log_in("outsider")
    assert {answer.get("code") for answer in refused} == {"28000"}, refused


def test_after_the_repair_a_run_reads_once_and_changes_nothing(cluster: Cluster, faulty: list[str]):
    server = cluster.server
    for name in PLACES[server.name]:
        server.run("mv %s.kept %s", *[f"{server.configuration}/{name}"] * 2)
    before, loaded = state(cluster), server.loaded()
    lines = int(server.run("wc -l <%s", log(cluster)))
    output = cluster.succeed(name=ACCESS)
    # Before this test asks the server itself.
    written = server.run("tail -n +%s %s", str(lines + 1), log(cluster))
    reads = re.findall(r"connection authorized: user=postgres database=(\S+) application_name=(\S+)", written)
    assert sorted(reads) == sorted(ONE_READ)
    assert is_unchanged(output), output[-6000:]
    assert state(cluster) == before and server.loaded() == loaded
    assert ours(server.hba())


def log(cluster: Cluster) -> str:
    return f"/var/log/postgresql/postgresql-{cluster.server.version}-main.log"


def state(cluster: Cluster) -> list:
    """The files and the roles, with the times at which the files were written."""
    server = cluster.server
    return [server.run(f"stat -c '%%n %%y %%i' {server.configuration}/*"), server.hba(), server.roles()]
