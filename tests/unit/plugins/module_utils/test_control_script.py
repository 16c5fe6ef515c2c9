"""What runs in the application's environment, against real workers over a broker in memory that counts consumers."""

from __future__ import annotations

import ast
import contextlib
import ssl
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import control_script
from celery import Celery
from celery.contrib.testing.worker import start_worker
from kombu import pools
from kombu import transport as transports
from kombu.transport import memory
from kombu.transport.virtual.base import queue_declare_ok_t

ONE, TWO = "default-4f2c@worker1", "default-4f2c@worker2"


class Channel(memory.Channel):
    """kombu's broker in memory always answers that there are no consumers; this one counts."""

    opened: ClassVar[weakref.WeakSet] = weakref.WeakSet()
    elsewhere: ClassVar[dict[str, int]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.opened.add(self)

    def queue_declare(self, queue: str = "", passive: bool = False, **kwargs: Any) -> queue_declare_ok_t:
        answer = super().queue_declare(queue, passive=passive, **kwargs)
        here = sum(channel._active_queues.count(queue) for channel in list(self.opened) if not channel.closed)
        return queue_declare_ok_t(queue, answer.message_count, here + self.elsewhere.get(queue, 0))


class Transport(memory.Transport):
    Channel = Channel
    # A worker looks for its next message once a second otherwise.
    polling_interval = 0.05

    def drain_events(self, connection: Any, timeout: float | None = None) -> None:
        # Two seconds is what a worker waits before it looks whether it shall stop.
        super().drain_events(connection, timeout=0.1 if timeout == 2.0 else timeout)


@pytest.fixture(autouse=True)
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """The consumers elsewhere, by queue."""
    monkeypatch.setitem(transports.TRANSPORT_ALIASES, "counting", f"{__name__}:Transport")
    monkeypatch.setattr(Channel, "elsewhere", {})
    monkeypatch.setattr(Channel, "queues", {})
    monkeypatch.setattr(Transport, "global_state", type(memory.Transport.global_state)())
    monkeypatch.setattr(control_script, "PAUSE_LAST", 0.2)
    yield Channel.elsewhere
    pools.reset()  # they hold channels to this broker


class Site:
    """An application as each of its processes has it: workers of one process would share a table of queues."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.cleanup = contextlib.ExitStack()
        self.started = threading.Semaphore(0)
        self.ran: list[str] = []

    def app(self) -> Celery:
        app = Celery(f"shop-{uuid.uuid4().hex}", broker="counting://", backend="cache+memory://", set_as_current=False)
        app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=False)

        @app.task(name="shop.wait", bind=True, shared=False)
        def wait(task: Any, secret: str = "") -> None:
            self.ran.append(task.request.id)
            self.started.release()
            self.gate.wait(20)

        return app

    def worker(self, node: str = ONE, queues: str = "celery,mail", pool: str = "threads", **options: Any) -> Celery:
        app = self.app()
        options = {"concurrency": 1, "prefetch_multiplier": 4, **options}
        self.cleanup.enter_context(
            start_worker(
                app,
                pool=pool,
                hostname=node,
                queues=queues.split(","),
                perform_ping_check=False,
                shutdown_timeout=20,
                **options,
            )
        )
        return app

    def send(self, **options: Any) -> str:
        return self.app().send_task("shop.wait", args=["hunter2"], queue="celery", **options).id

    def busy(self) -> str:
        """The id of a task that runs now."""
        sent = self.send()
        assert self.started.acquire(timeout=10), "the task did not start"
        return sent


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.gate.set()
    made.cleanup.close()


Call = Callable[..., dict[str, Any]]


def node(name: str = ONE, patient: bool = True, ask: bool = True, pid: int = 0, queues: tuple = ()) -> dict[str, Any]:
    return {"name": name, "queues": list(queues), "ask": ask, "patient": patient, "pid": pid}


@pytest.fixture
def call(site: Site) -> Call:
    def act(action: str, *nodes: dict[str, Any], **request: Any) -> dict[str, Any]:
        given: dict[str, Any] = {
            "action": action,
            "nodes": list(nodes) or [node()],
            "queues": [],
            "minimum": 0,
            "deadline": 5,
            "timeout": 3,
            "task_ids": [],
            "terminate": False,
            "signal": "SIGTERM",
            "check": False,
            **request,
        }
        job = control_script.Job(given)
        job.run(site.app())
        assert job.answer.pop("done")
        return job.answer

    return act


def queues_of(answer: dict[str, Any], name: str = ONE) -> list[str]:
    return answer["nodes"][name]["queues"]


# --- inspect ---------------------------------------------------------------------------------------------------------


def test_it_tells_what_a_worker_does(site: Site, call: Call) -> None:
    site.worker()
    running = site.busy()
    waiting = site.send()
    later = site.send(countdown=600)
    ends = time.monotonic() + 5
    while True:
        seen = call("inspect")["nodes"][ONE]
        if (seen["reserved"]["count"], seen["scheduled"]["count"]) == (1, 1) or time.monotonic() > ends:
            break
    assert seen["queues"] == ["celery", "mail"]
    assert [task["id"] for task in seen["active"]["tasks"]] == [running]
    assert seen["active"]["tasks"][0]["name"] == "shop.wait"
    assert seen["active"]["tasks"][0]["since"].startswith(time.strftime("%Y-"))
    assert seen["reserved"] == {"count": 1, "tasks": [{"id": waiting, "name": "shop.wait"}]}
    assert [task["id"] for task in seen["scheduled"]["tasks"]] == [later]
    assert seen["scheduled"]["tasks"][0]["eta"]
    assert "hunter2" not in str(seen), "arguments of tasks are nobody's business"


def test_who_does_not_answer_is_left_out_and_a_stranger_shows_who_is_there(site: Site, call: Call) -> None:
    site.worker(TWO)
    answer = call("inspect", node(ONE, patient=False), node(TWO), timeout=1)
    assert list(answer["nodes"]) == [TWO]
    assert answer["others"] == [TWO]


def test_many_tasks_are_counted_and_some_are_named() -> None:
    found = control_script.named([{"id": str(number), "name": "shop.wait"} for number in range(1000)])
    assert (found["count"], len(found["tasks"])) == (1000, control_script.NAMED)


# --- consumers -------------------------------------------------------------------------------------------------------


def test_cancelling_and_adding_have_an_effect_once(site: Site, call: Call) -> None:
    site.worker()
    both = [{"node": ONE, "queue": "celery"}, {"node": ONE, "queue": "mail"}]
    checked = call("cancel_consumers", check=True)
    assert checked["changes"] == both
    assert queues_of(call("inspect")) == ["celery", "mail"], "a check changes nothing"

    answer = call("cancel_consumers")
    assert "error" not in answer
    assert (answer["changes"], queues_of(answer)) == (both, [])
    assert call("cancel_consumers")["changes"] == []
    site.send()
    assert not site.started.acquire(timeout=0.5), "it took a message all the same"

    again = node(queues=("celery", "mail"))
    assert call("add_consumers", again, check=True)["changes"] == both
    assert queues_of(call("inspect")) == []
    answer = call("add_consumers", again)
    assert "error" not in answer
    assert (answer["changes"], queues_of(answer)) == (both, ["celery", "mail"])
    assert call("add_consumers", again)["changes"] == []
    assert site.started.acquire(timeout=10), "it takes no messages"


def test_some_queues_only(site: Site, call: Call) -> None:
    site.worker()
    answer = call("cancel_consumers", queues=["mail", "video"])
    assert answer["changes"] == [{"node": ONE, "queue": "mail"}]
    assert queues_of(answer) == ["celery"]


def test_a_queue_that_the_worker_never_had_is_declared_as_the_application_would(
    site: Site, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = site.worker()
    make = site.app

    def quorum() -> Celery:
        app = make()
        app.conf.update(task_create_missing_queue_type="quorum", task_create_missing_queue_exchange_type="topic")
        return app

    monkeypatch.setattr(site, "app", quorum)
    answer = call("add_consumers", queues=["video"])
    assert "error" not in answer
    assert queues_of(answer) == ["celery", "mail", "video"]
    made = worker.amqp.queues["video"]
    assert (made.exchange.type, made.queue_arguments) == ("topic", {"x-queue-type": "quorum"})


def test_a_queue_that_the_application_refuses_to_make_is_an_error(
    site: Site, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.worker()
    make = site.app

    def strict() -> Celery:
        app = make()
        app.conf.task_create_missing_queues = False
        return app

    monkeypatch.setattr(site, "app", strict)
    answer = call("add_consumers", queues=["video"])
    assert answer["error"] == {"kind": "queue", "text": "the application knows no queue video and creates none"}
    assert answer["changes"] == []


def test_an_unknown_node_fails_at_once_and_nothing_is_cancelled(site: Site, call: Call) -> None:
    site.worker(TWO)
    answer = call("cancel_consumers", node(ONE, patient=False), node(TWO), deadline=60, timeout=1)
    assert answer["error"]["kind"] == "silent"
    assert (answer["error"]["nodes"], answer["error"]["others"]) == ([ONE], [TWO])
    assert answer["changes"] == []
    assert queues_of(call("inspect", node(TWO)), TWO) == ["celery", "mail"]


# --- the minimum -----------------------------------------------------------------------------------------------------


def test_the_last_consumer_is_not_cancelled(site: Site, call: Call, broker: dict[str, int]) -> None:
    site.worker()
    broker["celery"] = 1  # mail has this one only
    answer = call("cancel_consumers", minimum=1, deadline=1)
    assert answer["error"]["kind"] == "short"
    assert answer["short"] == [{"queue": "mail", "consumers": 1, "ours": 1, "minimum": 1}]
    assert answer["changes"] == []
    assert queues_of(call("inspect")) == ["celery", "mail"]
    checked = call("cancel_consumers", minimum=1, check=True)
    assert "error" not in checked
    assert [row["queue"] for row in checked["short"]] == ["mail"]


def test_with_enough_others_it_is_cancelled(site: Site, call: Call, broker: dict[str, int]) -> None:
    site.worker()
    site.worker(TWO)
    answer = call("cancel_consumers", minimum=1)
    assert "error" not in answer
    assert (len(answer["changes"]), answer["short"], queues_of(answer)) == (2, [], [])
    assert call("cancel_consumers", minimum=1)["changes"] == []
    assert call("cancel_consumers", node(TWO), minimum=1, deadline=0)["error"]["kind"] == "short"
    broker.update(celery=1, mail=1)
    assert "error" not in call("cancel_consumers", node(TWO), minimum=1, deadline=0)


def test_it_waits_for_others(site: Site, call: Call, broker: dict[str, int]) -> None:
    site.worker()
    timer = threading.Timer(1, lambda: broker.update(celery=1, mail=1))
    timer.start()
    answer = call("cancel_consumers", minimum=1, deadline=20)
    timer.join()
    assert "error" not in answer
    assert queues_of(answer) == []


def test_what_was_cancelled_is_given_back_when_others_vanish_meanwhile(
    site: Site, call: Call, broker: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.worker()
    broker.update(celery=1, mail=1)
    settled = control_script.Job.settled

    def vanish(job: Any, pairs: list, present: bool) -> None:
        settled(job, pairs, present)
        if not present:
            broker.clear()  # the only other worker dies right after our first cancel

    monkeypatch.setattr(control_script.Job, "settled", vanish)
    answer = call("cancel_consumers", minimum=1, deadline=1)
    assert answer["error"]["kind"] == "short"
    assert answer["changes"] == []
    assert queues_of(call("inspect")) == ["celery", "mail"]


def test_a_queue_that_the_broker_does_not_know(site: Site, call: Call) -> None:
    site.worker()
    job = control_script.Job({"nodes": [], "deadline": 1})
    with site.app().connection_for_write() as connection:
        job.workers = control_script.Workers(site.app(), connection, 1)
        with pytest.raises(control_script.ScriptError, match="the broker has no queue video"):
            job.shortages([("video", ONE)], 1)
        assert job.workers.consumers("mail") == 1


# --- idle ------------------------------------------------------------------------------------------------------------


def test_it_waits_until_the_task_has_ended(site: Site, call: Call) -> None:
    site.worker()
    running = site.busy()
    call("cancel_consumers")
    answer = call("wait_idle", deadline=1)
    assert "error" not in answer
    assert [(row["state"], row["id"]) for row in answer["remaining"]] == [("active", running)]
    threading.Timer(0.5, site.gate.set).start()
    answer = call("wait_idle", deadline=20)
    assert answer["remaining"] == []
    assert 0 < answer["waited"] < 20


def test_who_consumes_is_not_idle(site: Site, call: Call) -> None:
    site.worker(queues="mail")
    answer = call("wait_idle", deadline=0)
    assert answer["remaining"] == [{"node": ONE, "state": "consuming", "name": "mail"}]


def test_a_task_that_waits_for_its_time_is_not_idle(site: Site, call: Call) -> None:
    site.worker()
    later = site.send(countdown=600)
    time.sleep(0.5)
    call("cancel_consumers")
    answer = call("wait_idle", deadline=0)
    assert [(row["state"], row["id"]) for row in answer["remaining"]] == [("scheduled", later)]


def test_waiting_survives_a_broker_that_goes_away(site: Site, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    site.worker()
    call("cancel_consumers")
    look = control_script.Workers.look
    troubles: list[OSError] = [ConnectionResetError("Connection reset by peer"), BrokenPipeError("Broken pipe")]

    def lost(workers: Any, names: list[str]) -> dict[str, Any]:
        if troubles:
            raise troubles.pop()
        return look(workers, names)

    monkeypatch.setattr(control_script.Workers, "look", lost)
    assert call("inspect")["error"]["text"] == "BrokenPipeError: Broken pipe"
    answer = call("wait_idle", deadline=20)
    assert "error" not in answer
    assert (answer["remaining"], troubles) == ([], [])
    troubles.append(ConnectionResetError("Connection reset by peer"))
    assert call("wait_idle", deadline=0)["error"]["kind"] == "unreachable"


def test_a_stopping_node_is_done_when_its_process_is(call: Call) -> None:
    stopping = node(ask=False, pid=threading.get_native_id())
    assert call("wait_idle", stopping, deadline=0)["remaining"] == [{"node": ONE, "state": "stopping"}]
    assert call("wait_idle", node(ask=False, pid=2**22 + 1), deadline=0)["remaining"] == []


def test_a_solo_pool_answers_when_its_task_has_ended(site: Site, call: Call) -> None:
    site.worker(pool="solo")
    site.busy()
    assert call("wait_idle", deadline=0, timeout=0.5)["remaining"] == [{"node": ONE, "state": "silent"}]
    answer = call("cancel_consumers", deadline=0, timeout=0.5)
    assert answer["error"]["kind"] == "silent"
    threading.Timer(1, site.gate.set).start()
    answer = call("cancel_consumers", deadline=20, timeout=0.5)
    assert "error" not in answer
    assert queues_of(answer) == []


def test_waiting_for_an_unknown_node_fails_at_once(site: Site, call: Call) -> None:
    answer = call("wait_idle", node(patient=False), deadline=60, timeout=0.3)
    assert answer["error"]["nodes"] == [ONE]


# --- revoke ----------------------------------------------------------------------------------------------------------


def test_a_revoked_task_does_not_run(site: Site, call: Call) -> None:
    site.worker()
    running = site.busy()
    waiting = site.send(countdown=2)
    rows = [
        {"node": ONE, "id": waiting, "running": False, "terminated": False},
        {"node": ONE, "id": running, "running": True, "terminated": False},
    ]
    ids = [waiting, running]
    assert call("revoke", task_ids=ids, check=True)["changes"] == rows
    answer = call("revoke", task_ids=ids)
    assert "error" not in answer
    assert answer["changes"] == rows
    assert call("revoke", task_ids=ids)["changes"] == [], "they are revoked already"
    site.gate.set()
    call("cancel_consumers")
    assert call("wait_idle", deadline=20)["remaining"] == []
    assert site.ran == [running], "the revoked task ran when its time had come"


def test_a_pool_that_cannot_end_tasks_says_so(site: Site, call: Call) -> None:
    site.worker()
    answer = call("revoke", task_ids=[site.busy()], terminate=True)
    assert answer["error"]["kind"] == "worker"
    assert answer["error"]["text"].startswith(f"{ONE} refused revoke: ")


# --- errors ----------------------------------------------------------------------------------------------------------


class RefusedError(Exception):
    code = 403


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (RefusedError("ACCESS_REFUSED - Login was refused"), "refused"),
        (ssl.SSLCertVerificationError("certificate verify failed"), "tls"),
        (ConnectionRefusedError("Connection refused"), "unreachable"),
        (TimeoutError("timed out"), "unreachable"),
        (ValueError("what"), "broker"),
    ],
)
def test_errors_of_the_broker_have_a_kind(cause: Exception, kind: str) -> None:
    wrapped = RuntimeError("amqps://shop:hunter2@broker1 failed")
    wrapped.__cause__ = cause
    fault = control_script.broker_fault(wrapped)
    assert fault.kind == kind
    assert "hunter2" not in str(fault)


def test_a_broker_that_is_not_there(call: Call, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "app", lambda: Celery("shop", broker="amqp://shop:hunter2@127.0.0.1:1//"))
    answer = call("inspect")
    assert answer["error"]["kind"] == "unreachable"
    assert "Connection refused" in answer["error"]["text"]
    assert "hunter2" not in str(answer)


def test_passwords_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_BROKER", "amqps://shop:hun%2Fter@broker1:5671//shop")
    assert control_script.readable(ValueError("it said: hun/ter or hun%2Fter")) == "ValueError: it said: *** or ***"


def test_its_syntax_is_old_enough_for_applications() -> None:
    ast.parse(Path(control_script.__file__).read_text(), feature_version=(3, 8))
