"""What the tests of the reference cluster share: its hosts, its secrets, and a way to run the playbook again."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import testinfra

SCENARIO = os.environ["MOLECULE_SCENARIO_NAME"]
PROJECT = Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])
INVENTORY = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "inventory"
SECRETS = INVENTORY / ".secrets"
HOSTS = ("broker1", "db1", "app1", "worker1", "worker2")
RUN = "/opt/fileshelf/bin/celery-run"

# Not everything is repeated where other scenarios borrow these tests; each use says why.
reference_cluster_only = pytest.mark.skipif(SCENARIO != "default", reason="shown once, on the reference cluster")


def container(name: str) -> str:
    return f"taskfleet-{SCENARIO}-{name}"


def wait_for(condition: Callable[[], Any], seconds: float = 120, every: float = 2) -> Any:
    """The first true value of the condition, or its last value when the deadline has passed."""
    deadline = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(every)
    return value


def message(done: subprocess.CompletedProcess[str]) -> str:
    """The output on one line, without Ansible's line breaks: messages are compared by their words."""
    assert done.returncode != 0, "the playbook must not succeed"
    return " ".join((done.stdout + done.stderr).split())


@pytest.fixture(scope="session")
def on() -> Callable[[str], Any]:
    """on('worker1') is the host as testinfra sees it, without a round trip through Ansible."""
    hosts: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in hosts:
            hosts[name] = testinfra.get_host(f"docker://{container(name)}")
        return hosts[name]

    return get


@pytest.fixture(scope="session")
def rows(on: Callable[[str], Any]) -> Callable[[str], list[str]]:
    """rows(sql) are the lines that psql prints on the database host."""

    def query(sql: str) -> list[str]:
        done = on("db1").run("runuser -u postgres -- psql -qAt fileshelf -c %s", sql)
        assert done.rc == 0, done.stderr
        return done.stdout.splitlines()

    return query


@pytest.fixture(scope="session")
def ad_hoc() -> Callable[..., dict[str, Any]]:
    """Run one module on one container, whether the inventory knows it or not."""

    def run(name: str, module: str, arguments: dict[str, Any]) -> dict[str, Any]:
        command = ["ansible", "all", "-i", f"{container(name)},", "-c", "community.docker.docker"]
        command += ["-m", f"taskfleet.celery_cluster.{module}", "-a", json.dumps(arguments)]
        environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.oneline", "ANSIBLE_VERBOSITY": "0"}
        done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment, check=False)
        assert "=> {" in done.stdout, done.stdout + done.stderr
        return json.loads("{" + done.stdout.split("=> {", 1)[1])

    return run


@pytest.fixture(scope="session")
def playbook() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a playbook against the cluster of this scenario; alone: the arguments name the inventory."""

    def run(*arguments: str, name: str = "site.yml", alone: bool = False) -> subprocess.CompletedProcess[str]:
        inventory = [] if alone else ["-i", str(INVENTORY)]
        command = ["ansible-playbook", *inventory, name, *arguments]
        environment = {**os.environ, "ANSIBLE_VERBOSITY": "0"}
        return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, env=environment, check=False)

    return run


@pytest.fixture
def untouched(on: Callable[[str], Any]) -> Iterator[None]:
    """Fails the test when a worker, or the release that is switched on, is another one afterwards."""

    def state() -> list[str]:
        return [
            on(name).run("readlink /opt/fileshelf/current; systemctl show -p MainPID,ActiveState 'fileshelf-*'").stdout
            for name in ("app1", "worker1", "worker2")
        ]

    before = state()
    assert all("ActiveState=active" in item for item in before)
    yield
    assert state() == before
