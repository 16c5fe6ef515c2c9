"""What the tests of the scenario share. They run in the order of ORDER, all under one stream of tasks."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "resources"))

import testing
from accounts import Fault
from deployment import CORE, DEPLOY, PATIENCE, WORKERS, Broker, Ledger, Services, Tree, Watch
from testing import wait_for
from traffic import Traffic

# A file that is not named here runs before the first one that changes something.
ORDER = (
    "test_releases",
    "test_strategies",
    "test_faults",
    "test_killed_controller",
    "test_nodes",
    "test_accounts",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def position(item: pytest.Item) -> float:
        name = item.path.stem
        return ORDER.index(name) if name in ORDER else -1

    items.sort(key=position)


@pytest.fixture(scope="session")
def services() -> Services:
    return Services()


@pytest.fixture(scope="session")
def broker() -> Broker:
    return Broker()


@pytest.fixture(scope="session")
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture(scope="session")
def tree() -> Tree:
    return Tree()


@pytest.fixture(scope="session")
def watch(broker: Broker) -> Watch:
    return Watch(broker)


@pytest.fixture(scope="session")
def faults() -> list[Fault]:
    """What the tests kill, for the account at the end."""
    return []


@pytest.fixture(scope="session")
def seconds() -> list[tuple[str, float]]:
    """How long each playbook took."""
    return []


@pytest.fixture(scope="session")
def stream(ledger: Ledger) -> Iterator[Traffic]:
    found = Traffic(ledger)
    found.start()
    yield found
    if found.is_running():
        found.stop()


@pytest.fixture
def traffic(stream: Traffic, broker: Broker) -> Traffic:
    """The stream, in front of a cluster that is whole."""
    assert wait_for(lambda: broker.served_by(*WORKERS), PATIENCE), broker.consumers()
    stream.goes_on()
    return stream


@pytest.fixture(scope="session")
def playbook(seconds: list[tuple[str, float]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """playbook(*arguments, name=…, what=…) runs a playbook against the cluster."""

    def run(*arguments: str, name: str = DEPLOY, what: str = "") -> subprocess.CompletedProcess[str]:
        begun = time.monotonic()
        done = testing.run_playbook(*arguments, name=name)
        seconds.append((what or Path(name).stem, time.monotonic() - begun))
        return done

    return run


@pytest.fixture(scope="session")
def succeed(playbook: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., str]:
    """As playbook, for one that must succeed; returns its output."""

    def run(*arguments: str, **options: str) -> str:
        done = playbook(*arguments, **options)
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
        return done.stdout

    return run


@pytest.fixture
def untouched(services: Services, broker: Broker) -> Iterator[None]:
    """Fails the test when a process, a release or a consumer is another one afterwards."""

    def state() -> tuple[object, ...]:
        return services.processes(), [services.release(name) for name in (CORE, *WORKERS)]

    before = state()
    yield
    assert state() == before
    assert wait_for(lambda: broker.served_by(*WORKERS), 20), broker.consumers()
