"""Two beat hosts: exactly one sends, whatever happens to it. Every second a `ledger.tick` says when and from where.

Needs of the inventory: `ledger.tick` every second in celery_settings.beat_schedule, and beat_watchdog_seconds of 20.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import pytest
import testing
from testing import container, host, query, wait_for

NAME = "ledger"
CORE, BEATS = "core1", ("beat1", "beat2")
LAUNCHER = f"/opt/{NAME}/agent/celery_beat_launcher.py"
# The goal is 15 s; a busy machine may take longer, and no test fails for that.
GOAL, PATIENCE = 15.0, 120.0
# What the launcher keeps between the last tick of one host and the first of another is 5 s; a tick may be late itself.
APART = 3.0
# Ticks at both ends, and one that came a moment early.
SPARE = 3
# Loaded by beat's Python before Celery: the time of day as this process sees it. The clock of the containers is that of
# the machine, which is not ours to set; a library that pretends breaks Python's sleep.
CLOCK = f"/run/{NAME}-clock"
SITE = f"""
import datetime, time
import celery.app.base
true_time, true_now = time.time, celery.app.base.Celery.now


def moved():
    with open("{CLOCK}/seconds") as stream:
        return float(stream.read())


time.time = lambda: true_time() + moved()
celery.app.base.Celery.now = lambda app: true_now(app) + datetime.timedelta(seconds=moved())
"""


class Tick(NamedTuple):
    sent: float
    sender: str


def ticks(since: float, by: str = "sent") -> list[Tick]:
    """Every message that was sent, in the order in which they were sent; by started: as the worker's clock has it."""
    columns = f"extract(epoch FROM {by}), sender"
    where = f"{by} > to_timestamp({since}) ORDER BY {by}"
    lines = query(NAME, f"SELECT {columns} FROM ledger_ticks WHERE {where}", CORE)
    return [Tick(float(sent), sender) for sent, sender in (line.split("|") for line in lines)]


def doubles(found: list[Tick]) -> list[tuple[Tick, Tick]]:
    """First and last tick of what is too much: both hosts were active, or one sent more than one in a second.

    Of one host the number counts and not the distance: a tick that was held up is soon followed by the next one.
    """
    both = [(one, other) for one, other in pairwise(found) if one.sender != other.sender]
    runs = [list(run) for _sender, run in itertools.groupby(found, lambda tick: tick.sender)]
    many = [(run[0], run[-1]) for run in runs if len(run) > run[-1].sent - run[0].sent + SPARE]
    return [(one, other) for one, other in both if other.sent - one.sent < APART] + many


def longest_gap(found: list[Tick]) -> float:
    return max((other.sent - one.sent for one, other in pairwise(found)), default=0.0)


def units(name: str) -> dict[str, str]:
    done = host(name).run(f"systemctl show -p ActiveState,MainPID,StatusText,NRestarts '{NAME}-beat@*.service'")
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def status(name: str) -> str:
    return units(name).get("StatusText", "")


def active() -> str:
    """The one host that says it is active; empty when there is none, or more than one."""
    found = [name for name in BEATS if status(name).startswith("active, ")]
    return found[0] if len(found) == 1 else ""


def other(name: str) -> str:
    return next(one for one in BEATS if one != name)


def is_whole() -> bool:
    who = active()
    return bool(who) and status(other(who)) == f"standby, {who} is active"


def sends_from(name: str, since: float) -> list[Tick]:
    return [tick for tick in ticks(since) if tick.sender == name]


def docker(*words: str) -> None:
    subprocess.run(["docker", *words], check=True, capture_output=True, timeout=120)


def address(name: str) -> str:
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    argv = ["docker", "inspect", "--format", template, container(name)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def network() -> str:
    return f"taskfleet-{testing.SCENARIO}"


def cut(name: str) -> None:
    docker("network", "disconnect", network(), container(name))


def join(name: str, ip: str) -> None:
    docker("network", "connect", "--alias", name, "--ip", ip, network(), container(name))


@pytest.fixture(autouse=True)
def whole() -> Iterator[None]:
    """One active and one that waits, before and after."""
    assert wait_for(is_whole, PATIENCE), [units(name) for name in BEATS]
    yield
    assert wait_for(is_whole, PATIENCE), [units(name) for name in BEATS]


def report(what: str, since: float, moment: float, found: list[Tick]) -> None:
    taken = next((tick.sent - moment for tick in found if tick.sent > moment), float("nan"))
    print(
        f"{what}: first tick after {taken:.1f} s (goal {GOAL:.0f} s), {len(found)} ticks in"
        f" {time.time() - since:.0f} s, longest gap {longest_gap(found):.1f} s, doubles {len(doubles(found))}"
    )


def replaced(old: str, moment: float) -> None:
    """Waits for a tick of the other host."""
    assert wait_for(lambda: sends_from(other(old), moment), PATIENCE, 1), (ticks(moment), units(other(old)))


def test_one_is_active_and_the_other_waits():
    who = active()
    words = r"active, (last tick \d+ s ago|no tick yet), \d+ periodic tasks?, release \S+, lock held"
    assert re.fullmatch(words, status(who)), status(who)
    assert status(other(who)) == f"standby, {who} is active"
    since = time.time()
    time.sleep(10)
    found = ticks(since)
    assert len(found) >= 5 and {tick.sender for tick in found} == {who} and doubles(found) == []
    sessions = query(
        NAME, "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'beat on %'", CORE
    )
    assert sorted(sessions) == [f"beat on {name}" for name in BEATS]


def test_no_secret_in_the_arguments():
    password = (testing.SECRETS / "database").read_text().strip()
    for name in BEATS:
        arguments = host(name).run("ps -eo args").stdout
        assert "service=ledger_lock" in arguments
        assert password not in arguments


def test_a_killed_host_is_replaced():
    who, ip = active(), address(active())
    since = time.time()
    time.sleep(3)
    moment = time.time()
    docker("kill", container(who))
    try:
        replaced(who, moment)
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            cut(who)
        join(who, ip)
        docker("start", container(who))
    assert wait_for(lambda: status(who).startswith("standby"), PATIENCE), units(who)
    time.sleep(5)
    found = ticks(since)
    report("killed host", since, moment, found)
    assert doubles(found) == []


def test_a_host_that_was_cut_off_returns_and_waits():
    who, ip = active(), address(active())
    since = time.time()
    time.sleep(3)
    moment = time.time()
    cut(who)
    try:
        replaced(who, moment)
        # It knows by itself, and it lives.
        assert wait_for(lambda: status(who).startswith("stopped, no lock: "), PATIENCE), units(who)
    finally:
        join(who, ip)
    assert wait_for(lambda: status(who) == f"standby, {other(who)} is active", PATIENCE), units(who)
    time.sleep(10)
    found = ticks(since)
    report("cut off", since, moment, found)
    assert doubles(found) == []
    assert {tick.sender for tick in found if tick.sent > moment + 5} == {other(who)}


def test_beats_that_are_forced_by_hand_wait():
    """The very command of the unit once more, on both hosts, with the unit's environment."""
    who, since = active(), time.time()
    for name in BEATS:
        unit = host(name).run(f"systemctl list-units --plain --no-legend '{NAME}-beat@*.service'").stdout.split()[0]
        release = unit.split("@", 1)[1].removesuffix(".service")
        settings = f"/opt/{NAME}/config/releases/{release}"
        command = (
            f"systemd-run --unit=second-beat --property=Type=notify --property=NotifyAccess=main"
            f" --property=User={NAME} --property=WorkingDirectory=/tmp"
            f" --property=EnvironmentFile={settings}/producer.env --property=EnvironmentFile={settings}/application.env"
            f" --setenv=CELERY_AGENT_ROLE=beat --setenv=CELERY_BEAT_LOCK_SERVICE={NAME}_lock"
            f" --setenv=CELERY_BEAT_LOCK_CLUSTER={NAME}"
            f" --setenv=PYTHONPATH=/opt/{NAME}/agent:/opt/{NAME}/releases/{release}/code"
            f" /opt/{NAME}/releases/{release}/venv/bin/python {LAUNCHER} -A celery_agent beat"
            " --schedule /tmp/second --pidfile="
        )
        done = host(name).run(command)
        assert done.rc == 0, done.stderr
    try:
        time.sleep(15)
        for name in BEATS:
            text = host(name).run("systemctl show -p StatusText --value second-beat.service").stdout.strip()
            assert text == f"standby, {who} is active", text
        found = ticks(since)
        assert {tick.sender for tick in found} == {who} and doubles(found) == [] and len(found) >= 8
    finally:
        for name in BEATS:
            host(name).run("systemctl stop second-beat.service")
            host(name).run("systemctl reset-failed second-beat.service")


def test_without_the_database_nobody_sends():
    since = time.time()
    unit = "postgresql@*-main.service"
    time.sleep(3)
    assert host(CORE).run(f"systemctl list-units --plain --no-legend '{unit}'").stdout.strip()
    name = host(CORE).run(f"systemctl list-units --plain --no-legend '{unit}'").stdout.split()[0]
    moment = time.time()
    host(CORE).run(f"systemctl stop {name}")
    try:
        assert wait_for(lambda: all(status(beat).startswith("stopped, no lock: ") for beat in BEATS), 30, 1), [
            units(beat) for beat in BEATS
        ]
        time.sleep(max(0.0, moment + 30 - time.time()))
    finally:
        host(CORE).run(f"systemctl start {name}")
    back = time.time()
    assert wait_for(is_whole, PATIENCE), [units(beat) for beat in BEATS]
    assert wait_for(lambda: len(ticks(back)) >= 5, PATIENCE), ticks(moment)
    found = ticks(since)
    report("database away for 30 s", since, back, found)
    # Sent within the lease, and nothing until it was back.
    assert [tick for tick in found if moment + 6 < tick.sent < back] == []
    assert doubles(found) == []


def test_a_frozen_beat_is_restarted_by_its_watchdog():
    who, since = active(), time.time()
    before = units(who)
    moment = time.time()
    host(who).run(f"kill -STOP {before['MainPID']}")
    try:
        # The other one does not wait for the watchdog: the session of a frozen process ends by itself.
        replaced(who, moment)
        assert wait_for(lambda: units(who)["MainPID"] not in ("0", before["MainPID"]), PATIENCE), units(who)
    finally:
        host(who).run(f"kill -CONT {before['MainPID']}")
    assert "watchdog" in host(who).run(f"journalctl -o cat -u '{NAME}-beat@*' --since=-5min").stdout.lower()
    assert wait_for(lambda: status(who) == f"standby, {other(who)} is active", PATIENCE), units(who)
    found = ticks(since)
    report("frozen", since, moment, found)
    assert doubles(found) == []


def set_clock(name: str, seconds: float) -> float:
    done = host(name).run(f"echo {seconds} >{CLOCK}/new && mv {CLOCK}/new {CLOCK}/seconds")
    assert done.rc == 0, done.stderr
    return time.time()


@pytest.fixture
def clock() -> Iterator[str]:
    """The active host, whose beat has a clock of its own."""
    name = other(active())
    drop_in = f"/run/systemd/system/{NAME}-beat@.service.d"
    path = re.search(r"PYTHONPATH=(\S+)", host(name).run(f"systemctl show -p Environment '{NAME}-beat@*'").stdout)
    assert path is not None
    lines = f"[Service]\\nEnvironment=PYTHONPATH={CLOCK}:{path.group(1)}\\n"
    restart = f"systemctl daemon-reload && systemctl restart '{NAME}-beat@*.service'"
    try:
        assert host(name).run(f"mkdir -p {CLOCK} {drop_in} && printf '%b' '{lines}' >{drop_in}/clock.conf").rc == 0
        assert host(name).run(f"printf %s %s >{CLOCK}/sitecustomize.py", "%s", SITE).rc == 0
        set_clock(name, 0)
        assert host(name).run(restart).rc == 0
        assert wait_for(is_whole, PATIENCE), units(name)
        # It waits; the other one gives over to it.
        assert host(other(name)).run(f"systemctl restart '{NAME}-beat@*.service'").rc == 0
        assert wait_for(lambda: active() == name, PATIENCE), [units(beat) for beat in BEATS]
        yield name
    finally:
        host(name).run(f"rm -rf {CLOCK} {drop_in}")
        # What says it was sent in an hour is in nobody's way.
        query(NAME, "DELETE FROM ledger_ticks WHERE sent > now() + interval '1 min'", CORE)
        assert host(name).run(restart).rc == 0


@pytest.mark.thorough
def test_a_clock_that_is_set_stops_nobody(clock):
    """An hour on, and back again: it goes on with what is due, once, and keeps the lock."""
    since, process = time.time(), units(clock)["MainPID"]
    for seconds in (3600, 0):
        moment = set_clock(clock, seconds)
        assert wait_for(lambda after=moment: len(ticks(after, "started")) >= 8, PATIENCE, 1), units(clock)
        print(f"clock set to {seconds:+d} s: {len(ticks(moment, 'started'))} ticks in {time.time() - moment:.0f} s")
    found = ticks(since, "started")
    assert doubles(found) == [] and {tick.sender for tick in found} == {clock}
    assert active() == clock and units(clock)["MainPID"] == process
    assert "set back" in host(clock).run(f"journalctl -o cat -u '{NAME}-beat@*' --since=-5min").stdout


def test_a_restart_hands_over():
    who, since = active(), time.time()
    time.sleep(2)
    moment = time.time()
    host(who).run(f"systemctl restart '{NAME}-beat@*.service'")
    assert wait_for(lambda: ticks(moment + 1), PATIENCE, 1)
    time.sleep(3)
    found = ticks(since)
    report("restart", since, moment, found)
    assert doubles(found) == []
