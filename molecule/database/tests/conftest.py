"""What the tests share. All of them run against the one server, then all of them against the other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "resources"))

import figures
from ledgerdb import Cluster, Server
from testing import container

__all__ = ["container"]

SERVERS = ("db15", "db17")
# A file that is not named here runs before the first one that changes something.
ORDER = (
    "test_workers",
    "test_strangers",
    "test_leaving",
    "test_faulty_line",
    "test_outage",
    "test_bad_input",
    "test_backup",
    "test_others",
)
FIRST_WITH_CHANGES = ORDER.index("test_leaving")
# What the module decides, whatever the server's version is: with the second one, only when there is time.
THOROUGH = ("test_leaving", "test_faulty_line", "test_outage", "test_bad_input", "test_backup")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "servers(name): only with this server, because it is not what decides")


def server_of(item: pytest.Item) -> str:
    return str(item.callspec.params.get("server", "")) if hasattr(item, "callspec") else ""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def is_wanted(item: pytest.Item) -> bool:
        marker = item.get_closest_marker("servers")
        return marker is None or server_of(item) in marker.args

    def position(item: pytest.Item) -> tuple[str, float]:
        name = item.path.stem
        return server_of(item), ORDER.index(name) if name in ORDER else FIRST_WITH_CHANGES - 0.5

    items[:] = sorted(filter(is_wanted, items), key=position)
    for item in items:
        if item.path.stem in THOROUGH and server_of(item) != SERVERS[0]:
            item.add_marker(pytest.mark.thorough)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if figures.FOUND:
        figures.FILE.parent.mkdir(parents=True, exist_ok=True)
        figures.FILE.write_text(figures.table())
        terminalreporter.write("\n" + figures.table())


@pytest.fixture(scope="session")
def kept() -> dict[str, Any]:
    """Variables that every later playbook gets."""
    return {}


@pytest.fixture(scope="session", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    return Server(request.param)


@pytest.fixture(scope="session")
def cluster(server: Server, kept: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster, which uses the server at the latest now."""
    found = Cluster(server, tmp_path_factory.mktemp(server.name), kept)
    if not found.is_used():
        # What the brokers have does not depend on it, and the tests are the proof.
        found.succeed("--tags", "celery,postgresql,code", name="site.yml")
    return found
