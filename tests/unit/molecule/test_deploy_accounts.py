"""The accounts of the scenario `deploy` find each thing that must not be, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from accounts import Account, Fault, Item, Log, Part, Start, judge, numbers, read_log, read_starts, table

KILL = Fault("child killed", "worker1", since=100, until=101, pids=frozenset({7}))


def start(kind: str = "short", number: int = 1, **values: Any) -> Start:
    given = {
        "step": 1 if kind == "chain" else 0,
        "attempt": 0,
        "release": "aa",
        "edition": "A",
        "host": "worker1",
        "node": "steady-aa@worker1",
        "pid": 7,
        "started": 50.0,
        "ended": 51.0,
        "ended_release": "aa",
        "ended_edition": "A",
        **values,
    }
    return Start(kind, number, **given)


def sent(*items: Item, unsure: tuple[Item, ...] = ()) -> Log:
    return Log(frozenset(items), frozenset(items), frozenset(unsure), True)


def account(starts: list[Start], *faults: Fault, unsure: tuple[Item, ...] = ()) -> Account:
    return judge(starts, sent(*(found.item for found in starts), unsure=unsure), faults)


def test_a_log_is_read() -> None:
    log = read_log("try short 1\nok short 1\ntry eta 1\nunsure eta 1 TimeoutError: no\ntry eta 1\nok eta 1\ndone 2\n")
    assert log == Log(frozenset(found := {Item("short", 1), Item("eta", 1)}), frozenset(found), {Item("eta", 1)}, True)


@pytest.mark.parametrize("text", ["", "try short 1\nok short 1\n", "try short 1\nok short 1\ndone 2\n"])
def test_a_log_without_its_end_is_known(text: str) -> None:
    assert not read_log(text).ended
    assert not (read_log("try long 1\nok long 1\ndone 1\n") | read_log(text)).ended


def test_a_row_of_the_ledger_is_read() -> None:
    assert read_starts([list(start())]) == [start()]


def test_all_is_well() -> None:
    chain = [start("chain", step=step) for step in (1, 2, 3)]
    retry = [start("retry", attempt=attempt) for attempt in (0, 1, 2)]
    found = account([start(), start("long", 2), start("eta", 2), *chain, *retry])
    assert found.faults() == []
    assert numbers(found)["long tasks that ran once, from start to end"] == 1


@pytest.mark.parametrize(
    ("starts", "lost"),
    [
        ([], [Part("short", 1, 0, 0)]),
        ([start(ended=None)], [Part("short", 1, 0, 0)]),
    ],
)
def test_a_task_that_never_ended_is_lost_even_when_it_was_killed(starts: list[Start], lost: list[Part]) -> None:
    assert judge(starts, sent(Item("short", 1)), [Fault("host", "worker1", 0, 200)]).lost == lost


def test_a_broken_chain_and_a_given_up_retry_are_lost() -> None:
    found = account([start("chain", step=1), start("chain", step=2), start("retry", attempt=0)])
    assert found.lost == [Part("chain", 1, 3, 0), Part("retry", 1, 0, 1), Part("retry", 1, 0, 2)]


def test_what_a_deploy_cuts_off_is_no_kill() -> None:
    first = start("long", started=90, ended=None, pid=8)
    found = account([first, start("long", started=110, ended=170, pid=9)], KILL)
    assert found.cut_off == [first]
    assert found.twice == {Part("long", 1, 0, 0): 1} and not found.killed


@pytest.mark.parametrize("ended", [None, 96.0, 101.0])
def test_a_kill_explains_one_more_start(ended: float | None) -> None:
    cut = start("long", started=90, ended=ended)
    found = account([cut, start("long", started=110, ended=170, pid=9)], KILL)
    assert found.faults() == []
    assert found.killed == {Part("long", 1, 0, 0): 1}
    assert numbers(found)["long tasks that ran once, from start to end"] == 0


def test_one_kill_does_not_explain_two_more_starts() -> None:
    others = [start("long", started=110, ended=170, pid=pid) for pid in (9, 10)]
    found = account([start("long", started=90, ended=None), *others], KILL)
    assert (found.killed, found.twice) == ({Part("long", 1, 0, 0): 1}, {Part("long", 1, 0, 0): 1})


@pytest.mark.parametrize(
    "values", [{"ended": 94.0}, {"host": "worker2"}, {"started": 102.0, "ended": 103.0}, {"pid": 6}]
)
def test_a_kill_somewhere_else_explains_nothing(values: dict[str, Any]) -> None:
    found = account([start(**{"started": 90.0, "ended": 100.5, **values}), start(pid=9, started=110, ended=111)], KILL)
    assert found.twice == {Part("short", 1, 0, 0): 1}


def test_a_rebooted_host_explains_all_of_its_processes() -> None:
    reboot = Fault("reboot", "worker1", 100, 120)
    starts = [start(number=number, pid=number, started=90, ended=None) for number in (1, 2)]
    again = [start(number=number, host="worker2", started=130, ended=131) for number in (1, 2)]
    assert account([*starts, *again], reboot).faults() == []


def test_what_a_killed_link_sent_is_sent_again() -> None:
    links = [start("chain", step=1, started=99, ended=100), start("chain", step=1, started=110, ended=111, pid=9)]
    later = [start("chain", step=step, started=110 + step, ended=112, host="worker2") for step in (2, 2, 3, 3)]
    found = account([*links, *later], KILL)
    assert found.faults() == []
    assert sum(found.killed.values()) == 3


def test_an_unsure_task_may_be_there_twice() -> None:
    assert account([start(), start()], unsure=(Item("short", 1),)).faults() == []


@pytest.mark.parametrize("values", [{"ended_edition": "B"}, {"ended_release": "bb"}])
def test_a_tree_that_changed_under_a_task_shows(values: dict[str, Any]) -> None:
    assert account([start(**values)]).changed == [start(**values)]


def test_a_release_is_one_edition() -> None:
    assert account([start(), start(number=2, edition="B", ended_edition="B")]).mixed == {"aa": ["A", "B"]}


def test_nobody_runs_what_was_not_sent() -> None:
    assert judge([start()], sent(), []).unknown == [Item("short", 1)]


def test_each_fault_is_a_line() -> None:
    starts = [start(ended=None), start("eta", 2, ended_edition="B"), start("long", 3), start("long", 3, edition="B")]
    lines = judge(starts, sent(Item("short", 1), Item("eta", 2), Item("short", 9)), []).faults()
    assert [line.split(":")[0] for line in lines] == [
        "2 lost",
        "1 executed and never sent",
        "1 cut off",
        "2 ended on another release or edition",
        "1 releases of several editions",
        "1 ran twice, and no kill explains it",
    ]


def test_the_figures_are_a_table() -> None:
    lines = table(numbers(account([start()])), [("release B", 61.26)]).splitlines()
    assert "sent: short" in lines[0] and lines[0].endswith(" 1")
    assert lines[-1].startswith("release B ") and lines[-1].endswith(" 61.3")
