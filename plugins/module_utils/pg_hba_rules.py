# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the rules of a pg_hba.conf, as the server parsed them, mean for the connections of a cluster."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .pg_hba import REJECT, Entry, HbaError, block_lines, include_lines
from .pg_hba_match import (
    CATCHES,
    Groups,
    Match,
    Rule,
    address_match,
    entry_range,
    is_loopback,
    match,
    one_host,
    rule_range,
    user_match,
)

__all__ = ["Rule", "catching_line", "differences", "faults", "notes", "others", "read_rules", "taken_over"]

#: Methods after which the same clients get in by ours. That a password is stored as SCRAM is judged elsewhere.
_SAME_CLIENTS = {
    "scram-sha-256": {"scram-sha-256", "md5", "password", REJECT},
    "cert": {"cert", REJECT},
}
_PROOF = {"scram-sha-256": "the role's password", "cert": "a client certificate of the role"}
#: What the method cert implies, as the server tells it.
_CERTIFICATE = "clientcert=verify-full"


def read_rules(rows: Sequence[Mapping[str, Any]], main_file: str) -> list[Rule]:
    """The rules in the order in which the server tries them; rows of the view as JSON, of any version since 13."""
    keyed = []
    last = 0
    for row in rows:
        # A row with an error has no number: it stays behind the one before it. Before 16 no row has one.
        last = row.get("rule_number") or last
        rule = Rule(
            file=row.get("file_name") or main_file,
            line=row["line_number"],
            kind=row["type"] or "",
            databases=tuple(row["database"] or ()),
            users=tuple(row["user_name"] or ()),
            address=row["address"] or "",
            netmask=row["netmask"] or "",
            method=row["auth_method"] or "",
            options=tuple(row["options"] or ()),
            error=row["error"] or "",
        )
        keyed.append((last if "rule_number" in row else rule.line, rule))
    return [rule for _number, rule in sorted(keyed, key=lambda item: item[0])]


def others(rules: Sequence[Rule], text: str, cluster: str, main_file: str) -> list[Rule]:
    """The rules without those in our block, numbered as in without_block(text); text is that on disk."""
    found = block_lines(text, cluster)
    if found is None:
        return list(rules)
    first, last = found
    kept = []
    for rule in rules:
        if rule.file != main_file or rule.line < first:
            kept.append(rule)
        elif rule.line > last:
            kept.append(replace(rule, line=rule.line - (last - first + 1), shown=rule.line))
    return kept


def catching_line(text: str, rules: Sequence[Rule], entries: Sequence[Entry], main_file: str) -> int | None:
    """The line of the main file above which the entries must stand to count; None: the end will do.

    text and rules are those without our block: without_block() and others().
    """
    at = _first_catching(rules, entries)
    if at is None:
        return None
    if rules[at].file == main_file:
        return rules[at].line
    before = max((rule.line for rule in rules[:at] if rule.file == main_file), default=0)
    after = min((rule.line for rule in rules[at:] if rule.file == main_file), default=None)
    for line in include_lines(text):
        if before < line and (after is None or line < after):
            return line
    raise HbaError(
        f"the server applies {rules[at].where} ({rules[at]}), but no line of {main_file} between its rules around it"
        " includes another file: the file changed meanwhile, run again"
    )


def faults(rules: Sequence[Rule]) -> list[str]:
    """What keeps the server from loading the file, or our lines from working."""
    told = []
    for rule in rules:
        if not rule.error or rule.kind == "hostgssenc":
            continue  # a server without GSSAPI loads such a line and never applies it
        if rule.kind:
            told.append(f"{rule.where}: {rule.error}; set 'ssl = on' and give the server a certificate")
            break  # it says so for each such line
        told.append(f"{rule.where}: {rule.error}; correct the line: until then the server keeps its old rules")
    return told


def taken_over(
    rules: Sequence[Rule],
    entries: Sequence[Entry],
    foreign_roles: set[str],
    groups: Groups | None = None,
) -> list[str]:
    """Connections of roles that are not ours, which work today and would be refused after the entries.

    groups: for each existing role the roles it is a member of, directly or not (pg_has_role(..., 'MEMBER')); without
    it a rule for +group counts as one that may match.
    """
    found: dict[tuple[int, str, Match, str], list[str]] = {}
    for entry, database, user in _connections(entries):
        if user not in foreign_roles:
            continue
        for number, sure in _deciding(rules, entry, database, user, groups):
            if not _same_clients(rules[number], entry):
                places = found.setdefault((number, user, sure, entry.method), [])
                places.append(entry.address or "the local socket")
    return [
        f"{rules[number].where} ({rules[number]}) {'lets' if sure is Match.SURE else 'may let'} the role {user} in from"
        f" {', '.join(dict.fromkeys(places))}; the cluster's lines would ask for {_PROOF[method]} instead and refuse"
        " clients without it: remove that line when nobody needs it, or name another role in celery_database_user (or"
        " celery_database_owner)"
        for (number, user, sure, method), places in found.items()
    ]


def notes(rules: Sequence[Rule], entries: Sequence[Entry]) -> list[str]:
    """What the operator should know of the others' rules that our lines overrule.

    The line numbers are those of the rules given: after writing, give the rules read anew, without ours.
    """
    told = []
    connections = list(_connections(entries))
    for rule in rules:
        matched = [entry for entry, database, user in connections if match(rule, entry, database, user)]
        if matched and rule.method == REJECT and one_host(rule):
            told.append(
                f"{rule.where} ({rule}) rejects {rule.address}; the cluster's line stands before it because the"
                f" inventory lists it as a client ({_who(matched)})"
            )
        bare = [entry for entry in matched if entry.method != "cert"]
        if bare and rule.method in _SAME_CLIENTS["scram-sha-256"] and rule.has_option("clientcert"):
            told.append(
                f"{rule.where} ({rule}) asks for a client certificate besides; the cluster's line before it does not,"
                f" for {_who(bare)}: set celery_database_login to certificate if it should"
            )
    return told


def differences(before: Sequence[Rule], after: Sequence[Rule], entries: Sequence[Entry]) -> list[str]:
    """How the rules after writing differ from the others' rules before it plus our entries; none: as meant."""
    count = len(entries)
    old = [rule.meaning() for rule in before]
    new = [rule.meaning() for rule in after]
    starts = [start for start in range(len(new) - count + 1) if _are(after[start : start + count], entries)]
    for start in starts:
        if new[:start] + new[start + count :] == old:
            return []
    told = []
    rest = list(after)
    if starts:
        del rest[starts[0] : starts[0] + count]
    else:
        missing = [entry for entry in entries if not any(_is(rule, entry) for rule in after)]
        told += [f"not read by the server as meant: {entry.line()}" for entry in missing]
        told += [] if missing else ["the lines of the cluster do not stand together in their order"]
        rest = [rule for rule in after if not any(_is(rule, entry) for entry in entries)]
    shown = [rule.meaning() for rule in rest]
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, shown, autojunk=False).get_opcodes():
        if tag != "equal":
            told += [f"no longer in its place: {rule} (was {rule.where})" for rule in before[i1:i2]]
            told += [f"not there before: {rule} ({rule.where})" for rule in rest[j1:j2]]
    return told


def _first_catching(rules: Sequence[Rule], entries: Sequence[Entry]) -> int | None:
    """The first rule that may decide on a connection which the entries let in, or that lets in whom they reject.

    A rule that rejects whom the entries reject as well stays above them, and so does one for the server's own host.
    """
    connections = list(_connections(entries))
    for number, rule in enumerate(rules):
        if any(match(rule, entry, database, user) for entry, database, user in connections):
            return number
        if _lets_in_others(rule, entries):
            return number
    return None


def _connections(entries: Iterable[Entry]) -> Iterator[tuple[Entry, str, str]]:
    """What the entries let in."""
    for entry in entries:
        if entry.admits:
            for database in entry.databases:
                for user in entry.users:
                    yield entry, database, user


def _deciding(
    rules: Sequence[Rule], entry: Entry, database: str, user: str, groups: Groups | None
) -> Iterator[tuple[int, Match]]:
    """The rules that decide on a connection: those that may, up to the first that surely does."""
    for number, rule in enumerate(rules):
        found = match(rule, entry, database, user, groups)
        if found:
            yield number, found
        if found is Match.SURE:
            return


def _same_clients(rule: Rule, entry: Entry) -> bool:
    """Whether who gets in by the rule gets in by the entry as well."""
    # A map lets in certificates that bear another name than the role.
    return rule.method in _SAME_CLIENTS[entry.method] and not rule.has_option("map")


def _lets_in_others(rule: Rule, entries: Sequence[Entry]) -> bool:
    """Whether a role gets in by this rule that the entries reject from everywhere else."""
    theirs = rule_range(rule)
    if rule.method == REJECT or rule.address == "samehost" or (theirs is not None and is_loopback(theirs)):
        return False
    return any(_reaches(rule, entry, user) for entry in entries if not entry.admits for user in entry.users)


def _reaches(rule: Rule, entry: Entry, user: str) -> bool:
    if rule.error or rule.kind not in CATCHES[entry.kind] or set(rule.databases) == {"replication"}:
        return False
    return bool(user_match(rule, user, None)) and bool(address_match(rule, entry))


def _are(rules: Sequence[Rule], entries: Sequence[Entry]) -> bool:
    return all(map(_is, rules, entries))


def _is(rule: Rule, entry: Entry) -> bool:
    """Whether the server understood the entry as it was meant."""
    options = set(rule.options) - ({_CERTIFICATE} if entry.method == "cert" else set())
    told = (rule.kind, rule.databases, rule.users, rule.method, rule.error, options)
    if told != (entry.kind, entry.databases, entry.users, entry.method, "", set()):
        return False
    ours = entry_range(entry)
    if ours is None:
        return (rule.address, rule.netmask) == (entry.address, "")
    return rule_range(rule) == ours


def _who(entries: Iterable[Entry]) -> str:
    return ", ".join(dict.fromkeys(entry.comment or entry.address for entry in entries))
