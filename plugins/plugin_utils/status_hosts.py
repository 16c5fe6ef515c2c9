# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with hosts: silence, disks, certificates, open ports and releases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .status_seen import BROKER_UNIT, Finding, Seen, duration, instance, is_running, size

DAY = 86400


def findings(seen: Seen) -> Iterator[Finding]:
    for host, answer in seen.hosts.items():
        if not answer.get("answered"):
            why = answer.get("why") or "it was not asked"
            yield Finding("CS101", host, f"does not answer: {why}", seen.ping(host))
            continue
        yield from disks(seen, host, answer)
        yield from certificates(seen, host, answer)
        yield from ports(seen, host, answer)
    yield from releases(seen)


def disks(seen: Seen, host: str, answer: Mapping[str, Any]) -> Iterator[Finding]:
    for disk in answer["disks"]:
        for key, what in (("percent", "full"), ("inodes_percent", "out of inodes")):
            if disk[key] >= seen.limits.disk_percent:
                free = f", {size(disk['free'])} are free" if key == "percent" else ""
                options = "-xh -d 2" if key == "percent" else "-x --inodes -d 2"
                command = seen.on(host, f"du {options} {disk['path']}")
                yield Finding("CS102", host, f"the disk at {disk['path']} is {disk[key]:.0f} % {what}{free}", command)


def certificates(seen: Seen, host: str, answer: Mapping[str, Any]) -> Iterator[Finding]:
    remedy = seen.playbook("rotate_certificates")
    for row in answer["certificates"]:
        if row["ends"] is None:
            yield Finding("CS103", host, f"{row['path']} {row['error']}", seen.playbook("site", "--tags certificates"))
            continue
        left = row["ends"] - answer["time"]
        if left < 0:
            yield Finding("CS103", host, f"{row['path']} ended {duration(-left)} ago", remedy)
        elif left < seen.limits.certificate_days * DAY:
            yield Finding("CS103", host, f"{row['path']} ends in {duration(left)}", remedy)


def certificate_days(answer: Mapping[str, Any]) -> int | None:
    """Whole days until the first certificate of a host ends."""
    ends = [row["ends"] for row in answer["certificates"] if row["ends"] is not None]
    return int((min(ends) - answer["time"]) // DAY) if ends else None


def ports(seen: Seen, host: str, answer: Mapping[str, Any]) -> Iterator[Finding]:
    for row in answer["listeners"]:
        if row["tls"]:
            continue
        owner = row["unit"] or "a program that is not of the cluster"
        remedy = seen.on(host, f"ss -Hltnp sport = :{row['port']}")
        if row["unit"] == BROKER_UNIT:
            # What was opened by a command of the broker is gone after a restart; what is in its files, after a run.
            remedy = (
                f"{seen.playbook('site', '--tags rabbitmq')} && {seen.on(host, f'systemctl restart {BROKER_UNIT}')}"
            )
        elif row["unit"]:
            remedy = f"{seen.playbook('site')} && {seen.on(host, 'systemctl restart', row['unit'])}"
        yield Finding("CS104", host, f"port {row['port']} ({owner}) is open on {row['address']} without TLS", remedy)


def releases(seen: Seen) -> Iterator[Finding]:
    release = seen.release()
    for host, answer in seen.answers.items():
        if host not in seen.model["release_hosts"] and host not in seen.beat_hosts():
            continue
        current = answer["releases"]["current"]
        remedy = seen.playbook("deploy")
        if release and current != release:
            has = f"has release {current}" if current else "has no release"
            yield Finding("CS301", host, f"{has}, the cluster has {release}", remedy)
            continue
    for service in seen.services():
        if not service.prefix or service.host not in seen.answers:
            continue
        unit, current = seen.unit(service), seen.answers[service.host]["releases"]["current"]
        if unit is None or not is_running(unit) or not current or instance(unit["name"]) == current:
            continue
        what = f"{service.title} runs release {instance(unit['name'])}, the host has {current}"
        yield Finding("CS302", service.host, what, seen.playbook("deploy"))
