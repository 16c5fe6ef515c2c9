"""What the tests of the agent begin with: a small cluster, a fake systemd, an agent that leaves no trace."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from local_cluster import Cluster, Systemd, loader


@pytest.fixture(params=["path"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    address = f"@agent-test-{uuid.uuid4().hex}" if request.param == "abstract" else str(tmp_path / "notify")
    receiver = Systemd(address)
    yield receiver
    receiver.sock.close()


@pytest.fixture
def agent_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the surrounding process reaches the agent, and nothing the agent connects stays connected."""
    for name in list(os.environ):
        if name.startswith(("CELERY_", "NOTIFY_", "WATCHDOG_")) or name == "SSL_CERT_FILE":
            monkeypatch.delenv(name)


@pytest.fixture
def load_agent(
    agent_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., ModuleType]]:
    from celery import signals
    from celery.events.event import event_exchange
    from celery.worker import state as worker_state
    from celery.worker.consumer.delayed_delivery import DelayedDelivery

    # What the agent replaces is given back.
    monkeypatch.setattr(worker_state, "maybe_shutdown", worker_state.maybe_shutdown)
    monkeypatch.setattr(DelayedDelivery, "_validate_broker_urls", DelayedDelivery._validate_broker_urls)
    names = [name for name in signals.__all__ if hasattr(getattr(signals, name), "receivers")]
    receivers = {name: list(getattr(signals, name).receivers) for name in names}
    no_declare = event_exchange.no_declare

    yield loader(tmp_path, monkeypatch)
    for name, before in receivers.items():
        getattr(signals, name).receivers = before
        getattr(signals, name).sender_receivers_cache.clear()
    event_exchange.no_declare = no_declare


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.stop()
