"""What the identities may do, also against what Celery really does when it publishes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_permissions import (
    broker_user,
    escape,
    permissions,
)
from celery import Celery
from kombu import pools
from kombu.transport import memory

QUEUES = ["celery", "mail.bulk", "video"]
EXCHANGES = ["celery", "tasks"]
CLUSTER_NAMES = ["celery", "mail.bulk", "video", "tasks"]
REPLIES = ["reply.celery.pidbox", "0f3a-22.reply.celery.pidbox"]
INTERNAL = ["celery.pidbox", *REPLIES, "default-4f2c@worker1.celery.pidbox", "celeryev", "celeryev.5e1b-77"]
DELAYED = ["celery_delayed_0", "celery_delayed_27", "celery_delayed_delivery"]
NEAR_MISSES = [
    "",
    "celeryX",
    "xcelery",
    "mailXbulk",
    "mail.bulk.more",
    "celeryXpidbox",
    "reply.celeryXpidbox",
    ".celery.pidbox2",
    "celeryevX",
    "celeryev.",
    "celery_delayed_",
    "celery_delayed_27x",
    "celery_delayed_deliveryx",
    "amqXdefault",
    "amq.direct",
    "other",
]
UNIVERSE = [*CLUSTER_NAMES, *INTERNAL, *DELAYED, "amq.default", *NEAR_MISSES]

# role, producer_declares, what -> exactly the names of UNIVERSE that it lets through
ALLOWED: list[tuple[str, bool, str, list[str]]] = [
    ("worker", True, "configure", [*CLUSTER_NAMES, *INTERNAL, *DELAYED]),
    ("worker", True, "read", [*CLUSTER_NAMES, *INTERNAL, *DELAYED]),
    ("worker", True, "write", [*CLUSTER_NAMES, *INTERNAL, *DELAYED, "amq.default"]),
    ("flower", True, "configure", ["celery.pidbox", *REPLIES, "celeryev", "celeryev.5e1b-77"]),
    ("flower", True, "write", ["celery.pidbox", *REPLIES, "celeryev", "celeryev.5e1b-77"]),
    ("flower", True, "read", ["celery.pidbox", *REPLIES, "celeryev", "celeryev.5e1b-77"]),
    ("admin", True, "configure", UNIVERSE),
    ("admin", True, "write", UNIVERSE),
    ("admin", True, "read", UNIVERSE),
    ("producer", False, "configure", [""]),
    ("producer", False, "write", ["amq.default", *CLUSTER_NAMES, "celery_delayed_27", "celeryev"]),
    ("producer", False, "read", [""]),
    ("producer", True, "configure", [*CLUSTER_NAMES, "celeryev"]),
    ("producer", True, "write", ["amq.default", *CLUSTER_NAMES, "celery_delayed_27", "celeryev"]),
    ("producer", True, "read", CLUSTER_NAMES),
]


def allows(expression: str, name: str) -> bool:
    # RabbitMQ searches, it does not match from the start: the anchors must be in the expression.
    return re.search(expression, name) is not None


@pytest.mark.parametrize(("role", "declares", "what", "names"), ALLOWED)
def test_exactly_these_names(role: str, declares: bool, what: str, names: list[str]) -> None:
    expression = permissions(role, QUEUES, EXCHANGES, declares)[what]
    assert sorted(name for name in UNIVERSE if allows(expression, name)) == sorted(names)


def test_the_expressions_as_text() -> None:
    pidbox = r"celery\.pidbox|reply\.celery\.pidbox|.+\.reply\.celery\.pidbox"
    events, delayed = r"celeryev(\..+)?", "celery_delayed_([0-9]+|delivery)"
    assert permissions("worker", ["a.b", "c"]) == {
        "configure": rf"^(a\.b|c|{pidbox}|.+\.celery\.pidbox|{events}|{delayed})$",
        "write": rf"^(a\.b|c|amq\.default|{pidbox}|.+\.celery\.pidbox|{events}|{delayed})$",
        "read": rf"^(a\.b|c|{pidbox}|.+\.celery\.pidbox|{events}|{delayed})$",
    }
    assert permissions("flower", ["c"]) == dict.fromkeys(("configure", "write", "read"), f"^({pidbox}|{events})$")
    assert permissions("producer", ["c"], producer_declares=False) == {
        "configure": "^$",
        "write": r"^(amq\.default|c|celery_delayed_27|celeryev)$",
        "read": "^$",
    }
    assert permissions("producer", ["c"]) == {
        "configure": "^(c|celeryev)$",
        "write": r"^(amq\.default|c|celery_delayed_27|celeryev)$",
        "read": "^(c)$",
    }


def test_no_queue_at_all_is_not_every_queue() -> None:
    assert permissions("producer", [])["read"] == "^$"
    assert not allows(permissions("producer", [""])["write"], "")


@pytest.mark.parametrize(
    "name", ["a.b", "a+b", "a|b", "(a)", "a[0]", "a{2}", "^a$", "a\\d", "a?", "a*", "a b#-~&", "é"]
)
def test_every_name_is_matched_as_it_is_written(name: str) -> None:
    expression = f"^({escape(name)})$"
    assert allows(expression, name)
    # A name that is not escaped would match one of these, or not itself.
    for other in ("axb", "aab", "a", "b", "aa", "a5", "aa0", "", "a0"):
        assert not allows(expression, other) or other == name


def test_order_and_repetition_of_the_names_do_not_matter() -> None:
    assert permissions("worker", ["b", "a", "b"], ["a"]) == permissions("worker", ["a"], ["b"])


@pytest.mark.parametrize("name", ["celery.pidbox", "x.celery.pidbox", "celeryev", "celery_delayed_27", "amq.default"])
def test_names_of_celery_itself_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Celery itself uses this name"):
        permissions("producer", ["ok", name])
    with pytest.raises(ValueError, match="Celery itself uses this name"):
        permissions("worker", ["ok"], [name])


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ValueError, match="use one of worker, producer, flower, admin"):
        permissions("beat", ["a"])


class Recorder:
    """What a process asks of the broker, in RabbitMQ's terms: (configure | write | read, name)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.needs: set[tuple[str, str]] = set()
        real = memory.Channel
        needs = self.needs

        def exchange_declare(channel: Any, exchange: str | None = None, *args: Any, **options: Any) -> Any:
            needs.add(("configure", exchange or ""))
            return originals["exchange_declare"](channel, exchange, *args, **options)

        def queue_declare(channel: Any, queue: str | None = None, passive: bool = False, **options: Any) -> Any:
            needs.add(("configure", queue or ""))
            return originals["queue_declare"](channel, queue, passive, **options)

        def queue_bind(channel: Any, queue: str, exchange: str | None = None, *args: Any, **options: Any) -> Any:
            needs.update({("write", queue), ("read", exchange or "")})
            return originals["queue_bind"](channel, queue, exchange, *args, **options)

        def basic_publish(channel: Any, message: Any, exchange: str, *args: Any, **options: Any) -> Any:
            needs.add(("write", exchange or "amq.default"))
            if exchange == "celery_delayed_27":  # declared by workers, so not there in this test
                return None
            return originals["basic_publish"](channel, message, exchange, *args, **options)

        replacements = [exchange_declare, queue_declare, queue_bind, basic_publish]
        originals = {function.__name__: getattr(real, function.__name__) for function in replacements}
        for function in replacements:
            monkeypatch.setattr(real, function.__name__, function)

    def beyond(self, allowed: dict[str, str]) -> set[tuple[str, str]]:
        return {(what, name) for what, name in self.needs if not allows(allowed[what], name)}


def publishing(exchange_type: str, quorum: bool, monkeypatch: pytest.MonkeyPatch) -> Celery:
    pools.reset()  # connections are shared by URL, and remember what they declared
    memory.Transport.global_state.clear()
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.update(
        task_default_queue="orders",
        task_default_exchange_type=exchange_type,
        task_create_missing_queue_exchange_type=exchange_type,
        task_send_sent_event=True,
    )
    # Only asked of a real RabbitMQ: whether an ETA goes through the native delay.
    monkeypatch.setattr(
        "celery.app.base.detect_quorum_queues", lambda app, driver: (quorum, "orders" if quorum else "")
    )
    return app


@pytest.mark.parametrize("exchange_type", ["direct", "topic"])
@pytest.mark.parametrize("quorum", [False, True])
def test_an_unmodified_application_can_publish(
    exchange_type: str, quorum: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch)
    app = publishing(exchange_type, quorum, monkeypatch)
    app.send_task("a")
    app.send_task("b", queue="video")
    app.send_task("c", queue="video", countdown=60)
    assert ("configure", "video") in recorder.needs
    assert ("write", "celeryev") in recorder.needs
    assert (("write", "celery_delayed_27") in recorder.needs) == (quorum and exchange_type == "topic")
    assert recorder.beyond(permissions("producer", ["orders", "video"])) == set()
    # The same must not hold for just any permissions, or this test proves nothing.
    assert recorder.beyond(permissions("producer", ["orders"])) >= {("configure", "video"), ("write", "video")}


def test_a_producer_that_does_not_declare_needs_only_write(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    app = publishing("topic", True, monkeypatch)
    monkeypatch.setattr("celery.events.event.event_exchange.no_declare", True)
    for name in ("orders", "video"):
        app.amqp.queues[name].no_declare = True
    app.send_task("a")
    app.send_task("b", queue="video", countdown=60)
    assert recorder.beyond(permissions("producer", ["orders", "video"], producer_declares=False)) == set()
    assert {what for what, _name in recorder.needs} == {"write"}


def test_remote_control_is_beyond_a_producer_and_within_flower(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    app = publishing("topic", True, monkeypatch)
    app.control.broadcast("shutdown")
    app.control.inspect(timeout=0.01).ping()
    assert ("write", "celery.pidbox") in recorder.beyond(permissions("producer", ["orders"]))
    assert recorder.beyond(permissions("flower", ["orders"])) == set()
    assert recorder.beyond(permissions("worker", ["orders"])) == set()


def test_an_identity_with_and_without_a_password() -> None:
    given = [{"vhost": "shop", **permissions("flower", ["a"])}]
    common = {"name": "f", "tags": ["monitoring"], "permissions": given}
    assert broker_user("flower", "f", "pw", "shop", ["a"]) == {**common, "password": "pw"}
    assert broker_user("flower", "f", None, "shop", ["a"]) == {**common, "certificate": True}


@pytest.mark.parametrize(
    ("declares", "topic", "reaches"),
    [(False, True, False), (False, False, True), (True, True, True), (True, False, True)],
)
def test_a_strict_producer_on_topic_exchanges_cannot_reach_a_queue_by_its_name(
    declares: bool, topic: bool, reaches: bool
) -> None:
    found = permissions("producer", ["video"], ["video"], producer_declares=declares, topic_exchanges=topic)
    assert bool(re.match(found["write"], "amq.default")) is reaches
    assert re.match(found["write"], "video")
    assert re.match(found["write"], "celery_delayed_27")
