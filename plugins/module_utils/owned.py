# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has of the things the roles own, as short texts that can be compared later."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

#: Runs a command and returns exit code, standard output and standard error.
Run = Callable[[Sequence[str]], "tuple[int, str, str]"]
LANGUAGE = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}

#: Of a path. The time of change (ctime) cannot be set by hand, so that contents need not be read.
FILE_FIELDS = ("kind", "mode", "owner", "group", "size", "time", "time of change", "inode", "target")
UNIT_PROPERTIES = ("LoadState", "ActiveState", "UnitFileState", "FragmentPath", "DropInPaths", "NeedDaemonReload")
PACKAGE_FIELDS = ("status", "version")
ACCOUNT_FIELDS = ("uid", "gid", "home", "shell", "password", "groups")
#: Kind of a thing -> how it is called, and what its text is made of.
KINDS: Mapping[str, tuple[str, Sequence[str]]] = {
    "path": ("", FILE_FIELDS),
    "tree": ("the tree ", ("content",)),
    "unit": ("the unit ", UNIT_PROPERTIES),
    "package": ("the package ", PACKAGE_FIELDS),
    "account": ("the account ", ACCOUNT_FIELDS),
    "port": ("who listens on port ", ("addresses",)),
}
ABSENT = "absent"
SEPARATOR = "\t"
#: Instances that are not there as far as anybody is concerned: systemd only has not forgotten them yet.
GONE = ("inactive", "failed")


def runner(module: AnsibleModule) -> Run:
    """Commands in the same language when a receipt is written and when it is compared: their answers are."""

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        code, output, errors = module.run_command(list(command), environ_update=LANGUAGE)
        return int(code), str(output), str(errors)

    return run


def observe(owned: Mapping[str, Sequence[str]], run: Run) -> dict[str, str]:
    """``kind:name`` -> text, of everything that owned names.

    files: these paths. globs: what these patterns match, and what is below a directory among it. below: a path and
    everything below it. directories: only their owner, group and mode, because what is in them is not ours.
    trees: one digest for each. forests: the same for each directory in them.
    """
    seen: dict[str, str] = {}
    for path in _paths(owned, "files"):
        seen[f"path:{path}"] = _state(path)
    for path in _paths(owned, "directories"):
        seen[f"path:{path}"] = _state(path, times=False)
    for path in _paths(owned, "below"):
        seen.update(_below(path))
    for pattern in _paths(owned, "globs"):
        for match in sorted(Path("/").glob(pattern.lstrip("/"))):
            seen.update(_below(str(match)))
    for path in _paths(owned, "trees"):
        seen[f"tree:{path}"] = _tree(path)
    for path in _paths(owned, "forests"):
        seen.update(_forest(path))
    seen.update(_units(owned.get("units", ()), run))
    seen.update(_packages(owned.get("packages", ()), run))
    for name in owned.get("accounts", ()):
        seen[f"account:{name}"] = _account(name)
    for port in owned.get("ports", ()):
        seen[f"port:{port}"] = _listening(int(port))
    return seen


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is not as it was, in words. No content is known here, so none is told."""
    found = []
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            kind, _colon, name = key.partition(":")
            called, fields = KINDS.get(kind, ("", ()))
            # A name need not be UTF-8.
            name = name.encode("utf-8", "backslashreplace").decode()
            found.append(f"{called}{name} {_what(before.get(key, ABSENT), now.get(key, ABSENT), fields)}")
    return found


def _what(before: str, now: str, fields: Sequence[str]) -> str:
    if now == ABSENT:
        return "is gone"
    if before == ABSENT:
        return "is new"
    pairs = zip_longest(fields, before.split(SEPARATOR), now.split(SEPARATOR))
    names = [field for field, one, other in pairs if one != other]
    return f"differs ({', '.join(map(str, names))})" if names else "differs"


def _paths(owned: Mapping[str, Sequence[str]], name: str) -> Iterator[str]:
    for path in owned.get(name, ()):
        # ~name: the home of an account is known to the host alone.
        yield os.path.normpath(_at_home(path))


def _at_home(path: str) -> str:
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        # There is no such account. The name stands for what is missing.
        return path


def _state(path: str, times: bool = True) -> str:
    try:
        there = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    target = str(Path(path).readlink()) if stat.S_ISLNK(there.st_mode) else ""
    return _text(there, target, times)


def _text(there: os.stat_result, target: str, times: bool) -> str:
    values: list[object] = [
        stat.S_IFMT(there.st_mode),
        f"{stat.S_IMODE(there.st_mode):04o}",
        there.st_uid,
        there.st_gid,
    ]
    if times and not stat.S_ISDIR(there.st_mode):
        # What a directory holds is seen by itself. Its times would also tell of what came and went.
        values += [there.st_size, there.st_mtime_ns, there.st_ctime_ns, there.st_ino, target]
    return SEPARATOR.join(map(str, values))


def _below(path: str) -> dict[str, str]:
    seen = {f"path:{path}": _state(path)}
    if Path(path).is_dir() and not Path(path).is_symlink():
        for entry in _entries(path):
            seen.update(_below(entry.path))
    return seen


def _entries(path: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        # It went between two looks.
        return []


def _forest(path: str) -> dict[str, str]:
    seen = {f"path:{path}": _state(path, times=False)}
    for entry in _entries(path):
        if entry.is_dir(follow_symlinks=False):
            seen[f"tree:{entry.path}"] = _tree(entry.path)
        else:
            seen[f"path:{entry.path}"] = _state(entry.path)
    return seen


def _tree(path: str) -> str:
    """One digest of the state of everything below. A release may have 50,000 files: nothing is kept of each."""
    root = _state(path)
    if root == ABSENT:
        return ABSENT
    digest = hashlib.sha256(root.encode())
    directories = [path]
    while directories:
        directory = directories.pop()
        for entry in _entries(directory):
            try:
                there = entry.stat(follow_symlinks=False)
                target = str(Path(entry.path).readlink()) if entry.is_symlink() else ""
            except FileNotFoundError:
                continue
            # A name may hold anything but a zero byte.
            line = f"{entry.path}\0{target}\0{_text(there, '', True)}\0"
            digest.update(line.encode("utf-8", "surrogateescape"))
            if stat.S_ISDIR(there.st_mode):
                directories.append(entry.path)
    return digest.hexdigest()


def _units(names: Sequence[str], run: Run) -> dict[str, str]:
    if not names:
        return {}
    properties = ",".join(("Id", *UNIT_PROPERTIES))
    code, output, errors = run(["systemctl", "show", "--no-pager", f"--property={properties}", "--", *names])
    if code != 0:
        raise RuntimeError(f"systemctl show failed ({code}): {errors.strip()}")
    seen = {}
    for block in output.split("\n\n"):
        found = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        unit = found.get("Id")
        if not unit:
            continue
        is_enabled = found.get("UnitFileState", "").startswith(("enabled", "masked"))
        if unit not in names and found.get("ActiveState") in GONE and not is_enabled:
            continue
        seen[f"unit:{unit}"] = SEPARATOR.join(found.get(name, "") for name in UNIT_PROPERTIES)
    return seen


def _packages(names: Sequence[str], run: Run) -> dict[str, str]:
    # As apt takes them: a version or an architecture may follow.
    wanted = {name.partition("=")[0].partition("/")[0] for name in names}
    if not wanted:
        return {}
    form = "${Package}\t${db:Status-Abbrev}\t${Version}\n"
    # 1: one of them is not known.
    code, output, errors = run(["dpkg-query", "--show", f"--showformat={form}", "--", *sorted(wanted)])
    if code not in (0, 1):
        raise RuntimeError(f"dpkg-query failed ({code}): {errors.strip()}")
    seen: dict[str, str] = {f"package:{name}": ABSENT for name in wanted}
    for line in sorted(output.splitlines()):
        name, _tab, rest = line.partition("\t")
        key = f"package:{name}"
        earlier = seen.get(key, ABSENT)
        # One name, two architectures.
        seen[key] = rest if earlier == ABSENT else f"{earlier} {rest}"
    return seen


def _account(name: str) -> str:
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        return ABSENT
    groups = []
    for number in sorted(os.getgrouplist(name, account.pw_gid)):
        try:
            groups.append(grp.getgrgid(number).gr_name)
        except KeyError:
            groups.append(str(number))
    values = (account.pw_uid, account.pw_gid, account.pw_dir, account.pw_shell, _password(name), ",".join(groups))
    return SEPARATOR.join(map(str, values))


def _password(name: str, shadow: str = "/etc/shadow") -> str:
    """Whether the account has a password. Nothing of the password itself is kept."""
    try:
        lines = Path(shadow).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return "unknown"
    for line in lines:
        fields = line.split(":")
        if fields[0] == name and len(fields) > 1:
            return fields[1][:1] if fields[1].startswith(("!", "*")) else "set"
    return "none"


def _listening(port: int, tables: Sequence[str] = ("/proc/net/tcp", "/proc/net/tcp6")) -> str:
    found = set()
    for table in tables:
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            fields = line.split()
            address, _colon, number = fields[1].rpartition(":")
            # 0A: it listens.
            if fields[3] == "0A" and int(number, 16) == port:
                found.add(address)
    return " ".join(sorted(found)) or ABSENT
