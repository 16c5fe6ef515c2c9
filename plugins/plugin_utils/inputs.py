# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run is made of, as digests: everything on the controller that decides what the hosts get."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

#: Directories of the collection that decide what a run does.
COLLECTION = ("meta", "playbooks", "plugins", "roles")
#: Options whose values name files of the controller: their contents count, and where they are looked for.
FILE_OPTIONS: Mapping[str, str] = {
    "celery_database_ca_file": "files",
    "celery_extra_trust_anchors": "files",
    "certificates_files_directory": "",
}
#: Paths of the controller whose contents do not count, and why.
OTHER_PATHS: Mapping[str, str] = {
    "celery_secrets_directory": "its files are parts of their own",
    "code_git_cache": "the tree of the revision is a part of its own",
    "code_source_path": "the tree is a part of its own",
}
#: Options that are no part: what a run sets itself, and how long it is believed.
NOT_COUNTED = frozenset({"celery_receipt_hours", "code_identity", "code_wanted"})
#: Prefixes of the roles that change nothing. What they do is done in every run, or in none.
LOOKS = ("status_", "verify_")
#: Prefixes of parts.
KEPT_FILE = "the file of celery_secrets_directory "
FOUND = "found "
#: Parts that all hosts have, although not all of it concerns each, and the part that tells what of it does.
CLUSTER, ALL_GROUPS, CONCERNS = "the cluster", "the groups", "what of the cluster concerns the host"
#: Of the model, what only the servers do something about.
OF_THE_SERVERS = frozenset({"database_clients", "database_connections", "database_owners", "lock_clients"})
#: Facts that roles decide by. Addresses are in the model.
FACTS = (
    "architecture",
    "distribution",
    "distribution_major_version",
    "distribution_version",
    "os_family",
    "service_mgr",
)


class Digests:
    """Digests with a key: they lie on the hosts, and shall not confirm guesses of a secret."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def of(self, value: Any) -> str:
        text = json.dumps(canonical(value), ensure_ascii=True, separators=(",", ":"))
        return self.of_bytes(text.encode())

    def of_bytes(self, content: bytes) -> str:
        return hmac.new(self._key, content, hashlib.sha256).hexdigest()[:32]

    def of_file(self, path: Path) -> str:
        """Type and content. What cannot be read raises OSError."""
        if path.is_symlink() and not path.is_file():
            return self.of(["link", str(path.readlink())])
        return self.of_bytes(path.read_bytes())

    def of_directory(self, directory: Path) -> str:
        return self.of([[str(path.relative_to(directory)), self.of_file(path)] for path in files(directory)])


def counts(option: str) -> bool:
    return option not in NOT_COUNTED and not option.startswith(LOOKS)


def canonical(value: Any) -> Any:
    """The same for the same value, whatever the order of its keys; different for 1, "1" and true."""
    if isinstance(value, Mapping):
        pairs = [[canonical(key), canonical(item)] for key, item in value.items()]
        return {"map": sorted(pairs, key=lambda pair: json.dumps(pair[0]))}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return {"set": sorted((canonical(item) for item in value), key=json.dumps)}
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        # Ansible's strings are classes of their own.
        return str(value)
    return {type(value).__name__: str(value)}


def files(directory: Path) -> list[Path]:
    """All files below, links among them, without what Python leaves behind."""
    found = []
    for folder, directories, names in os.walk(directory, onerror=_raise):
        directories[:] = [name for name in directories if name != "__pycache__"]
        found += [Path(folder, name) for name in names if not name.endswith(".pyc")]
        found += [Path(folder, name) for name in directories if Path(folder, name).is_symlink()]
    return sorted(path for path in found if not path.is_dir() or path.is_symlink())


def _raise(error: OSError) -> None:
    raise error


def collection_digest(root: Path, digests: Digests) -> str:
    return digests.of([[name, digests.of_directory(root / name)] for name in COLLECTION if (root / name).is_dir()])


def secret_parts(directory: Path, digests: Digests) -> dict[str, str]:
    """One part per file: one that is missing or another one is a change, and its name tells the operator which."""
    if not directory.is_dir():
        return {}
    return {f"{KEPT_FILE}{path.relative_to(directory)}": digests.of_file(path) for path in files(directory)}


def compress(per_host: Mapping[str, Mapping[str, str]]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """What all hosts have in common, and of each host the rest: they differ in little."""
    hosts = list(per_host)
    if not hosts:
        return {}, {}
    first = per_host[hosts[0]]
    common = {
        name: digest for name, digest in first.items() if all(per_host[host].get(name) == digest for host in hosts)
    }
    rest = {host: {name: digest for name, digest in per_host[host].items() if name not in common} for host in hosts}
    return common, rest


def expand(common: Mapping[str, str], hosts: Mapping[str, Mapping[str, str]], host: str) -> dict[str, str]:
    return {**common, **hosts.get(host, {})}


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The parts that are not as they were."""
    return [name for name in sorted({*before, *now} - {CONCERNS}) if before.get(name) != now.get(name)]


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [f"{name} has changed" for name in changed(before, now)]


def concerns(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether what has changed changes anything on the host whose parts these are."""
    is_known = before.get(CONCERNS, "before") == now.get(CONCERNS, "now")
    return not is_known or not set(changed(before, now)) <= {CLUSTER, ALL_GROUPS}


def workers_alone(cluster: Mapping[str, Any]) -> list[str]:
    """The hosts that run workers and nothing else: none of them knows of another one."""
    servers = {*cluster["brokers"], *cluster["beat_hosts"], *cluster["flower"]}
    servers |= {cluster["database"], cluster["source"], cluster["submitter"]}
    return [host for host in cluster["worker_hosts"] if host not in servers]


def concerning(cluster: Mapping[str, Any], groups: Mapping[str, Iterable[str]], host: str) -> Any:
    """The model and the groups, as far as they decide what this host gets: all, but for a host of workers alone."""
    alone = workers_alone(cluster)
    if host not in alone:
        return [cluster, {name: sorted(hosts) for name, hosts in groups.items()}]
    others = frozenset(alone) - {host}
    rest = {name: value for name, value in cluster.items() if name not in OF_THE_SERVERS}
    return [without(rest, others), {name: sorted({*hosts} - others) for name, hosts in groups.items()}]


def without(value: Any, hosts: frozenset[str]) -> Any:
    """Without the entries of these hosts, and without what belongs to one of them."""
    if isinstance(value, Mapping):
        return {key: without(item, hosts) for key, item in value.items() if not (key in hosts or is_of(item, hosts))}
    if isinstance(value, (list, tuple)):
        return [without(item, hosts) for item in value if not is_of(item, hosts)]
    return value


def is_of(value: Any, hosts: frozenset[str]) -> bool:
    if isinstance(value, Mapping):
        return value.get("host") in hosts
    return isinstance(value, str) and value in hosts


def told_once(per_host: Mapping[str, Sequence[str]]) -> list[str]:
    """What all hosts say is said without their names, and first."""
    every = [
        reason for reason in next(iter(per_host.values()), ()) if all(reason in said for said in per_host.values())
    ]
    if len(per_host) < 2:
        every = []
    rest = [f"{host}: {reason}" for host, reasons in per_host.items() for reason in reasons if reason not in every]
    return every + rest


def moved(began: Mapping[str, str], ended: Mapping[str, str]) -> list[str]:
    """The parts that changed while the run was at it. What it made or found itself is none of them."""
    return [
        name
        for name in changed(began, ended)
        if not name.startswith(FOUND) and not (name.startswith(KEPT_FILE) and name not in began)
    ]


def merge(owned: Iterable[Mapping[str, Any]], host: str) -> dict[str, list[Any]]:
    """What all roles say that they own on this host."""
    merged: dict[str, list[Any]] = {}
    for one in owned:
        if host in one["hosts"]:
            for kind, names in one.items():
                if kind != "hosts":
                    known = merged.setdefault(kind, [])
                    known += [name for name in names if name and name not in known]
    return merged
