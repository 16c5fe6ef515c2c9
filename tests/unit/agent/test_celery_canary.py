"""The canary script against a cluster that is only played."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import celery
import pytest
import sqlalchemy
from local_cluster import SCRIPT

VERIFIED = {"verified": True, "why": ""}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("celery_canary", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Played:
    """An app whose queues are consumed by functions: nonce -> answer, or an exception."""

    def __init__(self, consumers: dict[str, list[Callable[[str], Any]]]) -> None:
        self.consumers = consumers
        self.results: dict[str, dict[str, Any]] = {}
        self.sent = dict.fromkeys(consumers, 0)
        self.unread = dict.fromkeys(consumers, 0)
        self.most_unread = dict.fromkeys(consumers, 0)
        self.queue_of: dict[str, str] = {}
        self.send_error: Exception | None = None
        self.read_error: Exception | None = None
        self.options: list[dict[str, Any]] = []
        self.connections = 0
        self.conf = SimpleNamespace(update=lambda **_: None)
        self.forgotten: list[str] = []
        self.backend = SimpleNamespace(
            get_task_meta=self.get_task_meta, always_retry=True, forget=self.forgotten.append
        )
        # (messages, consumers), what a passive declaration says of a queue; None: there is no such queue.
        self.depth: Callable[[str], tuple[int, int] | None] = lambda queue: None
        queues = {name: SimpleNamespace(routing_key=f"key.{name}") for name in consumers}
        self.amqp = SimpleNamespace(queues=queues)

    @contextlib.contextmanager
    def connection_for_write(self) -> Iterator[Any]:
        self.connections += 1
        yield SimpleNamespace(
            ensure_connection=lambda max_retries, interval_start: None,
            channel=lambda: contextlib.nullcontext(SimpleNamespace(queue_declare=self.declare)),
            channel_errors=(LookupError,),
        )

    def declare(self, queue: str, passive: bool) -> Any:
        found = self.depth(queue)
        if found is None:
            raise LookupError(queue)
        return SimpleNamespace(message_count=found[0], consumer_count=found[1])

    def counted(self, queue: str) -> tuple[int, int]:
        return self.unread[queue], len(self.consumers[queue])

    def send_task(self, name: str, args: tuple[str], queue: str, **options: Any) -> Any:
        if self.send_error:
            raise self.send_error
        self.options.append(options)
        number = self.sent[queue]
        self.sent[queue] += 1
        self.unread[queue] += 1
        self.most_unread[queue] = max(self.most_unread[queue], self.unread[queue])
        task_id = f"{queue}-{number}"
        consumers = self.consumers[queue]
        answer = consumers[number % len(consumers)](args[0]) if consumers else None
        status = "PENDING" if answer is None else "FAILURE" if isinstance(answer, Exception) else "SUCCESS"
        self.results[task_id] = {"status": status, "result": answer}
        self.queue_of[task_id] = queue
        return SimpleNamespace(id=task_id)

    def get_task_meta(self, task_id: str, cache: bool) -> dict[str, Any]:
        if self.read_error:
            raise self.read_error
        meta = self.results[task_id]
        if meta["status"] != "PENDING":
            self.unread[self.queue_of[task_id]] -= 1
        return meta


def answer_of(nonce: str) -> str:
    return hashlib.sha256(f"canary:{nonce}".encode()).hexdigest()


def consumer(host: str, **changes: Any) -> Callable[[str], dict[str, Any]]:
    return lambda nonce: {
        "nonce": nonce,
        "answer": answer_of(nonce),
        "host": host,
        "node": f"default-4f2c@{host}",
        "release": "4f2c",
        "worker": "default",
        "queue": "mail",
        "tls": VERIFIED,
        **changes,
    }


def expect(host: str, **changes: Any) -> dict[str, Any]:
    given = {"queue": "mail", "worker": "default", "host": host, "node": f"default-4f2c@{host}", "release": "4f2c"}
    return {**given, **changes}


def play(
    script: ModuleType, app: Played, expected: list[dict[str, Any]], deadline: float = 0.4, **request: Any
) -> dict[str, Any]:
    canaries = script.Canaries({"expect": expected, "deadline": deadline, "expires": 30, **request})
    canaries.app = app
    canaries.agent = SimpleNamespace(
        CANARY="celery_cluster.canary",
        canary_answer=answer_of,
        accepted_serializer=lambda conf: "json",
        is_amqp=lambda conf: True,
    )
    canaries.run()
    return canaries.report()


def test_two_hosts_on_one_queue(script: ModuleType) -> None:
    app = Played({"mail": [consumer("worker1"), consumer("worker2")]})
    answer = play(script, app, [expect("worker1"), expect("worker2")], deadline=20)
    assert [(row["to"], row["ok"], row["detail"]) for row in answer["rows"]] == [
        ("worker1", True, "answered"),
        ("worker2", True, "answered"),
    ]
    assert answer["task_ids"] == ["mail-0", "mail-1", "mail-2", "mail-3"]
    assert app.options[0]["expires"] == app.options[0]["expiration"] == 30
    assert app.connections == 1
    assert app.options[0]["mandatory"] is True
    assert app.backend.always_retry is False


def test_a_missing_host_is_waited_for_with_few_messages(script: ModuleType) -> None:
    app = Played({"mail": [consumer("worker1")]})
    rows = play(script, app, [expect("worker1"), expect("worker2")], deadline=1)["rows"]
    assert rows[0]["ok"] is True
    assert rows[1]["ok"] is False
    assert (
        rows[1]["detail"] == f"no answer from worker2 within 1 s; answered: worker1 (default) \u00d7{app.sent['mail']}"
    )
    assert app.most_unread["mail"] == 4
    assert app.sent["mail"] <= 40


def test_nobody_answers(script: ModuleType) -> None:
    app = Played({"mail": []})
    (row,) = play(script, app, [expect("worker1")])["rows"]
    assert row["detail"] == "no answer from worker1 within 0.4 s; answered: nobody"
    assert app.sent["mail"] == 2


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"answer": "x"}, "answered with a wrong value"),
        ({"nonce": "x"}, "answered with a wrong value"),
        ({"node": "celery@worker1"}, "answered as node celery@worker1, expected default-4f2c@worker1"),
        ({"release": "0001"}, "ran release 0001, expected 4f2c"),
        ({"release": ""}, "ran release unknown, expected 4f2c"),
        ({"queue": "bulk"}, "received it through bulk, not through mail"),
        ({"tls": {"verified": False, "why": "not encrypted"}}, "TLS not verified: not encrypted"),
        ({"tls": None}, "TLS not verified: no reason given"),
    ],
)
def test_a_wrong_answer_ends_the_wait(script: ModuleType, changes: dict[str, Any], detail: str) -> None:
    app = Played({"mail": [consumer("worker1", **changes)]})
    (row,) = play(script, app, [expect("worker1")], deadline=20)["rows"]
    assert row["ok"] is False
    assert row["detail"].startswith(detail)


def test_the_routing_key_of_the_queue_will_do(script: ModuleType) -> None:
    app = Played({"mail": [consumer("worker1", queue="key.mail")]})
    assert play(script, app, [expect("worker1")], deadline=20)["rows"][0]["ok"] is True


def test_node_and_release_may_be_left_open(script: ModuleType) -> None:
    app = Played({"mail": [consumer("worker1", node="x", release="y")]})
    rows = play(script, app, [expect("worker1", node=None, release=None)], deadline=20)["rows"]
    assert rows[0]["ok"] is True


def test_the_old_release_may_answer_while_the_new_one_starts(script: ModuleType) -> None:
    app = Played({"mail": [consumer("worker1", release="0001"), consumer("worker1")]})
    assert play(script, app, [expect("worker1")], deadline=20)["rows"][0]["ok"] is True


def test_both_releases_answer_and_only_the_new_one_counts(script: ModuleType) -> None:
    old = consumer("worker1", release="1b9e", node="default-1b9e@worker1")
    removed = consumer("worker9", release="1b9e", node="default-1b9e@worker9")
    app = Played({"mail": [old, old, old, removed, consumer("worker1")]})
    (row,) = play(script, app, [expect("worker1")], deadline=20, overlap=True)["rows"]
    assert (row["ok"], row["detail"]) == (True, "answered")
    # The new one is asked for all the same, and what it answers is looked at.
    app = Played({"mail": [old, removed]})
    (row,) = play(script, app, [expect("worker1")], overlap=True)["rows"]
    assert not row["ok"] and row["detail"].startswith("no answer from worker1")
    app = Played({"mail": [old, consumer("worker1", tls={"verified": False, "why": "plaintext"})]})
    (row,) = play(script, app, [expect("worker1")], deadline=20, overlap=True)["rows"]
    assert not row["ok"] and "TLS not verified: plaintext" in row["detail"]


@pytest.mark.parametrize("changes", [{"host": "stranger"}, {"worker": "video"}])
def test_an_unexpected_consumer_is_a_failure(script: ModuleType, changes: dict[str, str]) -> None:
    app = Played({"mail": [consumer("worker1"), consumer(**{"host": "worker1", **changes})]})
    rows = play(script, app, [expect("worker1")], deadline=20)["rows"]
    assert [row["ok"] for row in rows] == [True, False]
    assert (rows[1]["to"], rows[1]["worker"]) == (changes.get("host", "worker1"), changes.get("worker", "default"))
    assert "the inventory says nothing of it" in rows[1]["detail"]


def test_as_many_canaries_as_the_broker_counts_consumers(script: ModuleType) -> None:
    expected = [expect("worker1"), expect("worker2"), expect("worker1", queue="bulk")]
    consumers = {
        "mail": [consumer("worker1"), consumer("worker2")],
        "bulk": [consumer("worker1", queue="bulk"), *(consumer(f"stranger{number}") for number in range(3))],
    }
    app = Played(consumers)
    rows = play(script, app, expected, deadline=20)["rows"]
    # Where it does not say so, twice as many as are expected: the last stranger is not reached.
    assert app.sent["bulk"] == 2 and [row["to"] for row in rows if not row["ok"]] == ["stranger0"]
    app = Played(consumers)
    app.depth = app.counted
    rows = play(script, app, expected, deadline=20)["rows"]
    assert app.sent == {"mail": 2, "bulk": 4}
    assert [row["to"] for row in rows if not row["ok"]] == ["stranger0", "stranger1", "stranger2"]


def test_consumers_that_are_not_all_there_yet_are_asked_twice(script: ModuleType) -> None:
    app = Played({"mail": [consumer("worker1")]})
    app.depth = app.counted
    play(script, app, [expect("worker1"), expect("worker2")], deadline=0.4)
    assert app.most_unread["mail"] == 4


def test_a_bound_that_suffices_for_the_consumers_leaves_nobody_out(script: ModuleType, impatient: None) -> None:
    hosts = [f"worker{number}" for number in range(10)]
    app = Played({"mail": [consumer(host) for host in hosts]})
    app.depth = app.counted
    answer = play(script, app, [expect(host) for host in hosts], deadline=20, max=10)
    assert [row["ok"] for row in answer["rows"]] == [True] * 10 and answer["notes"] == []


def test_a_worker_without_the_agent(script: ModuleType) -> None:
    app = Played({"mail": [lambda nonce: KeyError("celery_cluster.canary")]})
    (row,) = play(script, app, [expect("worker1")])["rows"]
    assert "answered: nobody; a canary ended as FAILURE: KeyError: 'celery_cluster.canary'" in row["detail"]


def test_one_queue_does_not_hold_another_back(script: ModuleType) -> None:
    app = Played({"mail": [], "bulk": [consumer("worker1", queue="bulk")]})
    rows = play(script, app, [expect("worker1"), expect("worker1", queue="bulk")])["rows"]
    assert [(row["queue"], row["ok"]) for row in rows] == [("mail", False), ("bulk", True)]


def test_login_refused(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    from amqp.exceptions import AccessRefused

    monkeypatch.setenv("CELERY_BROKER_URL", "pyamqp://shop:s3%20cr3t@broker1/v")
    app = Played({"mail": []})
    app.send_error = AccessRefused("ACCESS_REFUSED - Login 's3 cr3t' was refused")
    # Long enough for one attempt on a busy machine.
    (row,) = play(script, app, [expect("worker1")], deadline=3)["rows"]
    assert row["ok"] is False
    assert row["detail"].startswith("the canary cannot be sent: AccessRefused:")
    assert "Login '***' was refused" in row["detail"]


def test_database_refused(script: ModuleType) -> None:
    app = Played({"mail": [consumer("worker1")]})
    app.read_error = OSError('connection to "postgresql://shop:s3cr3t@db1/shop" failed')
    answer = play(script, app, [expect("worker1")])
    assert answer["task_ids"] == []
    assert answer["rows"][0]["detail"] == (
        'the result cannot be read: OSError: connection to "postgresql://shop:***@db1/shop" failed'
    )


def test_errors_alone_end_the_wait(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "GIVE_UP_AFTER", 0.2)
    app = Played({"mail": []})
    app.send_error = OSError("no route")
    before = script.time.monotonic()
    play(script, app, [expect("worker1")], deadline=30)
    assert script.time.monotonic() - before < 5


def test_an_unknown_queue(script: ModuleType) -> None:
    app = Played({"mail": []})
    (row,) = play(script, app, [expect("worker1", queue="nowhere")], deadline=20)["rows"]
    assert row["detail"] == "the application knows no queue nowhere and creates none"


@pytest.fixture
def impatient(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LINGER", "GRACE"):
        monkeypatch.setattr(script, name, 0.1)
    monkeypatch.setattr(script, "POLL_LAST", 0.1)


@pytest.mark.parametrize(("messages", "consumers"), [(12, 0), (812, 3)])
def test_a_queue_from_which_nobody_answers_says_what_to_do(
    script: ModuleType, impatient: None, messages: int, consumers: int
) -> None:
    app = Played({"mail": []})
    app.depth = lambda queue: (messages, consumers)
    (row,) = play(script, app, [expect("worker1")], name="shop")["rows"]
    assert not row["ok"] and f"{messages} messages" in row["detail"]
    if consumers:
        assert f"the broker counts {consumers} consumers" in row["detail"] and "verify_deadline" in row["detail"]
    else:
        assert "queue mail has no consumer" in row["detail"]
        assert row["detail"].endswith("systemctl start shop-worker-default@4f2c.service on worker1")


def test_a_queue_that_one_host_serves_is_not_called_deserted(script: ModuleType, impatient: None) -> None:
    app = Played({"mail": [consumer("worker1")]})
    app.depth = app.counted
    rows = play(script, app, [expect("worker1"), expect("worker2")])["rows"]
    assert "the broker counts" not in rows[1]["detail"]


def test_a_consumer_that_is_not_asked_may_answer_and_need_not(script: ModuleType) -> None:
    expected = [expect("worker1"), expect("worker2", asked=False), expect("worker2", queue="bulk", asked=False)]
    app = Played({"mail": [consumer("worker1"), consumer("worker2")], "bulk": []})
    answer = play(script, app, expected, deadline=20)
    assert [(row["to"], row["ok"]) for row in answer["rows"]] == [("worker1", True)]
    assert app.sent["bulk"] == 0
    app = Played({"mail": [consumer("worker2")]})
    (row,) = play(script, app, expected[:2])["rows"]
    assert not row["ok"] and row["detail"].startswith("no answer from worker1")


def test_rounds(script: ModuleType, impatient: None) -> None:
    app = Played({"mail": [consumer("worker1"), consumer("worker2")]})
    answer = play(script, app, [expect("worker1"), expect("worker2")], deadline=20, rounds=3)
    assert [(row["ok"], row["detail"]) for row in answer["rows"]] == [(True, "answered in 3 rounds")] * 2
    assert [(look["sent"], look["answered"], look["lost"]) for look in answer["rounds"]] == [(4, 4, 0)] * 3
    assert [(one["host"], one["round"]) for one in answer["answers"]] == [
        (host, number) for number in (1, 2, 3) for host in ("worker1", "worker2")
    ]
    assert len(set(answer["sent_ids"])) == 12 and sorted(answer["task_ids"]) == sorted(answer["sent_ids"])


def test_a_round_that_loses_a_canary_is_a_failure(script: ModuleType, impatient: None) -> None:
    numbers = iter(range(100))
    well = consumer("worker1")
    # The second canary of all is taken and never answered.
    app = Played({"mail": [lambda nonce: None if next(numbers) == 1 else well(nonce)]})
    answer = play(script, app, [expect("worker1")], deadline=2, rounds=2, expires=0.3)
    assert [row["ok"] for row in answer["rows"]] == [True, False]
    assert (answer["rows"][1]["name"], answer["rows"][1]["detail"]) == (
        "round 1 of 2",
        "1 of 2 canaries never came back",
    )
    assert [look["lost"] for look in answer["rounds"]] == [1, 0]


def test_a_canary_that_comes_late_is_not_lost(script: ModuleType, impatient: None) -> None:
    app = Played({"mail": []})
    first: list[dict[str, Any]] = []
    canaries = script.Canaries({"expect": [expect("worker1")], "deadline": 1, "expires": 1, "rounds": 2, "interval": 0})
    canaries.app = app
    look = {"round": 1, "sent": 1, "answered": 0, "late": 0, "lost": 1}
    canaries.late["mail-0"] = (script.time.monotonic(), look)
    app.results["mail-0"] = {"status": "SUCCESS", "result": first}
    app.queue_of["mail-0"] = "mail"
    canaries.wait(script.time.monotonic() + 5, until=True)
    assert (look["late"], look["lost"]) == (1, 0) and canaries.succeeded == ["mail-0"]


def test_one_round_of_a_soak_in_which_nobody_answers(script: ModuleType, impatient: None) -> None:
    numbers = iter(range(100))
    well = consumer("worker1")
    app = Played({"mail": [lambda nonce: None if next(numbers) < 2 else well(nonce)]})
    row = play(script, app, [expect("worker1")], deadline=0.4, rounds=2, expires=0.4)["rows"][0]
    assert not row["ok"] and row["detail"].startswith("failed in 1 of 2 rounds; round 1: no answer from worker1")


def test_no_more_canaries_than_allowed(script: ModuleType, impatient: None) -> None:
    app = Played({"mail": [consumer("worker1")]})
    rows = play(script, app, [expect("worker1"), expect("worker2")], deadline=0.8, max=5)["rows"]
    assert [row["ok"] for row in rows] == [True, False] and app.sent["mail"] == 5


def test_too_few_for_everybody_are_shared_out(script: ModuleType, impatient: None) -> None:
    hosts = [f"worker{number}" for number in range(10)]
    expected = [expect(host, queue=queue) for queue in ("mail", "bulk") for host in hosts]
    app = Played({queue: [consumer(host, queue=queue) for host in hosts] for queue in ("mail", "bulk")})
    answer = play(script, app, expected, deadline=20, max=5)
    assert app.sent == {"mail": 3, "bulk": 2}
    assert [(row["queue"], row["to"], row["ok"]) for row in answer["rows"]] == [
        *(("mail", host, True) for host in hosts[:3]),
        *(("bulk", host, True) for host in hosts[:2]),
    ]
    assert "Sampled: 5 canaries" in answer["notes"][0] and "15 consumers were not asked" in answer["notes"][0]


def test_a_sampled_canary_that_does_not_come_back_is_told_once(script: ModuleType, impatient: None) -> None:
    app = Played({"mail": [consumer("worker0"), lambda nonce: None]})
    expected = [expect(f"worker{number}") for number in range(10)]
    rows = play(script, app, expected, max=2)["rows"]
    assert [row["ok"] for row in rows] == [True, False]
    assert rows[1]["detail"].startswith("1 of 2 canaries did not come back")


def test_a_bound_below_the_number_of_queues_is_refused(script: ModuleType) -> None:
    with pytest.raises(ValueError, match="max is 1, and 2 queues"):
        script.Canaries({"expect": [expect("worker1"), expect("worker1", queue="bulk")], "max": 1})


def test_results_are_forgotten_on_request(script: ModuleType) -> None:
    app = Played({"mail": [consumer("worker1")]})
    answer = play(script, app, [expect("worker1")], deadline=20, forget=True)
    assert app.forgotten == answer["sent_ids"] and answer["notes"] == []
    app = Played({"mail": [consumer("worker1")]})
    play(script, app, [expect("worker1")], deadline=20)
    assert app.forgotten == []


def test_a_backend_that_cannot_forget_is_told_and_no_failure(script: ModuleType) -> None:
    def refuse(task_id: str) -> None:
        raise NotImplementedError("no forget")

    app = Played({"mail": [consumer("worker1")]})
    app.backend.forget = refuse
    answer = play(script, app, [expect("worker1")], deadline=20, forget=True)
    assert answer["rows"][0]["ok"] and "NotImplementedError: no forget" in answer["notes"][0]


def record_of(script: ModuleType, path: Path, results: list[tuple[str, bool]], **request: Any) -> dict[str, Any]:
    """What is recorded after these hosts were asked, of which some answered."""
    expected = [expect(host) for host, _ok in results] + list(request.pop("others", []))
    canaries = script.Canaries({"expect": expected, "record": str(path), **request})
    lane = canaries.lanes[0]
    rows = [canaries.row(lane, "default", host, ok, "", 0.125 if ok else None, None) for host, ok in results]
    canaries.write_record(rows)
    return json.loads(path.read_text())


def test_the_record(script: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "canary.json"
    found = record_of(script, path, [("worker1", True), ("worker2", False)])
    assert found["version"] == 1 and found["run"] and path.stat().st_mode & 0o777 == 0o640
    assert [{**one, "time": 0} for one in found["results"]] == [
        {
            "queue": "mail",
            "worker": "default",
            "host": host,
            "node": f"default-4f2c@{host}",
            "release": "4f2c",
            "seconds": seconds,
            "ok": seconds is not None,
            "time": 0,
        }
        for host, seconds in (("worker1", 0.125), ("worker2", None))
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_the_record_keeps_what_was_not_asked_and_forgets_who_is_gone(script: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "canary.json"
    before = record_of(script, path, [("worker1", True), ("worker2", True), ("worker3", True)])
    found = record_of(script, path, [("worker1", False)], others=[expect("worker2", asked=False)])
    assert [(one["host"], one["ok"]) for one in found["results"]] == [("worker1", False), ("worker2", True)]
    assert found["results"][1] == before["results"][1]
    # In a release nobody names the others.
    found = record_of(script, path, [("worker1", True)], overlap=True)
    assert [(one["host"], one["ok"]) for one in found["results"]] == [("worker1", True), ("worker2", True)]


@pytest.mark.parametrize("text", ["", "[]", '{"results": 1}', '{"results": [1]}'])
def test_a_broken_record_is_replaced(script: ModuleType, tmp_path: Path, text: str) -> None:
    path = tmp_path / "canary.json"
    path.write_text(text)
    assert [one["host"] for one in record_of(script, path, [("worker1", True)])["results"]] == ["worker1"]


def test_a_record_that_cannot_be_written_is_told(script: ModuleType, tmp_path: Path) -> None:
    canaries = script.Canaries({"expect": [expect("worker1")], "record": str(tmp_path / "no" / "canary.json")})
    canaries.write_record([])
    assert canaries.report()["notes"][0].startswith("the record cannot be written: FileNotFoundError")


class Sessions:
    """Celery's own database backend, with its logins counted."""

    def __init__(self, tmp_path: Path) -> None:
        app = celery.Celery(broker="memory://", backend=f"db+sqlite:///{tmp_path / 'results'}")
        self.opened = 0
        app.conf.database_engine_callback = self.count
        self.backend = app.backend

    def count(self, engine: Any) -> None:
        sqlalchemy.event.listen(engine, "connect", lambda *_: setattr(self, "opened", self.opened + 1))


@pytest.mark.parametrize("kept", [True, False])
def test_many_results_are_looked_at_over_one_login(script: ModuleType, tmp_path: Path, kept: bool) -> None:
    sessions = Sessions(tmp_path)
    if kept:
        script.keep_connections(sessions.backend)
    before = sessions.opened
    for number in range(5):
        assert sessions.backend.get_task_meta(str(number), cache=False)["status"] == "PENDING"
    # Without it, one login for each look: what this is for.
    assert sessions.opened - before == (1 if kept else 5)


def test_the_manager_of_older_releases_is_found(script: ModuleType) -> None:
    manager = SimpleNamespace(forked=False)

    def session(self: Any, session_manager: Any = manager) -> None:
        """As in Celery 5.6."""

    backend = type("Backend", (), {"ResultSession": session, "engine_options": {}})()
    script.keep_connections(backend)
    assert manager.forked and backend.engine_options == {"pool_pre_ping": True}


def test_another_backend_is_left_alone(script: ModuleType) -> None:
    backend = SimpleNamespace(always_retry=True)
    script.keep_connections(backend)
    assert vars(backend) == {"always_retry": True}


def unfair(*hosts: str | None) -> list[Callable[[str], Any]]:
    """Who takes which canary, one after the other; None: it is kept."""
    return [consumer(host) if host else lambda nonce: None for host in hosts]


THREE = [expect("worker1"), expect("worker2"), expect("worker3")]


def test_while_those_under_way_may_prove_all_no_more_are_sent(script: ModuleType) -> None:
    app = Played({"mail": unfair("worker1", "worker2", "worker3", "worker1")})
    app.depth = lambda queue: (0, 3)
    answer = play(script, app, THREE, deadline=20)
    assert [row["ok"] for row in answer["rows"]] == [True] * 3 and app.sent == {"mail": 3}


def test_a_consumer_that_was_passed_over_gets_another_one(script: ModuleType) -> None:
    app = Played({"mail": unfair("worker1", "worker1", "worker2", "worker2", "worker1", "worker3")})
    app.depth = lambda queue: (0, 3)
    answer = play(script, app, THREE, deadline=20)
    assert [row["ok"] for row in answer["rows"]] == [True] * 3 and app.sent == {"mail": 6}


def test_a_consumer_that_was_passed_over_within_the_bound_was_not_asked(script: ModuleType) -> None:
    app = Played({"mail": unfair("worker1", "worker1", "worker2")})
    app.depth = lambda queue: (0, 3)
    began = time.monotonic()
    answer = play(script, app, THREE, deadline=60, max=3)
    assert [(row["to"], row["ok"]) for row in answer["rows"]] == [("worker1", True), ("worker2", True)]
    assert any("1 consumers were not asked" in note for note in answer["notes"])
    # Nobody is waited for who has nothing to answer.
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("takers", "counted", "bound"),
    [
        (("worker1", "worker2", None), 3, 3),
        (("worker1", "worker1", "worker2"), 2, 6),
        (("worker1", "worker1", "worker2"), 4, 4),
    ],
    ids=["one keeps its canary", "the broker counts too few", "and too many"],
)
def test_who_does_not_answer_fails_at_the_bound_too(
    script: ModuleType, takers: tuple[str | None, ...], counted: int, bound: int
) -> None:
    app = Played({"mail": unfair(*takers)})
    app.depth = lambda queue: (0, counted)
    answer = play(script, app, THREE, deadline=3, max=bound)
    told = {row["to"]: row["ok"] for row in answer["rows"]}
    assert told == {"worker1": True, "worker2": True, "worker3": False}


def test_a_canary_that_is_overdue_keeps_no_others_back(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "OVERDUE", 0.2)
    # Not counted: twice as many as are expected.
    app = Played({"mail": unfair(None, "worker1", "worker1", "worker2", "worker2")})
    answer = play(script, app, [expect("worker1"), expect("worker2")], deadline=20)
    assert [row["ok"] for row in answer["rows"]] == [True, True]
