"""Beat behind a lock: real beats over a broker made of files, and a psql whose server is a locked file."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from local_cluster import CHECKOUT, PYTHON, SHOP, Cluster, Systemd

LAUNCHER = CHECKOUT / "roles" / "beat" / "files" / "celery_beat_launcher.py"
FAKE = Path(__file__).parent / "fake_psql.py"
# A task every 0.3 s, and a line for each one that left for the broker.
TICKING = (
    SHOP
    + """
import time
from celery import signals

app.conf.beat_schedule = {"pair": {"task": "shop.pair", "schedule": 0.3, "args": (1, 2)}}


@signals.after_task_publish.connect(weak=False)
def note(**_):
    with open(root + "/sent", "a") as stream:
        stream.write(f"{time.monotonic()} {os.environ['CELERY_AGENT_HOST']}\\n")
"""
)
# The time of day is moved by what the file says; the clock that nobody sets is not.
CLOCK = """
import datetime
true_time, true_now = time.time, app.now


def moved():
    with open(root + "/clock") as stream:
        return float(stream.read())


time.time = lambda: true_time() + moved()
app.now = lambda: true_now() + datetime.timedelta(seconds=moved())
"""


@pytest.fixture
def launcher() -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"launcher_{uuid.uuid4().hex}", LAUNCHER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Beats:
    """Beats of several hosts; each has a systemd of its own."""

    def __init__(self, root: Path) -> None:
        self.move_clock(root, 0)
        self.cluster = Cluster(root, TICKING + CLOCK)
        self.root = root
        self.systemd: dict[str, Systemd] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.psql = root / "psql"
        self.psql.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FAKE}" "$@"\n')
        self.psql.chmod(0o700)

    def start(self, host: str, launcher: Path = LAUNCHER, **environment: str) -> None:
        self.systemd[host] = Systemd(str(self.root / f"notify-{host}-{len(self.cluster.processes)}"))
        with (self.root / f"{host}.log").open("ab") as stream:
            process = subprocess.Popen(
                [
                    *(PYTHON, str(launcher), "-A", "celery_agent", "beat", "--pidfile=", "--loglevel=INFO"),
                    *("--schedule", str(self.root / f"schedule-{host}")),
                ],
                env={
                    **self.cluster.environment,
                    "CELERY_AGENT_ROLE": "beat",
                    "CELERY_AGENT_HOST": host,
                    "CELERY_BEAT_LOCK_SERVICE": "shop_lock",
                    "CELERY_BEAT_LOCK_CLUSTER": "shop",
                    "CELERY_BEAT_LOCK_PSQL": str(self.psql),
                    "FAKE_PSQL_ROOT": str(self.root),
                    "NOTIFY_SOCKET": self.systemd[host].address,
                    **environment,
                },
                cwd=self.root,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.cluster.processes.append(process)
        self.processes[host] = process

    def start_at_once(self, host: str) -> None:
        """Whoever gets the lock begins without the wait for an old holder, where that wait is not the question."""
        quick = self.root / "quick_launcher.py"
        text, replaced = re.subn(r"^HANDOVER = 5\.0$", "HANDOVER = 0.1", LAUNCHER.read_text(), flags=re.MULTILINE)
        assert replaced == 1
        quick.write_text(text)
        self.start(host, quick)

    def wait_for(self, host: str, start: str, timeout: float = 30) -> str:
        try:
            return self.systemd[host].wait_for(start, timeout, self.processes[host])
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.cluster.log(host)}") from error

    @staticmethod
    def move_clock(root: Path, seconds: float) -> float:
        """The time of day is another one from now on."""
        (root / "clock.new").write_text(str(seconds))
        (root / "clock.new").replace(root / "clock")
        return time.monotonic()

    def mode(self, word: str) -> float:
        """The fake's servers behave so from now on."""
        (self.root / "mode").write_text(word)
        return time.monotonic()

    def sent(self) -> list[tuple[float, str]]:
        path = self.root / "sent"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(float(line.split()[0]), line.split()[1]) for line in lines]

    def wait_until_sent(self, host: str, since: float, timeout: float = 30) -> float:
        ends = time.monotonic() + timeout
        while time.monotonic() < ends:
            for moment, who in self.sent():
                if who == host and moment > since:
                    return moment
            time.sleep(0.1)
        raise AssertionError(f"{host} sent nothing: {self.sent()[-5:]}\n{self.cluster.log(host)}")

    def stop(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
        self.cluster.stop()
        for receiver in self.systemd.values():
            receiver.sock.close()


@pytest.fixture
def beats(tmp_path: Path) -> Iterator[Beats]:
    found = Beats(tmp_path)
    yield found
    found.stop()


def test_one_sends_and_the_other_waits_and_takes_over(beats: Beats, launcher: ModuleType) -> None:
    beats.start("beat1", WATCHDOG_USEC="60000000")
    beats.wait_for("beat1", "READY=1")
    beats.wait_for("beat1", "STATUS=taking over")
    assert beats.sent() == []
    beats.wait_for("beat1", "STATUS=active, no tick yet, 2 periodic tasks, release 4f2c, lock held")
    beats.wait_until_sent("beat1", 0)
    beats.start("beat2", WATCHDOG_USEC="60000000")
    assert beats.wait_for("beat2", "STATUS=") == "STATUS=standby, beat1 is active"
    assert {"READY=1", "WATCHDOG=1"} <= set(beats.systemd["beat2"].lines)
    time.sleep(2)
    assert {who for _moment, who in beats.sent()} == {"beat1"}
    killed = time.monotonic()
    beats.processes["beat1"].kill()
    first = beats.wait_until_sent("beat2", killed)
    print(f"taken over after {first - killed:.1f} s")
    assert first - killed > launcher.HANDOVER
    assert max(moment for moment, who in beats.sent() if who == "beat1") <= killed + 0.5
    asked = (beats.root / "asked").read_text()
    assert "beat on beat2|" in asked and "idle_session_timeout=6s" in asked and "service=shop_lock " in asked


def test_a_stop_hands_over_at_once(beats: Beats) -> None:
    beats.start_at_once("beat1")
    beats.wait_until_sent("beat1", 0)
    beats.processes["beat1"].terminate()
    assert beats.processes["beat1"].wait(10) == 0
    assert list(beats.root.glob("schedule-beat1*"))


def test_who_stands_by_stops_without_opening_a_schedule(beats: Beats) -> None:
    beats.mode("refuse")
    beats.start("beat1")
    beats.wait_for("beat1", "STATUS=stopped, no lock: psql: error: connection to server failed: Connection refused")
    beats.processes["beat1"].terminate()
    assert beats.processes["beat1"].wait(10) == 0
    assert not list(beats.root.glob("schedule-beat1*")) and beats.sent() == []


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("silent", "the database does not answer"),
        ("idle", "FATAL: terminating connection due to idle-session timeout"),
        ("garbage", "psql answered 'maybe'"),
        ("another", "another session answers: something between here and the server shares connections"),
    ],
)
def test_without_an_answer_nothing_is_sent(beats: Beats, launcher: ModuleType, mode: str, why: str) -> None:
    beats.start_at_once("beat1")
    beats.wait_until_sent("beat1", 0)
    since = beats.mode(mode)
    assert beats.processes["beat1"].wait(15) == launcher.EXIT_LOST
    ended = time.monotonic() - since
    assert ended < launcher.LEASE + launcher.GRACE + 1
    assert max(moment for moment, _who in beats.sent()) < since + launcher.LEASE
    assert f"STATUS=stopped, no lock: {why}" in beats.systemd["beat1"].receive(0.1)
    # As systemd starts it anew: the database is back.
    beats.mode("")
    again = time.monotonic()
    beats.start_at_once("beat1")
    beats.wait_until_sent("beat1", again)


def test_a_frozen_beat_sends_nothing_after_it_was_replaced(beats: Beats) -> None:
    beats.start_at_once("beat1")
    beats.wait_until_sent("beat1", 0)
    beats.processes["beat1"].send_signal(signal.SIGSTOP)
    time.sleep(0.3)
    frozen = time.monotonic()
    # The server ends the session that asks no more; here psql is ended instead.
    for pid in children(beats.processes["beat1"].pid):
        os.kill(pid, signal.SIGKILL)
    beats.start("beat2")
    first = beats.wait_until_sent("beat2", frozen)
    beats.processes["beat1"].send_signal(signal.SIGCONT)
    assert beats.processes["beat1"].wait(60) != 0
    assert first > frozen and max(moment for moment, who in beats.sent() if who == "beat1") < frozen


def test_a_clock_that_is_set_stops_nobody(beats: Beats) -> None:
    beats.start_at_once("beat1")
    beats.wait_until_sent("beat1", 0)
    for seconds in (3600, -3600, 0):
        moment = beats.move_clock(beats.root, seconds)
        # One may have been on its way.
        beats.wait_until_sent("beat1", moment + 0.4)
        time.sleep(1.5)
        after = [sent for sent, _who in beats.sent() if sent > moment + 0.4]
        assert 1 <= len(after) <= (time.monotonic() - moment) / 0.3 + 1
    assert "set back: 1 periodic tasks count their interval from now" in beats.cluster.log("beat1")
    assert beats.processes["beat1"].poll() is None
    # A schedule on disk that is of a later day, as a clock that was wrong leaves it.
    beats.move_clock(beats.root, 7200)
    beats.wait_until_sent("beat1", time.monotonic() + 0.4)
    beats.processes["beat1"].terminate()
    beats.processes["beat1"].wait(30)
    moment = beats.move_clock(beats.root, 0)
    beats.start_at_once("beat1")
    beats.wait_until_sent("beat1", moment)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] or [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/stat")
        if int(path.read_text().rpartition(")")[2].split()[1]) == pid
    ]


def test_without_the_names_of_the_lock_nothing_starts(beats: Beats, launcher: ModuleType) -> None:
    beats.start("beat1", CELERY_BEAT_LOCK_SERVICE="")
    assert beats.processes["beat1"].wait(30) == launcher.EXIT_MISUSE
    assert "CELERY_BEAT_LOCK_SERVICE" in beats.cluster.log("beat1")


def test_the_times_keep_two_beats_apart(launcher: ModuleType) -> None:
    # The old one has ended before the server frees the lock, and before whoever gets it begins.
    assert launcher.ASK < launcher.LEASE < launcher.LEASE + launcher.GRACE < launcher.IDLE
    assert launcher.LEASE + launcher.GRACE < launcher.HANDOVER
    assert launcher.IDLE + launcher.POLL + launcher.HANDOVER <= 12


def test_the_key_is_the_cluster_s(launcher: ModuleType) -> None:
    assert launcher.lock_key("shop") == launcher.lock_key("shop") != launcher.lock_key("shop2")
    assert all(0 <= part < 2**31 for name in map(str, range(200)) for part in launcher.lock_key(name))


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def leased(launcher: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    def make(holds: Any) -> Any:
        made = SimpleNamespace(clock=Clock(), ended=[])
        monkeypatch.setattr(launcher, "now", made.clock)
        monkeypatch.setattr(launcher, "PATIENCE", 0.1)
        monkeypatch.setattr(launcher, "ASK", 0.1)
        made.lease = launcher.Lease(SimpleNamespace(holds=holds), made.ended.append)
        return made

    return make


def test_a_lease_ends_by_its_age_alone(leased: Callable[[Any], Any]) -> None:
    made = leased(lambda _patience: None)
    made.clock.seconds += 3.9
    made.lease.check()
    made.clock.seconds += 0.1
    with pytest.raises(SystemExit):
        made.lease.check()
    assert made.ended == ["no answer of the database for 4 s"]
    # What was lost stays lost, and is told once.
    made.lease.renew()
    with pytest.raises(SystemExit):
        made.lease.check()
    assert len(made.ended) == 1


def test_an_answer_is_worth_its_time_from_the_question_on(leased: Callable[[Any], Any]) -> None:
    made = leased(lambda _patience: setattr(made.clock, "seconds", made.clock.seconds + 3))
    made.lease.renew()
    assert made.lease.age() == 3


def test_a_change_of_the_system_s_time_moves_nothing(
    leased: Callable[[Any], Any], launcher: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = launcher.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert 0 <= launcher.now() - before < 5
    made = leased(lambda _patience: None)
    monkeypatch.setattr(time, "time", lambda: 1e12)
    made.lease.check()
    assert made.ended == []


@pytest.mark.parametrize("method", ["tick", "apply_entry", "apply_async"])
def test_every_way_to_send_passes_the_lease(launcher: ModuleType, method: str) -> None:
    from celery import signals

    class Scheduler:
        """Of any package: some have methods of their own."""

        def tick(self) -> str:
            return "tick"

        def apply_entry(self) -> str:
            return "apply_entry"

        def apply_async(self) -> str:
            return "apply_async"

    def check() -> None:
        if lost:
            raise SystemExit(3)

    lost: list[bool] = []
    before = list(signals.before_task_publish.receivers)
    scheduler = Scheduler()
    launcher.gate(SimpleNamespace(check=check), scheduler)
    try:
        assert getattr(scheduler, method)() == method
        signals.before_task_publish.send(sender="a")
        lost.append(True)
        with pytest.raises(SystemExit):
            getattr(scheduler, method)()
        with pytest.raises(SystemExit):
            signals.before_task_publish.send(sender="a")
    finally:
        signals.before_task_publish.receivers = before
        signals.before_task_publish.sender_receivers_cache.clear()


def test_a_lost_lock_is_no_clean_end_when_the_signal_arrives_on_the_way_out(
    launcher: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Left(BaseException):
        """The process has ended."""

    def left(code: int) -> None:
        raise Left(code)

    def handler() -> None:
        # As Celery's for SIGTERM.
        raise SystemExit

    monkeypatch.setattr(launcher.os, "_exit", left)
    agent = SimpleNamespace(state=SimpleNamespace(setting=lambda _name: "beat1", beat_note=""))
    beat = launcher.Launcher("shop_lock", "shop", agent)
    beat.session = SimpleNamespace(process=SimpleNamespace(kill=handler))
    beat.lease = SimpleNamespace(lost="", start=lambda: None, check=lambda: None)
    beat.stand_by = lambda: None
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    def lose(_service: Any) -> None:
        beat.lease.lost = "the database does not answer"

    with pytest.raises(Left, match=str(launcher.EXIT_LOST)):
        beat.run(SimpleNamespace(scheduler=None), lose)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_psql_is_the_newest_real_one(launcher: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher.glob, "glob", lambda _pattern: [f"/usr/lib/postgresql/{v}/bin/psql" for v in (9, 17)])
    assert launcher.find_psql() == "/usr/lib/postgresql/17/bin/psql"
    monkeypatch.setattr(launcher.glob, "glob", lambda _pattern: [])
    assert launcher.find_psql() == "psql"


def test_a_psql_that_is_not_there_is_named(launcher: ModuleType) -> None:
    with pytest.raises(launcher.LostError, match=r"psql cannot be run: .*nowhere"):
        launcher.Session("shop_lock", "shop", "beat1", "/nowhere/psql")


def test_it_needs_nothing_but_the_standard_library(launcher: ModuleType) -> None:
    code = f"import runpy, sys; sys.argv = ['x']; runpy.run_path({str(LAUNCHER)!r}); print('celery' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
