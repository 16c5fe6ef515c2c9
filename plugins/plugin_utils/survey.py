# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the answers of all hosts mean together: the judgement of preflight, before anything is changed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .budget import MIB, size
from .databases import ACCESS
from .problems import Problems
from .survey_needs import BROKER_PACKAGE
from .versions import check_broker_age, check_broker_jump, check_broker_series

#: Distributions whose packages, paths and systemd the roles know.
DISTRIBUTION, RELEASES, SERVICE_MANAGER = "Debian", ("12", "13"), "systemd"

#: Seconds beyond the time that asking took. Celery itself reports 16 seconds between two workers.
CLOCK_TOLERATED = 30.0
#: From here on package lists and certificates "are not yet valid", and tasks that expire are lost.
CLOCK_LIMIT = 300.0

#: An environment consists of small files: 45 per MiB where most of it is Python.
INODES_PER_MIB = 45

#: What the agent's syntax needs, and the tool that makes environments.
OLDEST_PYTHON = (3, 6)
#: What the current release of Celery needs.
CURRENT_PYTHON = (3, 10)
#: The role installs these packages on every host, whatever the inventory says.
ALWAYS_INSTALLED = ("python3",)
#: What ProtectHome= hides from every service of the cluster.
HIDDEN = ("/home", "/root", "/run/user")

WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - compared with what others listen on
#: More names than these in one message help nobody.
NAMED = 5

Survey = Mapping[str, Any]


def check_systems(cluster: Mapping[str, Any], facts: Mapping[str, Mapping[str, Any]], problems: Problems) -> None:
    """facts: host -> its ansible_facts. An existing database server may run on any system."""
    for host, known in facts.items():
        if host not in cluster["prepared_hosts"]:
            continue
        if "distribution" not in known:
            problems.add("CC801", "the system", "is unknown", "gather the host's facts first", host)
            continue
        release, manager = str(known.get("distribution_major_version")), known.get("service_mgr")
        if (known["distribution"], manager) != (DISTRIBUTION, SERVICE_MANAGER) or release not in RELEASES:
            version = known.get("distribution_version", release)
            problems.add(
                "CC801",
                "the system",
                f"is {known['distribution']} {version} with {manager}",
                f"use {DISTRIBUTION} {' or '.join(RELEASES)} with {SERVICE_MANAGER}",
                host,
            )


def check_hosts(
    cluster: Mapping[str, Any], surveys: Mapping[str, Survey], settings: Mapping[str, Any], problems: Problems
) -> None:
    """cluster: the fact celery_cluster. surveys: host -> what host_survey returned; a host may be missing.

    settings: ``celery_root`` and ``celery_disk_required_mb``.
    """
    answers = {host: survey for host, survey in surveys.items() if "time" in survey}
    _check_names(cluster, answers, problems)
    _check_ports(cluster, answers, problems)
    _check_clocks(answers, problems)
    for host, survey in answers.items():
        _check_paths(cluster, host, survey, settings, problems)
        _check_interpreter(host, survey, problems)
        _check_memory(cluster, host, survey, problems)
        broker = survey["packages"].get(BROKER_PACKAGE, {})
        if host in cluster["brokers"] and broker.get("installed") and broker.get("candidate"):
            check_broker_jump(broker["installed"], broker["candidate"], problems, host)
        if host in cluster["brokers"]:
            check_broker_age(broker.get("installed", ""), broker.get("candidate", ""), problems, host)
    brokers = {
        host: answers[host]["packages"].get(BROKER_PACKAGE, {}) for host in cluster["brokers"] if host in answers
    }
    check_broker_series(brokers, problems)


def some(hosts: Sequence[str]) -> str:
    """The hosts of one problem, as the subject of a sentence."""
    if len(hosts) <= NAMED:
        return ", ".join(hosts)
    return f"{', '.join(hosts[:NAMED])} and {len(hosts) - NAMED} more"


# --- names and ports -------------------------------------------------------------------------------------------------


def _check_names(cluster: Mapping[str, Any], surveys: Mapping[str, Survey], problems: Problems) -> None:
    lost: dict[str, list[str]] = {}
    astray: dict[str, list[str]] = {}
    for host, survey in surveys.items():
        for name, addresses in survey["resolved"].items():
            servers = _servers(cluster, name)
            if not addresses:
                lost.setdefault(name, []).append(host)
            elif servers and host not in servers and all(_is_loopback(address) for address in addresses):
                astray.setdefault(name, []).append(host)
    for name, hosts in lost.items():
        instead = f"{_other_address(cluster, name)}, or make the name known where {some(hosts)} look names up"
        problems.add("CC802", some(hosts), f"cannot resolve {name}", instead)
    for name, hosts in astray.items():
        instead = f"{_other_address(cluster, name)}, or mend /etc/hosts or the name server of {some(hosts)}"
        what = f"cannot reach another host as {name}, which is a loopback address there"
        problems.add("CC802", some(hosts), what, instead)


def _servers(cluster: Mapping[str, Any], name: str) -> list[str]:
    return [host for host, known in cluster["hosts"].items() if known["address"] == name]


def _other_address(cluster: Mapping[str, Any], name: str) -> str:
    servers = _servers(cluster, name)
    if servers:
        return f"write an address into celery_address of {some(servers)}"
    return "write a host that is known into celery_result_backend_url"


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _check_ports(cluster: Mapping[str, Any], surveys: Mapping[str, Survey], problems: Problems) -> None:
    # It runs already, or should: nobody starts it here.
    existing = cluster["database"] if cluster["database_mode"] == ACCESS else None
    deaf: dict[int, list[str]] = {}
    # Who is reached, as what -> who tried, and what became of it.
    running: dict[tuple[str, int, str], dict[str, str]] = {}
    absent: dict[tuple[str, int, str], dict[str, str]] = {}
    for host, survey in surveys.items():
        for port in survey["ports"]:
            if port["state"] in ("open", "unresolved"):
                continue
            server = f"{port['to']} ({port['host']})" if port["to"] else str(port["host"])
            key = (server, port["port"], port["name"])
            targets = {port["host"], *survey["resolved"].get(port["host"], ())}
            listens = _listens(surveys.get(port["to"], {}), port["port"], targets)
            if port["to"] == existing and existing in surveys and port["state"] == "refused" and not listens:
                deaf.setdefault(port["port"], []).append(host)
            elif not port["to"] or port["to"] == existing or listens:
                running.setdefault(key, {})[host] = port["state"]
            elif port["state"] != "refused":
                absent.setdefault(key, {})[host] = port["state"]
    for number, refused in deaf.items():
        problems.add(
            "CC815",
            f"port {number}",
            f"has no listener that other hosts reach ({some(refused)} tried)",
            "have the existing server listen there (listen_addresses), or write its port into celery_database_port",
            str(existing),
        )
    for links, code, where in ((running, "CC803", ""), (absent, "CC804", ", where nothing listens yet")):
        for (server, number, name), states in links.items():
            hosts, how = some(list(states)), ", ".join(sorted(set(states.values())))
            what = f"cannot reach {server} on port {number} ({name}; {how}){where}"
            instead = f"let TCP from {hosts} to port {number} pass every firewall and route between them"
            problems.add(code, hosts, what, instead)


def _listens(server: Survey, port: int, targets: set[str]) -> bool:
    """Whether somebody answers there for others: a listener on a loopback address alone does not."""
    listeners = server.get("listening", {}).get(str(port), ())
    return any(address in WILDCARDS or address in targets for address in listeners)


# --- clocks ----------------------------------------------------------------------------------------------------------


def offset(survey: Survey) -> float:
    """Seconds by which the host's clock is ahead of the controller's (behind: negative), at the very least."""
    if survey["time"] > survey["answered"]:
        return float(survey["time"] - survey["answered"])
    return float(min(0.0, survey["time"] - survey["asked"]))


def _check_clocks(surveys: Mapping[str, Survey], problems: Problems) -> None:
    offsets = {host: offset(survey) for host, survey in surveys.items() if "asked" in survey}
    wrong = {host: seconds for host, seconds in offsets.items() if abs(seconds) > CLOCK_TOLERATED}
    if not wrong:
        return
    least, most = min(offsets.values()), max(offsets.values())
    if len(offsets) > 1 and len(wrong) == len(offsets) and most - least <= CLOCK_TOLERATED:
        # All hosts agree, so it is the controller that does not.
        direction = "behind" if least > 0 else "ahead of"
        _add_clock("the controller's clock", f"is {_seconds(most)} {direction} the clock of every host", most, problems)
        return
    for host, seconds in wrong.items():
        direction = "ahead of" if seconds > 0 else "behind"
        _add_clock("the clock", f"is {_seconds(seconds)} {direction} the controller's", seconds, problems, host)


def _add_clock(place: str, what: str, seconds: float, problems: Problems, host: str = "") -> None:
    code = "CC805" if abs(seconds) > CLOCK_LIMIT else "CC806"
    instead = "set the one that is wrong, and run a time service such as systemd-timesyncd or chrony"
    problems.add(code, place, what, instead, host)


def _seconds(seconds: float) -> str:
    return f"{abs(seconds):.0f} s"


# --- what a host has -------------------------------------------------------------------------------------------------


def _check_paths(
    cluster: Mapping[str, Any], host: str, survey: Survey, settings: Mapping[str, Any], problems: Problems
) -> None:
    root = str(settings["celery_root"])
    for found in survey["paths"]:
        path, nearest = found["path"], found["nearest"]
        place = "celery_root" if path == root else "celery_state_directory"
        if not found["directory"]:
            instead = "remove it, or write another directory"
            problems.add("CC808", place, f"is {path}, where {nearest} is no directory", instead, host)
        elif found["read_only"]:
            instead = "mount it for writing, or write another directory"
            problems.add("CC808", place, f"is {path}, and the file system of {nearest} is read-only", instead, host)
        elif path == root and host in cluster["release_hosts"]:
            _check_room(host, found, int(settings["celery_disk_required_mb"]), problems)


def _check_room(host: str, found: Mapping[str, Any], required: int, problems: Problems) -> None:
    free, inodes = found["bytes_free"] // MIB, found["inodes_free"]
    if free < required:
        problems.add(
            "CC807",
            "celery_root",
            f"is {found['path']}, and {free} MiB of the {required} MiB that a release needs are free there",
            f"free {required - free} MiB, write another celery_root, or write what a release really needs into "
            "celery_disk_required_mb",
            host,
        )
    elif inodes is not None and inodes < required * INODES_PER_MIB:
        problems.add(
            "CC807",
            "celery_root",
            f"is {found['path']}, and {inodes} files can still be made there, where a release of {required} "
            f"MiB may have {required * INODES_PER_MIB}",
            "remove small files, write another celery_root, or write what a release really needs into "
            "celery_disk_required_mb",
            host,
        )


def _check_interpreter(host: str, survey: Survey, problems: Problems) -> None:
    found = survey["interpreter"]
    if not found:
        return
    path, place = found["path"], "code_python"
    if not found["exists"] and _comes(path, survey["packages"]):
        what = f"is {path}, which is not there yet"
        problems.add("CC810", place, what, "see that a package of celery_apt_packages brings it", host)
    elif not found["version"]:
        what = f"is {path}, which does not run ({found['detail']})"
        instead = "install it (celery_apt_packages), or write the path of an interpreter that is there"
        problems.add("CC809", place, what, instead, host)
    else:
        _check_version(host, path, found["version"], problems)
    if found["exists"]:
        _check_way(host, found, problems)


def _check_way(host: str, found: Mapping[str, Any], problems: Problems) -> None:
    path, closed = found["path"], found["closed"]
    hidden = next((item for item in (path, found["real_path"], found["prefix"]) if _is_hidden(item)), None)
    if closed:
        why = f"other accounts than root may not enter {closed['path']} (mode {closed['mode']}) on the way to it"
    elif hidden:
        why = f"the services cannot see {hidden}, because home directories are hidden from them"
    else:
        return
    instead = "install one outside of home directories, for example by celery_apt_packages"
    problems.add("CC813", "code_python", f"is {path}, but {why}", instead, host)


def _comes(path: str, packages: Mapping[str, Any]) -> bool:
    """Whether a package that will be installed has the interpreter's name: python3.12, python3.12-venv."""
    name = path.rpartition("/")[2]
    return any(item == name or item.startswith(f"{name}-") for item in (*packages, *ALWAYS_INSTALLED))


def _is_hidden(path: str) -> bool:
    return any(f"{path}/".startswith(f"{home}/") for home in HIDDEN)


def _check_version(host: str, path: str, version: str, problems: Problems) -> None:
    number = tuple(int(part) for part in version.split(".")[:2])
    what = f"is {path}, which is Python {version}"
    if number < OLDEST_PYTHON:
        problems.add("CC811", "code_python", what, f"write Python {_dotted(CURRENT_PYTHON)} or newer", host)
    elif number < CURRENT_PYTHON:
        instead = f"write Python {_dotted(CURRENT_PYTHON)} or newer, unless the application needs an older Celery"
        problems.add("CC812", "code_python", what, instead, host)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _check_memory(cluster: Mapping[str, Any], host: str, survey: Survey, problems: Problems) -> None:
    memory = survey["memory_bytes"]
    limits = dict(_limits(cluster, host))
    total = sum(limits.values())
    if total > memory:
        kinds = " + ".join(f"{kind} {limit // MIB}" for kind, limit in limits.items())
        problems.add(
            "CC814",
            "celery_workers",
            f"has limits (memory_max) of {total // MIB} MiB ({kinds}), and the host has {memory // MIB} MiB of RAM",
            "write smaller limits, or move a kind of worker to another host",
            host,
        )


def _limits(cluster: Mapping[str, Any], host: str) -> Iterator[tuple[str, int]]:
    for kind, worker in cluster["workers"].items():
        limit = size(worker["memory_max"]) if host in worker["hosts"] else None
        if limit is not None:
            yield kind, limit
