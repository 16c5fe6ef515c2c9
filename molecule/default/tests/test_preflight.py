"""What only a host can know: preflight tells it before any host is changed, and what runs keeps running."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import message, reference_cluster_only

# Each of them costs a run of a playbook.
pytestmark = reference_cluster_only


@pytest.fixture
def preflight(playbook):
    return functools.partial(playbook, name="playbooks/preflight.yml")


def address(on, name: str) -> str:
    return on(name).run("hostname -i").stdout.split()[0]


def test_a_cluster_that_runs_has_no_problems(preflight, untouched):
    done = preflight()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "CC8" not in done.stdout + done.stderr


@pytest.fixture
def wrong_clock(on):
    # The clock of a container is that of its machine: only what Ansible's Python sees is shifted.
    path = "/usr/lib/python3/dist-packages/wrong_clock.pth"
    line = "import time; time.time = (lambda now: lambda: now() - 3600)(time.time)"
    assert on("worker1").run("echo %s > %s", line, path).rc == 0
    yield
    assert on("worker1").run("rm %s", path).rc == 0


@contextmanager
def unreachable(on, *names: str) -> Iterator[list[str]]:
    """worker1 cannot reach these hosts: for a shorter time than its workers' connections survive without an answer."""
    addresses = [address(on, name) for name in names]
    for found in addresses:
        assert on("worker1").run("ip route add unreachable %s", found).rc == 0
    try:
        yield addresses
    finally:
        for found in addresses:
            on("worker1").run("ip route del unreachable %s", found)


def test_everything_that_is_wrong_is_told_at_once(preflight, untouched, wrong_clock, on):
    wrong = {"celery_database_port": 5999, "celery_disk_required_mb": 99999999, "code_python": "/usr/bin/python9"}
    with unreachable(on, "broker1", "db1") as (broker, database):
        text = message(preflight("-e", json.dumps(wrong)))
    assert "CC805 error: worker1: the clock is 3" in text and "behind the controller's" in text
    assert "worker2: the clock" not in text
    assert f"CC803 error: worker1 cannot reach broker1 ({broker}) on port 5671 (broker; unreachable)" in text
    assert f"CC804 warning: worker1 cannot reach db1 ({database}) on port 5999 (database; unreachable)" in text
    for name in ("app1", "worker1", "worker2"):
        assert f"CC807 error: {name}: celery_root is /opt/fileshelf" in text
        assert f"CC809 error: {name}: code_python is /usr/bin/python9, which does not run (no such file)" in text
    assert "of the 99999999 MiB" in text and "broker1: celery_root" not in text and "No host was changed" in text


def test_a_port_that_nobody_will_reach_once_it_is_open(preflight, untouched, on):
    with unreachable(on, "db1") as (database,):
        done = preflight("-e", "celery_database_port=5999")
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 0, text
    assert f"CC804 warning: worker1 cannot reach db1 ({database}) on port 5999 (database; unreachable)" in text


def test_an_interpreter_below_a_closed_home(preflight, untouched, on):
    hosts = [on(name) for name in ("app1", "worker1", "worker2")]
    make = "install -d -m 0700 /srv/me && ln -s /usr/bin/python3 /srv/me/python && ln -s /srv/me/python /usr/bin/mine"
    try:
        assert all(host.run(make).rc == 0 for host in hosts)
        text = message(preflight("-e", "code_python=/usr/bin/mine"))
    finally:
        for host in hosts:
            host.run("rm -rf /srv/me /usr/bin/mine")
    assert "CC813 error: worker1: code_python is /usr/bin/mine" in text
    assert "may not enter /srv/me (mode 0700) on the way to it" in text


def test_the_first_play_of_the_whole_deployment_says_it_too(playbook, untouched):
    text = message(playbook("-e", "celery_disk_required_mb=99999999"))
    assert "CC807 error: worker1" in text and "No host was changed" in text
    assert "PLAY [Build]" not in text
