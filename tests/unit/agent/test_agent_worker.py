"""A real worker, a real beat and the real canary script, over a broker made of files."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from local_cluster import AGENT, SHOP, Cluster, Systemd

Load = Callable[..., ModuleType]

# Consuming is made slow and leaves a mark: READY before the mark would be READY too early.
SLOW_SHOP = (
    SHOP
    + """
import time
import kombu

consume = kombu.Consumer.consume


def slowly(self, *args, **kwargs):
    time.sleep(0.5)
    consume(self, *args, **kwargs)
    open(root + "/consuming-" + os.environ.get("CELERY_AGENT_HOST", ""), "w").close()


kombu.Consumer.consume = slowly


@app.task(name="shop.environment")
def environment():
    return [name for name in os.environ if name.startswith(("NOTIFY_", "WATCHDOG_"))]
"""
)


class Running:
    def __init__(self, cluster: Cluster, systemd: Systemd, worker: subprocess.Popen) -> None:
        self.cluster = cluster
        self.systemd = systemd
        self.worker = worker


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """worker1, which serves `celery` and `mail`; it stops in the last test."""
    root = tmp_path_factory.mktemp("cluster")
    cluster = Cluster(root, SLOW_SHOP)
    systemd = Systemd(str(root / "notify"))
    worker = cluster.worker("worker1", "-Q", "celery,mail", NOTIFY_SOCKET=systemd.address, WATCHDOG_USEC="1500000")
    try:
        systemd.wait_for("READY=1", process=worker)
        assert list(root.glob("consuming-worker1")), "READY=1 came before the worker consumed"
        yield Running(cluster, systemd, worker)
    finally:
        cluster.stop()
        systemd.sock.close()


EXPECTED = {"worker": "default", "host": "worker1", "node": "default-4f2c@worker1", "release": "4f2c"}


def test_it_is_alive_and_says_what_it_does(running: Running) -> None:
    running.systemd.wait_for("WATCHDOG=1")
    assert "STATUS=2 queues, 0 active, release 4f2c" in running.systemd.lines


def test_tasks_do_not_see_systemd(running: Running) -> None:
    code = "from shop import environment; print(environment.delay().get(timeout=20))"
    assert running.cluster.python(code).splitlines()[-1] == "[]"


def test_every_queue_answers(running: Running) -> None:
    request = {
        "expect": [{**EXPECTED, "queue": "celery"}, {**EXPECTED, "queue": "mail"}],
        "deadline": 20,
        "expires": 30,
        "require_tls": False,
    }
    answer = running.cluster.canary(request)
    assert [(row["queue"], row["ok"], row["detail"]) for row in answer["rows"]] == [
        ("celery", True, "answered"),
        ("mail", True, "answered"),
    ]
    row = answer["rows"][0]
    assert (row["check"], row["from"], row["to"], row["worker"]) == ("task", "app1", "worker1", "default")
    assert 0 < row["seconds"] < 20
    assert row["task_id"] in answer["task_ids"]
    stored = running.cluster.root / "results" / f"celery-task-meta-{row['task_id']}"
    assert json.loads(stored.read_text())["result"]["node"] == "default-4f2c@worker1"


def test_what_is_wrong_is_said(running: Running) -> None:
    request = {
        "expect": [
            {**EXPECTED, "queue": "celery"},
            {**EXPECTED, "queue": "mail", "host": "worker2"},
        ],
        "deadline": 2,
        "expires": 30,
    }
    rows = running.cluster.canary(request)["rows"]
    assert [row["ok"] for row in rows] == [False, False, False]
    assert rows[0]["detail"].startswith("TLS not verified: the transport filesystem is not AMQP")
    assert rows[1]["detail"].startswith("no answer from worker2 within 2 s; answered: worker1 (default) \u00d7")
    assert (rows[2]["to"], rows[2]["queue"]) == ("worker1", "mail")
    assert "the inventory says nothing of it" in rows[2]["detail"]


def test_messages_nobody_took_expire(running: Running) -> None:
    request = {"expect": [{**EXPECTED, "queue": "lonely"}], "deadline": 1, "expires": 1}
    assert running.cluster.canary(request)["rows"][0]["detail"] == (
        "no answer from worker1 within 1 s; answered: nobody"
    )
    left = [json.loads(path.read_text()) for path in (running.cluster.root / "broker").glob("*.lonely.msg")]
    assert len(left) == 2, "two for each expected consumer"
    assert all(message["headers"]["expires"] for message in left)
    assert all(int(message["properties"]["expiration"]) <= 1000 for message in left)


def test_it_says_that_it_stops(running: Running) -> None:
    """The last test of this worker."""
    os.kill(running.worker.pid, signal.SIGTERM)
    running.systemd.wait_for("STOPPING=1")
    assert running.worker.wait(20) == 0
    assert "Traceback" not in running.cluster.log()


def test_threads_pool(cluster: Cluster, systemd: Systemd) -> None:
    worker = cluster.worker("worker1", "--pool=threads", NOTIFY_SOCKET=systemd.address)
    systemd.wait_for("READY=1", process=worker)
    request = {"expect": [{**EXPECTED, "queue": "celery"}], "deadline": 20, "expires": 30, "require_tls": False}
    assert cluster.canary(request)["rows"][0]["ok"] is True


def test_beat(cluster: Cluster, systemd: Systemd) -> None:
    schedule = cluster.root / "schedule"
    beat = cluster.start("beat", "--schedule", str(schedule), CELERY_AGENT_ROLE="beat", NOTIFY_SOCKET=systemd.address)
    systemd.wait_for("READY=1", process=beat)
    assert list(cluster.root.glob("schedule*"))


def test_an_application_that_cannot_be_imported_is_named(cluster: Cluster) -> None:
    (cluster.root / "code" / "broken.py").write_text("raise ValueError('the shop has no licence')\n")
    worker = cluster.worker(CELERY_AGENT_APP="broken:app")
    assert worker.wait(30) != 0
    assert "ValueError: the shop has no licence" in cluster.log()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("", RuntimeError, "CELERY_AGENT_APP is not set"),
        ("nowhere:app", ModuleNotFoundError, "No module named 'nowhere'"),
        ("math:pi", TypeError, "CELERY_AGENT_APP=math:pi is a float, not a Celery app"),
        ("celery_agent:app", RuntimeError, "CELERY_AGENT_APP names the agent itself"),
    ],
)
def test_a_wrong_name_is_explained(load_agent: Load, name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_agent("", CELERY_AGENT_APP=name)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"CELERY_BROKER_URL": "pyamqp://user:s3cr3t@127.0.0.1:1/v"},
            "Error: [Errno 111] Connection refused",
        ),
        ({"CELERY_AGENT_APP": "nowhere:app"}, "the application cannot be imported here: ModuleNotFoundError"),
        ({"CELERY_RESULT_BACKEND": "disabled"}, "no result backend is configured"),
        ({"CELERY_RESULT_BACKEND": "file:///nowhere"}, "Celery cannot be used here: ImproperlyConfigured"),
    ],
    ids=["refused", "import", "disabled", "backend"],
)
def test_the_script_never_ends_in_a_traceback(cluster: Cluster, environment: dict[str, str], message: str) -> None:
    answer = cluster.canary({"expect": [{**EXPECTED, "queue": "celery"}], "deadline": 1, "expires": 5}, **environment)
    assert answer["task_ids"] == []
    (row,) = answer["rows"]
    assert row["ok"] is False
    assert message in row["detail"]
    assert "s3cr3t" not in json.dumps(answer)


@pytest.mark.parametrize(
    ("extra", "serializer"),
    [
        ("", "json"),
        ("app.conf.update(task_serializer='pickle', accept_content=['pickle'])\n", "pickle"),
        ("app.conf.update(task_serializer='pickle', accept_content=['application/x-python-serialize'])\n", "pickle"),
        ("app.conf.update(task_serializer='pickle', accept_content=['pickle', 'json'])\n", "json"),
        ("app.conf.update(accept_content=['yaml'])\n", "yaml"),
    ],
)
def test_the_canary_speaks_what_the_workers_accept(load_agent: Load, extra: str, serializer: str) -> None:
    app = load_agent("from celery import Celery\napp = Celery('m', broker='memory://')\n" + extra).app
    assert app.tasks["celery_cluster.canary"].serializer == serializer


AWKWARD = """
from celery import Celery, Task


class Stubborn(Task):
    typing = True
    ignore_result = True
    acks_late = True

    def __call__(self, *args, **kwargs):
        raise RuntimeError("only for tasks of the shop")


app = Celery("awkward", broker="memory://", task_cls=Stubborn)
app.conf.update(
    task_always_eager=True,
    task_ignore_result=True,
    task_acks_late=True,
    task_default_rate_limit="1/h",
    task_annotations={"*": {"rate_limit": "1/h", "acks_late": True}},
)
"""


def test_the_canary_is_itself_in_any_application(load_agent: Load) -> None:
    agent = load_agent(AWKWARD, CELERY_AGENT_HOST="worker1", CELERY_AGENT_RELEASE="4f2c", CELERY_AGENT_WORKER="big")
    task = agent.app.tasks["celery_cluster.canary"]
    assert (task.acks_late, task.ignore_result, task.rate_limit) == (False, False, 0)
    found = task.apply(args=("n",)).get()
    assert found["answer"] == hashlib.sha256(b"canary:n").hexdigest()
    assert (found["host"], found["release"], found["worker"]) == ("worker1", "4f2c", "big")
    assert found["tls"]["connection"] == "own"


def test_the_agent_stands_alone() -> None:
    """It runs in any application's environment, under a Python as old as 3.6."""
    tree = ast.parse(AGENT.read_text(), feature_version=(3, 6))
    modules = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
    }
    foreign = {module.split(".")[0] for module in modules} - set(sys.stdlib_module_names)
    assert foreign <= {"amqp", "celery", "kombu"}
    assert Path(AGENT).stat().st_size < 50000
