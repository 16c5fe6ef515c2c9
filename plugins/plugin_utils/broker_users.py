# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who logs in to the broker, and how: by password, by certificate or both; one user for all hosts, or one per host."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .model import BrokerUser, Host, Inventory
from .problems import Problems, did_you_mean, shown

PASSWORD, BOTH, CERTIFICATE = LOGINS = ("password", "password_and_certificate", "certificate")
#: The identities that hosts have. The administrator logs in on the broker hosts, to the management API only.
IDENTITIES = ("worker", "producer", "flower")
ADMIN = "admin"
#: Without a password where certificates do: Flower also reads the management API, which takes a password.
BY_CERTIFICATE = ("worker", "producer")

#: The length of a short string of AMQP in bytes, and of a common name in characters.
SHORT_STRING, COMMON_NAME = 255, 64
#: A common name that RabbitMQ, OpenSSL and people read alike: no separators of names, no quoting.
COMMON = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@-]*")
#: A host's own password is a file named after the host, and the management API separates name and password by a colon.
HOST = re.compile(r"[A-Za-z0-9_.-]+")


def broker_login(settings: Mapping[str, Any]) -> str:
    login = settings.get("celery_broker_login")
    return login if login in LOGINS else PASSWORD


def is_per_host(settings: Mapping[str, Any]) -> bool:
    return settings.get("celery_broker_identities_per_host") is True


def user_name(settings: Mapping[str, Any], identity: str, host: str | None) -> str:
    prefix = settings.get("celery_broker_user_prefix")
    if not isinstance(prefix, str):
        prefix = f"{settings.get('celery_name', '')}-"
    return f"{prefix}{identity}.{host}" if host else f"{prefix}{identity}"


def users_of_host(host: str, identities: Sequence[str], settings: Mapping[str, Any]) -> dict[str, str]:
    """The broker user of each identity of a host."""
    own = host if is_per_host(settings) else None
    return {identity: user_name(settings, identity, own) for identity in identities}


def broker_users(hosts: Mapping[str, Host], settings: Mapping[str, Any]) -> tuple[BrokerUser, ...]:
    """Every user of the cluster, the administrator last."""
    login = broker_login(settings)
    kinds = {
        identity: CERTIFICATE if login == CERTIFICATE and identity in BY_CERTIFICATE else PASSWORD
        for identity in IDENTITIES
    }
    if is_per_host(settings):
        found = [
            BrokerUser(host.broker_users[identity], identity, name, kinds[identity])
            for identity in IDENTITIES
            for name, host in hosts.items()
            if identity in host.identities
        ]
    else:
        found = [BrokerUser(user_name(settings, identity, None), identity, None, kinds[identity]) for identity in kinds]
    return (*found, BrokerUser(user_name(settings, ADMIN, None), ADMIN, None, PASSWORD))


# --------------------------------------------------------------------------------------------------
# What is wrong


def check_broker_login(inventory: Inventory, problems: Problems) -> None:
    """How clients log in, and passwords that nobody asks for."""
    settings = inventory.settings
    wanted = settings.get("celery_broker_login", PASSWORD)
    if wanted not in LOGINS:
        near = did_you_mean(wanted, LOGINS) if isinstance(wanted, str) else ""
        instead = f"write {near}" if near else f"write one of {', '.join(LOGINS)}"
        problems.add("CC618", "celery_broker_login", f"is {shown(wanted)}", instead)
    for identity in IDENTITIES:
        variable = f"celery_broker_{identity}_password"
        if variable not in inventory.own:
            continue
        if broker_login(settings) == CERTIFICATE and identity in BY_CERTIFICATE:
            why = "celery_broker_login is certificate, so that this user has no password"
            instead = "remove it"
        elif is_per_host(settings):
            why = "celery_broker_identities_per_host is true, so that every host has a password of its own"
            instead = f"remove it; those passwords are the files broker_{identity}.HOST in celery_secrets_directory"
        else:
            continue
        problems.add("CC622", variable, f"is set, and {why}", instead)


def check_broker_users(users: Sequence[BrokerUser], inventory: Inventory, problems: Problems) -> None:
    """Names that AMQP, a certificate or the files of the passwords cannot carry."""
    per_host = is_per_host(inventory.settings)
    if per_host:
        # The administrator's and the shared names are judged by the prefix they have.
        long = [user.name for user in users if user.host and len(user.name.encode("utf-8", "replace")) > SHORT_STRING]
        _tell("CC619", long, f"longer than the {SHORT_STRING} bytes that AMQP carries", problems)
        for host in dict.fromkeys(user.host for user in users if user.host and not HOST.fullmatch(user.host)):
            problems.add(
                "CC623",
                "its name in the inventory",
                "cannot become part of a broker user and of the file of its password, and "
                "celery_broker_identities_per_host is true",
                "name the host with letters, digits and _ . - only, and write its address into ansible_host",
                str(host),
            )
    if broker_login(inventory.settings) == PASSWORD:
        return
    names = [user.name for user in users if user.identity in IDENTITIES]
    long = [name for name in names if len(name) > COMMON_NAME]
    _tell("CC620", long, f"longer than the {COMMON_NAME} characters of a certificate's common name", problems)
    strange = [name for name in names if not COMMON.fullmatch(name)]
    if strange:
        problems.add(
            "CC621",
            "celery_broker_user_prefix",
            f"makes the user {strange[0]!r}{_more(strange)}, which no common name of a certificate carries, and "
            "celery_broker_login asks for certificates",
            "begin with a letter or digit, followed by letters, digits, spaces and . _ @ - only",
        )


def _tell(code: str, names: Sequence[str], what: str, problems: Problems) -> None:
    if names:
        longest = max(names, key=len)
        problems.add(
            code,
            "celery_broker_user_prefix",
            f"makes the user {longest!r}{_more(names)}, which is {what}",
            "write a shorter prefix, give the hosts shorter names, or write false into "
            "celery_broker_identities_per_host",
        )


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
