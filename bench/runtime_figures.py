"""From what workers noted to figures. A record is (number, sent, began), in seconds of one clock."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from common import UserError

Record = tuple[int, float, float]


def of_numbers(records: Sequence[Record], first: int, count: int) -> list[Record]:
    """The records of these numbers, each with its first execution; refused when one is missing."""
    found: dict[int, Record] = {}
    for record in sorted(records, key=lambda record: record[2]):
        if first <= record[0] < first + count:
            found.setdefault(record[0], record)
    if missing := count - len(found):
        lacking = [number for number in range(first, first + count) if number not in found]
        raise UserError(f"{missing} of {count} tasks were never executed: {', '.join(map(str, lacking[:10]))}")
    return list(found.values())


def per_second(records: Sequence[Record]) -> float:
    """Executions from the first to the last."""
    times = [began for _number, _sent, began in records]
    seconds = max(times, default=0.0) - min(times, default=0.0)
    if seconds <= 0:
        raise UserError(f"{len(times)} tasks say nothing of a rate: measure more of them")
    return (len(times) - 1) / seconds


def milliseconds(records: Sequence[Record]) -> tuple[float, float]:
    """From sending to the first line of the task: half of them took so long at most, and 95 of 100."""
    if len(records) < 20:
        raise UserError(f"{len(records)} tasks say nothing of the slowest twentieth: measure more of them")
    waits = [(began - sent) * 1000 for _number, sent, began in records]
    return statistics.median(waits), statistics.quantiles(waits, n=20, method="inclusive")[-1]


def seconds_after(records: Sequence[Record], moment: float) -> float:
    """Until a task began that was sent after the moment. One that was under way already says nothing."""
    later = [began - moment for _number, sent, began in records if sent > moment]
    if not later:
        raise UserError("no task that was sent afterwards was executed")
    return min(later)
