"""The cluster that runtime.py measures, and the second way into it: brokers without TLS, workers without a unit."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import UserError, run
from pace.notes import FILE, RECORD
from runtime_figures import Record

SCENARIO, NAME = "broker_cluster", "ledger"
BROKERS, WORKERS, SUBMITTER = ("broker1", "broker2", "broker3"), ("worker1", "worker2"), "app1"
APP, QUEUE, CONCURRENCY = "ledger.celery:app", "celery", 2
RUN, STATE = f"/opt/{NAME}/bin/celery-run", f"/var/lib/{NAME}"
UNITS = f"{NAME}-worker-*"
IMPORTS = ["pace.tasks"]
VHOST = USER = "bench"
PLAIN_PORT = 5672
PATIENCE = 180.0

# What site.yml is given: the collection's defaults where the scenario has decided something else.
VARIABLES: dict[str, Any] = {
    "celery_workers": {"default": {"queues": [QUEUE], "concurrency": CONCURRENCY}},
    "celery_settings": {"imports": IMPORTS},
    "celery_broker_login": "password",
    "celery_database_login": "password",
    "celery_broker_identities_per_host": False,
    "celery_producers_declare": True,
}
# The guarantees of the default units, written down by hand. The task itself is acknowledged late in both.
SAME_GUARANTEES: dict[str, Any] = {
    "imports": IMPORTS,
    "task_default_queue_type": "quorum",
    "task_default_exchange_type": "topic",
    "task_create_missing_queue_type": "quorum",
    "task_create_missing_queue_exchange_type": "topic",
    "broker_native_delayed_delivery_queue_type": "quorum",
    "broker_transport_options": {"confirm_publish": True},
}
# The policy of the cluster's queues.
POLICY = {"delivery-limit": 20, "dead-letter-exchange": f"{NAME}.dead"}

# Says when it killed the VM of the service; the commands have a VM of their own.
KILL = """
import json, os, pathlib, time
for entry in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if (entry / "comm").read_text().strip() != "beam.smp":
            continue
        if "/rabbitmq-server.service" in (entry / "cgroup").read_text():
            moment = time.time()
            os.kill(int(entry.name), 9)
            print(json.dumps(moment))
            break
    except OSError:
        pass
"""


def container(host: str) -> str:
    return f"taskfleet-{SCENARIO}-{host}"


def on(host: str, *argv: str, given: Any = None) -> str:
    """What a command in a container prints; given: what it reads, so that no secret is among its arguments."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(json.dumps(given).encode())
        stdin.seek(0)
        done = run(["docker", "exec", "-i", container(host), *argv], timeout=300, stdin=stdin)
    if done.returncode:
        raise UserError(f"{host}: {' '.join(argv)[:200]}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def pace(host: str, identity: str, program: str, **given: Any) -> Any:
    """Run one of bench/pace with the code, the packages, the environment and the account of the release."""
    return json.loads(on(host, RUN, "--identity", identity, "python", "-m", f"pace.{program}", given=given))


def everywhere(action: Callable[[str], Any], hosts: Sequence[str]) -> list[Any]:
    with ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(action, hosts))


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE, every: float = 0.5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise UserError(f"after {seconds:.0f} s still not: {what}")
        time.sleep(every)


# --- the brokers ------------------------------------------------------------------------------------------------------


def evaluate(broker: str, expression: str) -> str:
    return on(broker, "rabbitmqctl", "eval", expression).strip()


def offer_plaintext() -> dict[str, Any]:
    """A listener, a vhost and a user that are gone with the containers. What a client has to know of them."""
    for broker in BROKERS:
        evaluate(broker, f"ok = rabbit_networking:start_tcp_listener({PLAIN_PORT}, 10, 1).")
    password, salt = secrets.token_urlsafe(24), secrets.token_bytes(4)
    # As RabbitMQ stores it: the password itself is in nobody's arguments.
    kept = base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
    on(BROKERS[0], "rabbitmqctl", "-q", "add_vhost", VHOST)
    on(BROKERS[0], "rabbitmqctl", "-q", "add_user", "--pre-hashed-password", USER, kept)
    on(BROKERS[0], "rabbitmqctl", "-q", "set_permissions", "-p", VHOST, USER, ".*", ".*", ".*")
    policy = ["set_policy", "-p", VHOST, "--apply-to", "queues", "tasks", f"^{QUEUE}$", json.dumps(POLICY)]
    on(BROKERS[0], "rabbitmqctl", "-q", *policy)
    return {
        "user": USER,
        "password": password,
        "vhost": VHOST,
        "port": PLAIN_PORT,
        "settings": SAME_GUARANTEES,
    }


# Evaluated on a broker: the listings of rabbitmqctl wait for ever for the rows of other brokers, which send them
# straight to the command, and the cluster's settings forbid that to listen.
LOOKUP = '{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>)), '
MEMBERS = "{Name, _} = amqqueue:get_pid(Q), {ok, _, {_, Node} = Leader} = ra:members({Name, node()}), "


def of_queue(vhost: str, expression: str) -> str:
    return evaluate(BROKERS[0], f"{LOOKUP.format(vhost=vhost, queue=QUEUE)}{expression}.")


def nodes(text: str) -> list[str]:
    """The brokers in a term that Erlang wrote."""
    return re.findall(r"rabbit@([a-z0-9]+)", text)


def lead(vhost: str, wanted: str) -> None:
    """Make this broker the one through which every message of the queue goes."""

    def moved() -> bool:
        if nodes(of_queue(vhost, f"{MEMBERS}Node")) == [wanted]:
            return True
        of_queue(vhost, f"{MEMBERS}ra:transfer_leadership(Leader, {{Name, 'rabbit@{wanted}'}})")
        return False

    wait_until(moved, f"{wanted} leads the queue of {vhost}")


def consumed_at(vhost: str) -> list[str]:
    """The broker of each consumer of the queue."""
    return nodes(of_queue(vhost, "[node(element(1, Consumer)) || Consumer <- rabbit_amqqueue:consumers(Q)]"))


def is_whole() -> bool:
    """Whether every broker runs, and every queue could lose any one of them."""
    asked = [["docker", "exec", container(broker), "rabbitmqctl", "-q", "await_startup"] for broker in BROKERS]
    check = ["rabbitmq-queues", "-q", "check_if_node_is_quorum_critical"]
    asked += [["docker", "exec", container(broker), *check] for broker in BROKERS]
    return all(run(argv, timeout=120).returncode == 0 for argv in asked)


def kill(broker: str) -> float:
    """SIGKILL for a broker; when that was. Its unit starts it again."""
    told = on(broker, "python3", "-c", KILL)
    if not told:
        raise UserError(f"{broker}: no broker runs there")
    return float(json.loads(told))


# --- the workers ------------------------------------------------------------------------------------------------------


class Fleet:
    """The workers of one kind: those of the units, or those that were started by hand."""

    def __init__(self, kind: str, vhost: str, directory: Path, plain: dict[str, Any] | None) -> None:
        self.kind, self.vhost, self.plain = kind, vhost, plain
        self.directory = str(directory)
        self.workers = list(WORKERS)
        self.processes: dict[str, int] = {}
        self.next = 0

    def numbers(self, count: int) -> int:
        """The first of so many numbers that no task has had."""
        self.next += count
        return self.next - count

    def publish(self, first: int, count: int, every: float = 0.0) -> dict[str, Any]:
        given = {"app": APP, "plain": self.plain, "first": first, "count": count, "every": every}
        found: dict[str, Any] = pace(SUBMITTER, "producer", "publish", **given)
        return found

    def tell(self, verb: str, **arguments: str) -> None:
        given = {"app": APP, "plain": self.plain, "verb": verb, "arguments": arguments, "workers": len(self.workers)}
        replies = pace(self.workers[0], "worker", "control", **given)
        if len(replies) < len(self.workers) or any("error" in answer for reply in replies for answer in reply.values()):
            raise UserError(f"{self.kind}: not all workers obeyed {verb}: {replies}")

    def executed(self) -> int:
        """How many tasks, the ones that only connect included."""
        # Cheap, because it is asked while they run.
        size = ["sh", "-c", f"wc -c 2>/dev/null <{self.directory}/{FILE} || echo 0"]
        return sum(int(text) // RECORD.size for text in everywhere(lambda host: on(host, *size), self.workers))

    def records(self) -> list[Record]:
        """What was noted since the last time."""
        found = everywhere(lambda host: pace(host, "worker", "records", directory=self.directory), self.workers)
        return [(number, sent, began) for records in found for number, sent, began in records]

    def wait(self, count: int) -> None:
        """Until so many tasks were executed since the records were read."""
        wait_until(lambda: self.executed() >= count, f"{self.kind}: {count} tasks executed", 900, every=2)

    def end(self) -> None:
        """What was started by hand is ended by hand."""
        for host, process in self.processes.items():
            on(host, "sh", "-c", f"kill {process}")


def units() -> Fleet:
    return Fleet("ours", NAME, Path(STATE, "worker-default"), None)


def started_by_hand(plain: dict[str, Any]) -> Fleet:
    """`celery worker` as Celery's own guide starts it, on the same hosts."""
    fleet = Fleet("plain", VHOST, Path(STATE, "bench"), plain)
    arguments = ["-A", APP, "worker", "--loglevel", "INFO", "--concurrency", str(CONCURRENCY)]
    given = {"plain": plain, "arguments": arguments, "directory": fleet.directory}
    found = everywhere(lambda host: pace(host, "worker", "hand_start", **given), fleet.workers)
    fleet.processes = dict(zip(fleet.workers, found, strict=True))
    return fleet
