"""The server is away for 20 s in the middle of a stream of tasks: each of them has its result in the end."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import figures
from ledgerdb import DATABASE, Cluster, Server
from testing import wait_for

FIRST = 4_000_000
RATE, SECONDS = 10, 45
BEFORE, AWAY = 5.0, 20.0
PATIENCE = 180.0


def executed(server: Server) -> bool:
    return server.rows(f"SELECT count(*) > 0 FROM ledger_runs WHERE number >= {FIRST}", DATABASE) == ["t"]


def test_every_result_is_there_in_the_end(cluster: Cluster):
    server = cluster.server
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(cluster.receipts, FIRST, RATE * SECONDS, rate=RATE, wait=False)
        assert wait_for(lambda: executed(server), 60), "no task of the stream was executed"
        time.sleep(BEFORE)
        server.run(f"systemctl stop {server.unit}")
        try:
            stopped = time.monotonic()
            # A process that begins now finds no database at all, and sends all the same.
            fresh = cluster.receipts(FIRST + RATE * SECONDS, 10, wait=False)
            assert not stream.done(), "the stream was over before the outage"
            time.sleep(max(0.0, stopped + AWAY - time.monotonic()))
        finally:
            server.run(f"systemctl start {server.unit}")
        away = time.monotonic() - stopped
        started = time.monotonic()
        during = stream.running()
        sent = [answer["id"] for answer in (*stream.result(), *fresh)]
    assert during, "the stream did not last longer than the outage"
    assert len(set(sent)) == RATE * SECONDS + 10

    def missing() -> list[str]:
        found = server.statuses(sent)
        return [task for task in sent if found.get(task) != "SUCCESS"]

    wait_for(lambda: not missing(), PATIENCE)
    settled = time.monotonic() - started
    statuses = Counter(server.statuses(sent).get(task, "missing") for task in sent)
    figures.add(server.name, "tasks sent around an outage", len(sent))
    figures.add(server.name, "  results SUCCESS in the end", statuses["SUCCESS"])
    figures.add(server.name, "  lost, or with another result", len(sent) - statuses["SUCCESS"])
    figures.add(server.name, "  seconds without the server", round(away, 1))
    figures.add(server.name, "  seconds after it until the last result", round(settled, 1))
    assert away >= AWAY
    assert statuses == {"SUCCESS": len(sent)}
