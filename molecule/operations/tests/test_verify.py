"""verify.yml on a cluster that works: what it tells, how little it does, and what it says of a queue nobody serves."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import guide
import pytest
from testing import host, message, query, run_playbook, script_on, wait_for

CORE, WORKERS = "core1", ("worker1", "worker2")
NAME = "ledger"
RUN = f"/opt/{NAME}/bin/celery-run"
RECORD = f"/var/lib/{NAME}/canary.json"
VERIFY = "taskfleet.celery_cluster.verify"
KINDS = {"steady": ("celery", "long"), "quick": ("numbers",)}
CONSUMERS = {(queue, name) for queues in KINDS.values() for queue in queues for name in WORKERS}
# A minute for all workers together.
BUSY = 480
SEND = """
import json, sys
from celery_agent import app
given = json.load(sys.stdin)
with app.connection_for_write() as connection:
    for number in range(given["count"]):
        app.send_task("ledger.long", args=(given["first"] + number, 1.0), queue="long", connection=connection)
print(json.dumps(given["count"]))
"""


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "links.txt"


def verify(report: Path, *arguments: str, name: str = VERIFY) -> str:
    """The tables of a run that finds nothing wrong."""
    begun = time.monotonic()
    done = run_playbook(*arguments, "-e", f"verify_report={report}", name=name)
    print(f"{name} {' '.join(arguments)}: {time.monotonic() - begun:.1f} s")
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert set(re.findall(r"changed=(\d+)", done.stdout)) == {"0"}, done.stdout[-2000:]
    text = report.read_text()
    print(text)
    return text


def times(text: str) -> dict[tuple[str, str], list[str]]:
    """(queue, host) -> the other cells of the second table."""
    lines = text.split("Time from sending a task to reading its result:\n")[1].split("\n\n")[0].splitlines()[2:]
    cells = [line.split() for line in lines]
    return {(line[0], line[1]): line[2:] for line in cells}


def record() -> dict:
    return json.loads(host(CORE).run(f"cat {RECORD}").stdout)


def release() -> str:
    return Path(host(CORE).run(f"readlink /opt/{NAME}/current").stdout.strip()).name


def results() -> int:
    return int(query(NAME, "SELECT count(*) FROM celery_taskmeta", CORE)[0])


def is_quiet() -> bool:
    """Whether nobody has to do anything but what beat sends."""
    listed = host(CORE).run(f"rabbitmqctl -q list_queues -p {NAME} --no-table-headers name messages").stdout
    waiting = {line.split()[0]: int(line.split()[1]) for line in listed.splitlines() if len(line.split()) == 2}
    return all(waiting.get(queue, 0) <= 2 for queues in KINDS.values() for queue in queues)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    assert wait_for(is_quiet, 180)
    yield
    assert wait_for(is_quiet, 180)


def fingerprint(before: float) -> list[str]:
    """What the application's tables hold of before this moment."""
    moment = f"to_timestamp({before!r})"
    return [
        query(
            NAME, f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t WHERE {when}", CORE
        )[0]
        for table, when in (
            ("ledger_runs", f"started < {moment}"),
            ("ledger_tasks", f"started < {moment} AND ended < {moment}"),
        )
    ]


def test_every_link_with_its_times_and_nothing_left_behind(report):
    now = float(query(NAME, "SELECT extract(epoch FROM clock_timestamp())", CORE)[0]) - 5
    before, rows = fingerprint(now), results()
    numbers = query(NAME, "SELECT count(*) FROM ledger_runs", CORE)
    name, arguments = guide.playbook("prove every link")
    text = verify(report, *arguments, name=name)
    found = times(text)
    assert set(found) == CONSUMERS
    for (queue, worker), (node, running, rounds, least, median, most) in found.items():
        assert node.endswith(f"-{running}@{worker}") and running == release() and rounds == "1/1", queue
        assert int(least) <= int(median) <= int(most)
    assert fingerprint(now) == before
    assert query(NAME, "SELECT count(*) FROM ledger_runs", CORE) == numbers
    # No task of beat leaves a result, and the canaries' are taken out again.
    assert results() == rows


def test_the_record(report):
    begun = time.time()
    verify(report, "--tags", "verify_tasks")
    found = record()
    assert found["version"] == 1 and found["run"] and begun - 60 < found["time"] < time.time() + 60
    assert {(one["queue"], one["host"]) for one in found["results"]} == CONSUMERS
    for one in found["results"]:
        assert one["ok"] and one["seconds"] > 0 and one["release"] == release(), one
    assert host(CORE).run(f"stat -c '%a %U' {RECORD}").stdout.split() == ["640", NAME]


def test_a_soak(report):
    name, arguments = guide.playbook("soak")
    text = verify(report, *arguments, name=name)
    assert {rounds for _node, _release, rounds, *_times in times(text).values()} == {"3/3"}
    lines = text.split("Canaries of each round:\n")[1].split("\n\n")[0].splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    assert {line.split()[4] for line in lines} == {"0"}, "a canary was lost"
    assert "postgres_refused" not in text


def test_one_host_alone(report):
    name, arguments = guide.playbook("ask the workers of a host")
    text = verify(report, *arguments, name=name)
    assert set(times(text)) == {(queue, WORKERS[0]) for queue, name in CONSUMERS if name == WORKERS[0]}
    # What is known of the other host stays known.
    assert {(one["queue"], one["host"]) for one in record()["results"]} == CONSUMERS
    text = verify(report, "--limit", WORKERS[0])
    assert {line.split()[1] for line in text.splitlines() if line.startswith(("port_closed", "tls_"))} == {WORKERS[0]}


def test_only_the_refusals(report):
    before = record()
    text = verify(report, "--tags", "verify_links")
    assert "amqp_wrong_password" in text and "Time from sending" not in text
    assert not [line for line in text.splitlines() if line.startswith("task ")]
    assert record() == before


def test_a_bound(report):
    text = verify(report, "--tags", "verify_tasks", "-e", "verify_canaries_max=3")
    assert "Sampled: 3 canaries per round" in text
    assert {queue for queue, _host in times(text)} == {queue for queue, _host in CONSUMERS}
    told = message(run_playbook("--tags", "verify_tasks", "-e", "verify_canaries_max=2", name=VERIFY))
    assert "verify_canaries_max is 2, and 3 queues need a canary each" in told


@pytest.fixture
def no_quick() -> Iterator[None]:
    """Nobody consumes the queue of this kind. Afterwards the record is a good one again: status.yml reads it."""
    unit = f"{NAME}-worker-quick@{release()}.service"
    for name in WORKERS:
        assert host(name).run(f"systemctl stop {unit}").rc == 0
    yield
    for name in WORKERS:
        assert host(name).run(f"systemctl start {unit}").rc == 0
    done = run_playbook("--tags", "verify_tasks", name=VERIFY)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


def test_a_queue_without_a_consumer(no_quick):
    told = message(run_playbook("--tags", "verify_tasks", "-e", "verify_deadline=15", name=VERIFY))
    assert "queue numbers has no consumer" in told
    assert f"systemctl start {NAME}-worker-quick@{release()}.service on worker1" in told
    assert "queue celery has no consumer" not in told
    bad = {(one["queue"], one["host"]) for one in record()["results"] if not one["ok"]}
    assert bad == {("numbers", name) for name in WORKERS}


@pytest.mark.thorough
def test_the_busy_cluster_is_not_made_busier(report):
    first = 70_000_000 + int(time.time()) % 1_000_000 * 10
    assert script_on(CORE, SEND, {"count": BUSY, "first": first}, [RUN, "python"]) == BUSY
    begun = time.monotonic()
    done = run_playbook("--tags", "verify_tasks", "-e", "verify_deadline=5", name=VERIFY)
    seconds = time.monotonic() - begun
    print(f"behind {BUSY} tasks: {seconds:.1f} s")
    # It gave up long before the tasks were done, and says that nothing is broken.
    assert "they work on older ones" in message(done)

    def ended() -> int:
        where = f"number BETWEEN {first} AND {first + BUSY - 1} AND ended IS NOT NULL"
        return int(query(NAME, f"SELECT count(DISTINCT number) FROM ledger_tasks WHERE {where}", CORE)[0])

    assert wait_for(lambda: ended() == BUSY, 300), ended()
    assert wait_for(is_quiet, 60)
    # What it had sent has expired: whoever waits long enough is answered.
    verify(report, "--tags", "verify_tasks")
