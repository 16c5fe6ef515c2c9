"""No fault in the agent keeps an application from starting, nor systemd from hearing of it."""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import local_cluster
import pytest
from local_cluster import AGENT, Cluster, Systemd, loader

Load = Callable[..., ModuleType]

# Imported here, and not in each of the many processes below.
for needed in (
    "celery.concurrency.solo",
    "celery.contrib.testing.worker",
    "celery.worker.consumer",
    "kombu.transport.memory",
):
    importlib.import_module(needed)

# load_app must raise; the others are the guard itself and the two lines it rests upon.
EXEMPT = {"load_app", "guarded", "guarded.wrapper", "State.__init__"}


def functions(node: ast.AST, prefix: str = "") -> list[tuple[str, ast.FunctionDef]]:
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            name = prefix + child.name
            if isinstance(child, ast.FunctionDef):
                found.append((name, child))
            found += functions(child, name + ".")
        else:
            found += functions(child, prefix)
    return found


NAMES = [name for name, _node in functions(ast.parse(AGENT.read_text())) if name not in EXEMPT]


def with_faults(target: Path, names: list[str]) -> Path:
    """The agent, with functions that raise as soon as they are called."""
    tree = ast.parse(AGENT.read_text())
    for name, function in functions(tree):
        if name in names:
            function.body.insert(0, ast.parse(f"raise RuntimeError('fault in {name}')").body[0])
    target.mkdir(exist_ok=True)
    (target / "celery_agent.py").write_text(ast.unparse(ast.fix_missing_locations(tree)))
    return target / "celery_agent.py"


SOURCE = """
from celery import Celery

app = Celery("m", broker="memory:///" + __name__, backend="cache+memory://")
app.conf.broker_transport_options = {"polling_interval": 0.02}


@app.task(name="pair." + __name__)
def pair(a, b):
    return [a, b]
"""


def worker_class() -> Any:
    """Celery's worker for tests, with the two signals that only its command sends."""
    from celery import signals
    from celery.contrib.testing.worker import TestWorkController

    class Worker(TestWorkController):
        def on_before_init(self, **kwargs: Any) -> None:
            signals.celeryd_init.send(sender=self.hostname, instance=self, conf=self.app.conf, options=kwargs)
            super().on_before_init(**kwargs)

        def on_consumer_ready(self, consumer: Any) -> None:
            signals.worker_ready.send(sender=consumer)
            super().on_consumer_ready(consumer)

    return Worker


def test_there_is_something_to_break() -> None:
    assert {"install", "apply_settings", "hook_consumer.NoteConnection.start", "Board.read", "canary"} <= set(NAMES)


def frozen_process() -> Any:
    """A child that is stopped, as billiard lists its own."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    return SimpleNamespace(pid=pid, _popen=SimpleNamespace(pid=pid, returncode=None))


def disturb(consumer: Any) -> None:
    """All that a worker of prefork over AMQP has and this one lacks: an event loop, and a child that is frozen."""
    from kombu.asynchronous import Hub

    hub = Hub()
    consumer.pool.__class__ = type("TaskPool", (type(consumer.pool),), {"__module__": "celery.concurrency.prefork"})
    consumer.pool._pool = SimpleNamespace(_pool=[frozen_process()])
    consumer.blueprint.send_all(consumer, "register_with_event_loop", args=(hub,))
    for _turn in range(10):
        hub.fire_timers()
        time.sleep(0.02)  # from here on the loop hangs
    consumer.pool._pool._pool.clear()


def run_worker(load: Load, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start a worker, let it execute a task of the application, and stop it."""
    from celery import signals
    from celery.contrib.testing.worker import start_worker
    from celery.utils.timer2 import Timer
    from kombu import Connection

    drain = Connection.drain_events
    monkeypatch.setattr(Connection, "drain_events", lambda self, **_: drain(self, timeout=0.02))
    monkeypatch.setattr(Timer, "stop", lambda self: None)  # it would end its second of sleep first
    agent = load(
        SOURCE,
        settings={"worker_prefetch_multiplier": 1},
        NOTIFY_SOCKET=address,
        WATCHDOG_USEC="60000",
        CELERY_AGENT_ROLE="worker",
        CELERY_AGENT_CHILD_FROZEN="0.02",
        CELERY_AGENT_LOOP_STALLED="0.02",
    )
    monkeypatch.setattr(agent, "LOOP_TICK", 0.02)
    task = next(task for key, task in agent.app.tasks.items() if key.startswith("pair."))
    with start_worker(agent.app, perform_ping_check=False, WorkController=worker_class()) as worker:
        assert task.delay(1, 2).get(timeout=10, interval=0.02) == [1, 2]
        disturb(worker.consumer)
        time.sleep(0.1)
        assert task.delay(3, 4).get(timeout=10, interval=0.02) == [3, 4]
        signals.worker_shutting_down.send(sender="node", sig="TERM", how="Warm", exitcode=0)
        time.sleep(0.05)


class Attempt:
    """A process in which a worker runs whose agent has this fault, and what its systemd hears."""

    def __init__(self, folder: Path, name: str, patch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        agent = with_faults(folder / "faulty", [name])
        self.systemd = Systemd(str(folder / "notify"))
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        os.setpgid(0, 0)
        signal.alarm(20)
        try:
            patch.setattr(local_cluster, "AGENT", agent)
            run_worker(loader(folder, patch), self.systemd.address, patch)
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(2)

    def follow(self) -> bool:
        """Whether it goes on; the socket holds a few lines only, and then blocks who writes."""
        self.systemd.receive(0.01)
        if self.code is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if ended else None
        return self.code is None

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # a frozen process that the agent left
        self.systemd.sock.close()

    def problems(self) -> list[str]:
        told = set(self.systemd.receive(0))
        return [
            text
            for text, well in (
                (f"exit code {self.code}", self.code == 0),
                ("READY=1 was not told", "READY=1" in told),
                ("systemd would restart a worker that works", {"WATCHDOG=1", "WATCHDOG_USEC=0"} & told),
            )
            if not well
        ]


# Most of the time they wait.
AT_ONCE = 4
GROUPS = [NAMES[start : start + AT_ONCE] for start in range(0, len(NAMES), AT_ONCE)]


@pytest.mark.usefixtures("agent_environment")
@pytest.mark.parametrize("names", GROUPS, ids=["+".join(group) for group in GROUPS])
def test_one_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    """Each in a process of its own."""
    attempts = {name: Attempt(tmp_path / str(number), name, monkeypatch) for number, name in enumerate(names)}
    try:
        while [name for name, attempt in attempts.items() if attempt.follow()]:
            pass
        found = {name: attempt.problems() for name, attempt in attempts.items()}
    finally:
        for attempt in attempts.values():
            attempt.close()
    assert found == {name: [] for name in names}


def test_everything_broken_at_once(tmp_path: Path, systemd: Systemd) -> None:
    """A real worker, whose agent only finds the application and says READY=1 as well as it can."""
    agent = with_faults(tmp_path / "faulty", [name for name in NAMES if name != "plain_notify"])
    cluster = Cluster(tmp_path / "cluster", agent=agent)
    try:
        worker = cluster.worker(NOTIFY_SOCKET=systemd.address, WATCHDOG_USEC="3000000")
        systemd.wait_for("READY=1", process=worker)
        code = "from shop import pair; print(pair.delay(1, 2).get(timeout=20))"
        assert cluster.python(code).splitlines()[-1] == "[1, 2]"
        assert worker.poll() is None
        assert "fault in install" in cluster.log()
    finally:
        cluster.stop()
