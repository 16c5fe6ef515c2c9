"""CELERY_AGENT_NO_DECLARE: an identity without the right to configure publishes without declaring anything."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from kombu.transport.virtual.base import Channel

Load = Callable[..., ModuleType]

SOURCE = """
from celery import Celery
from kombu import Exchange, Queue

# A broker of its own: kombu remembers per connection what it declared.
app = Celery("p", broker="memory:///" + __name__, backend="cache+memory://")
app.conf.update(
    task_send_sent_event={event},
    task_queues=[Queue("known", Exchange("topics", type="topic"), routing_key="known")],
)
{then}
"""


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of everything that is declared."""
    names: list[str] = []

    def watch(method: str, position: str) -> None:
        original = getattr(Channel, method)

        def watched(self: Channel, *args: Any, **kwargs: Any) -> Any:
            names.append(args[0] if args else kwargs[position])
            return original(self, *args, **kwargs)

        monkeypatch.setattr(Channel, method, watched)

    watch("queue_declare", "queue")
    watch("exchange_declare", "exchange")
    watch("queue_bind", "queue")
    return names


def publish_everywhere(app: Any) -> None:
    from kombu import Exchange, Queue

    app.send_task("t", queue="known")
    app.send_task("t", queue="made-on-the-fly")
    app.send_task("t", queue=Queue("given", Exchange("given"), routing_key="given"))
    app.send_task("t", queue="known", declare=[Queue("extra", Exchange("extra"), routing_key="extra")])


THEN = pytest.mark.parametrize("then", ["", "app.amqp.queues['early']"], ids=["unread", "read"])


@THEN
@pytest.mark.parametrize("event", [True, False])
def test_nothing_is_declared(load_agent: Load, declared: list[str], event: bool, then: str) -> None:
    app = load_agent(SOURCE.format(event=event, then=then), CELERY_AGENT_NO_DECLARE="1").app
    publish_everywhere(app)
    app.send_task("t", queue="early")
    assert declared == []
    assert all(queue.no_declare and queue.exchange.no_declare for queue in app.amqp.queues.values())


def test_without_the_variable_publishing_declares(load_agent: Load, declared: list[str]) -> None:
    publish_everywhere(load_agent(SOURCE.format(event=True, then="")).app)
    assert {"known", "topics", "made-on-the-fly", "given", "extra", "celeryev"} <= set(declared)
