# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets of a host: who listens to other hosts, whether that is TLS, and which service has which connection."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .status_units import Process
from .survey import each

ESTABLISHED, LISTEN = "01", "0A"
#: The first byte of an answer to a TLS greeting: a handshake, or an alert.
_TLS = (b"\x15", b"\x16")
TIMEOUT = 2.0
#: How this host reaches what listens everywhere. Compared and connected to, not listened on.
_ANY = {"0.0.0.0": ("127.0.0.1",), "::": ("::1", "127.0.0.1")}  # noqa: S104


class Socket(NamedTuple):
    state: str
    address: str
    port: int
    remote_port: int
    inode: str


def _address(text: str) -> str:
    """/proc/net writes an address as words of 32 bits in the byte order of the host."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    address = ipaddress.ip_address(b"".join(struct.pack("=I", word) for word in words))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def parse_sockets(text: str) -> Iterator[Socket]:
    """The lines of /proc/net/tcp and tcp6 that listen or are connected."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] in (ESTABLISHED, LISTEN):
            address, _colon, port = fields[1].rpartition(":")
            _remote, _colon, remote_port = fields[2].rpartition(":")
            yield Socket(fields[3], _address(address), int(port, 16), int(remote_port, 16), fields[9])


def sockets(proc: Path = Path("/proc")) -> list[Socket]:
    found: list[Socket] = []
    for table in ("tcp", "tcp6"):
        try:
            found += parse_sockets((proc / "net" / table).read_text())
        except FileNotFoundError:
            # A host without IPv6.
            continue
    return found


def owners(processes: Iterable[Process], proc: Path = Path("/proc")) -> dict[str, str]:
    """Inode of a socket -> the unit whose process holds it."""
    found: dict[str, str] = {}
    for process in processes:
        try:
            for entry in (proc / str(process.pid) / "fd").iterdir():
                target = str(entry.readlink())
                if target.startswith("socket:["):
                    found[target[8:-1]] = process.unit
        except OSError:
            continue
    return found


def is_open(address: str) -> bool:
    """Whether other hosts can reach it."""
    return not ipaddress.ip_address(address).is_loopback


def speaks_tls(address: str, port: int, timeout: float = TIMEOUT) -> bool | None:
    """Whether a listener answers a TLS greeting with TLS. Nothing else is said to it. None: nobody was there."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    # It is asked whether TLS is spoken, not by whom: nothing is sent that a stranger may not see.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    greeting = context.wrap_bio(incoming, outgoing)
    # It waits for the answer, so the greeting is in `outgoing`.
    with contextlib.suppress(ssl.SSLWantReadError):
        greeting.do_handshake()
    hello = outgoing.read()
    # Without IPv6 on the host's loopback, `::` is reached by IPv4 alone.
    for target in _ANY.get(address, (address,)):
        try:
            connection = socket.create_connection((target, port), timeout)
        except TimeoutError:
            return False
        except OSError:
            continue
        with connection:
            try:
                connection.sendall(hello)
                return connection.recv(1) in _TLS
            except OSError:
                return False
    return None


def listeners(
    found: Iterable[Socket], units: Mapping[str, str], watched: Iterable[int], not_tls: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """What other hosts can reach of the cluster's services, and at the watched ports whoever listens there.

    units: as ``owners`` gives it. not_tls: prefixes of units whose first words are not TLS (PostgreSQL's negotiates).
    """
    ports, prefixes, rows = set(watched), tuple(not_tls), {}
    for entry in found:
        unit = units.get(entry.inode, "")
        if entry.state != LISTEN or not is_open(entry.address) or not (unit or entry.port in ports):
            continue
        if not (unit and unit.startswith(prefixes)):
            rows[entry.address, entry.port] = {"address": entry.address, "port": entry.port, "unit": unit}
    asked = list(rows.values())
    answers = each(lambda row: speaks_tls(row["address"], row["port"]), asked)
    return [{**row, "tls": tls} for row, tls in zip(asked, answers, strict=True) if tls is not None]


def connections(found: Iterable[Socket], units: Mapping[str, str], port: int) -> dict[str, list[list[Any]]]:
    """Unit -> own address and port of each connection to this port of another host, or of this one."""
    rows: dict[str, list[list[Any]]] = {}
    for entry in found:
        unit = units.get(entry.inode)
        if unit and entry.state == ESTABLISHED and entry.remote_port == port:
            rows.setdefault(unit, []).append([entry.address, entry.port])
    return rows
