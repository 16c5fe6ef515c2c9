"""What the tests of the cluster share. They run in the order of ORDER: faults come after what they could disturb."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "resources"))

import testing
from cluster import BROKERS, NAME, Cluster
from testing import INVENTORY, PROJECT, SCENARIO, SECRETS, container, message, wait_for

__all__ = ["INVENTORY", "PROJECT", "SCENARIO", "SECRETS", "container", "message", "wait_for"]

# A file that is not named here runs right before the first one that makes faults.
ORDER = (
    "test_ports",
    "test_permissions",
    "test_no_erlang",
    "test_stream",
    "test_bad_input",
    "test_upgrade",
    "test_scale",
)
FIRST_WITH_FAULTS = ORDER.index("test_stream")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: takes minutes; leave it out with -m 'not long'")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def position(item: pytest.Item) -> float:
        name = item.path.stem
        return ORDER.index(name) if name in ORDER else FIRST_WITH_FAULTS - 0.5

    items.sort(key=position)


@pytest.fixture(scope="session")
def on() -> Callable[[str], Any]:
    """on('worker1') is the host as testinfra sees it."""
    return testing.host


@pytest.fixture(scope="session")
def rows() -> Callable[[str], list[str]]:
    """rows(sql) are the lines that psql prints on the database host."""
    return lambda sql: testing.query(NAME, sql)


@pytest.fixture(scope="session")
def ad_hoc() -> Callable[..., dict[str, Any]]:
    """ad_hoc(name, module, arguments) runs one module on one container."""
    return testing.module_on


@pytest.fixture(scope="session")
def settings() -> list[str]:
    """Arguments that every later playbook gets: what one test changed for good, another must not take back."""
    return []


@pytest.fixture(scope="session")
def playbook(settings: list[str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """playbook(*arguments, name='site.yml', alone=False) runs a playbook against the cluster."""

    def run(*arguments: str, name: str = "site.yml", alone: bool = False) -> subprocess.CompletedProcess[str]:
        return testing.run_playbook(*settings, *arguments, name=name, alone=alone)

    return run


@pytest.fixture(scope="session")
def succeed(playbook: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., str]:
    """As playbook, for one that must succeed; returns its output."""

    def run(*arguments: str, **options: Any) -> str:
        done = playbook(*arguments, **options)
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
        return done.stdout

    return run


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The model of the cluster, as the roles have it."""
    path = tmp_path_factory.mktemp("model") / "model.json"
    done = testing.run_playbook("-e", f"model_file={path}", name="molecule/broker_cluster/model.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.fixture
def untouched(cluster: Cluster, on: Callable[[str], Any]) -> Iterator[None]:
    """Fails the test when a broker or a worker is another process afterwards, or a certificate another one."""

    def state() -> list[Any]:
        certificates = [on(name).run(f"sha256sum /etc/{NAME}-cluster/tls/*.pem").stdout for name in BROKERS]
        return [cluster.broker_processes(), cluster.worker_processes(), certificates]

    before = state()
    yield
    assert state() == before
