"""Galaxy's own tasks: real ones, on the host their queue belongs to, with their results in PostgreSQL."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import testinfra

RUN = "/opt/galaxy/bin/celery-run"
SUBMIT = """
import json, sys
from celery_agent import app
results = {}
for name, arguments in json.load(sys.stdin):
    results[name] = app.send_task(name, kwargs=arguments)
print("RESULTS " + json.dumps({name: [result.id, result.get(timeout=180)] for name, result in results.items()}))
"""


def host(name: str) -> Any:
    return testinfra.get_host(f"docker://taskfleet-galaxy-{name}")


def sql(query: str) -> list[str]:
    done = host("services1").run("runuser -u postgres -- psql -qAt galaxy -c %s", query)
    assert done.rc == 0, done.stderr
    return done.stdout.splitlines()


def wait_for(condition: Callable[[], Any], seconds: float = 180) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(3)
    return value


@pytest.fixture(scope="module")
def results() -> dict[str, list[Any]]:
    """Task name -> [task id, value], sent from the host that owns Galaxy."""
    sql(
        "INSERT INTO galaxy_user "
        "(email, username, password, external, deleted, purged, active, disk_usage, create_time, update_time) "
        "SELECT 'a@example.org', 'a', 'x', false, false, false, true, 12345, now(), now() "
        "WHERE NOT EXISTS (SELECT 1 FROM galaxy_user WHERE username = 'a')"
    )
    user = int(sql("SELECT id FROM galaxy_user WHERE username = 'a'")[0])
    wanted = [
        ("galaxy.recalculate_user_disk_usage", {"task_user_id": user}),
        ("galaxy.prune_history_audit_table", {}),
        ("galaxy.cleanup_expired_notifications", {}),
        ("galaxy.cleanup_short_term_storage", {}),
    ]
    done = host("galaxy1").run("printf '%%s' %s | %s python -c %s", json.dumps(wanted), RUN, SUBMIT)
    assert done.rc == 0, done.stderr[-3000:]
    return json.loads(done.stdout.split("RESULTS ", 1)[1])


@pytest.mark.parametrize(
    ("task", "worker"),
    [
        ("galaxy.recalculate_user_disk_usage", "internal1"),
        ("galaxy.prune_history_audit_table", "internal1"),
        ("galaxy.cleanup_expired_notifications", "internal1"),
        ("galaxy.cleanup_short_term_storage", "external1"),
    ],
)
def test_a_task_runs_where_its_queue_belongs(results, task, worker):
    identifier, value = results[task]
    assert value is None
    (row,) = sql(f"SELECT status, name, worker FROM celery_taskmeta WHERE task_id = '{identifier}'")
    status, name, node = row.split("|")
    assert (status, name) == ("SUCCESS", task)
    assert node.endswith(f"@{worker}")


def test_the_task_did_its_work(results):
    # A user without datasets uses nothing: the wrong figure of the fixture was corrected on the worker host.
    assert float(sql("SELECT disk_usage FROM galaxy_user WHERE username = 'a'")[0]) == 0


def test_beat_fires_a_periodic_task(results):
    mine = results["galaxy.prune_history_audit_table"][0]
    query = (
        "SELECT count(*) FROM celery_taskmeta WHERE status = 'SUCCESS' AND name = 'galaxy.prune_history_audit_table' "
        f"AND task_id <> '{mine}'"
    )
    assert wait_for(lambda: int(sql(query)[0]) > 0)


def test_flower_counts_them(results):
    script = (
        "import ssl, urllib.request\n"
        "context = ssl.create_default_context(cafile='/opt/galaxy/config/ca.pem')\n"
        "print(urllib.request.urlopen('https://127.0.0.1:5555/metrics', context=context).read().decode())\n"
    )

    def counted() -> bool:
        text = host("galaxy1").run("python3 -c %s", script).stdout
        return all(
            any(
                line.startswith("flower_events_total{") and f'task="{task}"' in line and 'type="task-succeeded"' in line
                for line in text.splitlines()
            )
            for task in results
        )

    assert wait_for(counted), host("galaxy1").run("python3 -c %s", script).stdout[:3000]


def test_environment_and_code_are_those_of_the_owner():
    digest = (
        "cat /opt/galaxy/current/complete | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"manifest\"])'"
    )
    assert len({host(name).run(digest).stdout for name in ("galaxy1", "internal1", "external1")}) == 1
    for name in ("internal1", "external1"):
        assert host(name).file("/opt/galaxy/current/venv").linked_to.endswith("/code/.venv")
        assert host(name).run("test -e /opt/galaxy/tools").rc != 0, "nothing is built on a worker"
