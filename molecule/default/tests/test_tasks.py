"""Real tasks: submitted on the application host, executed on the worker hosts, stored in PostgreSQL."""

from __future__ import annotations

import json

from conftest import RUN, wait_for

SAMPLES = "/opt/fileshelf/current/code/samples"


def test_documents_travel_over_two_queues_to_the_worker_hosts(on, rows):
    done = on("app1").run(f"{RUN} sh -c 'python -m fileshelf submit --json {SAMPLES}/*'")
    assert done.rc == 0, done.stderr
    documents = json.loads(done.stdout)["documents"]
    assert len(documents) == 3
    for document in documents:
        assert document["words"] > 100
        intake, text = document["workers"]
        assert intake.startswith("intake-") and intake.split("@")[1] in ("worker1", "worker2")
        assert text.startswith("text-") and text.split("@")[1] in ("worker1", "worker2")
    stored = rows("SELECT DISTINCT name, queue FROM celery_taskmeta WHERE status = 'SUCCESS'")
    assert {"fileshelf.accept|intake", "fileshelf.measure|text", "fileshelf.catalogue|reports"} <= set(stored)


def test_a_task_that_fails_reports_its_own_error(on, rows):
    done = on("app1").run(f"{RUN} python -m fileshelf demo-failure")
    assert done.rc == 0, done.stdout + done.stderr
    assert "ChecksumMismatch" in done.stdout
    assert rows("SELECT count(*) > 0 FROM celery_taskmeta WHERE status = 'FAILURE' AND name = 'fileshelf.verify'") == [
        "t"
    ]


def test_beat_sends_the_periodic_task(rows):
    query = "SELECT count(*) FROM celery_taskmeta WHERE status = 'SUCCESS' AND name = 'fileshelf.shelf_summary'"
    assert wait_for(lambda: int(rows(query)[0]) > 0)


def test_the_producer_identity_cannot_stop_the_workers(on):
    before = on("worker1").run("systemctl show -p MainPID 'fileshelf-worker-*'").stdout
    done = on("app1").run(f"{RUN} python -m celery -A celery_agent control shutdown")
    assert done.rc != 0
    assert "ACCESS_REFUSED" in done.stdout + done.stderr or "access" in (done.stdout + done.stderr).lower()
    assert on("worker1").run("systemctl show -p MainPID 'fileshelf-worker-*'").stdout == before
