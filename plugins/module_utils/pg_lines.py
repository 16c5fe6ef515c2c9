# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lines of a cluster in pg_hba.conf: which they are, and what the file becomes with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .pg_hba import REJECT, Entry, HbaError, with_block, without_block
from .pg_hba_match import Rule
from .pg_hba_rules import catching_line, faults, others, read_rules, taken_over
from .pg_state import Hba, State
from .pg_wanted import Wanted

SCRAM, CERTIFICATE = "scram-sha-256", "cert"


@dataclass(frozen=True)
class Lines:
    """The file before and after, as text that keeps odd bytes (surrogateescape)."""

    before: str
    after: str
    entries: tuple[Entry, ...]
    foreign: tuple[Rule, ...]  # the rules of everybody else
    problems: tuple[str, ...]

    @property
    def change(self) -> bool:
        return self.before != self.after


def entries(wanted: Wanted, state: State) -> list[Entry]:
    found: dict[Entry, list[str]] = {}
    for entry in _entries(wanted):
        names = found.setdefault(replace(entry, comment=""), [])
        if entry.comment not in names:
            names.append(entry.comment)
    told = [replace(entry, comment=", ".join(names)) for entry, names in found.items()]
    ours = tuple(role for role in (wanted.user, wanted.owner) if state.is_ours(role, wanted))
    if wanted.reject_others and ours:
        comment = "every other connection of these roles over the network"
        told.append(Entry(comment, "host", ("all",), tuple(dict.fromkeys(ours)), "all", REJECT))
    return told


def _entries(wanted: Wanted) -> Iterator[Entry]:
    databases = (wanted.database,)
    if wanted.pooler:
        yield Entry("the pooler on this host", "local", databases, (wanted.user,), "", SCRAM)
    for client in wanted.clients:
        if client.owner:
            yield Entry(client.name, "hostssl", databases, (wanted.owner,), client.address, SCRAM)
        elif client.direct or not wanted.pooler:
            method = CERTIFICATE if wanted.certificate else SCRAM
            yield Entry(client.name, "hostssl", databases, (wanted.user,), client.address, method)


def foreign_rules(hba: Hba, cluster: str) -> list[Rule]:
    return others(read_rules(hba.rows, hba.file), hba.text, cluster, hba.file)


def lines(wanted: Wanted, state: State) -> Lines:
    """What the file becomes, and why it cannot."""
    hba, ours = state.hba, entries(wanted, state)
    rules: Sequence[Rule] = ()
    after, problems = hba.text, []
    try:
        rules = foreign_rules(hba, wanted.cluster)
        bare = without_block(hba.text, wanted.cluster)
        after = with_block(bare, wanted.cluster, ours, catching_line(bare, rules, ours, hba.file))
    except HbaError as error:
        problems.append(f"{hba.file}: {error}")
    not_ours = {role for role in wanted.roles if not state.is_ours(role, wanted)}
    problems += [*faults(rules), *taken_over(rules, ours, not_ours, state.groups)]
    return Lines(hba.text, after, tuple(ours), tuple(rules), tuple(problems))
