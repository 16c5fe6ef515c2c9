"""What is done to a node, on a systemd, a rabbitmqctl and management APIs that FakeCluster acts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_control import (
    CLEAR_CACHES,
    UNIT,
    Control,
    NodeError,
    Options,
)
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.units import Outcome, Systemctl

A, B, C = "rabbit@a", "rabbit@b", "rabbit@c"
COOKIE = "cookie-of-the-cluster"


class FakeCluster:
    """Three hosts. clusters: sets of nodes that form one; running: nodes that answer; queues: what GET /queues says."""

    def __init__(self, tmp_path: Path) -> None:
        self.data = tmp_path
        self.node = B
        self.clusters: list[set[str]] = [{A}, {B}, {C}]
        self.running = {A, B, C}
        self.queues: list[dict[str, Any]] = []
        self.alarms: set[str] = set()
        self.critical = 0  # so many times the check says that a queue needs this node
        self.refused: set[str] = set()  # commands that fail
        self.calls: list[str] = []
        self.clock = 0.0
        self.depends_on = tmp_path / "rabbitmq.conf"
        self.depends_on.write_text("x", encoding="utf-8")
        (tmp_path / ".erlang.cookie").write_text(COOKIE, encoding="utf-8")
        self.started = "Sat 2040-01-01 00:00:00 UTC"
        self.enabled = "enabled"

    def cluster(self, node: str) -> set[str]:
        return next(cluster for cluster in self.clusters if node in cluster)

    def remember(self) -> None:
        """What the data directory of this node says."""
        path = self.data / "mnesia" / self.node / "cluster_nodes.config"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{[" + ",".join(sorted(self.cluster(self.node))) + "],[]}.", encoding="utf-8")

    def read(self, url: str, path: str) -> Any:
        node = "rabbit@" + url
        if node not in self.running:
            return None
        if path == "queues":
            return self.queues if node == self.node else []
        return [
            {"name": name, "running": name in self.running, "mem_alarm": name in self.alarms, "partitions": []}
            for name in self.cluster(node)
        ]

    def run(self, arguments: list[str]) -> Outcome:
        words = arguments[2:] if arguments[0] == "timeout" else arguments
        if words[0] == "systemctl":
            return self.systemctl(words[1:])
        words = [word for word in words if word != "-q"]
        line = " ".join(words)
        self.calls.append(line)
        if any(line.startswith(refused) for refused in self.refused):
            return Outcome(1, "", "it does not want to")
        if words[1] == "check_if_node_is_quorum_critical":
            self.critical -= 1
            return Outcome(1, "", "queue q has no majority") if self.critical >= 0 else Outcome(0)
        if words[1] in ("join_cluster", "reset", "forget_cluster_node"):
            leaving = words[2] if words[1] == "forget_cluster_node" else self.node
            self.cluster(leaving).remove(leaving)
            self.clusters.append({leaving})
            if words[1] == "join_cluster":
                self.cluster(words[2]).add(self.node)
                self.clusters = [cluster for cluster in self.clusters if cluster != {self.node}]
            self.remember()
        if words[1] == "shrink":
            for queue in self.queues:
                queue["members"] = [member for member in queue["members"] if member != words[2]]
        return Outcome(0)

    def systemctl(self, words: list[str]) -> Outcome:
        if words[0] == "show":
            up = self.node in self.running
            return Outcome(
                0,
                f"Id={UNIT}\nLoadState=loaded\nActiveState={'active' if up else 'inactive'}\nSubState=running\n"
                f"UnitFileState={self.enabled}\nNeedDaemonReload=no\nType=notify\n"
                f"ExecMainStartTimestamp={self.started if up else ''}\n",
            )
        self.calls.append("systemctl " + " ".join(words))
        if words[0] in ("start", "restart"):
            self.started = (
                "Sun 2040-01-01 00:00:01 UTC" if self.started.startswith("Sat") else "Mon 2040-01-02 00:00:00 UTC"
            )
            self.running.add(self.node)
        if words[0] in ("stop", "disable"):
            self.running.discard(self.node)
        return Outcome(0)

    def control(self, node: str = B, nodes: tuple[str, ...] = (A, B, C)) -> Control:
        self.node = node
        self.remember()

        def sleep(seconds: float) -> None:
            self.clock += seconds

        options = Options(
            node,
            {name: name.split("@", 1)[1] for name in nodes},
            COOKIE,
            self.data,
            (str(self.depends_on),),
            5,
        )
        return Control(options, self.run, self.read, Systemctl(self.run), sleep, lambda: self.clock)


@pytest.fixture
def fake(tmp_path: Path) -> FakeCluster:
    return FakeCluster(tmp_path)


@pytest.fixture
def whole(fake: FakeCluster) -> FakeCluster:
    fake.clusters = [{A, B, C}]
    return fake


def stale(fake: FakeCluster) -> None:
    fake.started = "Sat 2020-01-01 00:00:00 UTC"


def test_a_member_that_is_as_it_shall_be_is_only_looked_at(whole: FakeCluster) -> None:
    control = whole.control()
    control.settle(check=False)
    assert control.steps == []
    assert whole.calls == []


def test_a_new_node_joins_the_first(fake: FakeCluster) -> None:
    control = fake.control()
    control.settle(check=False)
    assert control.steps == [f"join {A}"]
    assert fake.calls == [
        "rabbitmqctl stop_app",
        f"rabbitmqctl join_cluster {A}",
        "rabbitmqctl start_app",
        "rabbitmqctl await_startup --timeout 5",
    ]


def test_a_refused_join_leaves_the_node_running(fake: FakeCluster) -> None:
    fake.refused = {"rabbitmqctl join_cluster"}
    control = fake.control()
    with pytest.raises(NodeError, match="join_cluster rabbit@a failed: it does not want to"):
        control.settle(check=False)
    assert fake.calls[-1] == "rabbitmqctl start_app"


def test_a_node_with_queues_of_its_own_is_left_as_it_is(fake: FakeCluster) -> None:
    fake.queues = [{"vhost": "v", "name": "q", "type": "quorum", "members": [B]}]
    with pytest.raises(NodeError, match="Nothing was reset"):
        fake.control().settle(check=False)
    assert fake.calls == []


def test_queues_with_too_few_members_get_one_here(whole: FakeCluster) -> None:
    whole.queues = [
        {"vhost": "v.1", "name": "q", "type": "quorum", "members": [A]},
        {"vhost": "v.1", "name": "r", "type": "quorum", "members": [A, B]},
    ]
    control = whole.control()
    control.settle(check=False)
    assert control.steps == ["add a member to 1 queues of vhost v.1"]
    assert whole.calls == [rf"rabbitmq-queues grow {B} all --vhost-pattern ^(v\.1)$ --queue-pattern ^(q)$"]


def test_a_changed_file_restarts_the_node_when_the_others_can_do_without_it(whole: FakeCluster) -> None:
    stale(whole)
    whole.critical = 2
    control = whole.control()
    control.settle(check=False)
    assert control.steps == [f"restart {UNIT} (older than {whole.depends_on})"]
    gate = "rabbitmq-diagnostics check_if_node_is_quorum_critical"
    assert whole.calls[:3] == [gate] * 3
    assert [call for call in whole.calls if "restart" in call] == [f"systemctl restart -- {UNIT}"]


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (lambda fake: setattr(fake, "critical", 99), "a queue would lose its majority"),
        (lambda fake: fake.running.discard(C), f"{C} does not run"),
        (lambda fake: fake.alarms.add(A), f"{A}: memory alarm"),
    ],
)
def test_no_restart_while_the_cluster_needs_the_node(whole: FakeCluster, trouble: Any, words: str) -> None:
    stale(whole)
    trouble(whole)
    with pytest.raises(NodeError, match=words):
        whole.control().settle(check=False)
    assert not [call for call in whole.calls if "systemctl restart" in call]


def test_a_single_broker_restarts_without_asking_anybody(fake: FakeCluster) -> None:
    fake.clusters = [{B}]
    stale(fake)
    fake.control(nodes=(B,)).settle(check=False)
    assert [call.split(" ")[0] for call in fake.calls] == ["systemctl", "rabbitmqctl"]


def test_start_never_restarts(whole: FakeCluster) -> None:
    stale(whole)
    whole.control().start(check=False)
    assert whole.calls == []


def test_start_starts_what_does_not_run(whole: FakeCluster) -> None:
    whole.running.discard(B)
    control = whole.control()
    control.start(check=False)
    assert control.steps == [f"start {UNIT}"]
    assert whole.calls[0] == f"systemctl start -- {UNIT}"


def test_check_mode_says_what_would_be_done_and_does_nothing(fake: FakeCluster) -> None:
    stale(fake)
    control = fake.control()
    control.settle(check=True)
    assert control.steps == [f"restart {UNIT} (older than {fake.depends_on})", "join the cluster"]
    for act in (control.start, control.stop, control.load_certificates):
        act(check=True)
    assert fake.calls == []


def test_an_obstacle_stops_everything(whole: FakeCluster) -> None:
    (whole.data / ".erlang.cookie").write_text("another", encoding="utf-8")
    control = whole.control()
    for act in (control.settle, control.start, control.stop, control.leave):
        with pytest.raises(NodeError, match="another Erlang cookie"):
            act(check=False)
    assert whole.calls == []


def test_stopping_passes_the_gate(whole: FakeCluster) -> None:
    whole.critical = 99
    with pytest.raises(NodeError, match="majority"):
        whole.control().stop(check=False)
    assert B in whole.running
    whole.critical = 0
    whole.control().stop(check=False)
    assert whole.calls[-1] == f"systemctl stop -- {UNIT}"
    whole.calls.clear()
    whole.control().stop(check=False)
    assert whole.calls == []


def test_leaving_moves_the_queues_first(whole: FakeCluster) -> None:
    whole.queues = [{"vhost": "v", "name": "q", "type": "quorum", "members": [A, B, C]}]
    whole.control().leave(check=False)
    assert whole.calls == [
        f"rabbitmq-queues shrink {B}",
        "rabbitmqctl stop_app",
        "rabbitmqctl reset",
        f"systemctl disable --quiet --now -- {UNIT}",
    ]


def test_the_one_that_stays_alone_does_not_pause(fake: FakeCluster) -> None:
    fake.clusters = [{A, B}]
    fake.control(nodes=(A, B)).leave(check=False)
    assert fake.calls[1].startswith(
        f"rabbitmqctl -n {A} eval application:set_env(rabbit, cluster_partition_handling, ignore)"
    )


def test_a_queue_that_cannot_be_moved_keeps_the_node(whole: FakeCluster) -> None:
    whole.queues = [{"vhost": "v", "name": "q", "type": "quorum", "members": (B,)}]
    control = whole.control()
    run = whole.run

    def stubborn(arguments: list[str]) -> Outcome:
        return Outcome(0, "error") if "shrink" in arguments else run(arguments)

    control._run = stubborn
    with pytest.raises(NodeError, match="still holds a member of q"):
        control.leave(check=False)
    assert "rabbitmqctl reset" not in whole.calls


def test_the_last_node_does_not_leave(fake: FakeCluster) -> None:
    fake.clusters = [{B}]
    with pytest.raises(NodeError, match="last node"):
        fake.control(nodes=(B,)).leave(check=False)


def test_one_that_left_has_nothing_to_do(fake: FakeCluster) -> None:
    fake.running.discard(B)
    fake.enabled = "disabled"
    control = fake.control()
    control.leave(check=False)
    assert control.steps == []


def test_only_dead_members_are_forgotten(whole: FakeCluster) -> None:
    with pytest.raises(NodeError, match="broker_remove"):
        whole.control(A).forget(C, check=False)
    whole.running.discard(C)
    control = whole.control(A)
    control.forget(C, check=False)
    assert whole.calls == [f"rabbitmq-queues shrink {C}", f"rabbitmqctl forget_cluster_node {C}"]
    control.steps.clear()
    control.forget(C, check=False)
    assert control.steps == []


def test_certificates_are_loaded_without_a_restart(whole: FakeCluster) -> None:
    control = whole.control()
    control.load_certificates(check=False)
    assert whole.calls == [f"rabbitmqctl eval {CLEAR_CACHES}"]
    assert control.steps == ["serve the certificates on disk"]


@pytest.mark.parametrize("prepare", [stale, lambda fake: fake.running.discard(B)])
def test_a_node_that_will_start_anyway_needs_no_loading(whole: FakeCluster, prepare: Any) -> None:
    prepare(whole)
    whole.control().load_certificates(check=False)
    assert whole.calls == []


def test_health(whole: FakeCluster) -> None:
    whole.control().check_health()
    whole.alarms.add(C)
    with pytest.raises(NodeError, match=f"{C}: memory alarm"):
        whole.control().check_health()
    assert whole.clock == 0.0
    whole.running.discard(C)
    with pytest.raises(NodeError, match=f"{C} does not run"):
        whole.control().check_health()
    assert whole.clock >= 5
    whole.running.discard(B)
    with pytest.raises(NodeError, match="does not answer"):
        whole.control().check_health()


@pytest.mark.parametrize("runs", [True, False])
def test_a_directory_that_does_not_name_the_members_is_no_sign_of_a_lost_node(whole: FakeCluster, runs: bool) -> None:
    """RabbitMQ 4.3 has no cluster_nodes.config: the node itself, or the others, say who belongs together."""
    control = whole.control()
    directory = whole.data / "mnesia" / B
    (directory / "cluster_nodes.config").unlink()
    (directory / "rabbitmq_metadata").mkdir()
    if not runs:
        whole.running.discard(B)
    known = control.known()
    assert set(known.members) == {A, B, C}
    control.start(check=False)
    assert not [call for call in whole.calls if "join" in call]


def test_an_unknown_node_with_such_a_directory_is_alone(fake: FakeCluster) -> None:
    control = fake.control()
    directory = fake.data / "mnesia" / B
    (directory / "cluster_nodes.config").unlink()
    (directory / "rabbitmq_metadata").mkdir()
    fake.running.discard(B)
    assert control.known().members == (B,)


def test_a_node_set_up_anew_joins_at_its_start_when_the_others_are_a_cluster(fake: FakeCluster) -> None:
    """Later would be too late: the others may not restart while a member is missing."""
    fake.clusters = [{A, C}, {B}]
    fake.running.discard(B)
    check = fake.control()
    check.start(check=True)
    assert check.steps == [f"start {UNIT}", "join the cluster"]
    control = fake.control()
    control.start(check=False)
    assert control.steps == [f"start {UNIT}", f"join {A}"]
    assert fake.cluster(B) == {A, B, C}


def test_at_its_start_a_node_makes_no_cluster(fake: FakeCluster) -> None:
    fake.running.discard(B)
    control = fake.control()
    control.start(check=False)
    assert control.steps == [f"start {UNIT}"]
