# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be wrong with an inventory: problems with a stable code, a place, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import NamedTuple

from .catalogue import CATALOGUE, ERROR


class Problem(NamedTuple):
    """One thing that is wrong. ``what`` and ``instead`` are sentences without the place and without a full stop."""

    code: str  #: CC followed by three digits, a key of the catalogue
    place: str  #: variable and path inside it, or a group: celery_workers.video.pool, group rabbitmq
    what: str  #: what is wrong with it, in words that follow the place: is 'fork'
    instead: str  #: what to write instead: write prefork or threads
    host: str = ""  #: the host it is about, empty when it is about the cluster

    @property
    def severity(self) -> str:
        return CATALOGUE[self.code].severity

    @property
    def is_error(self) -> bool:
        return self.severity == ERROR

    def __str__(self) -> str:
        where = f"{self.host}: {self.place}" if self.host else self.place
        return f"{self.code} {self.severity}: {where} {self.what}: {self.instead}"

    def as_dict(self) -> dict[str, str]:
        return {**self._asdict(), "severity": self.severity}


class Problems:
    """Collects problems; every check gets the same collector, so that all of them are told at once."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def add(self, code: str, place: str, what: str, instead: str, host: str = "") -> None:
        """The same problem found twice is told once."""
        if code not in CATALOGUE:
            raise KeyError(f"{code} is not in the catalogue")
        self._found[Problem(code, place, what, instead, host)] = None

    def __iter__(self) -> Iterator[Problem]:
        """Errors first, each severity in the order of the codes, then as found."""
        return iter(sorted(self._found, key=lambda problem: (not problem.is_error, problem.code)))

    def __len__(self) -> int:
        return len(self._found)

    @property
    def errors(self) -> list[Problem]:
        return [problem for problem in self if problem.is_error]

    @property
    def warnings(self) -> list[Problem]:
        return [problem for problem in self if not problem.is_error]


def report(problems: Iterable[Problem]) -> str:
    """The problems as lines for a terminal."""
    return "\n".join(f"- {problem}" for problem in problems)


def summary(problems: Problems) -> dict[str, list[str] | str]:
    """What a play needs: ``errors`` and ``warnings`` as lines, and all of them as text in ``report``."""
    return {
        "errors": [str(problem) for problem in problems.errors],
        "warnings": [str(problem) for problem in problems.warnings],
        "report": report(problems),
    }


def shown(value: object) -> str:
    """A value as a problem shows it; what is no secret only."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # Python writes no number of thousands of digits.
        return f"a {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:97]}..."


def did_you_mean(wrong: object, known: Iterable[str]) -> str:
    """The known name that is nearest to a wrong one, empty when none is near."""
    near = get_close_matches(str(wrong), sorted(known), n=1, cutoff=0.7)
    return near[0] if near else ""
