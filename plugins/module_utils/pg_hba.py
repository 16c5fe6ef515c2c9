# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of pg_hba.conf: the block of a cluster in it; everything else stays byte for byte.

Read the file as bytes and decode it as UTF-8 with surrogateescape, so that odd bytes come through and line ends stay
what they are. Lines end at "\\n" only, as for the server.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

OWNER = "taskfleet.celery_cluster"
REJECT = "reject"

_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")
_ADDRESS = re.compile(r"[A-Za-z0-9_.:/%-]+")
_KEYWORDS = ("all", "sameuser", "samerole", "samegroup", "replication")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
# What tools put around the lines they own, blockinfile for one.
_MARK = re.compile(r"#+\s*(BEGIN|END)\s+(.*)")
_INCLUDE = re.compile(r'[ \t\r,]*"?(?:include|include_if_exists|include_dir)"?(?=[ \t\r,#]|$)')


class HbaError(ValueError):
    """A file in which our lines cannot be told from the others', or cannot be put."""


@dataclass(frozen=True)
class Entry:
    """One line of ours."""

    comment: str
    kind: str  # "hostssl", "local" or "host"
    databases: tuple[str, ...]
    users: tuple[str, ...]
    address: str  # a network, an address, a host name or "all"; "" for local
    method: str

    @property
    def admits(self) -> bool:
        return self.method != REJECT

    def line(self) -> str:
        fields = [self.kind, _names(self.databases), _names(self.users)]
        if self.address:
            fields.append(_address(self.address))
        return " ".join([*fields, self.method])


def render_block(cluster: str, entries: Sequence[Entry]) -> list[str]:
    """The lines of the block, without line ends; none when there is nothing to say."""
    if not entries:
        return []
    lines = [_begin(cluster), "# Written by Ansible from the inventory: a change here is lost with the next run."]
    comment = ""
    for entry in entries:
        if entry.comment and entry.comment != comment:
            lines.append(f"# {_one_line(entry.comment)}")
        comment = entry.comment
        lines.append(entry.line())
    return [*lines, _end(cluster)]


def block_lines(text: str, cluster: str) -> tuple[int, int] | None:
    """The first and the last line of the block of the cluster, counted from 1."""
    lines = [line.strip() for line in _lines(text)]
    begins = [number for number, line in enumerate(lines, 1) if line == _begin(cluster)]
    ends = [number for number, line in enumerate(lines, 1) if line == _end(cluster)]
    if not begins and not ends:
        return None
    if len(begins) != 1 or len(ends) != 1 or begins > ends:
        raise HbaError(
            f"the lines '{_begin(cluster)}' ({_listed(begins)}) and '{_end(cluster)}' ({_listed(ends)}) do not enclose"
            " one block, so nobody can tell which lines are the cluster's: remove both, and all lines between them"
            " that the cluster wrote; the next run writes them anew"
        )
    first, last = begins[0], ends[0]
    for number in range(first + 1, last):
        marked = _MARK.fullmatch(lines[number - 1])
        if marked and marked.group(2).startswith(f"{OWNER} "):
            raise HbaError(
                f"line {number} ('{lines[number - 1]}') stands inside the block of the cluster {cluster} (lines"
                f" {first} to {last}): move the other cluster's block out of it"
            )
    return first, last


def without_block(text: str, cluster: str) -> str:
    """The text without the block of the cluster, exactly as it was before with_block."""
    found = block_lines(text, cluster)
    if found is None:
        return text
    lines = _lines(text)
    first, last = found[0] - 1, found[1]
    head = "".join(lines[:first])
    if not lines[last - 1].endswith("\n"):
        # The text ended without a line end, so the one above the block was put there with it.
        head = head[: -len(_line_end(lines[first]))]
    return head + "".join(lines[last:])


def with_block(text: str, cluster: str, entries: Sequence[Entry], before_line: int | None) -> str:
    """A text that has no block of the cluster, with one; before_line counts from 1, None is the end.

    Comments right above before_line stay with it, and a block that another tool keeps is not entered.
    """
    block = render_block(cluster, entries)
    if not block:
        return text
    lines = _lines(text)
    at = len(lines) if before_line is None else _place(lines, before_line)
    if before_line is None and lines and _continues(lines[-1]):
        raise HbaError(
            f"the last line ({len(lines)}) ends with a backslash, so the server would read the next one as a part of"
            " it: remove the backslash, or add an empty line"
        )
    # As the lines around it: an editor shows a file of two kinds of line ends badly.
    end = next((_line_end(line) for line in [*lines[at : at + 1], *reversed(lines[:at])] if line.endswith("\n")), "\n")
    head, tail = "".join(lines[:at]), "".join(lines[at:])
    # A text without a line end at its end gets none, which tells without_block that the one before is ours.
    inserted = end + end.join(block) if head and not head.endswith("\n") else end.join(block) + end
    result = head + inserted + tail
    if without_block(result, cluster) != text:
        raise HbaError(f"a name of the cluster {cluster} or of its clients reads like the marks around its lines")
    return result


def include_lines(text: str) -> list[int]:
    """The lines that include another file (PostgreSQL 16 and later), counted from 1."""
    return [number for number, line in _logical_lines(text) if _INCLUDE.match(line)]


def _logical_lines(text: str) -> Iterable[tuple[int, str]]:
    """Lines as the server joins them, with the number of their first."""
    start, joined = 1, ""
    for number, line in enumerate(_lines(text), 1):
        if _continues(line):
            joined += line.rstrip("\r\n")[:-1]
            continue
        yield start, joined + line.rstrip("\r\n")
        start, joined = number + 1, ""
    if joined:
        yield start, joined


def _lines(text: str) -> list[str]:
    """str.splitlines() knows more ends of lines than the server."""
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def _continues(line: str) -> bool:
    return line.rstrip("\r\n").endswith("\\")


def _line_end(line: str) -> str:
    return "\r\n" if line.endswith("\r\n") else "\n"


def _place(lines: list[str], before_line: int) -> int:
    """Where to insert so that the lines stand before before_line and tear nothing apart, counted from 0."""
    if not 1 <= before_line <= len(lines):
        raise HbaError(f"line {before_line} is no longer in the file, which changed meanwhile: run again")
    blocks = _others_blocks(lines)
    at = before_line - 1
    while True:
        at = _above_comments(lines, at, {end for _start, end in blocks})
        around = [begin for begin, end in blocks if begin < at <= end]
        if not around:
            return at
        at = min(around)


def _above_comments(lines: list[str], at: int, ends: set[int]) -> int:
    above = at
    while above and lines[above - 1].lstrip().startswith("#") and above - 1 not in ends:
        above -= 1
    # Not below a backslash: what looks like a comment there is the rest of a line.
    while 0 < above < at and _continues(lines[above - 1]):
        above += 1
    return above


def _others_blocks(lines: list[str]) -> list[tuple[int, int]]:
    """The first and last lines, counted from 0, of what other tools or clusters keep."""
    blocks: list[tuple[int, int]] = []
    open_blocks: dict[str, int] = {}
    for number, line in enumerate(lines):
        marked = _MARK.fullmatch(line.strip())
        if marked is None or (number and _continues(lines[number - 1])):
            continue
        mark, name = marked.groups()
        if mark == "BEGIN":
            open_blocks.setdefault(name, number)
        elif name in open_blocks:
            blocks.append((open_blocks.pop(name), number))
    return blocks


def _begin(cluster: str) -> str:
    return f"# BEGIN {OWNER} {cluster}"


def _end(cluster: str) -> str:
    return f"# END {OWNER} {cluster}"


def _listed(numbers: list[int]) -> str:
    return "line " + ", ".join(map(str, numbers)) if numbers else "missing"


def _one_line(comment: str) -> str:
    # A backslash at the end would make the next line a part of the comment.
    return _CONTROL.sub(" ", comment).rstrip("\\ ")


def _names(names: Iterable[str]) -> str:
    # "all" stands for all of them: neither a database nor a role of ours has this name.
    return ",".join(name if name == "all" else _name(name) for name in names)


def _name(name: str) -> str:
    if not name or name.startswith("/") or _CONTROL.search(name):
        raise HbaError(
            f"{name!r} cannot be written as a name into pg_hba.conf: choose one that is not empty, does not begin with"
            " '/' and holds no control character"
        )
    if _PLAIN.fullmatch(name) and name not in _KEYWORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


def _address(address: str) -> str:
    if not _ADDRESS.fullmatch(address):
        raise HbaError(f"{address!r} is no address for pg_hba.conf: write a network like 10.0.0.5/32 or a host name")
    try:
        # A single address without its bits would take the next field as its mask.
        return f"{address}/{ipaddress.ip_address(address).max_prefixlen}"
    except ValueError:
        return address
