# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host knows of itself and of the hosts around it. It reads, it never changes and never judges."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

#: Waiting for answers costs no processor: a host of a large cluster still asks everybody within one timeout or two.
PARALLEL = 32
COMMAND_TIMEOUT = 30.0
#: More links than this in one path are a loop, as for the kernel.
LINKS = 40
_LISTEN = "0A"
_UNREACHABLE = frozenset(
    # EINVAL is what a blackhole route answers, EACCES a prohibiting one, EPERM a firewall of the host itself.
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EINVAL, errno.EACCES, errno.EPERM}
)


def each(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """The results in the order of the items, which are worked on at the same time."""
    if not items:
        return []
    with ThreadPoolExecutor(min(PARALLEL, len(items))) as pool:
        return list(pool.map(function, items))


# --- the network -----------------------------------------------------------------------------------------------------


def addresses(name: str) -> list[str]:
    """What a name or address means on this host, nothing when it means nothing."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def resolve(names: Sequence[str]) -> dict[str, list[str]]:
    return dict(zip(names, each(addresses, names), strict=True))


def state_of(error: OSError) -> str:
    """How an attempt to connect ended."""
    if isinstance(error, socket.gaierror):
        return "unresolved"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, TimeoutError):
        return "timeout"
    return "unreachable" if error.errno in _UNREACHABLE else "failed"


def connect(port: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """The port with its state. It is connected to and left again; nothing is said to who listens there."""
    try:
        with socket.create_connection((port["host"], port["port"]), timeout):
            return {**port, "state": "open", "detail": ""}
    except UnicodeError:
        return {**port, "state": "unresolved", "detail": "this cannot be a host name"}
    except OSError as error:
        return {**port, "state": state_of(error), "detail": error.strerror or str(error)}


def try_ports(ports: Sequence[Mapping[str, Any]], timeout: float) -> list[dict[str, Any]]:
    return each(lambda port: connect(port, timeout), ports)


def _local_address(text: str) -> str:
    """An address as /proc/net writes it: 32-bit words in the byte order of the host."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(struct.pack("=I", word) for word in words))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def listening(ports: Iterable[int], proc: Path = Path("/proc")) -> dict[str, list[str]]:
    """Port -> the addresses of this host on which somebody listens there; the wildcard is 0.0.0.0 or ::."""
    found: dict[str, list[str]] = {str(port): [] for port in ports}
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except FileNotFoundError:
            # A host without IPv6.
            continue
        for line in lines:
            fields = line.split()
            address, _colon, port = fields[1].rpartition(":")
            listeners = found.get(str(int(port, 16)))
            if fields[3] == _LISTEN and listeners is not None:
                listeners.append(_local_address(address))
    return found


# --- disk and memory -------------------------------------------------------------------------------------------------


def place(path: str) -> dict[str, Any]:
    """The room an account without privileges would have below a path that need not exist yet."""
    nearest = Path(path)
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    room = os.statvfs(nearest)
    return {
        "path": path,
        "nearest": str(nearest),
        "directory": nearest.is_dir(),
        "read_only": bool(room.f_flag & os.ST_RDONLY),
        "bytes_free": room.f_bavail * room.f_frsize,
        # Some file systems make inodes as they need them, and say that they have none.
        "inodes_free": room.f_favail if room.f_files else None,
    }


def memory(proc: Path = Path("/proc")) -> int:
    """Bytes of RAM."""
    for line in (proc / "meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise ValueError("/proc/meminfo has no MemTotal")


# --- the interpreter -------------------------------------------------------------------------------------------------

# Python 2 must be able to say that it is Python 2.
_WHO = "import sys; print('%d.%d.%d' % sys.version_info[:3]); print(getattr(sys, 'base_prefix', sys.prefix))"


def steps(path: str) -> Iterator[Path]:
    """Every directory the kernel walks through to a path, also on the way that its links take."""
    here = Path("/")
    parts = list(Path(path).parts[1:])
    links = LINKS
    while parts:
        yield here
        part = parts.pop(0)
        step = here.parent if part == ".." else here / part
        if not step.is_symlink():
            here = step
            continue
        links -= 1
        if links < 0:
            return
        target = step.readlink()
        parts = [*target.parts[target.is_absolute() :], *parts]
        here = Path("/") if target.is_absolute() else here


def closed_directory(path: str) -> dict[str, Any] | None:
    """The first directory on the way to a path that is closed to an account without privileges."""
    for directory in steps(path):
        try:
            mode = directory.stat().st_mode
        except OSError:
            return None
        if stat.S_ISDIR(mode) and not mode & stat.S_IXOTH:
            return {"path": str(directory), "mode": f"{stat.S_IMODE(mode):04o}"}
    return None


def interpreter(path: str) -> dict[str, Any]:
    """What an interpreter says of itself, and whether an account without privileges can get to it."""
    answer: dict[str, Any] = {
        "path": path,
        "exists": Path(path).exists(),
        "real_path": os.path.realpath(path),
        "version": "",
        "prefix": "",
        "closed": closed_directory(path),
        "detail": "",
    }
    if not answer["exists"]:
        return {**answer, "detail": "no such file"}
    try:
        done = _run([path, "-E", "-s", "-c", _WHO])
    except (OSError, ValueError) as error:
        return {**answer, "detail": getattr(error, "strerror", None) or str(error)}
    except subprocess.TimeoutExpired:
        return {**answer, "detail": f"no answer within {COMMAND_TIMEOUT:g} s"}
    lines = done.stdout.splitlines()
    if done.returncode != 0 or len(lines) != 2:
        said = (done.stderr or done.stdout).strip().splitlines()
        return {**answer, "detail": said[-1] if said else f"it ended with status {done.returncode}"}
    answer.update(version=lines[0], prefix=lines[1])
    # The interpreter of a virtual environment is a link, or a copy that needs the library of another one.
    answer["closed"] = answer["closed"] or closed_directory(f"{lines[1]}/bin")
    return answer


# --- packages --------------------------------------------------------------------------------------------------------


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    return subprocess.run(  # noqa: S603 - a list, whose program is the caller's
        command,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        env=environment,
        timeout=COMMAND_TIMEOUT,
        check=False,
    )


def _lines(*command: str) -> list[str]:
    """What a command prints; nothing where the command does not exist or hangs."""
    try:
        return _run(command).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return []


def packages(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Name -> the installed version and the one that apt would install; empty where there is none."""
    found = {name: {"installed": "", "candidate": ""} for name in names}
    if not found:
        return found
    form = "--showformat=${Package}\\t${db:Status-Status}\\t${Version}\\n"
    for line in _lines("dpkg-query", "--show", form, "--", *found):
        name, status, version = line.split("\t")
        if status == "installed" and name in found:
            found[name]["installed"] = version
    name = ""
    for line in _lines("apt-cache", "policy", "--", *found):
        if not line.startswith(" "):
            name = line.rstrip(":")
        elif line.startswith("  Candidate: ") and name in found:
            version = line.removeprefix("  Candidate: ").strip()
            found[name]["candidate"] = "" if version == "(none)" else version
    return found
