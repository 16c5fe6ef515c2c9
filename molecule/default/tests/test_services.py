"""Units: what runs where, what comes back by itself, and what Flower shows."""

from __future__ import annotations

import json
import re

import pytest
from conftest import SECRETS, wait_for


def get(on, path: str, password: str | None = None) -> tuple[int, str]:
    script = (
        "import ssl, sys, json, urllib.request, urllib.error, base64\n"
        "context = ssl.create_default_context(cafile='/opt/fileshelf/config/ca.pem')\n"
        f"request = urllib.request.Request('https://127.0.0.1:5555{path}')\n"
        "login = sys.stdin.read()\n"
        "if login: request.add_header('Authorization', 'Basic ' + base64.b64encode(login.encode()).decode())\n"
        "try:\n    answer = urllib.request.urlopen(request, context=context)\n"
        "    print(json.dumps([answer.status, answer.read().decode()]))\n"
        "except urllib.error.HTTPError as error: print(json.dumps([error.code, '']))\n"
    )
    login = "" if password is None else f"admin:{password}"
    done = on("app1").run("printf %%s %s | python3 -c %s", login, script)
    assert done.rc == 0, done.stderr
    status, body = json.loads(done.stdout)
    return status, body


def test_flower_is_closed_without_the_password(on):
    assert get(on, "/workers")[0] == 401
    assert get(on, "/workers", "wrong")[0] == 401


def test_flower_sees_every_worker(on):
    password = (SECRETS / "flower").read_text().strip()

    def running() -> set[str]:
        """Also those of the release before that still finish a task."""
        units = "systemctl list-units --plain --no-legend --full --state=active,deactivating 'fileshelf-worker-*@*'"
        found = set()
        for name in ("worker1", "worker2"):
            for line in on(name).run(units).stdout.splitlines():
                kind, _at, release = line.split()[0].removeprefix("fileshelf-worker-").partition("@")
                found.add(f"{kind}-{release.removesuffix('.service')}@{name}")
        return found

    def online() -> set[str]:
        status, body = get(on, "/workers?json=1", password)
        assert status == 200
        return {item["hostname"] for item in json.loads(body)["data"] if item["status"]}

    # A worker counts as gone after 4 s without a heartbeat: on a busy machine not all are there at every look.
    assert wait_for(lambda: online() == running(), 300), (online(), running())
    assert len(running()) >= 4


def test_flower_counts_the_tasks(on):
    assert wait_for(lambda: "flower_events_total{" in get(on, "/metrics")[1])


@pytest.mark.parametrize("name", ["worker1", "worker2"])
def test_only_the_switched_release_runs(name, on):
    release = on(name).run("basename $(readlink /opt/fileshelf/current)").stdout.strip()
    units = on(name).run("systemctl list-units --plain --no-legend --state=running 'fileshelf-worker-*'").stdout
    names = sorted(line.split()[0] for line in units.splitlines())
    assert names == [f"fileshelf-worker-intake@{release}.service", f"fileshelf-worker-text@{release}.service"]
    enabled = on(name).run("ls /etc/systemd/system/fileshelf.target.wants").stdout.split()
    assert sorted(enabled) == names


def test_a_killed_worker_comes_back_ready(on):
    release = on("worker2").run("basename $(readlink /opt/fileshelf/current)").stdout.strip()
    unit = f"fileshelf-worker-text@{release}.service"
    before = on("worker2").run(f"systemctl show -P MainPID {unit}").stdout.strip()
    assert on("worker2").run(f"kill -9 {before}").rc == 0

    def ready() -> bool:
        state = on("worker2").run(f"systemctl show -p MainPID,ActiveState,StatusText {unit}").stdout
        return "ActiveState=active" in state and f"MainPID={before}\n" not in state and "2 queues" in state

    assert wait_for(ready), on("worker2").run(f"systemctl status {unit}").stdout


def test_units_hold_no_capability_and_do_not_write_elsewhere(on):
    release = on("worker1").run("basename $(readlink /opt/fileshelf/current)").stdout.strip()
    pid = on("worker1").run(f"systemctl show -P MainPID fileshelf-worker-text@{release}.service").stdout.strip()
    status = on("worker1").run(f"cat /proc/{pid}/status").stdout
    assert "CapBnd:\t0000000000000000" in status and "NoNewPrivs:\t1" in status
    for path, writable in (
        ("/var/lib/fileshelf/worker-text", True),
        ("/opt/fileshelf", False),
        ("/var/lib/fileshelf/worker-intake", False),
    ):
        done = on("worker1").run(
            # The tree as the service sees it.
            f"runuser -u fileshelf -- touch /proc/{pid}/root{path}/probe"
        )
        assert (done.rc == 0) is writable, path


SERVICES = [("worker1", "worker-text"), ("worker1", "worker-intake"), ("app1", "beat"), ("app1", "flower")]


def instance(on, name: str, service: str) -> str:
    release = on(name).run("basename $(readlink /opt/fileshelf/current)").stdout.strip()
    return f"fileshelf-{service}@{release}.service"


def exposure(on, name: str, unit: str) -> float:
    done = on(name).run("systemd-analyze security --no-pager %s", unit)
    level = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", done.stdout)
    assert level, done.stdout + done.stderr
    return float(level[1])


@pytest.mark.parametrize(("name", "service"), SERVICES)
def test_the_exposure_of_a_unit_is_low(name, service, on):
    level = exposure(on, name, instance(on, name, service))
    print(f"exposure of {service}: {level}")
    assert level < 2.5


def test_a_unit_without_a_sandbox_is_seen_as_such(on):
    assert exposure(on, "worker1", "emergency.service") > 8


@pytest.mark.parametrize(("name", "service"), SERVICES)
def test_a_service_sees_no_process_of_others_and_has_its_system_calls_filtered(name, service, on):
    pid = on(name).run("systemctl show -P MainPID %s", instance(on, name, service)).stdout.strip()
    assert "Seccomp:\t2" in on(name).run(f"cat /proc/{pid}/status").stdout
    for process, seen in ((pid, True), ("1", False)):
        done = on(name).run(f"runuser -u fileshelf -- test -e /proc/{pid}/root/proc/{process}/status")
        assert (done.rc == 0) is seen, process


def test_a_stuck_worker_and_a_child_without_memory_cost_no_more_than_they_must(on):
    shown = on("worker1").run("systemctl show %s", instance(on, "worker1", "worker-text")).stdout.splitlines()
    assert "TimeoutAbortUSec=30s" in shown and "TimeoutStopUSec=10min" in shown and "OOMPolicy=continue" in shown


def test_units_wait_for_their_file_systems(on):
    shown = on("worker1").run("systemctl show -P RequiresMountsFor %s", instance(on, "worker1", "worker-text")).stdout
    assert {"/opt/fileshelf", "/var/lib/fileshelf"} <= set(shown.split())


def test_the_target_stops_and_starts_what_belongs_to_the_current_release(on):
    host = on("worker2")
    names = sorted(instance(on, "worker2", f"worker-{kind}") for kind in ("intake", "text"))

    def running() -> list[str]:
        states = "--state=active,activating,deactivating"
        units = host.run(f"systemctl list-units --plain --no-legend {states} 'fileshelf-*.service'").stdout
        return sorted(line.split()[0] for line in units.splitlines())

    assert running() == names
    try:
        assert host.run("systemctl stop fileshelf.target").rc == 0
        assert wait_for(lambda: not running())
    finally:
        started = host.run("systemctl start fileshelf.target")
    assert started.rc == 0 and host.run("systemctl is-active fileshelf.target").rc == 0
    assert wait_for(lambda: all(host.run("systemctl is-active %s", name).rc == 0 for name in names))
    assert running() == names
