"""What may be done to a node of a cluster, and what is only told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import rabbitmq_node as rules
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_node import Known, Queue, View

A, B, C = "rabbit@a", "rabbit@b", "rabbit@c"
RECORDED = Path(__file__).parent / "recorded"


def known(
    node: str = B, members: tuple[str, ...] = (), cookie: str = "same", running: bool = True, **views: View
) -> Known:
    return Known(node, (A, B, C), members, cookie, running, {f"rabbit@{name}": view for name, view in views.items()})


def whole(*names: str, **more: tuple[str, ...]) -> View:
    return View(names, names, **more)


def quorum(name: str, *members: str, vhost: str = "v") -> Queue:
    return Queue(vhost, name, "quorum", members[0] if members else "", members)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{[rabbit@b1,rabbit@b2],[rabbit@b1]}.\n", ("rabbit@b1", "rabbit@b2")),
        ("{['rabbit@mq-1','rabbit@mq.2'],[]}.", ("rabbit@mq-1", "rabbit@mq.2")),
        ("{[],[]}.", ()),
        ("", ()),
    ],
)
def test_members_are_read_from_the_data_directory(text: str, expected: tuple[str, ...]) -> None:
    assert rules.parse_members(text) == expected


def test_nodes_alarms_and_partitions_are_read() -> None:
    view = rules.parse_nodes(
        [
            {"name": B, "running": False, "partitions": []},
            {"name": A, "running": True, "mem_alarm": True, "disk_free_alarm": True, "partitions": [C]},
        ]
    )
    assert view == View((A, B), (A,), (f"{A}: memory", f"{A}: disk"), (f"{A} is cut off from {C}",))


def test_exclusive_queues_are_nobodys_data() -> None:
    found = rules.parse_queues(
        [
            {"vhost": "v", "name": "q", "type": "quorum", "leader": A, "members": [B, A], "messages": 3},
            {"vhost": "v", "name": "c", "node": B},
            {"vhost": "v", "name": "x", "exclusive": True},
            {"vhost": "v", "name": "y", "owner_pid_details": {"name": "1"}},
        ]
    )
    assert found == [Queue("v", "q", "quorum", A, (A, B), 3), Queue("v", "c", "classic", B, ())]


@pytest.mark.parametrize("members", [(), (B,), (A, B, C), (A, B)])
def test_a_node_that_fits_meets_no_obstacle(members: tuple[str, ...]) -> None:
    view = whole(*members) if len(members) > 1 else whole(A)
    assert rules.obstacles(known(members=members, a=view)) == []


@pytest.mark.parametrize(
    ("situation", "words"),
    [
        (
            known(members=(B, "rabbit@x")),
            ["belongs to another cluster", "rabbit@x", "never resets", "broker_forget=rabbit@x"],
        ),
        (known(members=(A, B, "rabbit@x"), a=whole(A, B)), ["rabbit@x", "remove_broker.yml"]),
        (known(members=(A, B, C), cookie="other"), ["another Erlang cookie", "Nothing was changed", "erlang_cookie"]),
        (known(members=(A, B, C), a=whole(A, C)), ["half-joined", f"{A} does not know it", "mnesia"]),
        (known(members=(B,), a=whole(A, B, C)), ["half-joined", f"{A} lists it", f"broker_forget={B}"]),
        (known(members=(), c=whole(A, B, C)), ["half-joined", f"{C} lists it"]),
    ],
)
def test_what_does_not_fit_is_told_with_its_remedy(situation: Known, words: list[str]) -> None:
    (text,) = rules.obstacles(situation)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    "situation",
    [
        known(members=(B,), cookie="other"),  # a broker of its own: the cookie is the package's
        known(members=(A, B, C), cookie="other", running=False),  # all stopped, to get another one
        known(members=(A, B, C), cookie="absent"),
        known(members=(A, B, C)),  # nobody else answers: nothing is known against it
    ],
)
def test_what_is_not_certain_is_no_obstacle(situation: Known) -> None:
    assert rules.obstacles(situation) == []


def test_health_names_every_trouble() -> None:
    view = View((A, B), (A,), (f"{A}: disk",), (f"{A} is cut off from {B}",))
    found = rules.unhealthy(view, (A, B, C))
    assert [text.split(":")[0] for text in found] == [
        f"{C} is not a member",
        f"{B} does not run",
        f"{A}",
        f"{A} is cut off from {B}",
    ]
    assert "publishers are blocked" in found[2]
    assert "rabbitmq_disk_free_limit" in found[2]
    assert rules.unhealthy(whole(A, B, C), (A, B, C)) == []


def test_the_first_node_of_a_new_cluster_joins_nobody() -> None:
    assert rules.join(known(A, (A,), b=whole(B), c=whole(C)), []) == rules.Join()


def test_the_others_join_the_first() -> None:
    assert rules.join(known(B, (B,), a=whole(A), b=whole(B)), []).target == A


def test_a_first_node_set_up_anew_joins_the_cluster_of_the_others() -> None:
    assert rules.join(known(A, (), b=whole(B, C), c=whole(B, C)), []).target == B


def test_a_member_joins_nobody() -> None:
    assert rules.join(known(B, (A, B), a=whole(A, B)), [quorum("q", A)]) == rules.Join()


def test_a_single_broker_joins_nobody() -> None:
    alone = Known(A, (A,), (A,), "same", True, {A: whole(A)})
    assert rules.join(alone, [quorum("q", A)]) == rules.Join()


def test_a_node_that_holds_queues_is_never_reset() -> None:
    queues = [quorum(name, B) for name in ("one", "two", "three", "four", "five")]
    decision = rules.join(known(B, (B,), a=whole(A)), queues)
    assert decision.target == ""
    for word in ("one (vhost v)", "and 2 more", "Nothing was reset", "first in the group rabbitmq"):
        assert word in decision.refusal


def test_joining_needs_the_first_node() -> None:
    assert f"{A} does not answer" in rules.join(known(B, (B,)), []).refusal


def test_queues_get_a_member_where_they_have_too_few() -> None:
    queues = [quorum("one", A), quorum("full", A, B, C), quorum("here", B), Queue("v", "classic", "classic", A, ())]
    assert rules.underfilled(queues, B, (A, B, C)) == [queues[0]]
    # Three members are enough for a cluster of five.
    assert rules.underfilled([quorum("full", A, B, C)], "rabbit@d", (A, B, C, "rabbit@d", "rabbit@e")) == []


def test_the_pattern_matches_the_names_and_nothing_else() -> None:
    assert rules.pattern([quorum("a.b", A), quorum("c(1)", A)]) == r"^(a\.b|c\(1\))$"


@pytest.mark.parametrize(
    ("view", "queues", "words"),
    [
        (whole(B), [], "is the last node"),
        (View((A, B), (B,)), [], f"{A} does not run"),
        (whole(A, B), [Queue("v", "c", "classic", B, (), 4)], "holds 4 messages"),
        (whole(A, B, alarms=(f"{A}: memory",)), [], "memory alarm"),
    ],
)
def test_what_holds_a_node_back(view: View, queues: list[Queue], words: str) -> None:
    assert words in rules.holds_back(B, view, queues)[0]


def test_a_node_with_moved_queues_may_leave() -> None:
    queues = [quorum("q", A, B, C), Queue("v", "empty", "classic", B, ()), Queue("v", "c", "classic", A, (), 9)]
    assert rules.holds_back(B, whole(A, B, C), queues) == []


@pytest.mark.parametrize("version", ["3.10", "4.0"])
def test_recorded_answers_are_understood(version: str) -> None:
    nodes = rules.parse_nodes(json.loads((RECORDED / f"{version}-nodes.json").read_text(encoding="utf-8")))
    assert nodes == whole("rabbit@b1", "rabbit@b2")
    queues = rules.parse_queues(json.loads((RECORDED / f"{version}-queues.json").read_text(encoding="utf-8")))
    assert [queue.type for queue in queues] == ["classic", "quorum"]
    assert queues[1].members == ("rabbit@b1", "rabbit@b2")
