"""What was sent against what was done: calculations only, without a cluster."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# The parts of one task: (step of the chain, attempt).
PARTS: dict[str, tuple[tuple[int, int], ...]] = {
    "short": ((0, 0),),
    "long": ((0, 0),),
    "eta": ((0, 0),),
    "chain": ((1, 0), (2, 0), (3, 0)),
    "retry": ((0, 0), (0, 1), (0, 2)),
}
# A task writes its end and is acknowledged after that: so many seconds later a kill may still make it run again.
UNACKNOWLEDGED = 5.0

SELECT = """
SELECT coalesce(jsonb_agg(jsonb_build_array(kind, number, step, attempt, release, edition, host, node, pid,
    extract(epoch FROM started), extract(epoch FROM ended), ended_release, ended_edition)), '[]') FROM ledger_tasks
"""


class Item(NamedTuple):
    kind: str
    number: int


class Part(NamedTuple):
    kind: str
    number: int
    step: int
    attempt: int

    @property
    def item(self) -> Item:
        return Item(self.kind, self.number)


class Start(NamedTuple):
    """A row of the ledger; the times are seconds since 1970."""

    kind: str
    number: int
    step: int
    attempt: int
    release: str | None
    edition: str
    host: str | None
    node: str
    pid: int
    started: float
    ended: float | None
    ended_release: str | None
    ended_edition: str | None

    @property
    def part(self) -> Part:
        return Part(self.kind, self.number, self.step, self.attempt)

    @property
    def item(self) -> Item:
        return Item(self.kind, self.number)


@dataclass(frozen=True)
class Fault:
    """Processes that the tests ended without mercy; pids None: all of the host."""

    what: str
    host: str
    since: float
    until: float
    pids: frozenset[int] | None = None

    def hit(self, start: Start) -> bool:
        """Whether this start was cut off, or ended so late that nobody heard of it."""
        return (
            start.host == self.host
            and (self.pids is None or start.pid in self.pids)
            and start.started <= self.until
            and (start.ended is None or self.since - UNACKNOWLEDGED <= start.ended <= self.until)
        )


@dataclass(frozen=True)
class Log:
    """What a log of ledger.traffic says."""

    tried: frozenset[Item] = frozenset()
    confirmed: frozenset[Item] = frozenset()
    unsure: frozenset[Item] = frozenset()
    ended: bool = False

    def __or__(self, other: Log) -> Log:
        return Log(
            self.tried | other.tried,
            self.confirmed | other.confirmed,
            self.unsure | other.unsure,
            self.ended and other.ended,
        )


def read_log(text: str) -> Log:
    found: dict[str, set[Item]] = {"try": set(), "ok": set(), "unsure": set()}
    lines = text.splitlines()
    for line in lines:
        event, *words = line.split()
        if event in found:
            found[event].add(Item(words[0], int(words[1])))
    ended = bool(lines) and lines[-1] == f"done {len(found['ok'])}"
    return Log(frozenset(found["try"]), frozenset(found["ok"]), frozenset(found["unsure"]), ended)


def read_starts(rows: Iterable[Sequence[Any]]) -> list[Start]:
    return [Start(*row) for row in rows]


@dataclass
class Account:
    """Each list holds what must not be, unless it says why it may."""

    starts: list[Start]
    log: Log
    lost: list[Part] = field(default_factory=list)
    unknown: list[Item] = field(default_factory=list)
    # Started, never ended, and nobody killed it.
    cut_off: list[Start] = field(default_factory=list)
    # Ended on another release or with another edition in its tree.
    changed: list[Start] = field(default_factory=list)
    # Release -> its editions, where there is more than one.
    mixed: dict[str, list[str]] = field(default_factory=dict)
    # Part -> starts too many. The first may be: a kill made them.
    killed: dict[Part, int] = field(default_factory=dict)
    twice: dict[Part, int] = field(default_factory=dict)

    def faults(self) -> list[str]:
        """What is wrong, a line each, with the first of the kind."""
        lists: dict[str, Sequence[Any]] = {
            "lost": self.lost,
            "executed and never sent": self.unknown,
            "cut off": self.cut_off,
            "ended on another release or edition": self.changed,
            "releases of several editions": list(self.mixed.items()),
            "ran twice, and no kill explains it": list(self.twice.items()),
        }
        return [f"{len(found)} {what}: {list(found[:5])}" for what, found in lists.items() if found]


def judge(starts: Sequence[Start], log: Log, faults: Sequence[Fault]) -> Account:
    account = Account(list(starts), log)
    by_part: dict[Part, list[Start]] = defaultdict(list)
    for start in starts:
        by_part[start.part].append(start)
    hit = {id(start) for start in starts if any(fault.hit(start) for fault in faults)}
    # A link that was killed after it had sent the next one sends it again, and so does a task that is retried.
    again = log.unsure | {start.item for start in starts if id(start) in hit and start.kind in ("chain", "retry")}

    account.lost = [part for part in wanted(log) if not any(start.ended for start in by_part[part])]
    account.unknown = sorted({start.item for start in starts} - log.tried)
    account.cut_off = [start for start in starts if start.ended is None and id(start) not in hit]
    account.changed = [
        start
        for start in starts
        if start.ended and (start.release, start.edition) != (start.ended_release, start.ended_edition)
    ]
    account.mixed = mixed(starts)
    for part, found in by_part.items():
        surplus = len(found) - 1
        if surplus <= 0:
            continue
        explained = surplus if part.item in again else min(surplus, sum(id(start) in hit for start in found))
        if explained:
            account.killed[part] = explained
        if surplus > explained:
            account.twice[part] = surplus - explained
    return account


def wanted(log: Log) -> list[Part]:
    """Every part of every task that a broker confirmed."""
    return [Part(*item, *part) for item in sorted(log.confirmed) for part in PARTS[item.kind]]


def mixed(starts: Iterable[Start]) -> dict[str, list[str]]:
    editions: dict[str, set[str]] = defaultdict(set)
    for start in starts:
        editions[start.release or ""].add(start.edition)
    return {release: sorted(found) for release, found in editions.items() if len(found) > 1}


def numbers(account: Account) -> dict[str, int]:
    """What the figures show of it."""
    found = {f"sent: {kind}": sum(item.kind == kind for item in account.log.confirmed) for kind in PARTS}
    long = [start for start in account.starts if start.kind == "long"]
    return {
        **found,
        "sent": len(account.log.confirmed),
        "unsure, sent again": len(account.log.unsure),
        "starts": len(account.starts),
        "releases that ran tasks": len({start.release for start in account.starts}),
        "lost": len(account.lost),
        "cut off, not by a kill": len(account.cut_off),
        "ended on another release or edition": len(account.changed),
        "starts too many, by a kill": sum(account.killed.values()),
        "starts too many, otherwise": sum(account.twice.values()),
        "long tasks that ran once, from start to end": len(
            {start.item for start in long if start.ended} - {part.item for part in (*account.killed, *account.twice)}
        ),
    }


def table(figures: Mapping[str, float], seconds: Sequence[tuple[str, float]]) -> str:
    width = max(len(name) for name in (*figures, *dict(seconds)))
    lines = [f"{name:<{width}}  {number:>8g}" for name, number in figures.items()]
    lines += ["", "seconds of each playbook"]
    lines += [f"{what:<{width}}  {number:>8.1f}" for what, number in seconds]
    return "\n".join(lines) + "\n"
