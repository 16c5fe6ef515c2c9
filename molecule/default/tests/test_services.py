"""Units: what runs where, what comes back by itself, and what Flower shows."""

from __future__ import annotations

import json

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

    def online() -> bool:
        status, body = get(on, "/workers?json=1", password)
        assert status == 200
        return sum(1 for item in json.loads(body)["data"] if item["status"]) == 4

    assert wait_for(online)


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
