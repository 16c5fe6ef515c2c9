"""What the tests of the reference cluster share: its hosts, its secrets, and a way to run the playbook again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "resources"))

import testing
from testing import INVENTORY, PROJECT, SCENARIO, SECRETS, container, message, wait_for

__all__ = ["INVENTORY", "PROJECT", "SCENARIO", "SECRETS", "container", "message", "wait_for"]

HOSTS = ("broker1", "db1", "app1", "worker1", "worker2")
RUN = "/opt/fileshelf/bin/celery-run"

# Not everything is repeated where other scenarios borrow these tests; each use says why.
reference_cluster_only = pytest.mark.skipif(SCENARIO != "default", reason="shown once, on the reference cluster")


def inventory_without(worker: str, directory: Path) -> None:
    """The scenario's inventory, less a worker."""
    hosts = yaml.safe_load((INVENTORY / "hosts").read_text())["all"]
    del hosts["hosts"][worker], hosts["children"]["celery_workers"]["hosts"][worker]
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": hosts}))
    (directory / "group_vars").symlink_to((INVENTORY / "group_vars").resolve())


@pytest.fixture(scope="session")
def on() -> Callable[[str], Any]:
    """on('worker1') is the host as testinfra sees it."""
    return testing.host


@pytest.fixture(scope="session")
def rows() -> Callable[[str], list[str]]:
    """rows(sql) are the lines that psql prints on the database host."""
    return lambda sql: testing.query("fileshelf", sql)


@pytest.fixture(scope="session")
def ad_hoc() -> Callable[..., dict[str, Any]]:
    """ad_hoc(name, module, arguments) runs one module on one container."""
    return testing.module_on


@pytest.fixture(scope="session")
def playbook() -> Callable[..., subprocess.CompletedProcess[str]]:
    """playbook(*arguments, name='site.yml', alone=False) runs a playbook against the cluster."""
    return testing.run_playbook


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
