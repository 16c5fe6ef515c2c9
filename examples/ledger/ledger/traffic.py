"""python -m ledger.traffic: a steady mix of tasks, and a log of what the broker confirmed.

At every tick a short task goes to one of the two kinds of workers; now and then a long one, one with an ETA, a chain of
three and one that is retried go along. The log is that of ledger.stream, with `KIND NUMBER` in the place of the number:
kind is short, long, eta, chain or retry.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

from celery import Celery, Task

from ledger.stream import Sender, Stop, deliver, load, paced

KINDS = ("short", "long", "eta", "chain", "retry")
TASKS = {"short": "ledger.short", "long": "ledger.long", "eta": "ledger.short", "retry": "ledger.flaky"}
LINK = "ledger.link"
# One queue of each kind of worker, and one for what takes long.
QUEUES = ("celery", "numbers")
LONG_QUEUE = "long"
ETA_SECONDS = 20


class Item(NamedTuple):
    kind: str
    number: int
    queue: str

    def __str__(self) -> str:
        return f"{self.kind} {self.number}"


def periods(rate: float, every: float, long_every: float) -> dict[str, int]:
    """Kind -> after how many ticks there is another one."""
    seconds = {"short": 0.0, "long": long_every, "eta": every, "chain": every, "retry": every}
    return {kind: max(1, round(rate * seconds[kind])) for kind in KINDS}


def due(tick: int, ticks: Mapping[str, int]) -> Iterator[Item]:
    """What is sent at this tick. The numbers of a kind are ticks, so that none is there twice."""
    for place, kind in enumerate(KINDS):
        period = ticks[kind]
        # Spread over the period, so that they do not come in heaps.
        round_, rest = divmod(tick - place * period // len(KINDS), period)
        if rest == 0:
            yield Item(kind, tick, LONG_QUEUE if kind == "long" else QUEUES[round_ % 2])


class Traffic:
    """Publishes items over the connection of a Sender."""

    def __init__(self, app: Celery, long_seconds: float, gated: bool = False) -> None:
        self.sender = Sender(app)
        self.app = app
        self.long_seconds, self.gated = long_seconds, gated

    def task(self, name: str) -> Task:
        return self.app.tasks[name]

    def send(self, item: Item) -> None:
        if item.kind == "chain":
            first, *others = chain(self.task(LINK), item.number)
            # As Celery's own chain does it, which cannot be told which producer to use: the next one stands last.
            self.sender.publish(self.task(LINK), first.args, first.options["queue"], chain=others[::-1])
            return
        arguments: tuple[Any, ...] = (item.number,)
        options = {}
        if item.kind == "long":
            arguments = (item.number, self.long_seconds, self.gated)
        elif item.kind == "eta":
            arguments, options = (item.number, "eta"), {"countdown": ETA_SECONDS}
        self.sender.publish(self.task(TASKS[item.kind]), arguments, item.queue, **options)


def chain(link: Task, number: int) -> list[Any]:
    """Three links, which change from one kind of worker to the other and back."""
    return [link.si(number, step).set(queue=QUEUES[(step - 1) % 2]) for step in (1, 2, 3)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ledger.traffic", description=__doc__.splitlines()[0])
    parser.add_argument("--app", default="ledger.celery:app", help="the Celery app that publishes")
    parser.add_argument("--log", type=Path, required=True, help="where to write down what was sent")
    parser.add_argument("--first", type=int, default=1, help="the first number (default 1)")
    parser.add_argument("--rate", type=float, default=6, help="short tasks in a second (default 6)")
    parser.add_argument("--every", type=float, default=5, help="seconds from an ETA, chain or retry to the next one")
    parser.add_argument("--long-every", type=float, default=5, help="seconds from a long task to the next one")
    parser.add_argument("--long-seconds", type=float, default=60, help="how long a long task takes (default 60)")
    parser.add_argument("--gated", action="store_true", help="a long task ends as soon as its gate is open")
    parser.add_argument("--only", choices=KINDS, help="send this kind and no other, at the rate")
    parser.add_argument("--count", type=int, help="so many ticks and end; without it: until SIGTERM")
    options = parser.parse_args(arguments)
    stop = Stop()
    stop.install()
    ticks = periods(options.rate, options.every, options.long_every)
    if options.only:
        ticks[options.only] = 1
    traffic = Traffic(load(options.app), options.long_seconds, options.gated)
    sent = 0
    with options.log.open("w", buffering=1, encoding="utf-8") as log:
        for tick in paced(islice(count(options.first), options.count), options.rate, 0, stop):
            for item in due(tick, ticks):
                if options.only in (None, item.kind):
                    deliver(traffic.send, traffic.sender.forget, item, log)
                    sent += 1
        print(f"done {sent}", file=log)
    traffic.sender.forget()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
