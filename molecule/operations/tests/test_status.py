"""playbooks/status.yml on a cluster that is whole, and with each of ten faults that are made for real, and undone."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "resources"))

import testing
from testing import container, host, wait_for

NAME = "ledger"
ROOT = f"/opt/{NAME}"
RUN = f"{ROOT}/bin/celery-run"
CORE, BEATS, WORKERS = "core1", ("beat1", "beat2"), ("worker1", "worker2")
PLAYBOOK = "playbooks/status.yml"
PATIENCE = 180.0
# The broker tells of a message some seconds later, a worker of its consumers as well.
LOOK_AGAIN = 10.0
SESSIONS, SESSIONS_UNIT = 45, "taskfleet-sessions"
OPEN = f"""
import os, time, psycopg
found = [psycopg.connect(os.environ["CELERY_DATABASE_URL"]) for _number in range({SESSIONS})]
time.sleep(900)
"""
# A later RabbitMQ wants one argument more.
OPEN_PORT = """
case erlang:function_exported(rabbit_networking, start_tcp_listener, 3) of
  true -> rabbit_networking:start_tcp_listener(5672, 2, 1);
  false -> rabbit_networking:start_tcp_listener(5672, 2)
end.
"""
TRAFFIC_LOG = f"/var/lib/{NAME}/status-traffic.log"
TRAFFIC = (
    f"--app celery_agent:app --only long --rate 60 --count 300 --first 7000000 --long-seconds 2 --log {TRAFFIC_LOG}"
)


class Told(NamedTuple):
    """What one run told."""

    rc: int
    screen: str
    content: dict[str, Any]
    seconds: float

    def codes(self, name: str = "") -> set[str]:
        """Of the findings that are errors, on one host or on all."""
        return {
            row["code"] for row in self.content["findings"] if row["severity"] == "error" and name in ("", row["host"])
        }

    def finding(self, code: str, name: str) -> Mapping[str, str]:
        found = [row for row in self.content["findings"] if (row["code"], row["host"]) == (code, name)]
        assert found, f"{code} of {name} is not among {json.dumps(self.content['findings'], indent=1)}"
        # It is on the screen as well, with the command below it.
        assert code in self.screen and found[0]["remedy"] in self.screen
        return found[0]


def on(name: str, command: str, *arguments: str) -> str:
    done = host(name).run(command, *arguments)
    assert done.rc == 0, done.stdout + done.stderr
    return str(done.stdout)


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Told]:
    """ask(*arguments) runs the playbook, and reads what it wrote."""
    folder = tmp_path_factory.mktemp("status")

    def run(*arguments: str) -> Told:
        file = folder / "status.json"
        file.unlink(missing_ok=True)
        begun = time.monotonic()
        done = testing.run_playbook(
            "-e", f"status_json={file}", "-e", f"status_html={folder / 'status.html'}", *arguments, name=PLAYBOOK
        )
        seconds = time.monotonic() - begun
        if "--check" in arguments:
            return Told(done.returncode, done.stdout, {"findings": []}, seconds)
        assert file.exists(), done.stdout + done.stderr
        return Told(done.returncode, done.stdout, json.loads(file.read_text()), seconds)

    run.page = folder / "status.html"  # type: ignore[attr-defined]
    return run


def healthy(ask: Callable[..., Told]) -> Told:
    """The cluster may still be on its way back from what another file did."""
    last: list[Told] = []

    def whole() -> bool:
        last[:] = [ask()]
        return last[0].rc == 0

    assert wait_for(whole, PATIENCE, LOOK_AGAIN), last[0].screen
    return last[0]


@pytest.fixture
def undo(ask: Callable[..., Told]) -> Iterator[contextlib.ExitStack]:
    """What was broken is mended, whatever the test did, and the next file finds the cluster whole."""
    with contextlib.ExitStack() as stack:
        yield stack
    healthy(ask)


def found_by(ask: Callable[..., Told], wanted: Mapping[str, set[str]], *arguments: str) -> Told:
    """A run that finds these codes on these hosts, or the last one when patience ends."""
    last: list[Told] = []

    def complete() -> bool:
        last[:] = [ask(*arguments)]
        return all(codes <= last[0].codes(name) for name, codes in wanted.items())

    wait_for(complete, PATIENCE / 3, LOOK_AGAIN / 2)
    return last[0]


def unit_of(name: str, kind: str) -> str:
    return f"{NAME}-{kind}@{Path(on(name, f'readlink {ROOT}/current').strip()).name}.service"


# --- whole -----------------------------------------------------------------------------------------------------------


def test_a_whole_cluster(ask):
    told = healthy(ask)
    print(f"status.yml: {told.seconds:.1f} s for {len(told.content['hosts'])} hosts")
    rows = {(row["host"], row["service"]): row for row in told.content["services"]}
    for name in WORKERS:
        for kind, queues in (("steady", 2), ("quick", 1)):
            row = rows[name, f"worker {kind}"]
            assert (row["state"], row["consumers"], row["planned"]) == ("active", queues, queues), row
            assert row["release"] == told.content["release"] and row["up"] >= 0
            assert re.search(rf"worker {kind} +active +{row['release'][:12]}", told.screen)
    queues = {row["queue"]: row for row in told.content["queues"]}
    assert {name: row["consumers"] for name, row in queues.items()} == {"celery": 2, "long": 2, "numbers": 2}
    assert all(row["answers"] and row["certificate_days"] > 21 for row in told.content["hosts"])
    (database,) = told.content["databases"]
    assert 0 < database["cluster"] <= database["planned"] <= database["limit"]
    assert "changed=0" in told.screen and "failed=1" not in told.screen


def test_the_page_loads_nothing_and_nothing_is_secret(ask):
    told = ask()
    page = ask.page.read_text()
    assert page.startswith("<!DOCTYPE html>") and "worker1" in page
    assert not re.search(r"(?:src|href|action)\s*=|url\(|@import|https?://|<script", page)
    secrets = [file.read_text().strip() for file in testing.SECRETS.iterdir() if file.is_file()]
    everything = page + told.screen + json.dumps(told.content)
    assert secrets and not any(secret in everything for secret in secrets if len(secret) > 8)


def test_check_mode_and_a_limit(ask):
    assert ask("--check").rc == 0
    told = ask("--limit", "worker1")
    assert told.rc == 0, told.screen
    assert [row["host"] for row in told.content["hosts"]] == ["worker1"]
    assert {row["queue"] for row in told.content["queues"]} == {"celery", "long", "numbers"}


# --- faults ----------------------------------------------------------------------------------------------------------


def test_faults_of_hosts_and_servers(ask, undo):
    """Six at once: none of them hides another."""
    stopped = unit_of("worker1", "worker-quick")
    undo.callback(on, "worker1", f"systemctl start {stopped}")
    on("worker1", f"systemctl stop {stopped}")

    release = Path(on("worker2", f"readlink {ROOT}/current").strip())
    undo.callback(on, "worker2", f"ln -sfn {release} {ROOT}/current")
    on("worker2", f"ln -sfn releases/000000stale00 {ROOT}/current")

    file = f"/etc/{NAME}-cluster/tls/cert.pem"
    undo.callback(on, "beat1", f"mv {file}.kept {file}")
    on("beat1", f"cp -p {file} {file}.kept")
    on(
        "beat1",
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 5 -subj /CN=beat1"
        f" -keyout /dev/null -out {file}",
    )

    place = f"/var/lib/{NAME}/full"
    undo.callback(on, "beat2", f"umount {place} && rmdir {place}")
    on("beat2", f"mkdir -p {place} && mount -t tmpfs -o size=1m taskfleet {place}")
    # It ends when there is no room any more, which is what is wanted.
    host("beat2").run(f"head -c 2M /dev/zero > {place}/file")

    undo.callback(host(CORE).run, f"systemctl stop {SESSIONS_UNIT}")
    on(CORE, f"systemd-run --quiet --unit={SESSIONS_UNIT} {RUN} python -c %s", OPEN)

    undo.callback(on, CORE, "rabbitmqctl eval %s", "rabbit_networking:stop_tcp_listener(5672).")
    on(CORE, "rabbitmqctl eval %s", OPEN_PORT)

    wanted = {"worker1": {"CS201"}, "worker2": {"CS301"}, "beat1": {"CS103"}, "beat2": {"CS102"}}
    told = found_by(ask, {**wanted, CORE: {"CS501", "CS104"}})
    assert told.rc != 0
    assert f"systemctl start {stopped}" in told.finding("CS201", "worker1")["remedy"]
    assert "celery_cluster.deploy" in told.finding("CS301", "worker2")["remedy"]
    assert "rotate_certificates" in told.finding("CS103", "beat1")["remedy"]
    assert f"du -xh -d 2 {place}" in told.finding("CS102", "beat2")["remedy"]
    assert "ps -C postgres" in told.finding("CS501", CORE)["remedy"]
    plaintext = told.finding("CS104", CORE)
    assert "5672" in plaintext["what"] and "systemctl restart rabbitmq-server" in plaintext["remedy"]
    # The remedy of one of them, as it is told.
    remedy = told.finding("CS201", "worker1")["remedy"]
    done = subprocess.run(remedy, shell=True, cwd=testing.PROJECT, capture_output=True, text=True, check=False)  # noqa: S602
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CS201" not in ask("--limit", "worker1").codes("worker1")


def main_of(name: str, kind: str) -> str:
    return on(name, f"systemctl show -p MainPID --value {unit_of(name, kind)}").strip()


def test_faults_of_workers_and_queues(ask, undo):
    """A frozen worker, no beat, a queue that nobody consumes, and one that is filled faster than it is worked off."""
    quick = {name: unit_of(name, "worker-quick") for name in WORKERS}
    beats = {name: unit_of(name, "beat") for name in BEATS}
    for name, unit in {**quick, **beats}.items():
        undo.callback(on, name, f"systemctl start {unit}")
        on(name, f"systemctl stop {unit}")
    on(CORE, f"{RUN} python -m ledger.traffic {TRAFFIC}")
    undo.callback(on, CORE, f"rm -f {TRAFFIC_LOG}")
    frozen = main_of("worker2", "worker-steady")
    undo.callback(host("worker2").run, f"kill -CONT {frozen}")
    on("worker2", f"kill -STOP {frozen}")

    told = found_by(ask, {"worker2": {"CS203"}, CORE: {"CS401", "CS403"}, "": {"CS206"}})
    assert told.rc != 0
    assert f"kill -s CONT {frozen}" in told.finding("CS203", "worker2")["remedy"]
    assert f"{NAME}-worker-quick@" in told.finding("CS401", CORE)["remedy"]
    growing = told.finding("CS403", CORE)
    assert growing["what"].startswith("long ") and "celery_workers.steady.concurrency" in growing["remedy"]
    dead = next(row for row in told.content["findings"] if row["code"] == "CS206")
    assert dead["host"] in BEATS and f"systemctl restart {beats[dead['host']]}" in dead["remedy"]
    waiting = next(row for row in told.content["queues"] if row["queue"] == "long")
    assert waiting["ready"] > 0 and waiting["oldest"] is not None


def test_a_host_that_does_not_answer(ask, undo):
    """It is a finding among others, and the others are still looked at."""
    command = ["docker", "unpause", container("worker1")]
    undo.callback(subprocess.run, command, check=True, capture_output=True)
    subprocess.run(["docker", "pause", container("worker1")], check=True, capture_output=True)
    told = ask()
    assert told.rc != 0 and "unreachable=1" not in told.screen
    assert "ansible.builtin.ping" in told.finding("CS101", "worker1")["remedy"]
    assert {row["host"] for row in told.content["services"]} >= {CORE, "worker2"}
    assert "CS201" not in told.codes("worker2")
    print(f"status.yml with a host that is paused: {told.seconds:.1f} s")
