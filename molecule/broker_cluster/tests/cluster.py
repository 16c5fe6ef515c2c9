"""The cluster as its brokers and its service managers see it."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from testing import PROJECT, SECRETS, container, host, script_on

NAME = "ledger"
RUN = f"/opt/{NAME}/bin/celery-run"
BROKERS = ("broker1", "broker2", "broker3")
WORKERS = ("worker1", "worker2")
HOSTS = (*BROKERS, "db1", "app1", *WORKERS)
QUEUES = ("celery", "numbers", "odd")
DEAD = f"{NAME}.dead"
BROKER_PORT, MANAGEMENT_PORT, PROMETHEUS_PORT, DISTRIBUTION_PORT = 5671, 15671, 15691, 25672
ADMIN = f"{NAME}-admin"

# An outage is over when nothing was missing for so long: the broker renews its statistics every 5 s.
STEADY = 6.0
# What the tests wait for at most; the goal is GOAL.
PATIENCE = 90.0
GOAL = 15.0


def source(name: str) -> str:
    """A script that is run on a container."""
    return (PROJECT / "molecule" / "broker_cluster" / "files" / name).read_text()


def secret(name: str) -> str:
    return (SECRETS / name).read_text().strip()


def address(name: str) -> str:
    """Where the other containers reach this one. Asked of the engine, which knows it even when the host does not."""
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    argv = ["docker", "inspect", "--format", template, container(name)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


class Cluster:
    """Asks whichever of the brokers answers."""

    def __init__(self) -> None:
        # Read once: a host that is cut off has none, and gets the same one back.
        self.addresses = {name: address(name) for name in (*HOSTS, "outsider")}
        self.names = {address: name for name, address in self.addresses.items()}

    # --- the management API

    def ask(
        self, at: str, method: str, path: str, body: Any = None, login: tuple[str, str] | None = None, seconds: int = 5
    ) -> tuple[int, str]:
        """One request on one broker; login: another one than the administrator's, ("", "") for none."""
        user, password = (ADMIN, secret("broker_admin")) if login is None else login
        given = {
            "host": "127.0.0.1",
            "port": MANAGEMENT_PORT,
            "ca_file": "/etc/rabbitmq/tls/ca.pem",
            "user": user,
            "password": password,
            "method": method,
            "path": path,
            "body": body,
            "seconds": seconds,
        }
        try:
            status, text = script_on(at, source("api.py"), given, seconds=seconds + 10)
        except subprocess.TimeoutExpired:
            return 0, "the container does not answer"
        return status, text

    def get(self, path: str, brokers: Sequence[str] = BROKERS) -> Any:
        """What the first broker that answers says; None when none does."""
        for name in brokers:
            status, text = self.ask(name, "GET", path)
            if status == 200:
                return json.loads(text)
        return None

    def change(self, method: str, path: str, body: Any = None) -> None:
        status, text = self.ask(BROKERS[0], method, path, body)
        assert 200 <= status < 300, f"{method} {path}: {status} {text}"

    # --- who is there

    def members(self, brokers: Sequence[str] = BROKERS) -> dict[str, dict[str, Any]]:
        """What the cluster says about each of its nodes."""
        return {node["name"].split("@", 1)[1]: node for node in self.get("/nodes", brokers) or []}

    def is_whole(self, brokers: Sequence[str] = BROKERS) -> bool:
        """Whether exactly these brokers are in the cluster, run, and see each other."""
        found = [self.members([name]) for name in brokers]
        return all(
            set(nodes) == set(brokers)
            and all(node["running"] and not node.get("partitions") for node in nodes.values())
            for nodes in found
        )

    def clients(self) -> Counter[str]:
        """How many connections of workers and producers each broker has."""
        ours = {self.addresses[name] for name in (*WORKERS, "app1")}
        found = self.get("/connections") or []
        return Counter(link["node"].split("@", 1)[1] for link in found if plain(link.get("peer_host", "")) in ours)

    # --- who consumes

    def served(self, brokers: Sequence[str] = BROKERS) -> dict[str, set[str]]:
        """Queue -> the hosts that consume it, as the brokers see it."""
        served: dict[str, set[str]] = {queue: set() for queue in QUEUES}
        for consumer in self.get(f"/consumers/{quote(NAME, safe='')}", brokers) or []:
            details = consumer.get("channel_details") or {}
            name = self.names.get(plain(details.get("peer_host", "")))
            if name and consumer.get("activity_status", "up") in ("up", "single_active"):
                served.setdefault(consumer["queue"]["name"], set()).add(name)
        return served

    def all_served(self, brokers: Sequence[str] = BROKERS) -> bool:
        """Whether every task queue has all of its consumers."""
        found = self.served(brokers)
        return all(found[queue] >= set(WORKERS) for queue in QUEUES)

    def seconds_until_served(self, since: float, brokers: Sequence[str] = BROKERS) -> float:
        """How long after `since` every task queue had its consumers again, for good."""
        first = None
        while (now := time.monotonic()) < since + PATIENCE + STEADY:
            if not self.all_served(brokers):
                first = None
            elif first is None:
                first = now
            elif now - first >= STEADY:
                return first - since
            time.sleep(0.5)
        raise AssertionError(f"not all consumers were back after {PATIENCE:.0f} s: {self.served(brokers)}")

    # --- what is in the queues

    def queues(self) -> dict[str, dict[str, Any]]:
        return {queue["name"]: queue for queue in self.get(f"/queues/{quote(NAME, safe='')}") or []}

    def waiting(self) -> dict[str, int]:
        """Queue -> messages, of the task queues and of those that delay messages."""
        return {
            name: queue.get("messages", 0)
            for name, queue in self.queues().items()
            if name in QUEUES or name.startswith("celery_delayed_")
        }

    # --- processes

    def broker_processes(self, brokers: Sequence[str] = BROKERS) -> dict[str, list[int]]:
        """Broker -> process id and start time of its Erlang VM; empty when it does not run."""
        return {name: script_on(name, FIND_BROKER, None) for name in brokers}

    def worker_processes(self) -> dict[str, str]:
        command = f"systemctl show -p Id,MainPID,NRestarts '{NAME}-worker-*'"
        found = {name: host(name).run(command).stdout for name in WORKERS}
        assert all("MainPID=" in text and "MainPID=0\n" not in text for text in found.values()), found
        return found


# The CLI tools run an Erlang VM as well; the broker's is the one in the service.
FIND_BROKER = """
import json, pathlib
found = []
for entry in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        if (entry / "comm").read_text().strip() != "beam.smp":
            continue
        if "/rabbitmq-server.service" in (entry / "cgroup").read_text():
            found.append([int((entry / "stat").read_text().rsplit(")", 1)[1].split()[19]), int(entry.name)])
    except OSError:
        pass
print(json.dumps(sorted(found)[0][::-1] if found else []))
"""


def plain(text: str) -> str:
    """An IPv4 address as a socket of both families writes it, and as everybody else does."""
    return text.removeprefix("::ffff:")


def numbers_of(log: str) -> dict[str, list[int]]:
    """The log of ledger.stream: event -> numbers, in the order of the log."""
    found: dict[str, list[int]] = {"try": [], "ok": [], "unsure": [], "done": []}
    for line in log.splitlines():
        event, number, *_reason = line.split()
        found[event].append(int(number))
    return found


def send(first: int, count: int, app: str = "celery_agent:app") -> Mapping[str, list[int]]:
    """A short stream, sent on the application's host; what its log says."""
    log = f"/var/lib/{NAME}/sent-{first}.log"
    command = f"{RUN} python -m ledger.stream --app {app} --log {log} --first {first} --count {count} --rate 200"
    done = host("app1").run(f"timeout 60 {command}")
    assert done.rc == 0, done.stdout + done.stderr
    return numbers_of(host("app1").file(log).content_string)


def executed(rows: Callable[[str], list[str]], first: int, last: int) -> dict[int, int]:
    """Number -> how often the ledger has it."""
    lines = rows(f"SELECT number, count(*) FROM ledger_runs WHERE number BETWEEN {first} AND {last} GROUP BY number")
    return {int(number): int(times) for number, times in (line.split("|") for line in lines)}
