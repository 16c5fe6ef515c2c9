"""What the traffic sends when, and that a worker executes all of it."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from celery.contrib.testing.worker import start_worker
from celery.exceptions import Reject
from ledger import celery as application
from ledger import edition, stream, table, tasks, traffic

START, TASK_ID, KIND, NUMBER, STEP, ATTEMPT = range(6)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Start -> the values of its row; those of its end come behind them."""
    found: dict[str, list[Any]] = {}

    def execute(statement: str, values: list[Any]) -> None:
        assert statement.count("%s") == len(values)
        if statement == tasks.BEGIN:
            found[values[0]] = list(values)
        else:
            found[values[-1]] += values[:-1]

    monkeypatch.setattr(table, "execute", execute)
    return found


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A worker of all queues, with a broker in memory."""
    monkeypatch.setattr(tasks, "FLAKY_SECONDS", 0)
    app = application.app
    app.conf.update(broker_url="memory://", task_default_queue="celery")
    app.amqp.queues.select([*traffic.QUEUES, traffic.LONG_QUEUE])
    with start_worker(app, pool="solo", perform_ping_check=False):
        yield


def test_a_minute_of_traffic() -> None:
    ticks = traffic.periods(rate=6, every=5, long_every=20)
    sent = [item for tick in range(1000, 1000 + 6 * 60) for item in traffic.due(tick, ticks)]
    assert Counter(item.kind for item in sent) == {"short": 360, "long": 3, "eta": 12, "chain": 12, "retry": 12}
    assert len({str(item) for item in sent}) == len(sent)
    for kind in ("short", "eta", "retry"):
        queues = Counter(item.queue for item in sent if item.kind == kind)
        assert queues["celery"] == queues["numbers"] > 0
    assert {item.queue for item in sent if item.kind == "long"} == {"long"}


def test_a_slow_traffic_has_every_kind_at_each_tick() -> None:
    ticks = traffic.periods(rate=0.1, every=5, long_every=5)
    assert [item.kind for item in traffic.due(7, ticks)] == list(traffic.KINDS)


def test_the_log_names_kind_and_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "RETRY_SECONDS", 0)
    answers = iter([TimeoutError("no answer"), None])

    def send(_item: traffic.Item) -> None:
        if answer := next(answers):
            raise answer

    log = io.StringIO()
    stream.deliver(send, lambda: None, traffic.Item("eta", 7, "celery"), log)
    assert log.getvalue().splitlines() == ["try eta 7", "unsure eta 7 TimeoutError: no answer", "try eta 7", "ok eta 7"]


def test_everything_is_executed(rows: dict[str, list[Any]], worker: None, tmp_path: Path) -> None:
    for place, kind in enumerate(("short", "long", "chain", "retry")):
        log = tmp_path / kind
        arguments = ["--log", str(log), "--only", kind, "--first", str(place * 100), "--count", "2", "--rate", "50"]
        assert traffic.main([*arguments, "--long-seconds", "0.2"]) == 0
        assert log.read_text().splitlines()[-1] == "done 2"
    wanted = [("short", n, 0, 0) for n in (0, 1)] + [("long", n, 0, 0) for n in (100, 101)]
    wanted += [("chain", n, step, 0) for n in (200, 201) for step in (1, 2, 3)]
    wanted += [("retry", n, 0, attempt) for n in (300, 301) for attempt in (0, 1, 2)]
    deadline = time.monotonic() + 20
    while len(rows) < len(wanted) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    found = list(rows.values())
    assert sorted(tuple(row[KIND : ATTEMPT + 1]) for row in found) == sorted(wanted)
    assert all(len(row) == 15 and row[7] == row[14] == edition.EDITION for row in found)


def test_an_eta_task_is_sent_with_a_countdown(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    sender = traffic.Traffic(application.app, 60)
    monkeypatch.setattr(sender.sender, "publish", lambda *arguments, **options: sent.append((arguments, options)))
    sender.send(traffic.Item("eta", 7, "numbers"))
    (((task, arguments, queue), options),) = sent
    assert (task.name, arguments, queue) == ("ledger.short", (7, "eta"), "numbers")
    assert options == {"countdown": traffic.ETA_SECONDS}


@pytest.mark.parametrize("task", [tasks.short, tasks.long, tasks.link, tasks.flaky])
def test_a_task_of_a_worker_that_dies_is_delivered_again(task: Any) -> None:
    assert task.acks_late and task.reject_on_worker_lost and task.ignore_result


def test_a_gated_task_ends_when_its_gate_opens_and_not_before(
    rows: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([False, False, True])
    monkeypatch.setattr(table, "is_open", lambda number: number == 7 and next(looks))
    monkeypatch.setattr(tasks, "STEP_SECONDS", 0.05)
    begun = time.monotonic()
    tasks.long.run(7, 60, gated=True)
    assert 0.1 <= time.monotonic() - begun < 30 and next(looks, None) is None
    # At the latest after its time; and whoever has no gate looks for none.
    tasks.long.run(8, 0.1, gated=True)
    monkeypatch.setattr(table, "is_open", lambda _number: pytest.fail("looked for a gate"))
    tasks.long.run(9, 0.1)


def test_without_a_database_the_task_stays_with_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(*_arguments: object) -> None:
        raise psycopg.OperationalError("gone")

    monkeypatch.setattr(table, "execute", execute)
    with pytest.raises(Reject) as rejected:
        tasks.short.run(7)
    assert rejected.value.requeue


def test_the_end_tells_what_the_tree_says_then(
    rows: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "edition.py"
    monkeypatch.setattr(edition, "__file__", str(file))
    for text, told in (
        ('EDITION = "B"\n', "B"),
        ("", f"{file} names no edition"),
        (None, f"{file}: No such file or directory"),
    ):
        file.unlink(missing_ok=True) if text is None else file.write_text(text)
        rows.clear()
        tasks.short.apply((1,))
        ((*_values, began_with),) = [row[:8] for row in rows.values()]
        assert began_with == "A"
        assert [row[14] for row in rows.values()] == [told]


def test_a_worker_starts_unless_it_is_told_not_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(application, "__file__", str(tmp_path / "celery.py"))
    application.never_ready()
    (tmp_path / "never_ready").write_text("end\n")
    with pytest.raises(SystemExit, match="never_ready"):
        application.worker_init.send(sender=None)


def test_a_worker_can_be_told_to_hang(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class SleptError(Exception):
        pass

    def sleep(_seconds: float) -> None:
        raise SleptError

    monkeypatch.setattr(application, "__file__", str(tmp_path / "celery.py"))
    monkeypatch.setattr(application.time, "sleep", sleep)
    (tmp_path / "never_ready").write_text("hang\n")
    with pytest.raises(SleptError):
        application.never_ready()


def test_a_lost_connection_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    class Connection:
        def __init__(self, answers: list[Exception | None]) -> None:
            self.answers, self.closed = answers, False

        def execute(self, *_arguments: object) -> None:
            if answer := self.answers.pop(0):
                raise answer

        def close(self) -> None:
            self.closed = True

    lost, new = Connection([psycopg.OperationalError("lost")]), Connection([None])
    monkeypatch.setattr(table, "PAUSE", 0)
    monkeypatch.setattr(table, "connect", lambda: new)
    monkeypatch.setattr(table.Kept, "connection", lost)
    table.execute("SELECT 1", ())
    assert lost.closed and table.Kept.connection is new and not new.closed
