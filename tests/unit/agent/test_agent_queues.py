"""Which queues an application gets that says nothing about their type, and what it may say itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import pytest

Load = Callable[..., ModuleType]

QUORUM = {
    "task_default_queue_type": "quorum",
    "task_default_exchange_type": "topic",
    "task_create_missing_queue_type": "quorum",
    "task_create_missing_queue_exchange_type": "topic",
    "broker_native_delayed_delivery_queue_type": "quorum",
}
SHELF = """
from celery import Celery

app = Celery("shelf", broker="pyamqp://user:pw@broker1:5671/shop?ssl=1")
app.conf.update(task_default_queue="intake", task_routes={"shelf.measure": {"queue": "text"}})


@app.task(name="shelf.measure", shared=False)
def measure(): pass


@app.task(name="shelf.accept", shared=False)
def accept(): pass
"""


@pytest.fixture
def load(load_agent: Load) -> Load:
    from celery.app import defaults

    if not QUORUM.keys() <= defaults.DEFAULTS.keys():
        pytest.skip("this Celery cannot make every queue a quorum queue")

    def with_defaults(source: str = SHELF, **options: Any) -> ModuleType:
        return load_agent(source, CELERY_AGENT_DEFAULTS=json.dumps(QUORUM), **options)

    return with_defaults


def declared(app: Any) -> dict[str, tuple[str, str, Any]]:
    """Queue -> what its worker declares: exchange, its type, type of the queue."""
    found = {}
    for name, queue in app.amqp.queues.consume_from.items():
        channel = mock.Mock()
        channel.prepare_queue_arguments.side_effect = lambda arguments, **_: arguments
        queue(channel).declare()
        (exchange,) = channel.exchange_declare.call_args_list
        (made,) = channel.queue_declare.call_args_list
        (bound,) = channel.queue_bind.call_args_list
        assert bound.kwargs["routing_key"] == name
        kind = (made.kwargs["arguments"] or {}).get("x-queue-type")
        found[made.kwargs["queue"]] = (exchange.kwargs["exchange"], exchange.kwargs["type"], kind)
    return found


def published(app: Any, task: str, **options: Any) -> dict[str, Any]:
    """Where a message goes that is sent from outside a worker."""
    producer = mock.MagicMock()
    app.send_task(task, producer=producer, add_to_parent=False, **options)
    return producer.publish.call_args.kwargs


def test_an_unmodified_application_has_quorum_queues_on_topic_exchanges(load: Load) -> None:
    app = load().app
    app.amqp.queues.select(["text", "reports"])
    assert declared(app) == {"text": ("text", "topic", "quorum"), "reports": ("reports", "topic", "quorum")}


def test_the_default_queue_too(load: Load) -> None:
    app = load().app
    app.amqp.queues.select(["intake"])
    assert declared(app) == {"intake": ("intake", "topic", "quorum")}


def test_queues_that_were_touched_while_the_application_was_imported(load: Load) -> None:
    app = load(SHELF + "app.amqp.queues['text']\napp.amqp.queues.select(['intake'])\n").app
    app.amqp.queues.select(["text", "intake"])
    assert declared(app) == {"text": ("text", "topic", "quorum"), "intake": ("intake", "topic", "quorum")}


def test_a_queue_that_the_application_added_to_the_table_stays_its_own(load: Load) -> None:
    own = "from kombu import Exchange, Queue\napp.amqp.queues.add(Queue('own', Exchange('mine'), 'own'))\n"
    app = load(SHELF + own).app
    app.amqp.queues.select(["own", "text"])
    assert declared(app) == {"own": ("mine", "direct", None), "text": ("text", "topic", "quorum")}


@pytest.mark.parametrize("task", ["shelf.measure", "shelf.accept"])
def test_publishers_and_workers_agree(load: Load, task: str) -> None:
    app = load().app
    queue = {"shelf.measure": "text", "shelf.accept": "intake"}[task]
    sent = published(app, task)
    assert (sent["exchange"], sent["routing_key"]) == (queue, queue)
    app.amqp.queues.select([queue])
    (made,) = sent["declare"]
    assert made == app.amqp.queues[queue]


def test_delayed_delivery_is_the_brokers(load: Load) -> None:
    from celery.worker.consumer.delayed_delivery import DelayedDelivery

    app = load().app
    assert DelayedDelivery(None).include_if(SimpleNamespace(app=app)) is True
    sent = published(app, "shelf.measure", countdown=5)
    assert sent["exchange"].name == "celery_delayed_27"
    assert sent["routing_key"].endswith("1.0.1.text")


def test_the_application_wins(load: Load) -> None:
    app = load(SHELF + "app.conf.update(task_create_missing_queue_type='classic')\n").app
    app.amqp.queues.select(["text", "intake"])
    assert declared(app) == {"text": ("text", "topic", None), "intake": ("intake", "topic", "quorum")}


def test_the_operator_wins(load: Load) -> None:
    app = load(settings={"task_create_missing_queue_type": "classic", "task_default_queue_type": "classic"}).app
    app.amqp.queues.select(["text", "intake"])
    assert {kind for _exchange, _type, kind in declared(app).values()} == {None}


def test_queues_without_an_exchange_do_not_meet_on_a_topic_exchange(load: Load) -> None:
    """Both would be bound with the default routing key: each message would be executed twice."""
    app = load(SHELF + "from kombu import Queue\napp.conf.task_queues = [Queue('text'), Queue('intake')]\n").app
    assert app.conf.task_default_exchange_type == "direct"
    sent = published(app, "shelf.measure")
    assert (sent["exchange"], sent["routing_key"]) == ("", "text")


def test_other_brokers_have_no_quorum_queues(load: Load) -> None:
    conf = load("from celery import Celery\napp = Celery('m', broker='redis://h/0')\n").app.conf
    assert {conf[name] for name in QUORUM} == {"classic", "direct", None, "quorum"}
    assert conf.task_default_queue_type == "classic"


def test_a_celery_that_does_not_know_them_all_gets_none(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    with mock.patch.dict("celery.app.defaults.DEFAULTS"):
        from celery.app import defaults

        del defaults.DEFAULTS["task_create_missing_queue_type"]
        conf = load().app.conf
        assert conf.task_default_exchange_type == "direct"
    assert "does not know task_create_missing_queue_type: install a newer one, or write classic" in caplog.text


def test_broken_defaults_are_logged_and_the_rest_works(load_agent: Load, caplog: pytest.LogCaptureFixture) -> None:
    conf = load_agent(SHELF, CELERY_AGENT_DEFAULTS="{not json").app.conf
    assert conf.broker_connection_timeout == 15
    assert "cluster_defaults failed" in caplog.text


def test_what_publishers_are_told_makes_the_same_queues(load_agent: Load, load: Load) -> None:
    """The documented snippet, in a process without the agent."""
    from celery import Celery

    outside = Celery("outside", broker="pyamqp://")
    outside.conf.update(task_default_queue="intake", task_routes={"shelf.measure": {"queue": "text"}})
    outside.conf.update(json.loads(json.dumps(QUORUM)))
    inside = load().app
    for task in ("shelf.measure", "shelf.accept"):
        assert published(outside, task)["declare"] == published(inside, task)["declare"]


def test_one_declaration_serves_all_brokers_of_the_cluster(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's own step would visit each broker, and wait for those that are away, before a worker consumes."""
    from celery.worker.consumer.delayed_delivery import DelayedDelivery

    app = load().app
    app.conf.broker_url = "pyamqp://gone.invalid//;pyamqp://there.invalid//"
    asked: list[Any] = []
    monkeypatch.setattr(DelayedDelivery, "_setup_delayed_delivery", lambda self, c, url: asked.append(url))
    consumer = SimpleNamespace(app=app)
    DelayedDelivery(consumer).start(consumer)
    assert asked == [None]
    # No URL is a connection that knows them all.
    assert app.connection_for_write(url=None).alt == ["pyamqp://gone.invalid//", "pyamqp://there.invalid//"]
    app.conf.broker_url = 7
    with pytest.raises(ValueError, match="broker_url must be a string or list"):
        DelayedDelivery(consumer).start(consumer)


class SoloPool:
    """Executes tasks where it also sends heartbeats."""


SoloPool.__module__ = "celery.concurrency.solo"


@pytest.mark.parametrize(
    ("source", "pool", "before", "after"),
    [
        ("", object(), 120, 10),
        ("", object(), 0, 0),
        ("", SoloPool(), 120, 120),
        ("app.conf.broker_heartbeat = 30\n", object(), 30, 30),
    ],
)
def test_a_vanished_broker_is_noticed_soon(load: Load, source: str, pool: object, before: int, after: int) -> None:
    agent = load(SHELF + source)
    consumer = SimpleNamespace(app=agent.app, pool=pool, amqheartbeat=before)
    agent.shorten_heartbeat(consumer)
    assert consumer.amqheartbeat == after
