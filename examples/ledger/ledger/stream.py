"""python -m ledger.stream: sends numbers, one task each, and keeps a log of what the broker confirmed.

The log has one line per event: `try N` before a number is sent, `ok N` when a broker confirmed it, `unsure N REASON`
when it may or may not have arrived, and `done COUNT` as the last line of an orderly end. An unsure number is sent again
until it is confirmed.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import IO, Any, TypeVar

from celery import Celery, Task

# Without a limit, a confirmation that the network swallowed would be waited for until the end of time.
CONFIRM_SECONDS = 10.0
RETRY_SECONDS = 0.5
# What is sent: a number, or anything that is a few words in the log.
Item = TypeVar("Item")


def queue_of(number: int) -> str:
    """Every kind of worker and every queue has its part."""
    if number % 10 == 0:
        return "celery"
    return "odd" if number % 2 else "numbers"


def load(name: str) -> Celery:
    module, _colon, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute or "app")


class Sender:
    """Publishes over one connection, which is thrown away after any error."""

    def __init__(self, app: Celery) -> None:
        app.loader.import_default_modules()
        self.app = app
        self.task = app.tasks["ledger.record"]
        self.connection = None
        self.producer = None

    def connect(self) -> None:
        self.connection = self.app.connection_for_write()
        # All brokers in turn, without end.
        self.connection.ensure_connection(interval_start=0.2, interval_step=0.2, interval_max=1.0)
        # Nothing is declared: the workers do that, and a producer of least privilege may not.
        self.producer = self.app.amqp.Producer(self.connection, auto_declare=False)

    def send(self, number: int) -> None:
        """Returns when the broker has confirmed the number."""
        self.publish(self.task, (number,), queue_of(number))

    def publish(self, task: Task, arguments: tuple[Any, ...], queue: str, **options: Any) -> None:
        """Returns when the broker has confirmed the task; options are those of apply_async."""
        if self.producer is None:
            self.connect()
        task.apply_async(
            arguments,
            queue=queue,
            producer=self.producer,
            declare=[],
            retry=False,
            # A message that no queue takes comes back as an error instead of being confirmed.
            mandatory=True,
            confirm_timeout=CONFIRM_SECONDS,
            **options,
        )

    def forget(self) -> None:
        """The next number gets a new connection."""
        connection, self.connection, self.producer = self.connection, None, None
        if connection is not None:
            # Without a word to a broker that may not be there any more.
            connection.collect(socket_timeout=1)


class Stop:
    """SIGTERM and SIGINT end the stream after the number at hand."""

    asked = False

    def install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.ask)

    def ask(self, _number: int, _frame: object) -> None:
        self.asked = True


def deliver(send: Callable[[Item], None], forget: Callable[[], None], item: Item, log: IO[str]) -> None:
    """Send one item until it is confirmed."""
    while True:
        print(f"try {item}", file=log)
        try:
            send(item)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"unsure {item} {reason}", file=log)
            forget()
            time.sleep(RETRY_SECONDS)
        else:
            print(f"ok {item}", file=log)
            return


def paced(numbers: Iterator[int], rate: float, at_least: int, stop: Stop) -> Iterator[int]:
    """The numbers, `rate` of them in a second; after a stop as many as are missing, as fast as can be."""
    due = time.monotonic()
    for sent, number in enumerate(numbers):
        if stop.asked and sent >= at_least:
            return
        # No burst after an outage: the stream is to last, not to catch up.
        due = max(due + 1 / rate, time.monotonic())
        while not stop.asked and (wait := due - time.monotonic()) > 0:
            time.sleep(min(wait, 0.5))
        yield number


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ledger.stream", description=__doc__.splitlines()[0])
    parser.add_argument("--app", default="ledger.celery:app", help="the Celery app that publishes")
    parser.add_argument("--log", type=Path, required=True, help="where to write down what was sent")
    parser.add_argument("--first", type=int, default=1, help="the first number (default 1)")
    parser.add_argument("--rate", type=float, default=20, help="numbers in a second (default 20)")
    parser.add_argument("--count", type=int, help="send so many and end; without it: until SIGTERM")
    parser.add_argument("--at-least", type=int, default=0, help="after SIGTERM go on until so many are sent")
    options = parser.parse_args(arguments)
    stop = Stop()
    stop.install()
    sender = Sender(load(options.app))
    sent = 0
    with options.log.open("w", buffering=1, encoding="utf-8") as log:
        for number in paced(islice(count(options.first), options.count), options.rate, options.at_least, stop):
            deliver(sender.send, sender.forget, number, log)
            sent += 1
        print(f"done {sent}", file=log)
    sender.forget()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
