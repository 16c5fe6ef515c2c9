"""What the parts calculate and prepare, without containers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

import common
import limits
import model
import reference
import results
import scale
import strategy
import testbed

RECAP = "worker1                    : ok=5    changed={}    unreachable=0    failed=0    skipped=1\n"


def goals(cases: list[dict[str, Any]], name: str) -> list[tuple[str, str | None, bool | None]]:
    (case,) = (case for case in cases if case["case"] == name)
    judged = [results.verdict(case, goal) for goal in case["goals"]]
    return [(one.figure, one.against, one.met) for one in judged]


def test_each_further_worker_is_what_two_sizes_differ_by() -> None:
    assert scale.growth({2: [10, 11], 10: [14, 15], 50: [54]}) == {"2 to 10": [0.5, 0.5], "10 to 50": [1.0]}


@pytest.mark.parametrize(
    ("seconds", "judged"),
    [((10, 14, 34), [True, True, True]), ((10, 14, 42), [True, True, False]), ((10, 24, 74), [False, False, True])],
    ids=["cheap and flat", "dearer with more hosts", "dear, but flat"],
)
def test_the_cost_of_one_more_has_a_limit_and_is_flat(seconds: tuple[float, ...], judged: list[bool]) -> None:
    sizes = (2, 10, 50)
    found = {
        scale.NOTHING: {size: [value] for size, value in zip(sizes, seconds, strict=True)},
        scale.PING: {size: [float(size)] for size in sizes},
    }
    cases = scale.cases(found)
    assert goals(cases, "nothing to change, each further worker") == [
        ("2 to 10", None, judged[0]),
        ("10 to 50", None, judged[1]),
        ("10 to 50", "2 to 10", judged[2]),
    ]
    assert goals(cases, "a ping, each further worker") == []


def test_many_hosts_get_room_and_the_machine_gets_its_limit_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "max_user_instances"
    monkeypatch.setattr(limits, "INSTANCES", limit)
    limit.write_text("128\n")
    with pytest.raises(KeyError), limits.room_for(51):
        assert int(limit.read_text()) == limits.REST + 51 * limits.EACH
        raise KeyError
    assert limit.read_text() == "128\n"
    limit.write_text("8192\n")
    with limits.room_for(51):
        assert limit.read_text() == "8192\n"


def test_a_limit_that_cannot_be_raised_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    # Root writes wherever there is a file: a directory refuses.
    monkeypatch.setattr(limits, "INSTANCES", Path("/proc/sys"))
    with pytest.raises(common.UserError, match=r"51 hosts need fs\.inotify\.max_user_instances=536, .*--sizes 2,10"):
        limits.allow(536, 51)


def test_five_hundred_hosts_are_a_cluster() -> None:
    content = model.description(500)
    assert len(content["all"]["hosts"]) == 500
    assert len({host["celery_address"] for host in content["all"]["hosts"].values()}) == 500
    assert model.calculated(content) > 0


def test_what_is_refused_is_not_measured() -> None:
    content = model.description(500)
    content["all"]["vars"]["celery_workers"] = {"default": {"queues": []}}
    with pytest.raises(common.UserError, match="the generated inventory is refused"):
        model.calculated(content)


def test_goals_of_the_reference_cluster() -> None:
    figures = reference.Figures()
    for figure, seconds in (("conventional", 60), ("ping", 1), ("ours", 9), ("ours, in full", 30), ("floor", 4)):
        figures.add(reference.NOTHING, figure, seconds)
    for figure, seconds in (("floor", 60), ("ours", 130)):
        figures.add(reference.BARE, figure, seconds)
    cases = reference.cases(figures)
    assert [case["case"] for case in cases] == [reference.BARE, reference.NOTHING]
    assert goals(cases, reference.NOTHING) == [("ours", "conventional", True), ("ours", "ping", True)]
    assert goals(cases, reference.BARE) == [("ours", "floor", False)]


def test_all_ways_have_a_publisher_and_the_same_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testbed, "CACHE", tmp_path)
    seen = []
    for name in reference.COMMANDS:
        way = reference.Way(name)
        way.cluster.inventory.mkdir(parents=True, exist_ok=True)
        way.describe(testbed.VARIANT, [*reference.WORKERS, reference.ADDED])
        seen.append(json.loads((way.cluster.inventory / "hosts.json").read_text(encoding="utf-8")))
    assert seen[0] == seen[1] == seen[2]
    described = seen[0]["all"]
    assert list(described["hosts"]) == ["broker1", "db1", "app1", "worker1", "worker2", "worker3"]
    assert described["hosts"]["db1"] == {"ansible_host": "taskfleet-bench-site-db1"}
    assert described["vars"]["testbed_variant"] == "-preinstalled"


@pytest.mark.parametrize(("changed", "refused"), [(0, False), (2, True)])
def test_a_run_that_changes_something_is_not_one_with_nothing_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: int, refused: bool
) -> None:
    monkeypatch.setattr(testbed, "CACHE", tmp_path)
    cluster = testbed.Cluster("x")

    def logged(_argv: list[str], log: Path, **_more: Any) -> int:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(RECAP.format(changed))
        return 0

    monkeypatch.setattr(testbed, "logged", logged)
    cluster.log.parent.mkdir(parents=True)
    # Of the run before it.
    cluster.log.write_text(RECAP.format(7), encoding="utf-8")
    if refused:
        with pytest.raises(common.UserError, match=r"site\.yml changed 2 things"):
            cluster.play("site.yml", unchanged=True)
    else:
        assert cluster.play("site.yml", unchanged=True) >= 0
    assert cluster.play("site.yml") >= 0


def test_a_run_that_fails_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testbed, "CACHE", tmp_path)
    cluster = testbed.Cluster("x")
    cluster.log.parent.mkdir(parents=True)
    cluster.log.write_text("the end of it\n", encoding="utf-8")
    monkeypatch.setattr(testbed, "logged", lambda *_argv, **_more: 2)
    with pytest.raises(common.UserError, match="the end of it"):
        cluster.play("site.yml")


def test_mitogens_playbooks_name_its_strategy(tmp_path: Path) -> None:
    copied = strategy.adapted(common.CHECKOUT / "playbooks", tmp_path / "playbooks")
    texts = [file.read_text(encoding="utf-8") for file in copied.glob("*.yml")]
    assert not any("strategy: ansible.builtin.free" in text for text in texts)
    assert sum("strategy: mitogen_free" in text for text in texts) >= 2


def test_what_mitogen_cannot_run_is_told_once_and_ansible_s_own_goes_on() -> None:
    played: list[str] = []

    class Cluster:
        def play(self, playbook: str, *_arguments: str, env: dict[str, str] | None) -> float:
            played.append(playbook)
            if env:
                raise common.UserError("fatal: [a]: no")
            return 2.0

    prepared: list[str] = []
    comparison = strategy.Comparison(cast(testbed.Cluster, Cluster()), "a case", "site.yml")
    for what in (strategy.MITOGEN, strategy.OWN) * 2:
        comparison.measure(what, lambda: prepared.append("a"))
    case = comparison.case()
    assert case["figures"] == {strategy.OWN: [2.0, 2.0]} and case["note"].endswith("fails: fatal: [a]: no")
    assert len(prepared) == 3 and [Path(name).parent.name for name in played] == [
        strategy.ADAPTED.name,
        *["playbooks"] * 2,
    ]

    class Broken(Cluster):
        def play(self, playbook: str, *_arguments: str, env: dict[str, str] | None) -> float:
            raise common.UserError("it is ours that fails")

    with pytest.raises(common.UserError, match="ours that fails"):
        strategy.Comparison(cast(testbed.Cluster, Broken()), "a case", "site.yml").measure(strategy.OWN, lambda: None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x\nfatal: [a]: FAILED! => why\nPLAY RECAP", "fatal: [a]: FAILED! => why"),
        ("only this", "only this"),
        ("", "no output"),
    ],
)
def test_why_mitogen_failed_is_one_line(text: str, why: str) -> None:
    assert strategy.reason(text) == why
