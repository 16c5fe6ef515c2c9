"""A warm stop begins when every child has told what it began: what is forgotten before would run twice."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import WorkerShutdown, WorkerTerminate
from celery.worker import state as worker_state

MEMORY = "from celery import Celery\napp = Celery('m', broker='memory://')\n"


class Consuming:
    """As much of a consumer as the agent looks at."""

    def __init__(self, *jobs: Any) -> None:
        self.cancelled = 0
        self.task_consumer = SimpleNamespace(cancel=self.cancel)
        self.pool = SimpleNamespace(_pool=SimpleNamespace(_cache=dict(enumerate(jobs))))

    def cancel(self) -> None:
        self.cancelled += 1


def job(*, child: object | None, accepted: bool) -> Any:
    return SimpleNamespace(_scheduled_for=child, _accepted=accepted)


WRITTEN = job(child=object(), accepted=False)
RUNS = job(child=object(), accepted=True)
WAITS = job(child=None, accepted=False)


@pytest.fixture
def stopping(load_agent: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    # 0 is what a signal asks for.
    monkeypatch.setattr(worker_state, "should_stop", 0)
    monkeypatch.setattr(worker_state, "should_terminate", None)

    def stop(consumer: Any) -> Any:
        agent = load_agent(MEMORY)
        agent.delay_shutdown(consumer)
        return agent

    return stop


def test_the_loop_goes_on_until_a_child_was_heard(stopping: Callable[..., Any]) -> None:
    consumer = Consuming(WRITTEN, RUNS)
    stopping(consumer)
    worker_state.maybe_shutdown()
    worker_state.maybe_shutdown()
    # Nothing new comes meanwhile.
    assert consumer.cancelled == 1
    consumer.pool._pool._cache[0] = RUNS
    with pytest.raises(WorkerShutdown):
        worker_state.maybe_shutdown()


@pytest.mark.parametrize("jobs", [(), (RUNS,), (WAITS, RUNS)])
def test_what_no_child_has_delays_nothing(stopping: Callable[..., Any], jobs: tuple[Any, ...]) -> None:
    stopping(Consuming(*jobs))
    with pytest.raises(WorkerShutdown):
        worker_state.maybe_shutdown()


def test_a_child_that_says_nothing_is_not_waited_for(
    stopping: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = stopping(Consuming(WRITTEN))
    worker_state.maybe_shutdown()
    monkeypatch.setattr(agent, "HAND_OVER", 0.0)
    monkeypatch.setattr(agent.state, "hand_over_until", agent.time.monotonic())
    with pytest.raises(WorkerShutdown):
        worker_state.maybe_shutdown()


def test_a_cold_stop_is_at_once(stopping: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    stopping(Consuming(WRITTEN))
    monkeypatch.setattr(worker_state, "should_terminate", 1)
    with pytest.raises(WorkerTerminate):
        worker_state.maybe_shutdown()


def test_a_fault_of_the_agent_keeps_no_worker_from_stopping(stopping: Callable[..., Any]) -> None:
    stopping(SimpleNamespace())
    with pytest.raises(WorkerShutdown):
        worker_state.maybe_shutdown()


def test_without_a_stop_nothing_happens(stopping: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    consumer = Consuming(WRITTEN)
    stopping(consumer)
    monkeypatch.setattr(worker_state, "should_stop", None)
    worker_state.maybe_shutdown()
    assert consumer.cancelled == 0
