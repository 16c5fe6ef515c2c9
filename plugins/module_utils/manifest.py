# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One digest for a whole directory tree, over exactly what `rsync -rlpt --exclude=...` copies.

The digest covers relative paths, file types, whether anybody may execute a file, the content of files and the target of
symbolic links. Times and owners are left out: two nodes that hold the same code have the same digest.
Paths are bytes throughout, because file names need not be UTF-8.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator
from re import Pattern
from typing import NamedTuple

from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.known_files import KnownFiles, Store

CHUNK = 1 << 18
#: rsync's X in --chmod gives everybody the bit that anybody has.
EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


class ManifestError(Exception):
    """A pattern or a tree that cannot be read; the message says which and what to do."""


class Rule(NamedTuple):
    """One compiled exclude pattern: regular expressions for consecutive path components."""

    components: tuple[Pattern[bytes], ...]
    anchored: bool
    directories_only: bool

    def matches(self, path: tuple[bytes, ...], is_directory: bool) -> bool:
        if self.directories_only and not is_directory:
            return False
        count = len(self.components)
        if len(path) < count or (self.anchored and len(path) != count):
            return False
        return all(rule.fullmatch(part) for rule, part in zip(self.components, path[-count:], strict=True))


class Manifest(NamedTuple):
    digest: str
    files: int
    directories: int
    symlinks: int
    skipped: int
    bytes: int
    newest: float
    newest_path: str


def readable(path: bytes) -> str:
    """A path as text that fits into JSON and a terminal, whatever bytes the name has."""
    return path.decode("utf-8", "backslashreplace")


def _component(pattern: str, whole: str) -> Pattern[bytes]:
    expression = b""
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            expression += b"[^/]*"
        elif char == "?":
            expression += b"[^/]"
        elif char == "[":
            end = pattern.find("]", position)
            body = pattern[position : max(end, position)]
            negated = body[:1] in ("!", "^")
            members = os.fsencode(body[1:] if negated else body)
            if end < 0 or not members or b"[" in members:
                raise ManifestError(
                    f"exclude pattern {whole!r}: the bracket is not closed, empty, or holds a '[': "
                    "write a plain set like [abc], [a-z] or [!a-z]"
                )
            escaped = b"".join(b"-" if c == b"-" else re.escape(c) for c in (bytes([n]) for n in members))
            expression += (b"[^/" if negated else b"[") + escaped + b"]"
            position = end + 1
        else:
            expression += re.escape(os.fsencode(char))
    try:
        return re.compile(expression, re.DOTALL)
    except re.error as error:
        raise ManifestError(f"exclude pattern {whole!r}: {error}: write the range from low to high") from error


def compile_rule(pattern: str) -> Rule:
    """Compiles the documented subset of rsync's patterns; refuses what would mean something else to rsync."""
    if pattern[:2] in ("+ ", "- ") or pattern == "!":
        raise ManifestError(
            f"exclude pattern {pattern!r} is an rsync filter rule: write the plain pattern, without prefix"
        )
    if "**" in pattern:
        raise ManifestError(
            f"exclude pattern {pattern!r}: '**' is not supported: name the directory, or use '*' per level"
        )
    if "\\" in pattern:
        raise ManifestError(f"exclude pattern {pattern!r}: a backslash is not supported: use '?' in its place")
    if "\0" in pattern or "\n" in pattern:
        raise ManifestError(f"exclude pattern {pattern!r} holds a line break or NUL: one list entry per pattern")
    anchored = pattern.startswith("/")
    directories_only = pattern.endswith("/")
    body = pattern[1:] if anchored else pattern
    body = body[:-1] if directories_only and body else body
    parts = body.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ManifestError(
            f"exclude pattern {pattern!r} has an empty, '.' or '..' component: write a name (cache), "
            "a path (/static/cache) or a directory (cache/)"
        )
    return Rule(tuple(_component(part, pattern) for part in parts), anchored, directories_only)


def excluded(rules: Iterable[Rule], path: tuple[bytes, ...], is_directory: bool) -> bool:
    return any(rule.matches(path, is_directory) for rule in rules)


class _Excluded:
    """All rules at once: those about one name, which most are, cost one match for a name."""

    def __init__(self, rules: list[Rule]) -> None:
        names = [rule for rule in rules if len(rule.components) == 1 and not rule.anchored]
        self._any = _either(rule.components[0] for rule in names if not rule.directories_only)
        self._directory = _either(rule.components[0] for rule in names if rule.directories_only)
        self._paths = [rule for rule in rules if rule not in names]

    def __call__(self, parent: tuple[bytes, ...], name: bytes, is_directory: bool) -> bool:
        if self._any and self._any.fullmatch(name):
            return True
        if is_directory and self._directory and self._directory.fullmatch(name):
            return True
        return bool(self._paths) and excluded(self._paths, (*parent, name), is_directory)


def _either(patterns: Iterable[Pattern[bytes]]) -> Pattern[bytes] | None:
    joined = b"|".join(b"(?:%s)" % pattern.pattern for pattern in patterns)
    return re.compile(joined, re.DOTALL) if joined else None


def _entries(root: bytes, rules: list[Rule]) -> Iterator[tuple[bytes, os.DirEntry[bytes]]]:
    """Yields (relative path, entry) of everything that is not excluded; does not follow symbolic links."""
    is_excluded = _Excluded(rules)
    pending: list[tuple[bytes, ...]] = [()]
    while pending:
        parent = pending.pop()
        with os.scandir(b"/".join((root, *parent))) as scan:
            for entry in scan:
                is_directory = entry.is_dir(follow_symlinks=False)
                if is_excluded(parent, entry.name, is_directory):
                    continue
                path = (*parent, entry.name)
                if is_directory:
                    pending.append(path)
                yield b"/".join(path), entry


def _hash_file(path: bytes) -> tuple[int, bytes]:
    digest = hashlib.sha256()
    size = 0
    # O_NONBLOCK: were the file replaced by a FIFO since it was listed, open() would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while True:
            block = os.read(descriptor, CHUNK)
            if not block:
                return size, digest.hexdigest().encode()
            size += len(block)
            digest.update(block)
    finally:
        os.close(descriptor)


def _content(path: bytes, info: os.stat_result, before: KnownFiles | None) -> tuple[int, bytes]:
    digest = before.recall(info) if before is not None else None
    if digest is not None:
        return info.st_size, digest.hex().encode()
    content = _hash_file(path)
    if before is not None and content[0] == info.st_size:
        before.remember(info, bytes.fromhex(content[1].decode()))
    return content


def build_with_store(root: str, exclude: Iterable[str], directory: str, keep: bool = True) -> Manifest:
    """As build, with what the directory knows of the tree: what did not change is not read. keep: for the next time."""
    store = Store.of_tree(directory, root)
    if store is None:
        return build(root, exclude)
    files = KnownFiles(store.load())
    manifest = build(root, exclude, files)
    if keep and files.used != files.known:
        store.save(files.used)
    return manifest


def build(root: str, exclude: Iterable[str] = (), files_before: KnownFiles | None = None) -> Manifest:
    """Reads the tree below root and returns its manifest. Changes nothing.

    files_before: digests of files that need not be read again. It is told about all files of the tree.
    """
    rules = [compile_rule(pattern) for pattern in exclude]
    base = os.fsencode(root)
    if not os.path.isdir(base):  # noqa: PTH112 - pathlib takes no bytes
        raise ManifestError(f"{readable(base)} is not a directory on this host: give the root of the tree")
    lines: list[tuple[bytes, bytes]] = []
    known: dict[tuple[int, int], tuple[int, bytes]] = {}
    if files_before is not None:
        files_before.begin()
    files = directories = symlinks = skipped = total = newest = 0
    newest_path = b""
    path = b""
    try:
        for path, entry in _entries(base, rules):
            info = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(info.st_mode):
                inode = (info.st_dev, info.st_ino)
                content = known.get(inode)
                if content is None:
                    content = _content(entry.path, info, files_before)
                    if info.st_nlink > 1:
                        known[inode] = content
                files += 1
                total += content[0]
                executable = b"x" if info.st_mode & EXECUTABLE else b"-"
                lines.append((path, b"f\0%s\0%d\0%s" % (executable, content[0], content[1])))
                # Files only: an excluded file that appears changes the time of its directory, and rsync does
                # not keep the time of every symbolic link.
                if info.st_mtime_ns > newest:
                    newest, newest_path = info.st_mtime_ns, path
            elif stat.S_ISDIR(info.st_mode):
                directories += 1
                lines.append((path, b"d"))
            elif stat.S_ISLNK(info.st_mode):
                symlinks += 1
                lines.append((path, b"l\0" + os.readlink(entry.path)))  # noqa: PTH115 - pathlib takes no bytes
            else:
                skipped += 1
    except OSError as error:
        name = readable(os.fsencode(error.filename or path))
        if isinstance(error, PermissionError):
            problem = (
                f"{name} cannot be read ({error.strerror}): run as a user who may read the whole tree, or exclude it"
            )
        elif isinstance(error, FileNotFoundError):
            problem = f"{name} went away while the tree was read: something writes to it; exclude it or run again"
        else:
            problem = f"{name} cannot be read: {error.strerror or error}"
        raise ManifestError(problem) from error
    digest = hashlib.sha256()
    for entry_path, description in sorted(lines):
        # Neither a path nor a link target can hold NUL, so a doubled NUL ends an entry without ambiguity.
        digest.update(entry_path + b"\0" + description + b"\0\0")
    return Manifest(
        digest.hexdigest(), files, directories, symlinks, skipped, total, newest / 1e9, readable(newest_path)
    )
