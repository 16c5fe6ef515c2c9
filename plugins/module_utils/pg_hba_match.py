# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rule of pg_hba.conf as the server parsed it, and whether it decides on a connection."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cache
from typing import NamedTuple

from .pg_hba import Entry

Groups = Mapping[str, Collection[str]]

#: A hostssl line concerns connections that are encrypted by TLS, thus never by GSSAPI.
CATCHES = {
    "local": {"local"},
    "hostssl": {"host", "hostssl", "hostnogssenc"},
    "host": {"host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"},
}
_SECRET_OPTIONS = ("ldapbindpasswd", "radiussecrets")
_KEYWORDS = {"sameuser", "samerole", "samegroup", "replication"}
#: Regular expressions that mean the same to Python as to PostgreSQL.
_SIMPLE_REGEX = re.compile(r"(?!.*(?:\[\[|\(\?))[A-Za-z0-9_ ^$.*+?|()\[\]-]*")


class Match(IntEnum):
    """Whether a rule decides on a connection; MAYBE: part of them, or what only the server can tell."""

    NO = 0
    MAYBE = 1
    SURE = 2


@dataclass(frozen=True)
class Rule:
    """One row of the view pg_hba_file_rules; "" and () where the server says null."""

    file: str
    line: int
    kind: str
    databases: tuple[str, ...]
    users: tuple[str, ...]
    address: str
    netmask: str
    method: str
    options: tuple[str, ...] = field(repr=False)  # may hold the password for an LDAP server
    error: str
    # The line in the file on disk, where line is another because our block was left out of account.
    shown: int = 0

    @property
    def where(self) -> str:
        return f"{self.file} line {self.shown or self.line}"

    def __str__(self) -> str:
        if not self.kind:
            return self.error
        fields = [self.kind, ",".join(self.databases), ",".join(self.users), _range_text(self), self.method]
        fields += [
            f"{name}=..." if name in _SECRET_OPTIONS else f"{name}={value}" for name, value in self.named_options()
        ]
        return " ".join(text for text in fields if text)

    def named_options(self) -> list[tuple[str, str]]:
        return [(name, value) for name, _equals, value in (option.partition("=") for option in self.options)]

    def has_option(self, name: str) -> bool:
        return name in dict(self.named_options())

    def meaning(self) -> Rule:
        """The rule without its place."""
        return replace(self, file="", line=0, shown=0)


def match(rule: Rule, entry: Entry, database: str, user: str, groups: Groups | None = None) -> Match:
    if rule.error or rule.kind not in CATCHES[entry.kind]:
        return Match.NO
    names = min(_database_match(rule, database, user, groups), user_match(rule, user, groups))
    return names and min(names, address_match(rule, entry))


def _database_match(rule: Rule, database: str, user: str, groups: Groups | None) -> Match:
    """The view does not tell "all" in quotes, the name of a database, from the keyword: it counts as the keyword."""
    found = Match.NO
    for name in rule.databases:
        if name == "all" or (name == database and name not in _KEYWORDS):
            return Match.SURE
        if name == "sameuser" and database == user:
            return Match.SURE
        if name in ("samerole", "samegroup"):
            found = max(found, _member(user, database, groups))
        elif name == database:
            found = Match.MAYBE
        found = max(found, _regex_match(name, database))
    return found


def user_match(rule: Rule, user: str, groups: Groups | None) -> Match:
    found = Match.NO
    for name in rule.users:
        if name in ("all", user):
            return Match.SURE
        if name.startswith("+"):
            found = max(found, _member(user, name[1:], groups))
        found = max(found, _regex_match(name, user))
    return found


def _member(user: str, group: str, groups: Groups | None) -> Match:
    if user == group:
        return Match.SURE
    if groups is None:
        return Match.MAYBE
    return Match.SURE if group in groups.get(user, ()) else Match.NO


def _regex_match(pattern: str, name: str) -> Match:
    """From 16 on what begins with / is a regular expression; before, a name that ours cannot be."""
    if not pattern.startswith("/"):
        return Match.NO
    if not _SIMPLE_REGEX.fullmatch(pattern[1:]):
        return Match.MAYBE
    try:
        return Match.MAYBE if re.search(pattern[1:], name) else Match.NO
    except re.error:
        return Match.MAYBE


class Range(NamedTuple):
    """The addresses that agree with one in the bits of a mask, which need not be the leading ones."""

    version: int
    address: int
    mask: int

    def within(self, other: Range) -> Match:
        if self.version != other.version or (self.address ^ other.address) & self.mask & other.mask:
            return Match.NO
        return Match.SURE if self.mask & other.mask == other.mask else Match.MAYBE


def address_match(rule: Rule, entry: Entry) -> Match:
    if entry.kind == "local" or rule.address == "all":
        return Match.SURE
    if rule.address in ("samehost", "samenet") or entry.address == "all":
        return Match.MAYBE
    ours, theirs = entry_range(entry), rule_range(rule)
    if ours is not None and theirs is not None:
        return ours.within(theirs)
    if ours is not None or rule.netmask:
        return Match.MAYBE  # only the server can look the name up
    # A client has one name, that of the reverse lookup; ".example.com" is every name that ends so.
    name, pattern = entry.address.lower(), rule.address.lower()
    matched = name.endswith(pattern) if pattern.startswith(".") else name == pattern
    return Match.SURE if matched else Match.NO


def rule_range(rule: Rule) -> Range | None:
    return _range(rule.address, rule.netmask)


def entry_range(entry: Entry) -> Range | None:
    address, _slash, prefix = entry.address.partition("/")
    return _range(address, prefix)


@cache
def _range(address: str, mask: str) -> Range | None:
    """None for a host name; mask as a number of bits or as an address, none: all bits."""
    try:
        host = ipaddress.ip_address(address)
        if not mask or mask.isdigit():
            bits = int(ipaddress.ip_network(f"{host}/{mask or host.max_prefixlen}", strict=False).netmask)
        else:
            bits = int(ipaddress.ip_address(mask))
    except ValueError:
        return None
    return Range(host.version, int(host), bits)


def one_host(rule: Rule) -> bool:
    theirs = rule_range(rule)
    if theirs is None:
        return rule.address not in ("", "all", "samehost", "samenet") and not rule.address.startswith(".")
    return theirs.mask == (1 << (32 if theirs.version == 4 else 128)) - 1


def is_loopback(theirs: Range) -> bool:
    if theirs.version == 4:
        return theirs.within(Range(4, 127 << 24, 0xFF << 24)) is Match.SURE
    return theirs.within(Range(6, 1, (1 << 128) - 1)) is Match.SURE


def _range_text(rule: Rule) -> str:
    theirs = rule_range(rule)
    if theirs is None:
        return f"{rule.address} {rule.netmask}".strip()
    ones = bin(theirs.mask).count("1")
    width = 32 if theirs.version == 4 else 128
    if theirs.mask == ((1 << ones) - 1) << (width - ones):
        return f"{rule.address}/{ones}"
    return f"{rule.address} {rule.netmask}"
