"""What a status finds, and what it shows. Each finding has a cluster that has it, and one that has not."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.status import status_text
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.status_catalogue import FINDINGS
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.status_html import status_html
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.status_seen import duration, size
from status_world import DAY, NOW, World, queue, unit

CHECKOUT = Path(__file__).resolve().parents[4]
Change = Callable[[World], object]


def certificate(days: float | None, error: str = "") -> list[dict[str, Any]]:
    return [
        {"path": "/etc/shop-cluster/tls/cert.pem", "ends": None if days is None else NOW + days * DAY, "error": error}
    ]


def listener(port: int, owner: str, tls: bool = False) -> list[dict[str, Any]]:
    return [{"address": "0.0.0.0", "port": port, "unit": owner, "tls": tls}]


def other_release(world: World, host: str) -> None:
    """It was left out of a deployment."""
    world.hosts[host]["releases"]["current"] = "1b9e"
    for found in world.hosts[host]["units"]:
        found["name"] = found["name"].replace("4f2c", "1b9e")


def no_consumers(world: World, *names: str) -> None:
    world.broker["consumers"] = [entry for entry in world.broker["consumers"] if entry["queue"] not in names]


def one_consumer_less(world: World) -> None:
    """Of a host that --limit left out: what its services do is not known."""
    del world.hosts["worker2"]
    world.broker["consumers"].remove({"queue": "long", "host": "192.0.2.2", "port": 40000})


def silent_broker(world: World) -> None:
    world.broker = {"answered": False, "why": "no answer within 5 s"}


def old_instance(world: World) -> None:
    world.unit("worker1", "quick")["name"] = "shop-worker-quick@1b9e.service"


#: Code, host, how it comes about, and what the remedy holds.
WRONG: list[tuple[str, str, Change, str]] = [
    (
        "CS101",
        "worker2",
        lambda w: w.hosts.update(worker2={"answered": False, "why": "paused"}),
        "ansible.builtin.ping",
    ),
    ("CS102", "worker1", lambda w: w.hosts["worker1"]["disks"][0].update(percent=97.0), "du -xh -d 2 /"),
    ("CS102", "worker1", lambda w: w.hosts["worker1"]["disks"][0].update(inodes_percent=99.0), "du -x --inodes"),
    ("CS103", "core1", lambda w: w.hosts["core1"].update(certificates=certificate(5)), "rotate_certificates"),
    ("CS103", "core1", lambda w: w.hosts["core1"].update(certificates=certificate(-1)), "rotate_certificates"),
    ("CS103", "core1", lambda w: w.hosts["core1"].update(certificates=certificate(None, "is damaged")), "site"),
    (
        "CS104",
        "core1",
        lambda w: w.hosts["core1"].update(listeners=listener(5672, "rabbitmq-server.service")),
        "rabbitmq",
    ),
    ("CS104", "core1", lambda w: w.hosts["core1"].update(listeners=listener(15672, "")), "ss -Hltnp sport = :15672"),
    (
        "CS104",
        "core1",
        lambda w: w.hosts["core1"].update(listeners=listener(5555, "shop-flower@4f2c.service")),
        "flower",
    ),
    (
        "CS201",
        "worker1",
        lambda w: w.unit("worker1", "quick").update(active="inactive"),
        "systemctl start shop-worker-quick@",
    ),
    ("CS201", "core1", lambda w: w.hosts["core1"]["units"].pop(0), "taskfleet.celery_cluster.site"),
    ("CS201", "beat2", lambda w: w.unit("beat2", "beat").update(active="failed"), "systemctl start shop-beat@4f2c"),
    ("CS202", "core1", lambda w: w.unit("core1", "flower").update(sub="auto-restart", active="activating"), "status"),
    ("CS202", "core1", lambda w: w.unit("core1", "flower").update(restarts=7, up=20.0), "systemctl status"),
    ("CS203", "worker2", lambda w: w.unit("worker2", "steady").update(stopped=[100]), "kill -s CONT 100"),
    ("CS203", "worker2", lambda w: w.unit("worker2", "steady").update(stopped=[107]), "kill -s CONT 107"),
    ("CS203", "worker2", lambda w: w.unit("worker2", "steady").update(watchdog_age=70.0), "systemctl kill"),
    (
        "CS203",
        "worker2",
        lambda w: w.unit("worker2", "quick").update(status="1 queue, 1 active, 2 children frozen"),
        "kill",
    ),
    (
        "CS204",
        "worker1",
        lambda w: w.unit("worker1", "quick").update(status="reconnecting for 40 s, 0 active"),
        "status",
    ),
    (
        "CS204",
        "worker1",
        lambda w: w.unit("worker1", "quick").update(status="no queues (drained), 0 active"),
        "undrain=",
    ),
    ("CS205", "worker1", lambda w: w.unit("worker1", "steady").update(memory=1000 * 2**20), "steady.memory_max"),
    (
        "CS206",
        "beat1",
        lambda w: w.unit("beat1", "beat").update(status="stopped, no lock: gone"),
        "systemctl restart shop-beat",
    ),
    (
        "CS206",
        "beat1",
        lambda w: w.unit("beat1", "beat").update(status="active, last tick 500 s ago"),
        "shop-beat@4f2c",
    ),
    ("CS207", "beat2", lambda w: w.unit("beat2", "beat").update(status="active, last tick 0 s ago"), "systemctl stop"),
    (
        "CS208",
        "worker1",
        lambda w: w.unit("worker1", "quick").update(connections=[]),
        "systemctl restart shop-worker-quick",
    ),
    ("CS301", "worker2", lambda w: other_release(w, "worker2"), "taskfleet.celery_cluster.deploy"),
    ("CS301", "worker2", lambda w: w.hosts["worker2"]["releases"].update(current=""), "deploy"),
    ("CS302", "worker1", old_instance, "taskfleet.celery_cluster.deploy"),
    ("CS401", "core1", lambda w: no_consumers(w, "numbers"), "shop-worker-quick@4f2c.service"),
    ("CS402", "core1", one_consumer_less, "shop-worker-steady@4f2c.service"),
    (
        "CS403",
        "core1",
        lambda w: w.broker["queues"]["long"].update(ready=400, recent=150, in_rate=2.0),
        "celery_workers.steady",
    ),
    ("CS404", "core1", lambda w: w.broker["queues"]["shop.dead"].update(ready=3), "rabbitmqctl list_queues -p shop"),
    ("CS405", "core1", lambda w: w.broker.update(alarms=["rabbit@core1: disk"]), "rabbitmq-diagnostics status"),
    ("CS406", "core1", lambda w: w.broker.update(running=[]), "systemctl start rabbitmq-server"),
    ("CS406", "core1", lambda w: w.broker.update(partitions=["rabbit@core1 is cut off from b"]), "systemctl restart"),
    ("CS407", "core1", silent_broker, "systemctl restart rabbitmq-server.service"),
    ("CS408", "core1", lambda w: w.broker.update(plaintext=[{"user": "x", "host": "192.0.2.9"}]), "close_all_user"),
    ("CS501", "core1", lambda w: w.database.update(roles={"shop": 15, "shop_owner": 2}), "ps -C postgres"),
    ("CS502", "core1", lambda w: w.database.update(used=90), "ps -C postgres"),
    (
        "CS503",
        "core1",
        lambda w: setattr(w, "database", {"answered": False, "why": "gone"}),
        "systemctl restart postgresql",
    ),
    (
        "CS504",
        "core1",
        lambda w: w.database.update(open_rules=[{"line": 9, "type": "host", "address": "0.0.0.0"}]),
        "site",
    ),
    ("CS504", "core1", lambda w: w.database.update(ssl=False), "--tags postgresql"),
    ("CS504", "core1", lambda w: w.database.update(plaintext=2), "--tags postgresql"),
    ("CS601", "core1", lambda w: w.hosts["core1"]["canary"]["results"][0].update(ok=False), "verify"),
    ("CS602", "core1", lambda w: w.hosts["core1"].update(canary=None), "taskfleet.celery_cluster.verify"),
    ("CS602", "core1", lambda w: w.hosts["core1"]["canary"].update(time=NOW - 25 * 3600), "verify"),
]


@pytest.mark.parametrize(("code", "host", "change", "remedy"), WRONG)
def test_each_fault_is_found_alone_and_with_its_remedy(code: str, host: str, change: Change, remedy: str) -> None:
    world = World()
    change(world)
    found = world.status()["findings"]
    assert [(row["code"], row["host"]) for row in found] == [(code, host)], found
    assert remedy in found[0]["remedy"] and "-i inv/hosts.yml" in found[0]["remedy"]


def test_every_finding_is_tested_and_documented() -> None:
    assert {code for code, *_rest in WRONG} == set(FINDINGS)
    page = (CHECKOUT / "docs" / "status.md").read_text()
    rows = re.findall(r"^\| `(CS\d{3})` \| (\w+) \| (.*?) \| (.*?) \|", page, re.MULTILINE)
    assert rows == [(code, kind.severity, kind.title, kind.why) for code, kind in FINDINGS.items()]


#: Near a limit, or odd in another way, and still right.
RIGHT: list[Change] = [
    lambda w: None,
    lambda w: w.hosts["worker1"]["disks"][0].update(percent=89.9),
    lambda w: w.hosts["core1"].update(certificates=certificate(22)),
    lambda w: w.hosts["core1"].update(listeners=listener(15671, "rabbitmq-server.service", tls=True)),
    lambda w: w.unit("core1", "flower").update(restarts=7, up=90000.0),
    lambda w: w.unit("worker2", "steady").update(watchdog_age=25.0),
    # It has just started: nobody has been told yet.
    lambda w: w.unit("worker2", "steady").update(watchdog_age=70.0, up=5.0),
    lambda w: w.unit("worker1", "steady").update(memory=900 * 2**20),
    lambda w: w.unit("beat1", "beat").update(status="12 periodic tasks, release 4f2c"),
    # The one before still finishes its tasks.
    lambda w: w.hosts["worker1"]["units"].append(unit("shop-worker-quick@1b9e.service", active="deactivating")),
    # It grew, and is on its way back.
    lambda w: w.broker["queues"]["long"].update(ready=400, recent=600, in_rate=1.0, out_rate=3.0),
    # A short look says nothing about growth.
    lambda w: w.broker["queues"]["long"].update(ready=400, recent=150, in_rate=2.0, window=60.0),
    lambda w: w.database.update(roles={"shop": 16}),
    lambda w: w.hosts["core1"]["canary"].update(time=NOW - 23 * 3600),
    # Addresses are translated on the way: then no consumer can be told apart, and none is missing.
    lambda w: [entry.update(host="198.51.100.1") for entry in w.broker["consumers"]],
    # A host that was not asked is no finding.
    lambda w: w.hosts.pop("worker2"),
    lambda w: w.hosts.pop("beat1"),
]


@pytest.mark.parametrize("change", RIGHT)
def test_what_is_right_is_not_found(change: Change) -> None:
    world = World()
    change(world)
    assert world.status()["findings"] == []


@pytest.mark.parametrize(
    ("limits", "change"),
    [
        ({"certificate_days": 400}, lambda w: None),
        ({"disk_percent": 40}, lambda w: None),
        ({"memory_percent": 5}, lambda w: None),
        ({"canary_hours": 1}, lambda w: w.hosts["core1"]["canary"].update(time=NOW - 3700)),
        ({"growth": 5}, lambda w: w.broker["queues"]["long"].update(ready=10, recent=5, in_rate=2.0)),
        ({"beat_silent": 10}, lambda w: w.unit("beat1", "beat").update(status="active, last tick 11 s ago")),
    ],
)
def test_each_limit_counts(limits: dict[str, int], change: Change) -> None:
    world = World()
    change(world)
    assert world.status()["findings"] == []
    world.limits = limits
    assert world.status()["findings"]


def test_no_proof_is_wanted() -> None:
    world = World()
    world.limits, world.hosts["core1"]["canary"] = {"canary_hours": 0}, None
    assert world.status()["findings"] == []


def test_the_only_beat_is_dead() -> None:
    world = World()
    # A model that does not know the list.
    del world.model["beat_hosts"], world.hosts["beat2"]
    world.model["release_hosts"].remove("beat2")
    world.unit("beat1", "beat").update(active="failed", result="exit-code")
    (row,) = world.status()["findings"]
    assert (row["code"], row["host"]) == ("CS206", "beat1")


def test_errors_come_first_and_all_are_counted() -> None:
    world = World()
    for change in (WRONG[-2][2], WRONG[9][2], WRONG[13][2]):
        change(world)
    content = world.status()
    assert [row["severity"] for row in content["findings"]] == ["error", "error", "warning"]
    assert (content["errors"], content["warnings"], content["wrong"]) == (2, 1, 2)
    world.limits = {"warnings_fail": 1}
    assert world.status()["wrong"] == 3


def test_a_broker_that_a_limit_leaves_out_is_silent() -> None:
    world = World()
    del world.hosts["core1"]
    silent_broker(world)
    world.database = {}
    assert [(row["code"], row["host"]) for row in world.status()["findings"]] == [("CS407", "core1")]


def test_a_remedy_is_one_command() -> None:
    for _code, _host, change, _remedy in WRONG:
        world = World()
        change(world)
        for row in world.status()["findings"]:
            assert shlex.split(row["remedy"])[0] in ("ansible", "ansible-playbook")
            # The screen is shown as JSON, in which a quotation mark would be two characters.
            assert '"' not in row["remedy"] and "\\" not in row["remedy"]


def test_the_screen_tells_what_runs() -> None:
    text = status_text(World().status())
    assert "shop, release 4f2c: nothing is wrong. Last proof: 3 tasks 1 h ago." in text
    steady = next(line for line in text.splitlines() if line.startswith("worker1"))
    # Five messages are held, one is worked on.
    assert " ".join(steady.split()) == "worker1 worker steady active 4f2c 1 h 23 min 1 4 2/2 100M/1.0G"
    assert re.search(r"^celery +0 +2 +1 +1 +- +2/2 +50 ms$", text, re.MULTILINE)
    assert "300 days" in text and "12 of 16 planned" in text
    assert max(map(len, text.splitlines())) <= 120


def test_the_screen_has_remedies_below_findings() -> None:
    world = World()
    world.unit("worker1", "quick").update(active="failed", result="oom-kill")
    lines = status_text(world.status()).splitlines()
    found = next(index for index, line in enumerate(lines) if line.startswith("CS201"))
    assert "worker1: worker quick: shop-worker-quick@4f2c.service is failed (oom-kill)" in lines[found]
    remedy = "-m ansible.builtin.command -a 'systemctl start shop-worker-quick@4f2c.service'"
    assert lines[found + 1].strip() == f"ansible -i inv/hosts.yml worker1 {remedy}"


def test_how_old_the_oldest_message_is() -> None:
    world = World()
    world.broker["queues"]["long"] = queue("long", ready=7, age=605.0, at_least=True)
    world.broker["queues"]["celery"] = queue("celery", ready=7, age=None)
    text = status_text(world.status())
    assert re.search(r"^long +7 +2 +1 +1 +> 10 min 5 s +2/2", text, re.MULTILINE)
    assert re.search(r"^celery +7 +2 +1 +1 +2/2", text, re.MULTILINE)


def test_it_is_json() -> None:
    content = World().status()
    assert json.loads(json.dumps(content)) == content


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[tuple[str, str | None]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [(tag, value) for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in ("meta", "br", "path", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_loads_nothing_and_carries_any_text() -> None:
    world = World()
    world.hosts["worker2"] = {"answered": False, "why": "<script>alert(1)</script> & \x00"}
    text = status_html(world.status())
    page = Page()
    page.feed(text)
    assert not page.open and not page.loads and "script" not in page.tags
    assert "url(" not in text and "http" not in text and "@import" not in text
    assert "&lt;script&gt;" in text and "worker2" in text and "CS101" in text


def test_the_page_of_a_healthy_cluster() -> None:
    text = status_html(World().status())
    assert "Nothing is wrong." in text and '<span class="good">standby</span>' in text


def test_a_cluster_of_which_nothing_is_known() -> None:
    world = World()
    world.hosts = {host: {"answered": False, "why": "no route"} for host in world.hosts}
    world.broker, world.database = {"answered": False, "why": ""}, {"answered": False, "why": ""}
    content = world.status()
    assert {row["code"] for row in content["findings"]} == {"CS101"}
    assert status_text(content) and status_html(content)


def test_words_for_numbers() -> None:
    assert [duration(value) for value in (None, 0.4, 59, 3600, 90061)] == ["", "0 s", "59 s", "1 h", "1 d 1 h"]
    assert [size(value) for value in (None, 512, 1536, 2**30, 2**41)] == ["", "512B", "1.5K", "1.0G", "2.0T"]
