# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open sessions that could not be opened any more: the server judges an address only when a client logs in."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .pg_hba import REJECT, Entry
from .pg_hba_match import Match, Rule, match
from .pg_lines import SCRAM, Lines
from .pg_sql import literal
from .pg_state import Session, State
from .pg_wanted import Wanted, network

Addresses = Mapping[str, Sequence[str]]
# Kinds of rules that a connection without TLS is judged by.
_PLAIN = {"host", "hostnossl", "hostnogssenc"}
_ENDING = """
SELECT count(*) FILTER (WHERE ended) FROM (
  SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity WHERE (pid, backend_start::text) IN ({chosen})
) AS them;
"""


def closed_out(
    wanted: Wanted, state: State, lines: Lines, addresses: Addresses, sessions: Iterable[Session]
) -> list[Session]:
    """The sessions of our roles that the file, as it becomes, would not let in. addresses: of the names in it."""
    if not wanted.end_sessions:
        return []
    rules = _rules(lines, addresses)
    return [
        session
        for session in sessions
        if state.is_ours(session.role, wanted) and not _let_in(session, wanted, state, rules)
    ]


def ending(sessions: Iterable[Session]) -> str:
    """The statement that ends them, and tells how many there were. The start guards against a number used anew."""
    chosen = ", ".join(f"({session.pid}, {literal(session.started)})" for session in sessions)
    return _ENDING.format(chosen=chosen)


def _rules(lines: Lines, addresses: Addresses) -> list[Rule]:
    """All rules in the order of the file as it becomes, ours above the first that would catch our clients."""
    ours = [rule for entry in lines.entries for rule in _as_rules(entry, addresses)]
    clients = [entry for entry in lines.entries if entry.admits]
    foreign = list(lines.foreign)
    place = 0
    while place < len(foreign) and not any(_catches(foreign[place], entry) for entry in clients):
        place += 1
    return [*foreign[:place], *ours, *foreign[place:]]


def _as_rules(entry: Entry, addresses: Addresses) -> Iterator[Rule]:
    if entry.kind == "local":
        return
    for address in addresses.get(entry.address, [entry.address]):
        found = network(address)
        yield Rule(
            file="",
            line=0,
            kind=entry.kind,
            databases=entry.databases,
            users=entry.users,
            address=str(found.network_address) if found else address,
            netmask=str(found.netmask) if found else "",
            method=entry.method,
            options=(),
            error="",
        )


def _let_in(session: Session, wanted: Wanted, state: State, rules: Iterable[Rule]) -> bool:
    """Whether a rule lets it in, or may: of a name or of "samenet" only the server knows whether it is this address."""
    address = ipaddress.ip_address(session.address)
    host = f"{address}/{address.max_prefixlen}"
    probe = Entry("", "hostssl" if session.ssl else "host", (wanted.database,), (session.role,), host, SCRAM)
    for rule in rules:
        if not session.ssl and rule.kind not in _PLAIN:
            continue
        found = match(rule, probe, wanted.database, session.role, state.groups)
        if found and rule.method != REJECT:
            return True
        if found is Match.SURE:
            return False
    return False


def _catches(rule: Rule, entry: Entry) -> bool:
    return any(match(rule, entry, database, user) for database in entry.databases for user in entry.users)
