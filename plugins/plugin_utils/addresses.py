# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where hosts are reached, where their connections come from, and who may log in to the database."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from .model import Client, Host, Inventory, Names
from .problems import Problems

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: A name that certificates can carry.
HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
#: Names that every host gives to itself.
OWN_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
#: Words that pg_hba.conf reads as more than one host.
HBA_WORDS = frozenset({"all", "samehost", "samenet"})
#: How many addresses one network of celery_allowed_clients may hold when celery_allowed_clients_max does not say it.
CLIENTS_MAX = 256
#: One subnet of IPv6, which is never smaller.
SUBNET_V6 = 2**64


# Each address is asked for several times, and a cluster may have hundreds of hosts.
@lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    if "%" in text:
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_address(text: object) -> bool:
    """True for one IPv4 or IPv6 address (no network, no name, no address that one link only knows)."""
    return _address(str(text)) is not None


def is_loopback(text: object) -> bool:
    """True for an address that leads back to the host that uses it."""
    address = _address(str(text))
    return address is not None and address.is_loopback


def _spelled(text: str) -> str:
    """The usual spelling of an address; a name as it is."""
    return str(_address(text) or text)


def is_host_name(text: object) -> bool:
    """True for a name that certificates, DNS and pg_hba.conf carry. Digits at the end would be half an address."""
    return (
        isinstance(text, str)
        and len(text) <= 253
        and HOST_NAME.fullmatch(text) is not None
        and max(len(label) for label in text.split(".")) <= 63
        and not text.rsplit(".", 1)[-1].isdigit()
    )


def _facts(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    facts = variables.get("ansible_facts")
    return facts if isinstance(facts, Mapping) else {}


def fact_addresses(facts: Mapping[str, Any]) -> list[str]:
    """The default IPv4 and IPv6 address of a host's gathered facts, in that order."""
    found = []
    for family in ("default_ipv4", "default_ipv6"):
        fact = facts.get(family)
        address = fact.get("address") if isinstance(fact, Mapping) else None
        if address and is_address(address):
            found.append(str(address))
    return found


def connect_address(variables: Mapping[str, Any]) -> str | None:
    """Where other hosts reach this one: celery_address, else ansible_host, else the default address fact.

    A loopback ansible_host (a forwarded port) leads other hosts nowhere and is passed over.
    """
    explicit = variables.get("celery_address")
    if explicit:
        return str(explicit)
    managed = variables.get("ansible_host")
    if managed and is_address(managed) and not is_loopback(managed):
        return str(managed)
    facts = fact_addresses(_facts(variables))
    return facts[0] if facts else None


def source_addresses(variables: Mapping[str, Any]) -> list[str]:
    """The addresses this host's own connections come from: what a firewall or pg_hba sees.

    celery_address may be loopback: a cluster of one host talks to itself over it.
    """
    found = []
    for name in ("celery_address", "ansible_host"):
        value = variables.get(name)
        if value and is_address(value) and not (name == "ansible_host" and is_loopback(value)):
            found.append(str(value))
    found.extend(fact_addresses(_facts(variables)))
    return list(dict.fromkeys(_spelled(address) for address in found))


def cidr(client: str) -> str:
    """An address as a network of exactly one host; a network that is one already stays as it is."""
    network = str(ipaddress.ip_network(client))
    if "%" in network:
        raise ValueError(f"{client!r} is known to one link only")
    return network


def certificate_names(name: str, variables: Mapping[str, Any]) -> dict[str, list[str]]:
    """Subject alternative names of a host's certificate: every name and address a client may use."""
    facts = _facts(variables)
    names = [name, facts.get("hostname"), facts.get("fqdn"), "localhost"]
    addresses = ["127.0.0.1", "::1", *source_addresses(variables)]
    for key in ("celery_address", "ansible_host"):
        value = variables.get(key)
        if value and not is_address(value):
            names.append(str(value))
    dns = [str(item) for item in names if item and HOST_NAME.fullmatch(str(item))]
    return {
        "dns": list(dict.fromkeys(dns)),
        "ip": list(dict.fromkeys(_spelled(item) for item in addresses)),
    }


# --------------------------------------------------------------------------------------------------
# Hosts


def read_hosts(names: Sequence[str], inventory: Inventory, problems: Problems) -> dict[str, Host]:
    """Every host of the cluster whose address is known and can work; names: all hosts of the cluster."""
    hosts: dict[str, Host] = {}
    taken: dict[str, str] = {}
    for name in names:
        variables = inventory.hosts.get(name) or {}
        place = _address_place(variables)
        if place is None:
            if inventory.complete:
                problems.add(
                    "CC501",
                    "celery_address",
                    "is not set and no other address is known",
                    "write the address at which the other hosts reach it, or let the playbook gather its facts",
                    name,
                )
            continue
        address = _usable_address(name, place, variables, len(names), problems)
        if address is None:
            continue
        other = taken.setdefault(_spelled(address).lower(), name)
        if other != name:
            problems.add(
                "CC507",
                place,
                f"is {address}, which is the address of {other} too",
                "keep one of the two names, or give each host its own celery_address",
                name,
            )
        certificate = certificate_names(name, variables)
        hosts[name] = Host(
            name,
            address,
            tuple(source_addresses(variables)),
            Names(tuple(certificate["dns"]), tuple(certificate["ip"])),
        )
    return hosts


def _address_place(variables: Mapping[str, Any]) -> str | None:
    """The variable that connect_address takes; a celery_address that is no address at all counts, to be refused."""
    if variables.get("celery_address") not in (None, ""):
        return "celery_address"
    address = connect_address(variables)
    if address is None:
        return None
    return "ansible_host" if str(variables.get("ansible_host")) == address else "ansible_facts"


def _usable_address(
    name: str, place: str, variables: Mapping[str, Any], cluster_size: int, problems: Problems
) -> str | None:
    stated = variables.get(place) if place == "celery_address" else connect_address(variables)
    if not isinstance(stated, str) or not (is_address(stated) or is_host_name(stated)):
        problems.add(
            "CC502", place, f"is {stated!r}", "write one address or host name, without port, network or zone", name
        )
        return None
    if cluster_size > 1 and (is_loopback(stated) or stated.lower() in OWN_NAMES):
        problems.add(
            "CC503",
            place,
            f"is {stated}, which leads every other host to itself",
            "write the address at which the other hosts reach it",
            name,
        )
        return None
    found = _address(stated)
    if found and (found.is_unspecified or found.is_multicast or (found.version == 6 and found.is_link_local)):
        problems.add(
            "CC505",
            place,
            f"is {stated}, at which other hosts do not reach a host",
            "write an address that is routed between the hosts",
            name,
        )
    return str(stated)


# --------------------------------------------------------------------------------------------------
# Clients of the database


def read_clients(
    users: Sequence[str],
    hosts: Mapping[str, Host],
    has_database: bool,
    inventory: Inventory,
    problems: Problems,
) -> tuple[Client, ...]:
    """One entry per address that may log in: every host that stores or reads results, and no other; then the clients
    of celery_allowed_clients.

    A network of celery_allowed_clients may hold up to celery_allowed_clients_max addresses (256), one of IPv6 up to
    that many or one /64, whichever is more. A network of all addresses is refused whatever the limit.
    """
    clients: list[Client] = []
    for user in users:
        if user not in hosts:
            continue
        if has_database and not hosts[user].addresses and inventory.complete:
            problems.add(
                "CC504",
                "celery_address",
                f"is the name {hosts[user].address}, and no address of the host is known",
                "let the playbook gather its facts: pg_hba.conf needs the address its connections come from",
                user,
            )
        clients.extend(Client(user, cidr(address)) for address in hosts[user].addresses)
    derived = {client.cidr: client.name for client in reversed(clients)}
    clients.extend(Client("celery_allowed_clients", entry) for entry in _allowed(derived, inventory, problems))
    first: dict[str, Client] = {}
    for client in clients:
        first.setdefault(client.cidr, client)
    return tuple(first.values())


def _allowed(derived: Mapping[str, str], inventory: Inventory, problems: Problems) -> list[str]:
    wanted = inventory.settings.get("celery_allowed_clients")
    if wanted is None:
        wanted = []
    if not isinstance(wanted, (list, tuple)):
        _refuse("CC510", f"is {wanted!r}", "write a list, for example [192.0.2.10]", problems)
        wanted = []
    limit = _clients_max(inventory.settings, problems)
    read = [(text, found) for text in wanted if (found := _client(text, limit, problems)) is not None]
    _tell_duplicates(read, derived, problems)
    return [str(found) for _text, found in read]


def _clients_max(settings: Mapping[str, Any], problems: Problems) -> int:
    limit = settings.get("celery_allowed_clients_max", CLIENTS_MAX)
    if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 1:
        return limit
    problems.add(
        "CC517",
        "celery_allowed_clients_max",
        f"is {limit!r}",
        "write the number of addresses that one network may hold, for example 256",
    )
    return CLIENTS_MAX


def _refuse(code: str, what: str, instead: str, problems: Problems) -> None:
    problems.add(code, "celery_allowed_clients", what, instead)


def _client(text: object, limit: int, problems: Problems) -> Network | str | None:
    """One entry as a network or a name; None when it is refused."""
    if not isinstance(text, str):
        # YAML reads 1.20 and 1:20 as numbers, and ipaddress takes every whole number for an address.
        _refuse("CC511", f"has {text!r}, which is no text", "write one address or network, quoted", problems)
        return None
    if "%" in text:
        _refuse(
            "CC516", f"has {text!r}, which is known to one link only", "write an address without a zone (%)", problems
        )
        return None
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError:
        return _named_client(text, problems)
    network = interface.network
    is_wide = network.num_addresses > (max(limit, SUBNET_V6) if network.version == 6 else limit)
    is_wide = is_wide or network.prefixlen == 0
    if interface.ip != network.network_address:
        meant = f"{interface.ip} for the one host"
        if not is_wide:
            meant = f"{network} for the network, or {meant}"
        _refuse("CC512", f"has {text!r}, which names a host and a network at once", f"write {meant}", problems)
        return None
    if is_wide:
        _refuse(
            "CC513", f"has {text!r}, which lets {_count(network)} addresses in", f"write {_narrower(limit)}", problems
        )
        return None
    return network


def _count(network: Network) -> str:
    if network.prefixlen == 0:
        return "all"
    return str(network.num_addresses) if network.version == 4 else f"2^{network.max_prefixlen - network.prefixlen}"


def _narrower(limit: int) -> str:
    return (
        f"networks of at most {limit} addresses (celery_allowed_clients_max), of IPv6 at most a /64, "
        "that hold the clients and nobody else"
    )


def _named_client(text: str, problems: Problems) -> str | None:
    if text.lower() in HBA_WORDS:
        _refuse(
            "CC513",
            f"has {text!r}, which pg_hba.conf reads as more than one host",
            "write the addresses of the clients",
            problems,
        )
        return None
    if not is_host_name(text):
        _refuse(
            "CC511",
            f"has {text!r}",
            "write one address, a network or a host name, for example 192.0.2.10 or 192.0.2.8/29",
            problems,
        )
        return None
    _refuse(
        "CC515",
        f"has the name {text!r}: for each connection PostgreSQL looks the client's address up backwards, and the name "
        "it finds forwards again",
        "write the address, or keep both DNS records (PTR and A or AAAA) in agreement",
        problems,
    )
    return text


def _tell_duplicates(read: Sequence[tuple[str, Network | str]], derived: Mapping[str, str], problems: Problems) -> None:
    wide = list(dict.fromkeys(found for _text, found in read if _is_wide(found)))
    seen: dict[str, str] = {}
    for text, found in read:
        key = str(found).lower()
        covering = next((other for other in wide if _covers(other, found)), None)
        if str(found) in derived:
            what = f"has {text!r}, which is the host {derived[str(found)]} of the inventory"
        elif key in seen:
            what = f"has {text!r} more than once" if seen[key] == text else f"has {text!r}, which is {seen[key]!r}"
        elif covering is not None:
            what = f"has {text!r}, which {covering} covers already"
        else:
            seen[key] = text
            continue
        _refuse("CC514", what, "remove it", problems)


def _is_wide(found: Network | str) -> bool:
    return not isinstance(found, str) and found.num_addresses > 1


def _covers(other: Network | str, found: Network | str) -> bool:
    """Whether other holds found and more."""
    if isinstance(other, ipaddress.IPv4Network) and isinstance(found, ipaddress.IPv4Network):
        return other != found and found.subnet_of(other)
    if isinstance(other, ipaddress.IPv6Network) and isinstance(found, ipaddress.IPv6Network):
        return other != found and found.subnet_of(other)
    return False
