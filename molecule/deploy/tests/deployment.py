"""The cluster of this scenario: its services, its consumers, the tree it is deployed from, and playbooks on it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import quote

import testing
import yaml
from accounts import SELECT, Fault, Start, read_starts
from testing import INVENTORY, PROJECT, SECRETS, container, host, query, script_on

NAME = "ledger"
ROOT = f"/opt/{NAME}"
RUN = f"{ROOT}/bin/celery-run"
CORE, WORKERS = "core1", ("worker1", "worker2")
KINDS = {"steady": ("celery", "long"), "quick": ("numbers",)}
QUEUES = tuple(queue for queues in KINDS.values() for queue in queues)
TREE = "/srv/ledger"
DEPLOY, ROLLBACK, DRAIN = "playbooks/deploy.yml", "playbooks/rollback.yml", "playbooks/drain.yml"
REMOVE = "playbooks/remove_node.yml"
MANAGEMENT_PORT, DATABASE_PORT = 15671, 5432
# The inventory's own, for runs that want some of it otherwise.
VARIABLES: dict[str, Any] = yaml.safe_load(
    (PROJECT / "molecule" / "deploy" / "inventory" / "group_vars" / "all.yml").read_text()
)
PATIENCE = 90.0
SAMPLE_SECONDS = 1.0


def secret(name: str) -> str:
    return (SECRETS / name).read_text().strip()


def source(scenario: str, name: str) -> str:
    """A script that is run on a container."""
    return (PROJECT / "molecule" / scenario / "files" / name).read_text()


def address(name: str) -> str:
    """Asked of the engine, which knows it even when the host does not."""
    template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    argv = ["docker", "inspect", "--format", template, container(name)]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def on(name: str, command: str, *arguments: str) -> str:
    """What a command on a host prints; it has to succeed."""
    done = host(name).run(command, *arguments)
    assert done.rc == 0, done.stdout + done.stderr
    return str(done.stdout)


def variables(**given: Any) -> list[str]:
    return ["-e", json.dumps(given)]


def workers_with(**options: Mapping[str, Any]) -> dict[str, Any]:
    """celery_workers of the inventory; kind -> what it has besides."""
    return {kind: {**found, **options.get(kind, {})} for kind, found in VARIABLES["celery_workers"].items()}


class Instance(NamedTuple):
    """A service as systemd sees it."""

    state: str
    pid: int
    status: str


class Services:
    """The processes of the cluster, host by host."""

    def release(self, name: str = WORKERS[0]) -> str:
        """The release that a host is switched to, as it runs: 4f2c, or 4f2c.2 when it came back."""
        return Path(on(name, f"readlink {ROOT}/current").strip()).name

    def environment(self, name: str, release: str = "") -> str:
        """The directory of the packages that a release has on a host."""
        place = f"{ROOT}/releases/{release}" if release else f"{ROOT}/current"
        return on(name, f"readlink -e {place}/venv").strip()

    def instances(self, name: str, pattern: str = "worker-*@*") -> dict[str, Instance]:
        """Unit -> what is to be said of it, of all that systemd has loaded."""
        text = on(name, f"systemctl show -p Id,ActiveState,MainPID,StatusText '{NAME}-{pattern}.service'")
        found = {}
        for block in text.strip().split("\n\n"):
            values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
            if values.get("Id"):
                pid, status = int(values.get("MainPID", 0)), values.get("StatusText", "")
                found[values["Id"]] = Instance(values.get("ActiveState", ""), pid, status)
        return found

    def instance(self, name: str, kind: str, release: str | None = None) -> Instance:
        unit = f"{NAME}-worker-{kind}@{release or self.release(name)}.service"
        return self.instances(name).get(unit, Instance("inactive", 0, ""))

    def running(self, name: str, pattern: str = "worker-*@*") -> dict[str, int]:
        """Unit -> main process, of those that are neither stopping nor failed."""
        found = self.instances(name, pattern)
        return {unit: instance.pid for unit, instance in found.items() if instance.state == "active"}

    def processes(self) -> dict[str, dict[str, int]]:
        """Everything that runs for good: equal before and after means that nothing was stopped or restarted."""
        return {**{name: self.running(name) for name in WORKERS}, CORE: self.running(CORE, "beat@*")}

    def is_run_by(self, release: str, hosts: Sequence[str] = WORKERS) -> bool:
        """Whether every kind of worker runs with this release, and with no other one that is not stopping."""
        units = {f"{NAME}-worker-{kind}@{release}.service" for kind in KINDS}
        return all(self.release(name) == release and set(self.running(name)) == units for name in hosts)

    def family(self, name: str, pid: int) -> list[int]:
        """A process and its children."""
        return [pid, *script_on(name, CHILDREN, pid)]

    def exists(self, name: str, pid: int) -> bool:
        return host(name).run(f"test -d /proc/{pid}").rc == 0


CHILDREN = """
import json, pathlib, sys
parent, found = json.load(sys.stdin), []
for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
    try:
        if int(entry.read_text().rsplit(")", 1)[1].split()[1]) == parent:
            found.append(int(entry.parent.name))
    except OSError:
        pass
print(json.dumps(sorted(found)))
"""


CONSUMERS = f"/consumers/{quote(NAME, safe='')}"


class Broker:
    """The broker as its management API shows it."""

    def __init__(self) -> None:
        # Read once: a host that is rebooted has none, and gets the same one back.
        self.addresses = {name: address(name) for name in (CORE, *WORKERS)}
        self.names = {address: name for name, address in self.addresses.items()}

    def login(self) -> dict[str, Any]:
        """How a script on its host reaches the API."""
        return {
            "host": "127.0.0.1",
            "port": MANAGEMENT_PORT,
            "ca_file": "/etc/rabbitmq/tls/ca.pem",
            "user": f"{NAME}-admin",
            "password": secret("broker_admin"),
            "seconds": 5,
        }

    def ask(self, path: str) -> tuple[int, Any]:
        """Status and answer. Status 0 is no answer."""
        given = {**self.login(), "method": "GET", "path": path, "body": None}
        try:
            status, text = script_on(CORE, source("broker_cluster", "api.py"), given, seconds=15)
        except subprocess.TimeoutExpired:
            return 0, None
        return status, json.loads(text) if status == 200 else None

    def consumers(self) -> dict[str, set[str]] | None:
        """Queue -> the hosts that consume it; None when the broker does not say."""
        status, answer = self.ask(CONSUMERS)
        return self.hosts_of(answer) if status == 200 else None

    def hosts_of(self, answer: Any) -> dict[str, set[str]]:
        """Queue -> hosts, of an answer of the API."""
        found: dict[str, set[str]] = {queue: set() for queue in QUEUES}
        for consumer in answer:
            # A socket of both families writes an IPv4 address in its own way.
            peer = ((consumer.get("channel_details") or {}).get("peer_host") or "").removeprefix("::ffff:")
            if consumer.get("activity_status", "up") in ("up", "single_active") and peer in self.names:
                found.setdefault(consumer["queue"]["name"], set()).add(self.names[peer])
        return found

    def served_by(self, *names: str) -> bool:
        """Whether exactly these hosts consume every queue."""
        found = self.consumers()
        return found is not None and all(found[queue] == set(names) for queue in QUEUES)

    def waiting(self) -> dict[str, int]:
        """Queue -> messages, of the queues of tasks and of those that delay messages."""
        _status, answer = self.ask(f"/queues/{quote(NAME, safe='')}")
        return {
            queue["name"]: queue.get("messages", 0)
            for queue in answer or []
            if queue["name"] in QUEUES or queue["name"].startswith("celery_delayed_")
        }


class Watch:
    """Counts the moments in which a queue has no consumer."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        # One process for the whole time: a look costs next to nothing.
        self.command = ["docker", "exec", "-i", container(CORE), "python3", "-c", source("deploy", "sampler.py")]
        self.moments = self.unanswered = 0
        self.gaps: list[tuple[str, float, list[str]]] = []

    @contextlib.contextmanager
    def over(self, what: str, queues: Sequence[str] = QUEUES) -> Iterator[None]:
        known, begun = len(self.gaps), self.moments
        given = {**self.broker.login(), "path": CONSUMERS, "every": SAMPLE_SECONDS}
        with subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sampler:
            assert sampler.stdin
            sampler.stdin.write(json.dumps(given) + "\n")
            sampler.stdin.flush()
            reader = threading.Thread(target=self.read, args=(sampler.stdout, what, queues), daemon=True)
            reader.start()
            try:
                yield
            finally:
                # It looks once more, and ends.
                sampler.stdin.close()
                reader.join(60)
        assert sampler.returncode == 0
        assert self.moments > begun, f"nobody could tell who consumed during: {what}"
        assert self.gaps[known:] == []

    def read(self, lines: IO[str], what: str, queues: Sequence[str]) -> None:
        for line in lines:
            moment, answer = json.loads(line)
            if answer is None:
                self.unanswered += 1
                continue
            self.moments += 1
            found = self.broker.hosts_of(answer)
            if lacking := [queue for queue in queues if not found[queue]]:
                self.gaps.append((what, moment, lacking))


class Tree:
    """The application's tree on the host that owns it."""

    def edition(self, letter: str) -> None:
        line, path = f'EDITION = "{letter}"', f"{TREE}/ledger/edition.py"
        on(CORE, f"grep -qx '{line}' {path} || sed -i 's/^EDITION = .*/{line}/' {path}")

    @contextlib.contextmanager
    def with_file(self, name: str, text: str, append: bool = False) -> Iterator[None]:
        """A file as it is not meant to stay."""
        path = f"{TREE}/ledger/{name}"
        on(CORE, f"test ! -e {path} || cp -p {path} /root/kept")
        on(CORE, f"printf '%%s\\n' %s {'>>' if append else '>'} {path}", text)
        try:
            yield
        finally:
            on(CORE, f"if [ -e /root/kept ]; then mv /root/kept {path}; else rm {path}; fi")


class Ledger:
    """The rows of ledger_tasks."""

    def starts(self, where: str = "true") -> list[Start]:
        (text,) = query(NAME, f"{SELECT} WHERE {where}", CORE)
        return read_starts(json.loads(text))

    def now(self) -> float:
        return float(query(NAME, "SELECT extract(epoch FROM clock_timestamp())", CORE)[0])

    def running(self, where: str = "true") -> list[Start]:
        """Tasks that began a short while ago and have no end yet; killed ones are among them."""
        return self.starts(f"ended IS NULL AND started > now() - interval '6 minutes' AND {where}")

    def nodes_since(self, moment: float) -> set[tuple[str, str]]:
        """(host, kind of worker) of every task that began after this moment."""
        found = query(
            NAME, f"SELECT DISTINCT host, split_part(node, '-', 1) FROM ledger_tasks WHERE {after(moment)}", CORE
        )
        return {(line.split("|")[0], line.split("|")[1]) for line in found}


def after(moment: float) -> str:
    return f"started > to_timestamp({moment!r})"


def is_unchanged(output: str) -> bool:
    """Whether a playbook says that it changed nothing on any host."""
    counts = re.findall(r"^\S+ +: ok=\d+ +changed=(\d+)", output.split("PLAY RECAP", 1)[1], re.MULTILINE)
    return bool(counts) and set(counts) == {"0"}


def kill_during(play: str, seconds: float, *arguments: str) -> str:
    """Start a deploy, and kill the controller with everything it started, so long after a play began."""
    with tempfile.TemporaryFile("w+") as log:
        command = ["ansible-playbook", "-i", str(INVENTORY), DEPLOY, *arguments]
        environment = {**os.environ, "ANSIBLE_VERBOSITY": "0", "ANSIBLE_NOCOLOR": "1"}
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=PROJECT, env=environment, start_new_session=True
        )
        try:
            deadline = time.monotonic() + 300
            while f"PLAY [{play}" not in (text := read(log)):
                assert process.poll() is None, f"the deploy ended before a play {play!r}: {text[-3000:]}"
                assert time.monotonic() < deadline, f"no play {play!r} after 300 s: {text[-3000:]}"
                time.sleep(0.2)
            time.sleep(seconds)
            assert process.poll() is None, f"the deploy was over {seconds} s after the play {play!r} began"
        finally:
            kill_with_descendants(process.pid)
            process.wait()
        return read(log)


def read(log: Any) -> str:
    # By position: the child writes at the position that both share.
    return os.pread(log.fileno(), os.fstat(log.fileno()).st_size, 0).decode(errors="replace")


def kill_with_descendants(pid: int) -> None:
    """Ansible's forks have sessions of their own: a group would spare them."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(entry.read_text().rsplit(")", 1)[1].split()[1]), []).append(int(entry.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    for one in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def reboot(name: str, broker: Broker) -> Fault:
    """The machine goes down with everything it runs, and comes back under its old address."""
    since = time.time()
    network = f"taskfleet-{testing.SCENARIO}"
    keeps = ["--alias", name, "--ip", broker.addresses[name], network, container(name)]
    for words in (
        ["stop", "-t", "10", container(name)],
        ["network", "disconnect", network, container(name)],
        ["network", "connect", *keeps],
        ["start", container(name)],
    ):
        subprocess.run(["docker", *words], check=True, capture_output=True, timeout=120)
    up = ["systemctl", "is-system-running", "--wait"]
    # Right after the start there is no bus yet.
    assert testing.wait_for(
        lambda: (
            subprocess.run(
                ["docker", "exec", container(name), *up], capture_output=True, text=True, check=False, timeout=120
            ).stdout.strip()
            in ("running", "degraded")
        ),
        PATIENCE,
    )
    return Fault(f"reboot of {name}", name, since, time.time())
