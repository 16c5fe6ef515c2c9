# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of hosts in pg_hba.conf: the server asks for the name of an address, and then for the addresses of the name."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from .pg_wanted import Client

Forward = Callable[[str], Sequence[str]]
Reverse = Callable[[str], str]


def addresses_of(name: str) -> list[str]:
    """The addresses of a name, as this host resolves them."""
    answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


def name_of(address: str) -> str:
    return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]


@dataclass
class Names:
    """What the names of the clients mean on this host."""

    addresses: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def resolve(clients: Iterable[Client], forward: Forward = addresses_of, reverse: Reverse = name_of) -> Names:
    found = Names()
    for name, who in {client.address: client.name for client in clients if client.is_host_name}.items():
        where = f"clients: {who}: the name {name!r}"
        try:
            found.addresses[name] = list(forward(name))
        except OSError as error:
            found.problems.append(
                f"{where} has no address on this host ({error.strerror or error}), so that the server would let nobody"
                " in: add it to the name service, or write the addresses themselves"
            )
            continue
        astray = []
        for address in found.addresses[name]:
            try:
                back = reverse(address)
            except OSError:
                back = ""
            # The server compares without regard to case, and takes the name as the resolver gives it.
            if back.lower() != name.lower():
                astray.append(f"{address} leads to {back}" if back else f"{address} has no name")
        if astray:
            found.problems.append(
                f"{where} has addresses that do not lead back to it on this host ({'; '.join(astray)}), and from those"
                " the server would let nobody in: mend the reverse lookup, or write the addresses themselves"
            )
    return found
