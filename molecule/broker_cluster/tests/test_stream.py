"""A numbered stream of tasks runs without a pause while one thing after another breaks or changes; none is lost."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import guide
import pytest
from cluster import (
    BROKER_PORT,
    BROKERS,
    DEAD,
    GOAL,
    MANAGEMENT_PORT,
    NAME,
    PATIENCE,
    RUN,
    Cluster,
    executed,
    numbers_of,
    source,
)
from conftest import PROJECT, SCENARIO, container, wait_for
from testing import run_playbook, script_on

pytestmark = pytest.mark.long

UNIT = f"{NAME}-stream"
LOG = f"/var/lib/{NAME}/stream.log"
AT_LEAST = 5000
RATE = 10
# A setting that the roles do not know, so that only the restart of every broker brings it about.
CHANGED = {"rabbitmq_settings": {"channel_max": 1024}}
FIGURES = PROJECT / ".cache" / "logs" / "broker_cluster.figures"


@dataclass
class Stream:
    """The producer, and what is learned on the way."""

    on: Callable[[str], Any]
    seconds: list[tuple[str, float]] = field(default_factory=list)
    hit: list[str] = field(default_factory=list)

    def start(self) -> None:
        options = f"--app celery_agent:app --log {LOG} --rate {RATE} --at-least {AT_LEAST}"
        done = self.on("app1").run(
            # Its end may have to wait until the numbers at hand are confirmed, and the least count is reached.
            f"systemd-run --quiet --unit={UNIT} --property=TimeoutStopSec=400 {RUN} python -m ledger.stream {options}"
        )
        assert done.rc == 0, done.stderr

    def is_running(self) -> bool:
        return self.on("app1").run(f"systemctl is-active {UNIT}").stdout.strip() == "active"

    def confirmed(self) -> int:
        return int(self.on("app1").run(f"grep -c ^ok {LOG}").stdout.strip() or 0)

    def goes_on(self) -> None:
        """Fails when nothing new is confirmed: the producer has to find a broker, too."""
        assert self.is_running(), self.on("app1").run(f"journalctl --no-pager -n 50 -u {UNIT}").stdout
        before = self.confirmed()
        assert wait_for(lambda: self.confirmed() > before, PATIENCE), "the producer sends nothing any more"

    def stop(self) -> None:
        self.on("app1").run(f"systemctl stop {UNIT}")

    def log(self) -> dict[str, list[int]]:
        return numbers_of(self.on("app1").file(LOG).content_string)


@pytest.fixture(scope="module")
def stream(on) -> Iterator[Stream]:
    running = Stream(on)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def busy(stream, cluster) -> Stream:
    """The stream, in front of a cluster that is whole: one fault at a time."""
    assert wait_for(cluster.is_whole, 180), cluster.members()
    assert wait_for(cluster.all_served, PATIENCE), cluster.served()
    stream.goes_on()
    return stream


@pytest.fixture
def same_processes(cluster) -> Iterator[None]:
    """Fails the test when a broker or a worker was restarted."""
    before = cluster.broker_processes(), cluster.worker_processes()
    assert all(before[0].values()), before[0]
    yield
    assert (cluster.broker_processes(), cluster.worker_processes()) == before


def others(victim: str) -> list[str]:
    return [name for name in BROKERS if name != victim]


def victim_of(cluster: Cluster, spared: list[str]) -> str:
    """The broker that most of the clients use: the loss of any other would be no test."""
    clients = cluster.clients()
    found = max((name for name in BROKERS if name not in spared), key=lambda name: clients[name])
    assert clients[found], f"nobody uses {found}: {clients}"
    return found


def longest_gap(cluster: Cluster, action: Callable[[], Any]) -> tuple[Any, float]:
    """Does something; the longest time in which, meanwhile, a queue lacked a consumer, or nobody could tell."""
    longest, since = 0.0, None
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(action)
        ended = None
        while True:
            now = time.monotonic()
            if cluster.all_served():
                since = None
            else:
                since = since or now
                longest = max(longest, time.monotonic() - since)
            if future.done():
                ended = ended or now
                if since is None or now > ended + PATIENCE:
                    break
            time.sleep(1.5)
    return future.result(), longest


def run(settings: list[str], *arguments: str, name: str = "site.yml") -> Callable[[], str]:
    def action() -> str:
        done: subprocess.CompletedProcess[str] = run_playbook(*settings, *arguments, name=name)
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
        return done.stdout

    return action


def served_certificates(cluster: Cluster) -> dict[str, str]:
    """Broker and port -> the certificate that a client is shown there."""
    ports = [(name, port) for name in BROKERS for port in (BROKER_PORT, MANAGEMENT_PORT)]
    attempts = [{"address": cluster.addresses[name], "port": port, "send": "", "tls": True} for name, port in ports]
    answers = script_on("outsider", source("try_port.py"), attempts)
    assert all(answer["handshake"] for answer in answers), answers
    return {f"{name}:{port}": answer["certificate"] for (name, port), answer in zip(ports, answers, strict=True)}


def test_the_stream_flows(busy, rows):
    assert wait_for(lambda: len(executed(rows, 1, 100)) == 100, PATIENCE)


def test_a_broker_is_killed(busy, cluster, on):
    victim = victim_of(cluster, [])
    (process, started) = cluster.broker_processes([victim])[victim]
    restarts = on(victim).run("systemctl show -P Restart rabbitmq-server").stdout.strip() != "no"
    begun = time.monotonic()
    assert on(victim).run(f"kill -9 {process}").rc == 0
    busy.seconds.append((f"{victim} killed", cluster.seconds_until_served(begun, others(victim))))
    busy.goes_on()
    if not restarts:
        assert on(victim).run("systemctl start rabbitmq-server").rc == 0
    assert wait_for(cluster.is_whole, 180), cluster.members()
    assert cluster.broker_processes([victim])[victim] not in ([], [process, started])
    busy.hit.append(victim)


def test_a_broker_is_cut_off_the_network(busy, cluster):
    victim = victim_of(cluster, busy.hit)
    network = f"taskfleet-{SCENARIO}"
    begun = time.monotonic()
    subprocess.run(["docker", "network", "disconnect", network, container(victim)], check=True)
    try:
        seconds = cluster.seconds_until_served(begun, others(victim))
        busy.goes_on()
    finally:
        back = ["docker", "network", "connect", "--alias", victim, "--ip", cluster.addresses[victim]]
        subprocess.run([*back, network, container(victim)], check=True)
        returned = time.monotonic()
    busy.seconds.append((f"{victim} cut off", seconds))
    assert wait_for(cluster.is_whole, 180), cluster.members()
    busy.seconds.append((f"{victim} back on the network", cluster.seconds_until_served(returned)))
    busy.hit.append(victim)


# The renewal of the authority renews them as well.
@pytest.mark.thorough
def test_all_certificates_are_renewed(busy, cluster, same_processes, settings):
    before = served_certificates(cluster)
    name, arguments = guide.playbook("renew all certificates")
    _output, seconds = longest_gap(cluster, run(settings, *arguments, name=name))
    busy.seconds.append(("certificates renewed", seconds))
    after = served_certificates(cluster)
    assert not [place for place in before if before[place] == after[place]], "an old certificate is still served"
    busy.goes_on()


def test_the_authority_is_renewed(busy, cluster, same_processes, settings, on):
    before = served_certificates(cluster)
    trusted = on("worker1").file(f"/opt/{NAME}/config/ca.pem").content_string
    name, arguments = guide.playbook("renew the authority")
    _output, seconds = longest_gap(cluster, run(settings, *arguments, name=name))
    busy.seconds.append(("authority renewed", seconds))
    after = served_certificates(cluster)
    assert not [place for place in before if before[place] == after[place]], "an old certificate is still served"
    renewed = on("worker1").file(f"/opt/{NAME}/config/ca.pem").content_string
    assert renewed.count("BEGIN CERTIFICATE") == 1 and renewed != trusted
    busy.goes_on()


def test_the_cluster_is_restarted_by_the_playbook(busy, cluster, settings):
    before = cluster.broker_processes()
    workers = cluster.worker_processes()
    settings += ["-e", json.dumps(CHANGED)]
    _output, seconds = longest_gap(cluster, run(settings, "--tags", "rabbitmq"))
    busy.seconds.append(("all brokers restarted", seconds))
    after = cluster.broker_processes()
    assert all(after[name] and after[name] != before[name] for name in BROKERS), (before, after)
    assert cluster.worker_processes() == workers
    busy.goes_on()


def test_nothing_was_lost(stream, cluster, rows, capsys, request):
    stream.stop()
    log = stream.log()
    sent = set(log["ok"])
    assert log["done"] == [len(sent)], "the producer did not end as it should"
    assert set(log["try"]) == sent, "the producer gave a number up"
    # 0 in the statistics may be 5 s old; the ledger is asked until it agrees.
    wait_for(lambda: not any(cluster.waiting().values()), PATIENCE)
    wait_for(lambda: len(executed(rows, 1, max(sent))) >= len(sent), 30)
    found = executed(rows, 1, max(sent))
    lost = sorted(sent - set(found))
    duplicated = sum(times - 1 for times in found.values())
    dead = cluster.queues()[DEAD]["messages"]
    table = figures(
        {
            "sent": len(sent),
            "unsure, sent again": len(log["unsure"]),
            "executed": len(found),
            "duplicated": duplicated,
            "lost": len(lost),
            "dead letters": dead,
        },
        stream.seconds,
    )
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(table)
    with capsys.disabled():
        print(f"\n{table}")
    assert len(sent) >= AT_LEAST
    assert not lost, f"{len(lost)} numbers were never executed: {lost[:20]}"
    assert set(found) <= sent
    assert dead == 0
    # A figure for every fault and change: two for the broker that returns, none for the look at the stream before them.
    busy = [item for item in request.session.items if item.path == request.path and "busy" in item.fixturenames]
    assert len(stream.seconds) == len(busy)
    assert all(seconds <= PATIENCE for _what, seconds in stream.seconds)


def figures(numbers: dict[str, int], seconds: list[tuple[str, float]]) -> str:
    width = max(len(name) for name in (*numbers, *dict(seconds)))
    lines = [f"{name:<{width}}  {number:>8}" for name, number in numbers.items()]
    lines += ["", f"seconds until every queue had its consumers back (goal: {GOAL:.0f})"]
    lines += [
        f"{what:<{width}}  {number:>8.1f}{'' if number <= GOAL else '  above the goal'}" for what, number in seconds
    ]
    return "\n".join(lines) + "\n"
