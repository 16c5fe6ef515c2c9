"""Frozen and missing processes of the pool, an event loop that hangs, and what a watchdog's kill leaves behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType, SimpleNamespace
from typing import Any

import pytest
from local_cluster import SHOP, Cluster, Systemd

Load = Callable[..., ModuleType]
MEMORY = "from celery import Celery\napp = Celery('m', broker='memory://')\n"


class Child:
    """A process as billiard lists it."""

    def __init__(self, pid: int | None = None) -> None:
        self.pid = os.fork() if pid is None else pid
        if self.pid == 0:
            while True:
                signal.pause()
        self._popen: Any = SimpleNamespace(pid=self.pid, returncode=None)

    def signal(self, number: int, until: str) -> Child:
        os.kill(self.pid, number)
        return self.wait_for(until)

    def wait_for(self, states: str) -> Child:
        ends = time.monotonic() + 5
        while self.state() not in states:
            assert time.monotonic() < ends, self.state()
            time.sleep(0.005)
        return self

    def stop(self) -> Child:
        return self.signal(signal.SIGSTOP, "T")

    def state(self) -> str:
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def reap(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def child() -> Iterator[Callable[[], Child]]:
    made: list[Child] = []

    def make() -> Child:
        made.append(Child())
        return made[-1]

    yield make
    for process in made:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(process.pid, signal.SIGKILL)
            os.waitpid(process.pid, 0)


def consumer(*processes: Any, wanted: int | None = None, connected: bool = True) -> Any:
    pool = SimpleNamespace(
        _pool=SimpleNamespace(_pool=list(processes)), num_processes=len(processes) if wanted is None else wanted
    )
    return SimpleNamespace(
        pool=pool,
        connection=SimpleNamespace(connected=connected),
        app=SimpleNamespace(amqp=SimpleNamespace(queues=SimpleNamespace(consume_from={"a": 1}))),
        task_consumer=SimpleNamespace(consuming_from=lambda name: True),
    )


# --- frozen children --------------------------------------------------------------------------------


@pytest.mark.parametrize("pidfd", [True, False])
def test_a_frozen_child_is_told_and_ended(
    load_agent: Load,
    child: Callable[[], Child],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    pidfd: bool,
) -> None:
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    agent = load_agent(MEMORY)
    frozen, well = child().stop(), child()
    agent.state.consumer = consumer(frozen, well)
    agent.tell_condition(100)
    assert agent.status_line() == "1 queue, 0 active, 1 child frozen, release unknown"
    assert f"pool process {frozen.pid} is stopped by a signal; unless it continues, it ends in 60 s" in caplog.text
    agent.tell_condition(159)
    assert frozen.state() == "T"
    agent.tell_condition(160)
    assert frozen.reap() == -signal.SIGKILL
    assert f"pool process {frozen.pid} was stopped for 60 s: killed" in caplog.text
    assert well.wait_for("S")
    agent.tell_condition(170)
    assert agent.status_line() == "1 queue, 0 active, release unknown"


def test_a_child_that_continues_is_left_alone(load_agent: Load, child: Callable[[], Child]) -> None:
    agent = load_agent(MEMORY)
    paused = child().stop()
    agent.state.consumer = consumer(paused)
    agent.check_children(0)
    paused.signal(signal.SIGCONT, "S")
    agent.check_children(50)
    assert agent.state.frozen == {}
    paused.stop()
    agent.check_children(70)
    agent.check_children(129)
    assert paused.state() == "T"


@pytest.mark.parametrize(("value", "killed"), [("0", False), ("5", True), ("soon", False), ("nan", False)])
def test_the_time_is_configurable(
    load_agent: Load, child: Callable[[], Child], caplog: pytest.LogCaptureFixture, value: str, killed: bool
) -> None:
    agent = load_agent(MEMORY, CELERY_AGENT_CHILD_FROZEN=value)
    frozen = child().stop()
    agent.state.consumer = consumer(frozen)
    for now in (0, 1, 6):
        agent.check_children(now)
    assert (frozen.wait_for("ZT").state() == "Z" or not killed) and len(agent.state.frozen) == (value != "0")
    if killed:
        assert frozen.reap() == -signal.SIGKILL
    else:
        assert frozen.state() == "T"
    complaints = caplog.text.count(f"CELERY_AGENT_CHILD_FROZEN={value} is no number of seconds: write one, for example")
    assert complaints == (1 if value in ("soon", "nan") else 0)


def test_nobody_else_is_touched(load_agent: Load, child: Callable[[], Child], monkeypatch: pytest.MonkeyPatch) -> None:
    agent = load_agent(MEMORY)
    shell = subprocess.Popen(["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, text=True)
    assert shell.stdout is not None
    foreign = Child(int(shell.stdout.readline())).stop()
    # The number of a child that billiard has reaped belongs to somebody new.
    reused, unstarted, other = child().stop(), child().stop(), child().stop()
    reused._popen.returncode = 0
    unstarted._popen = None
    try:
        agent.state.consumer = consumer(foreign, reused, unstarted)
        for now in (0, 100, 200):
            agent.check_children(now)
        assert agent.state.frozen == {}
        start = agent.stat_of(other.pid)[2]
        assert agent.end_frozen(other.pid, start + 1) is False, "another process with the number of an old one"
        assert [process.state() for process in (foreign, reused, unstarted, other)] == ["T"] * 4
    finally:
        os.kill(foreign.pid, signal.SIGKILL)
        shell.communicate(timeout=5)


def test_a_child_in_a_debugger_is_not_frozen(
    load_agent: Load, child: Callable[[], Child], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = load_agent(MEMORY)
    debugged = child()
    monkeypatch.setattr(agent, "stat_of", lambda pid: ("t", os.getpid(), 1))
    agent.state.consumer = consumer(debugged)
    agent.check_children(0)
    agent.check_children(100)
    assert debugged.wait_for("S") and agent.state.frozen == {}


def test_a_name_with_brackets_is_read_past(load_agent: Load, tmp_path: Path) -> None:
    program = tmp_path / "a) T (1 2"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(program), "60"])
    try:
        Child(process.pid).wait_for("S")
        assert load_agent(MEMORY).stat_of(process.pid)[:2] == ("S", os.getpid())
    finally:
        process.kill()
        process.wait()


# --- a pool without processes -----------------------------------------------------------------------


@pytest.mark.parametrize("gone", ["reaped", "zombie", "none"])
def test_a_pool_that_stays_empty_ends_the_watchdog(load_agent: Load, child: Callable[[], Child], gone: str) -> None:
    agent = load_agent(MEMORY)
    dead = child().signal(signal.SIGKILL, "Z")
    if gone == "reaped":
        dead.reap()
    processes = [] if gone == "none" else [dead]
    agent.state.consumer = consumer(*processes, wanted=1)
    assert [agent.seems_alive(now) for now in (100, 159, 160)] == [True, True, False]
    assert agent.status_line(160) == "no process in the pool for 60 s, 0 active, release unknown"
    agent.state.consumer.pool._pool._pool.append(child())
    assert agent.seems_alive(161) and agent.status_line(161).startswith("1 queue")


def test_recycled_children_are_no_alarm(load_agent: Load, child: Callable[[], Child]) -> None:
    agent = load_agent(MEMORY)
    for now in range(100, 400, 20):
        agent.state.consumer = consumer(wanted=1)
        assert agent.seems_alive(now)
        agent.state.consumer = consumer(child())
        assert agent.seems_alive(now + 10)


@pytest.mark.parametrize("case", ["scaled to nothing", "stopped", "another pool", "no /proc", "no pool"])
def test_what_is_no_empty_pool(load_agent: Load, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    agent = load_agent(MEMORY)
    seen = agent.state.consumer = consumer(wanted=0 if case == "scaled to nothing" else 1)
    if case == "stopped":
        seen.pool._pool = None
    if case == "another pool":
        seen.pool = SimpleNamespace(_pool=SimpleNamespace(), num_processes=10)
    if case == "no /proc":
        monkeypatch.setattr(agent, "stat_of", lambda pid: None)
    if case == "no pool":
        del seen.pool
    assert agent.seems_alive(100) and agent.seems_alive(1000)


# --- the event loop ---------------------------------------------------------------------------------


def pool_of(module: str) -> Any:
    return type("TaskPool", (), {"__module__": module, "num_processes": 1})()


@pytest.fixture
def hub() -> Iterator[Any]:
    from kombu.asynchronous import Hub, get_event_loop, set_event_loop

    before = get_event_loop()
    made = Hub()
    yield made
    made.close()
    set_event_loop(before)


@pytest.fixture
def watched(load_agent: Load, hub: Any) -> Callable[..., ModuleType]:
    """An agent that has seen a worker's loop start, at second 1000."""

    def load(module: str = "celery.concurrency.prefork", **environment: str) -> ModuleType:
        agent = load_agent(MEMORY, **environment)
        agent.state.consumer = consumer()
        agent.state.consumer.pool = pool_of(module)
        agent.watch_loop(agent.state.consumer, hub)
        agent.state.loop_ticked = 1000.0
        return agent

    return load


@pytest.mark.parametrize(
    ("module", "noticed"),
    [
        ("celery.concurrency.prefork", True),
        ("celery.concurrency.thread", True),
        ("celery.concurrency.solo", False),
        ("celery.concurrency.gevent", False),
        ("somebody.else", False),
    ],
)
def test_a_loop_that_hangs(watched: Callable[..., ModuleType], module: str, noticed: bool) -> None:
    agent = watched(module)
    assert [agent.seems_alive(now) for now in (1005, 1304, 1305, 9999)] == [True, True, not noticed, not noticed]
    status = "event loop stalled for 300 s" if noticed else "1 queue"
    assert agent.status_line(1305) == f"{status}, 0 active, release unknown"
    assert agent.status_line(1064).startswith("1 queue")


def test_the_loop_itself_ticks(watched: Callable[..., ModuleType], hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = watched()
    monkeypatch.setattr(agent, "LOOP_TICK", 0.01)
    agent.watch_loop(agent.state.consumer, hub)
    first = agent.state.loop_ticked
    assert len([entry for entry in hub.timer.queue if not entry.entry.canceled]) == 1, "the timer of the old connection"
    ends = time.monotonic() + 5
    while agent.state.loop_ticked == first and time.monotonic() < ends:
        hub.fire_timers()
    second = agent.state.loop_ticked
    assert second > first
    while agent.state.loop_ticked == second and time.monotonic() < ends:
        hub.fire_timers()
    assert agent.state.loop_ticked > second, "it ticks again and again"


def test_between_two_connections_there_is_no_loop(watched: Callable[..., ModuleType]) -> None:
    agent = watched()
    agent.state.consumer.connection.connected = False
    assert agent.seems_alive(1290)
    agent.state.consumer.connection.connected = True
    assert agent.seems_alive(1590)
    assert not agent.seems_alive(1595)


@pytest.mark.parametrize(("value", "alive"), [("10", [True, False, False]), ("0", [True, True, True])])
def test_the_tolerance_is_configurable(watched: Callable[..., ModuleType], value: str, alive: list[bool]) -> None:
    agent = watched(CELERY_AGENT_LOOP_STALLED=value)
    assert [agent.seems_alive(now) for now in (1014, 1015, 9999)] == alive
    assert agent.status_line(1015).startswith("1 queue" if value == "0" else "event loop stalled for 10 s")


def test_a_worker_that_stops_has_no_loop(watched: Callable[..., ModuleType]) -> None:
    agent = watched()
    agent.state.stopping = True
    assert agent.seems_alive(9999)
    assert agent.status_line(9999) == "stopping, 0 active, release unknown"


@pytest.mark.parametrize(
    ("module", "function", "waits"),
    [
        ("celery.backends.base", "store_result", True),
        ("amqp.channel", "basic_publish_confirm", True),
        ("shop.tasks", "store_result", False),
    ],
)
def test_a_loop_that_waits_for_others_has_more_time(
    watched: Callable[..., ModuleType], module: str, function: str, waits: bool
) -> None:
    agent = watched()
    arrived, end = threading.Event(), threading.Event()
    code = compile(f"def {function}():\n    arrived.set()\n    end.wait(10)\n", "waits", "exec").co_consts[0]
    waiting = FunctionType(code, {"__name__": module, "arrived": arrived, "end": end})
    thread = threading.Thread(target=waiting)
    thread.start()
    try:
        arrived.wait(5)
        agent.state.loop_thread = thread.ident
        assert [agent.seems_alive(now) for now in (1304, 1305, 2804, 2805)] == [True, waits, waits, False]
        assert agent.status_line(1305).startswith("event loop stalled for 300 s")
    finally:
        end.set()
        thread.join()


# --- the end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["signal", "remote"])
def test_the_status_of_a_stop_goes_on(load_agent: Load, systemd: Systemd, end: str) -> None:
    from celery import bootsteps
    from celery.worker import state as worker_state

    agent = load_agent(MEMORY, NOTIFY_SOCKET=systemd.address, CELERY_AGENT_RELEASE="4f2c")
    seen = agent.state.consumer = consumer()
    seen.pool = pool_of("celery.concurrency.prefork")
    seen.controller = SimpleNamespace(blueprint=SimpleNamespace(state=bootsteps.RUN))
    agent.pulse_once(1)
    assert "STOPPING=1" not in systemd.receive(0.1)
    request = type("Request", (), {})()
    worker_state.active_requests.add(request)
    try:
        if end == "signal":
            agent.on_stopping()
        seen.controller.blueprint.state = bootsteps.CLOSE
        agent.pulse_once(2)
        agent.pulse_once(3)
    finally:
        worker_state.active_requests.discard(request)
    agent.pulse_once(4)
    agent.pulse_once(5)
    assert systemd.receive(1)[1:] == [
        "STOPPING=1",
        "STATUS=stopping, 1 active, release 4f2c",
        "STATUS=stopping, 0 active, release 4f2c",
    ]


def test_a_fault_that_returns_is_told_now_and_then(
    load_agent: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    agent = load_agent(MEMORY)
    agent.state.consumer = consumer(wanted=1)
    monkeypatch.setattr(agent, "pool_processes", lambda seen: 1 / 0)
    for _look in range(3):
        assert agent.check_children(0) is None
    assert caplog.text.count("check_children failed") == 1
    monkeypatch.setattr(agent, "REPEATED", 0.0)
    agent.check_children(0)
    assert caplog.text.count("check_children failed") == 2


@pytest.mark.parametrize("case", ["watchdog", "none", "own"])
def test_a_watchdog_kill_leaves_the_stacks(cluster: Cluster, case: str) -> None:
    own = "import faulthandler\nfaulthandler.enable(open('own.txt', 'w'))\n" if case == "own" else ""
    (cluster.root / "code" / "hanging.py").write_text(own + MEMORY)
    environment = {} if case == "none" else {"WATCHDOG_USEC": "30000000"}
    code = (
        "import celery_agent, os, sys, threading\n"
        "sys.stderr = open(os.devnull, 'w')\n"
        "def deadlocked():\n    threading.Event().wait()\n"
        "threading.Thread(target=deadlocked, daemon=True).start()\n"
        "os.abort()\n"
    )
    with pytest.raises(AssertionError) as died:
        cluster.python(code, CELERY_AGENT_APP="hanging:app", **environment)
    assert ("Fatal Python error: Aborted" in str(died.value)) is (case == "watchdog")
    assert ("in deadlocked" in str(died.value)) is (case == "watchdog")
    if case == "own":
        assert "in deadlocked" in (cluster.root / "own.txt").read_text()


# --- real workers -----------------------------------------------------------------------------------

# Files with an event loop, as AMQP has one. The main process can be made to hang; the rest of the time it must not.
LOOPING = (
    SHOP
    + """
import socket
import time
from celery import signals
from kombu.transport import filesystem


class Transport(filesystem.Transport):
    implements = filesystem.Transport.implements.extend(asynchronous=True)

    def register_with_event_loop(self, connection, loop):
        def drain():
            try:
                self.drain_events(connection, timeout=0)
            except socket.timeout:
                pass

        loop.call_repeatedly(0.1, drain)


app.conf.update(broker_transport="shop:Transport", worker_lost_wait=0.5, worker_prefetch_multiplier=1)


@app.task(name="shop.long", acks_late=True, reject_on_worker_lost=True)
def long(name, seconds):
    with open(root + "/ran-" + name, "a") as stream:
        stream.write(str(os.getpid()) + "\\n")
    time.sleep(seconds)
    return name


@signals.task_received.connect
def on_received(request=None, **_):
    if request.name == "shop.pair" and request.args[0] == "hang":
        time.sleep(9)
"""
)


@pytest.fixture
def looping(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "cluster", LOOPING)
    yield made
    made.stop()


def ran(cluster: Cluster, name: str, times: int) -> list[int]:
    """The processes that began this task, once there are as many."""
    path = cluster.root / f"ran-{name}"
    ends = time.monotonic() + 30
    while not path.exists() or len(path.read_text().split()) < times:
        assert time.monotonic() < ends, f"{name} did not start: {cluster.log()}"
        time.sleep(0.05)
    return [int(pid) for pid in path.read_text().split()]


def test_a_frozen_child_is_replaced_and_no_other_task_suffers(looping: Cluster, systemd: Systemd) -> None:
    worker = looping.worker(
        "worker1",
        "--concurrency=2",
        NOTIFY_SOCKET=systemd.address,
        WATCHDOG_USEC="900000",
        CELERY_AGENT_CHILD_FROZEN="1",
    )
    systemd.wait_for("READY=1", process=worker)
    send = "from shop import long; print(long.delay('frozen', 2).id, long.delay('other', 8).id)"
    ids = looping.python(send).splitlines()[-1].split()
    (pid,) = ran(looping, "frozen", 1)
    (untouched,) = ran(looping, "other", 1)
    os.kill(pid, signal.SIGSTOP)
    systemd.wait_for("STATUS=1 queue, 2 active, 1 child frozen, release 4f2c", process=worker)
    assert ran(looping, "frozen", 2)[1] not in (pid, untouched), "begun anew, in a new process"
    assert f"pool process {pid} was stopped for 1 s: killed" in looping.log()

    # The last stop comes by remote control; the tasks that run end in peace.
    looping.python("from shop import app; app.control.shutdown()")
    systemd.wait_for("STOPPING=1", process=worker)
    assert worker.wait(30) == 0
    got = f"from shop import app; print([app.AsyncResult(i).get(timeout=1) for i in {ids}])"
    assert looping.python(got).splitlines()[-1] == "['frozen', 'other']"
    assert ran(looping, "other", 1) == [untouched], "once, from start to end"
    lines = systemd.receive(0.1)
    assert any(line.startswith("STATUS=stopping, ") and " 0 active" not in line for line in lines)
    assert not [line for line in lines if "stalled" in line or "no process" in line]
    assert "the application runs without it" not in looping.log()


def test_a_main_process_that_hangs(looping: Cluster, systemd: Systemd) -> None:
    worker = looping.worker(
        "worker1",
        "--pool=threads",
        NOTIFY_SOCKET=systemd.address,
        WATCHDOG_USEC="900000",
        CELERY_AGENT_LOOP_STALLED="2",
    )
    systemd.wait_for("READY=1", process=worker)
    systemd.wait_for("WATCHDOG=1", process=worker)

    os.kill(worker.pid, signal.SIGSTOP)
    time.sleep(0.3)
    systemd.receive(0.1)
    systemd.lines.clear()
    assert "WATCHDOG=1" not in systemd.receive(1.5), "the pulse is the process's own"
    os.kill(worker.pid, signal.SIGCONT)
    systemd.wait_for("WATCHDOG=1", process=worker)

    looping.python("from shop import pair; pair.delay('hang', 1)")
    systemd.wait_for("STATUS=event loop stalled for 2 s, ", process=worker)
    systemd.lines.clear()
    assert "WATCHDOG=1" not in systemd.receive(0.6)
    systemd.wait_for("STATUS=1 queue, ", process=worker)
    systemd.wait_for("WATCHDOG=1", process=worker)
    assert looping.log().count("systemd's watchdog is no longer answered") == 1
