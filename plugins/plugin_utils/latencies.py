# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a look at the cluster is told as: its links, how long the canaries took, what each round lost."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from .text import table

LINKS = ("check", "from", "to", "name", "ok", "seconds", "detail")
CONSUMER = ("queue", "host", "node", "release")
TIMES = ("rounds", "min ms", "median ms", "max ms")
ROUNDS = ("round", "sent", "answered", "late", "lost", "seconds")


def latencies(answers: Iterable[Mapping[str, Any]], rounds: int) -> list[dict[str, Any]]:
    """One row per queue and consumer: in how many rounds it answered, and after how many milliseconds.

    The time is that from sending a task to reading its result.
    """
    seconds: dict[tuple[str, ...], list[float]] = {}
    for answer in answers:
        key = tuple(str(answer.get(name) or "") for name in CONSUMER)
        seconds.setdefault(key, []).append(float(answer["seconds"]))
    rows = []
    for key, found in seconds.items():
        times = (round(time * 1000) for time in (min(found), statistics.median(found), max(found)))
        values = (*key, f"{len(found)}/{rounds}", *times)
        rows.append(dict(zip(CONSUMER + TIMES, values, strict=True)))
    return rows


def verify_text(seen: Mapping[str, Any]) -> str:
    """seen: what the canary's script answers, with the rows of all other links added to its own."""
    rounds = list(seen.get("rounds") or ())
    parts = [table(seen["rows"], LINKS)]
    if found := latencies(seen.get("answers") or (), len(rounds)):
        parts.append("Time from sending a task to reading its result:\n" + table(found, CONSUMER + TIMES))
    if len(rounds) > 1:
        parts.append("Canaries of each round:\n" + table(rounds, ROUNDS))
    return "\n\n".join([*parts, *(str(note) for note in seen.get("notes") or ())])
