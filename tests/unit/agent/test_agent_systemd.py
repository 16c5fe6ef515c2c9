"""READY, STATUS, STOPPING and the watchdog, as systemd receives them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from local_cluster import Systemd

Load = Callable[..., ModuleType]
MEMORY = "from celery import Celery\napp = Celery('m', broker='memory://')\n"


class Fake(SimpleNamespace):
    """Signals want senders that can be hashed."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def consumer(
    connected: bool = True, wanted: tuple[str, ...] = ("a", "b"), consumed: tuple[str, ...] = ("a", "b")
) -> Any:
    return Fake(
        connection=SimpleNamespace(connected=connected, transport=SimpleNamespace(driver_type="m", driver_name="m")),
        app=SimpleNamespace(amqp=SimpleNamespace(queues=SimpleNamespace(consume_from=dict.fromkeys(wanted)))),
        task_consumer=SimpleNamespace(consuming_from=lambda name: name in consumed),
    )


class Ticking:
    """A scheduler of any class."""

    def __init__(self) -> None:
        self.schedule = {"a": 1, "b": 2}
        self.max_interval = 300

    def tick(self) -> int:
        return 7


CONSUMING = consumer()
DRAINED = consumer(wanted=(), consumed=())
SILENT = consumer(consumed=("a",))
LOST = consumer(connected=False)
NEVER = Fake(connection=None)


@pytest.fixture
def told(load_agent: Load, systemd: Systemd) -> Callable[..., ModuleType]:
    def load(**environment: str) -> ModuleType:
        agent = load_agent(MEMORY, NOTIFY_SOCKET=systemd.address, CELERY_AGENT_RELEASE="4f2c", **environment)
        agent.start_pulse = lambda: True
        return agent

    return load


@pytest.mark.parametrize("systemd", ["path", "abstract"], indirect=True)
def test_worker_ready_is_told(told: Load, systemd: Systemd) -> None:
    from celery import signals

    told()
    assert systemd.receive(0.05) == []
    signals.worker_ready.send(sender=CONSUMING)
    assert systemd.receive(1) == ["READY=1", "STATUS=2 queues, 0 active, release 4f2c"]
    signals.worker_shutting_down.send(sender="node", sig="TERM", how="Warm", exitcode=0)
    signals.worker_shutdown.send(sender=None)
    assert systemd.receive(1)[2:] == ["STOPPING=1", "STATUS=stopping, 0 active, release 4f2c"]


@pytest.mark.parametrize("systemd", ["path", "abstract"], indirect=True)
@pytest.mark.parametrize("broken", ["status_line", "notify", "share_tls", "on_worker_ready", "start_pulse"])
def test_worker_ready_is_told_whatever_fails(
    told: Load, systemd: Systemd, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from celery import signals

    agent = told()
    if broken == "on_worker_ready":
        signals.worker_ready.disconnect(agent.on_worker_ready)
    else:
        monkeypatch.setattr(agent, broken, lambda *_, **__: 1 / 0)
    signals.worker_ready.send(sender=CONSUMING)
    assert [line for line in systemd.receive(1) if line == "READY=1"] == ["READY=1"]


def test_children_and_their_programs_cannot_notify(told: Load, systemd: Systemd) -> None:
    agent = told(WATCHDOG_USEC="3000000", WATCHDOG_PID="1")
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)
    assert agent.state.watchdog_seconds == 3.0
    agent.state.pid = -1  # as in a child
    agent.notify("READY=1")
    agent.plain_notify("READY=1")
    assert systemd.receive(0.1) == []


def test_beat_is_told_once_its_schedule_is_open(told: Load, systemd: Systemd) -> None:
    from celery import signals

    told(CELERY_AGENT_ROLE="beat")
    signals.beat_init.send(sender=Fake(scheduler=Ticking()))
    assert systemd.receive(1) == ["READY=1", "STATUS=active, no tick yet, 2 periodic tasks, release 4f2c"]


def test_beat_answers_the_watchdog_for_its_ticks_alone(told: Load, systemd: Systemd) -> None:
    from celery import signals

    agent = told(CELERY_AGENT_ROLE="beat", WATCHDOG_USEC="120000000")
    scheduler = Ticking()
    signals.beat_init.send(sender=Fake(scheduler=scheduler))
    # It wakes up twice within the watchdog's time, whatever is due.
    assert scheduler.max_interval == 60
    systemd.receive(1)
    told_before = len(systemd.lines)
    start = agent.state.beat_ticked
    agent.tell_condition(start + 1)
    agent.tell_condition(start + 2)
    assert systemd.receive(1)[told_before:].count("WATCHDOG=1") == 1
    assert scheduler.tick() == 7
    agent.tell_condition(agent.state.beat_ticked + 3)
    assert systemd.receive(1)[-2:] == ["STATUS=active, last tick 3 s ago, 2 periodic tasks, release 4f2c", "WATCHDOG=1"]
    # A thread that goes on says nothing of a beat that hangs.
    for seconds in (10, 60, 119, 121):
        agent.tell_condition(agent.state.beat_ticked + seconds)
    assert "WATCHDOG=1" not in systemd.receive(1)[-4:]
    assert agent.state.watchdog_withheld
    scheduler.tick()
    agent.tell_condition(agent.state.beat_ticked)
    assert systemd.receive(1)[-1] == "WATCHDOG=1" and not agent.state.watchdog_withheld


def test_without_a_watchdog_the_scheduler_sleeps_as_long_as_it_wants(told: Load, systemd: Systemd) -> None:
    from celery import signals

    agent = told(CELERY_AGENT_ROLE="beat")
    scheduler = Ticking()
    signals.beat_init.send(sender=Fake(scheduler=scheduler))
    agent.tell_condition(agent.state.beat_ticked + 1000)
    assert scheduler.max_interval == 300 and "WATCHDOG=1" not in systemd.receive(0.1)


def test_beat_with_an_odd_scheduler_is_told_too(told: Load, systemd: Systemd) -> None:
    from celery import signals

    told(CELERY_AGENT_ROLE="beat")
    signals.beat_init.send(sender=Fake(scheduler=None))
    assert systemd.receive(1) == ["READY=1"]


def test_beat_inside_a_worker_does_not_speak_for_it(told: Load, systemd: Systemd) -> None:
    from celery import signals

    told(CELERY_AGENT_ROLE="worker")
    signals.beat_init.send(sender=Fake(scheduler=SimpleNamespace(schedule={})))
    assert systemd.receive(0.1) == []


def test_no_systemd_no_noise(load_agent: Load, caplog: pytest.LogCaptureFixture) -> None:
    from celery import signals

    agent = load_agent(MEMORY)
    signals.worker_ready.send(sender=CONSUMING)
    assert agent.state.ready
    assert not caplog.records


def test_a_systemd_that_went_away_does_no_harm(told: Load, systemd: Systemd, caplog: pytest.LogCaptureFixture) -> None:
    from celery import signals

    told()
    systemd.sock.close()
    signals.worker_ready.send(sender=CONSUMING)
    assert "systemd cannot be told READY=1" in caplog.text


@pytest.mark.parametrize(
    ("history", "alive"),
    [
        ([(0, CONSUMING)], True),
        ([(0, DRAINED), (9999, DRAINED)], True),
        ([(0, LOST)], True),
        ([(0, LOST), (299, LOST)], True),
        ([(0, LOST), (300, LOST)], False),
        ([(0, NEVER), (301, NEVER)], False),
        ([(0, LOST), (299, CONSUMING), (300, LOST), (598, LOST)], True),
        ([(0, SILENT), (59, SILENT)], True),
        ([(0, SILENT), (60, SILENT)], False),
        # Connected after a long outage: joining takes its own time.
        ([(0, LOST), (250, LOST), (260, SILENT), (310, SILENT)], True),
        # Connecting and failing for ever is no life either.
        ([(0, LOST), (100, SILENT), (101, LOST), (200, SILENT), (201, LOST), (300, SILENT), (361, LOST)], False),
    ],
)
def test_who_counts_as_alive(load_agent: Load, history: list[tuple[float, Any]], alive: bool) -> None:
    agent = load_agent(MEMORY)
    answers = []
    for now, seen in history:
        agent.state.consumer = seen
        answers.append(agent.seems_alive(now))
    assert all(answers[:-1])
    assert answers[-1] is alive


def test_the_grace_is_configurable(load_agent: Load) -> None:
    agent = load_agent(MEMORY, CELERY_AGENT_RECONNECT_GRACE="5")
    agent.state.consumer = LOST
    assert [agent.seems_alive(now) for now in (0, 4, 5)] == [True, True, False]


def test_the_watchdog_is_answered_only_while_alive(
    told: Load, systemd: Systemd, caplog: pytest.LogCaptureFixture
) -> None:
    agent = told(WATCHDOG_USEC="3000000")
    agent.state.consumer = CONSUMING
    agent.pulse_once(0)
    agent.pulse_once(1)
    assert systemd.receive(1) == ["STATUS=2 queues, 0 active, release 4f2c", "WATCHDOG=1", "WATCHDOG=1"]
    systemd.lines.clear()
    agent.state.consumer = LOST
    agent.pulse_once(2)
    agent.pulse_once(14)
    assert systemd.receive(1) == [
        "STATUS=reconnecting for 0 s, 0 active, release 4f2c",
        "WATCHDOG=1",
        "STATUS=reconnecting for 12 s, 0 active, release 4f2c",
        "WATCHDOG=1",
    ]
    systemd.lines.clear()
    agent.pulse_once(400)
    agent.pulse_once(401)
    assert "WATCHDOG=1" not in systemd.receive(1)
    assert caplog.text.count("systemd's watchdog is no longer answered") == 1
    agent.state.stopping = True  # the end is systemd's business
    agent.pulse_once(402)
    assert systemd.receive(1)[-1] == "WATCHDOG=1"


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (consumer(wanted=("a",)), "1 queue, 0 active, release 4f2c"),
        (DRAINED, "no queues (drained), 0 active, release 4f2c"),
        (SILENT, "not consuming b, 0 active, release 4f2c"),
    ],
)
def test_status(told: Load, seen: Any, status: str) -> None:
    agent = told()
    agent.state.consumer = seen
    assert agent.status_line() == status


def test_a_fault_in_the_pulse_is_not_the_workers(told: Load, systemd: Systemd, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = told(WATCHDOG_USEC="3000000")
    monkeypatch.setattr(agent, "seems_alive", lambda now: 1 / 0)
    agent.state.consumer = CONSUMING

    def sleep(seconds: float) -> None:
        assert seconds == 1.0
        raise KeyboardInterrupt

    monkeypatch.setattr(agent.time, "sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        agent.pulse()
    assert systemd.receive(1) == ["WATCHDOG=1"]


def test_without_a_thread_the_watchdog_is_disarmed(
    load_agent: Load, systemd: Systemd, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = load_agent(MEMORY, NOTIFY_SOCKET=systemd.address, WATCHDOG_USEC="3000000")
    monkeypatch.setattr(agent.threading, "Thread", lambda **_: 1 / 0)
    from celery import signals

    signals.worker_ready.send(sender=CONSUMING)
    assert [line for line in systemd.receive(1) if "STATUS" not in line] == ["READY=1", "WATCHDOG_USEC=0"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("broken", ["on_beat_init", "pulse", "start_pulse", "plain_notify", "notify"])
def test_beat_is_not_restarted_for_a_fault_of_the_agent(
    load_agent: Load, systemd: Systemd, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    from celery import signals

    agent = load_agent(MEMORY, NOTIFY_SOCKET=systemd.address, WATCHDOG_USEC="3000000", CELERY_AGENT_ROLE="beat")
    if broken == "on_beat_init":
        signals.beat_init.disconnect(agent.on_beat_init)
    else:
        guards = agent.guarded if hasattr(getattr(agent, broken), "__wrapped__") else lambda function: function
        monkeypatch.setattr(agent, broken, guards(lambda *_, **__: 1 / 0))

    def end_the_thread(seconds: float) -> None:
        raise SystemExit

    monkeypatch.setattr(agent, "time", SimpleNamespace(monotonic=time.monotonic, sleep=end_the_thread))
    signals.beat_init.send(sender=Fake(scheduler=SimpleNamespace(schedule={"a": 1})))
    systemd.wait_for("READY=1", timeout=2)
    systemd.wait_for("WATCHDOG", timeout=2)
