# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The brokers: what they are called, in which order hosts try them, and which of their settings the roles decide."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

from .addresses import is_address, is_host_name
from .model import Inventory
from .problems import Problems, shown

#: Of how many brokers on they are a cluster, which talks among itself.
LEAST_CLUSTER = 3

#: Lines of rabbitmq.conf that would undo what the roles decide -> what to write instead.
_CERTIFICATES = "remove it: the role certificates brings key, certificate and authority"
_LOGIN = "remove it, and choose how clients log in by celery_broker_login"
_PLAIN = "remove it: nothing of the cluster is served without TLS"
DECIDED: dict[str, str] = {
    r"listeners\.tcp(\..+)?|tcp_listeners(\..+)?|management\.(tcp|listener)\..+": _PLAIN,
    r"listeners\.ssl(\..+)?|ssl_listeners(\..+)?": "write celery_broker_port and rabbitmq_listen_address instead",
    r"management\.ssl\.(ip|port)": "write celery_broker_management_port and rabbitmq_management_listen_address instead",
    r"prometheus\.(tcp|ssl)\..+": "write rabbitmq_prometheus_port instead",
    r"distribution\.listener\..+": "write rabbitmq_distribution_port instead",
    r"(ssl_options|management\.ssl)\.(cacertfile|certfile|keyfile)": _CERTIFICATES,
    r"(ssl_options|management\.ssl)\.versions\..+": "write rabbitmq_tls_versions instead",
    r"(ssl_options|management\.ssl)\.(verify|fail_if_no_peer_cert)": _LOGIN,
    r"auth_mechanisms\..+|auth_backends\..+|ssl_cert_login_from|anonymous_login_(user|pass)": _LOGIN,
    r"loopback_users(\..+)?|default_(user|pass|vhost|user_tags\..+|permissions\..+|users\..+)": (
        "remove it: users are those of the cluster, and there is no default one"
    ),
    r"load_definitions|definitions\..+": "remove it: the role loads the definitions of the cluster",
    r"cluster_formation\.(peer_discovery_backend|classic_config\..+)": (
        "remove it: the group rabbitmq says which brokers are one cluster"
    ),
}
_DECIDED = [(re.compile(pattern), instead) for pattern, instead in DECIDED.items()]
#: Lines that have a variable. They win over it, so that the variable would say something else than what is.
VARIABLES = {
    "heartbeat": "rabbitmq_heartbeat",
    "consumer_timeout": "rabbitmq_consumer_timeout (in seconds)",
    "vm_memory_high_watermark.relative": "rabbitmq_memory_high_watermark",
    "disk_free_limit.absolute": "rabbitmq_disk_free_limit",
    "log.file.level": "rabbitmq_log_level",
    "log.file.rotation.size": "rabbitmq_log_file_mb",
    "log.file.rotation.count": "rabbitmq_log_files",
    "cluster_partition_handling": "rabbitmq_partition_handling",
}


def is_cluster(brokers: Sequence[str]) -> bool:
    """Whether the brokers connect to each other."""
    return len(brokers) >= LEAST_CLUSTER


def broker_name(settings: Mapping[str, Any]) -> str:
    """The name that every broker's certificate has, and that clients look for whichever broker they reach."""
    name = settings.get("celery_broker_name")
    return str(name) if name else f"{str(settings.get('celery_name', '')).replace('_', '-')}-broker"


def short_name(host: str, variables: Mapping[str, Any]) -> str:
    """The host name in a broker's node name: the system's, and before the facts are known, that of the inventory."""
    facts = variables.get("ansible_facts")
    known = facts.get("hostname") if isinstance(facts, Mapping) else None
    if known:
        return str(known)
    return host if is_address(host) else host.split(".", maxsplit=1)[0]


def node_names(brokers: Sequence[str], inventory: Inventory) -> dict[str, str]:
    """Broker -> the name of its Erlang node."""
    return {broker: f"rabbit@{short_name(broker, inventory.hosts.get(broker) or {})}" for broker in brokers}


def rotated(addresses: Sequence[str], host: str) -> tuple[str, ...]:
    """All addresses, beginning at one that depends on the host's name alone.

    Every client tries the first one first. Hosts that come or go change nothing for the others.
    """
    if not addresses:
        return ()
    start = crc32(host.encode("utf-8", "surrogatepass")) % len(addresses)
    return (*addresses[start:], *addresses[:start])


# --------------------------------------------------------------------------------------------------
# What is wrong


def check_brokers(brokers: Sequence[str], inventory: Inventory, problems: Problems) -> None:
    _check_number(brokers, problems)
    _check_short_names(brokers, inventory, problems)
    name = inventory.settings.get("celery_broker_name")
    # The default follows from celery_name, which is judged itself.
    if "celery_broker_name" in inventory.own and (not is_host_name(name) or is_address(name)):
        problems.add(
            "CC116",
            "celery_broker_name",
            f"is {shown(name)}",
            "write a name of letters, digits, hyphens and dots, as DNS has them; nobody needs to resolve it",
        )
    _check_lines(inventory.settings.get("rabbitmq_settings"), problems)


def _check_number(brokers: Sequence[str], problems: Problems) -> None:
    if not brokers:
        problems.add("CC103", "group rabbitmq", "is empty", "add the host that shall run the broker")
    elif len(brokers) % 2 == 0:
        problems.add(
            "CC103",
            "group rabbitmq",
            f"has {len(brokers)} hosts ({', '.join(brokers)}), and an even number of brokers cannot outvote a broken "
            "network",
            "add a third, or keep one" if len(brokers) == 2 else "add one or remove one, so that their number is odd",
        )


def _check_short_names(brokers: Sequence[str], inventory: Inventory, problems: Problems) -> None:
    if not inventory.complete:
        # The names that the systems have may differ from those of the inventory.
        return
    first: dict[str, str] = {}
    for broker in brokers:
        short = short_name(broker, inventory.hosts.get(broker) or {}).lower()
        other = first.setdefault(short, broker)
        if other != broker:
            problems.add(
                "CC115",
                "its host name",
                f"is {short}, which is that of the broker {other} too, and both nodes would be rabbit@{short}",
                "give the machine another host name (hostnamectl set-hostname), and run the play again",
                broker,
            )


def _check_lines(lines: Any, problems: Problems) -> None:
    for key in lines if isinstance(lines, Mapping) else ():
        name = str(key).strip()
        place = f"rabbitmq_settings.{name}"
        instead = next((instead for pattern, instead in _DECIDED if pattern.fullmatch(name)), "")
        if instead:
            problems.add("CC117", place, "is a setting that the role writes itself, and it would win", instead)
        elif name in VARIABLES:
            variable = VARIABLES[name]
            problems.add("CC118", place, "has a variable of its own, over which it wins", f"write {variable} instead")
