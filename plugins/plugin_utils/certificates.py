# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which certificates a host needs, for which names, and what is wrong with those it has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import broker_users, databases
from .problems import Problems, summary

#: Where certificates come from: signed by the cluster's own authority, brought as files, or made by a command.
AUTHORITY, FILES = "authority", "files"
#: The address at which roles talk to a service of their own host.
LOOPBACK = "127.0.0.1"
#: What a certificate is judged by, besides its files.
_JUDGED = ("common_name", "names", "usages")


def wanted_certificates(model: Mapping[str, Any], host: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The certificates of a host, in the form that the modules take.

    settings: ``source``, ``tls_directory``, ``config_directory``, ``user`` (the cluster's account), ``database_user``,
    ``extra_names``. A host of which only the database is used gets none.
    The own authority gives every host one for every name it may be reached by. What others issue is asked for the
    names in use only, and files are needed only for hosts that serve something. (A command also brings the
    certificate of its authority, which every host needs.)
    """
    if host not in model["prepared_hosts"]:
        return []
    own = settings["source"] == AUTHORITY
    found = []
    if settings["source"] != FILES or _serves(model, host):
        found.append(
            {
                "certificate": f"{settings['tls_directory']}/cert.pem",
                "key": f"{settings['tls_directory']}/key.pem",
                "common_name": host,
                "names": _unique(
                    [*_all_names(model, host), *settings["extra_names"]]
                    if own
                    else [*_used_names(model, host), *settings["extra_names"]]
                ),
                # Brokers of a cluster are clients of each other.
                "usages": ["server", "client"] if own or _has_peers(model, host) else ["server"],
                "owner": "root",
                "group": "root",
                "key_mode": "0600",
                "certificate_mode": "0644",
            }
        )
    return found + _of_clients(model, host, settings)


def _of_clients(model: Mapping[str, Any], host: str, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of the broker's users, and of the database's."""
    users = {}
    if model["broker_login"] != broker_users.PASSWORD and host in model["release_hosts"]:
        users.update(model["hosts"][host]["broker_users"])
    if model["database_login"] == databases.CERTIFICATE and host in model["database_users"]:
        users["database"] = settings["database_user"]
    folder = f"{settings['config_directory']}/tls"
    return [
        {
            "certificate": f"{folder}/{identity}.pem",
            "key": f"{folder}/{identity}.key",
            "common_name": user,
            "names": [],
            "usages": ["client"],
            "owner": "root",
            "group": settings["user"],
            "key_mode": "0640",
            "certificate_mode": "0640",
        }
        for identity, user in users.items()
    ]


def _serves(model: Mapping[str, Any], host: str) -> bool:
    own_database = model["database"] if model["database_mode"] == databases.MANAGED else None
    return host in model["brokers"] or host == own_database or host in model["flower"]


def _has_peers(model: Mapping[str, Any], host: str) -> bool:
    return host in model["brokers"] and len(model["brokers"]) > 1


def _all_names(model: Mapping[str, Any], host: str) -> list[str]:
    names = model["hosts"][host]["names"]
    return [*names["dns"], *names["ip"]]


def _used_names(model: Mapping[str, Any], host: str) -> list[str]:
    names = [model["hosts"][host]["address"]]
    if host in model["brokers"]:
        names += [model["broker_name"], LOOPBACK]
    if _has_peers(model, host):
        # Its node is rabbit@<this name>.
        names.append(model["broker_nodes"][host].partition("@")[2])
    if host in model["flower"]:
        own = (model.get("flower_site") or {}).get("name")
        names += [LOOPBACK, *([own] if own else [])]
    return names


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def brought_certificates(wanted: Sequence[Mapping[str, Any]], directory: str) -> list[dict[str, Any]]:
    """Where the operator puts each wanted certificate on the controller, in the form that certificate_check takes.

    The names of the files say whose they are, so no host is named besides.
    """
    return [
        {
            "certificate": f"{directory}/{one['common_name']}.pem",
            "key": f"{directory}/{one['common_name']}.key",
            "ca_file": f"{directory}/ca.pem",
            **{field: one[field] for field in _JUDGED},
        }
        for one in wanted
    ]


def placed_certificates(wanted: Sequence[Mapping[str, Any]], host: str, ca_file: str) -> list[dict[str, Any]]:
    """The wanted certificates where they are on their host, in the form that certificate_check takes."""
    return [
        {
            "certificate": one["certificate"],
            "key": one["key"],
            "ca_file": ca_file,
            "host": host,
            **{field: one[field] for field in _JUDGED},
        }
        for one in wanted
    ]


def made_certificates(wanted: Sequence[Mapping[str, Any]], directory: str) -> list[dict[str, Any]]:
    """Where the operator's command leaves each wanted certificate on the host, in the form certificate_check takes."""
    return [
        {
            "certificate": f"{directory}/{one['certificate'].rpartition('/')[2]}",
            "key": f"{directory}/{one['key'].rpartition('/')[2]}",
            "ca_file": f"{directory}/ca.pem",
            **{field: one[field] for field in _JUDGED},
        }
        for one in wanted
    ]


def certificate_problems(findings: Iterable[Mapping[str, Any]]) -> dict[str, list[str] | str]:
    """What certificate_check found, as lines for people. The same thing found twice is told once."""
    problems = Problems()
    for found in findings:
        problems.add(found["code"], found["place"], found["what"], found["instead"], found.get("host") or "")
    return summary(problems)
