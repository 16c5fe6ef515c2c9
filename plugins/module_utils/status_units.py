# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of the cluster on a host, as systemd and the kernel see them: one command, the rest is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "ActiveEnterTimestampMonotonic",
    "NRestarts",
    "StatusText",
    "MainPID",
    "Result",
    "MemoryCurrent",
    "MemoryMax",
    "WatchdogUSec",
    "WatchdogTimestampMonotonic",
)
ARGUMENTS = ("show", f"--property={','.join(PROPERTIES)}", "--")
#: Stopped by a signal. A process in a debugger is in state t.
STOPPED = "T"
SPANS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


class Process(NamedTuple):
    """A process of a service. groups: controller -> its path, as /proc has them; the empty name is the unified one."""

    pid: int
    state: str
    unit: str
    groups: Mapping[str, str]


def blocks(output: str) -> list[dict[str, str]]:
    """The properties of each unit that was shown, once for each, whatever pattern found it."""
    found: dict[str, dict[str, str]] = {}
    for block in re.split(r"\n[ \t]*\n", output):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("Id"):
            found.setdefault(values["Id"], values)
    return list(found.values())


def number(text: str) -> int | None:
    """None for [not set], infinity and the largest number, by which systemd says the same."""
    return int(text) if text.isdigit() and int(text) < 2**63 else None


def span(text: str) -> float:
    """Seconds of a time span such as `2min`, 0 for none."""
    parts = (re.fullmatch(r"([0-9.]+)([a-z]+)", part) for part in text.split())
    return sum(float(part[1]) * SPANS.get(part[2], 0.0) for part in parts if part)


def age(text: str, now: float) -> float | None:
    """Seconds since a moment that systemd gives in microseconds of the monotonic clock; None when it never was."""
    moment = number(text)
    return max(0.0, now - moment / 1e6) if moment else None


def unit(values: Mapping[str, str], now: float) -> dict[str, Any]:
    """now: of the monotonic clock."""
    return {
        "name": values["Id"],
        "load": values.get("LoadState", ""),
        "active": values.get("ActiveState", ""),
        "sub": values.get("SubState", ""),
        "enabled": values.get("UnitFileState", ""),
        "up": age(values.get("ActiveEnterTimestampMonotonic", ""), now),
        "restarts": number(values.get("NRestarts", "")) or 0,
        "status": values.get("StatusText", ""),
        "main": number(values.get("MainPID", "")) or 0,
        "result": values.get("Result", ""),
        "memory": number(values.get("MemoryCurrent", "")),
        "memory_max": number(values.get("MemoryMax", "")),
        "watchdog": span(values.get("WatchdogUSec", "")),
        "watchdog_age": age(values.get("WatchdogTimestampMonotonic", ""), now),
        "processes": 0,
        "stopped": [],
        "connections": [],
    }


def linked(directory: str, patterns: Iterable[str]) -> list[str]:
    """Units that are enabled by a link, whether systemd has loaded them or not."""
    found = {path.name for pattern in patterns for path in Path(directory).glob(f"*.wants/{pattern}")}
    return sorted(found)


# --- processes -------------------------------------------------------------------------------------------------------


def parse_groups(text: str) -> dict[str, str]:
    """/proc/PID/cgroup: ``4:memory:/system.slice/a.service`` of version 1, ``0::/system.slice/a.service`` of 2."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        _number, _colon, rest = line.partition(":")
        controllers, _colon, path = rest.partition(":")
        for controller in controllers.split(","):
            found[controller] = path
    return found


def processes(names: Iterable[str], proc: Path = Path("/proc")) -> list[Process]:
    """The processes of these units. Which unit one belongs to stands in its control group, of version 1 and 2 alike."""
    wanted, found = set(names), []
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            groups = parse_groups((entry / "cgroup").read_text())
            places = {part for path in groups.values() for part in path.split("/")}
            owner = next(iter(places & wanted), None)
            if owner is not None:
                state = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
                found.append(Process(int(entry.name), state, owner, groups))
        except (OSError, IndexError):
            # It ended while it was looked at.
            continue
    return sorted(found)


def memory_of(groups: Mapping[str, str], base: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes a service cannot give back: what it holds, without the pages of files that are only kept in case."""
    for controller, place, usage, cache in (
        ("memory", base / "memory", "memory.usage_in_bytes", "total_inactive_file"),
        ("", base, "memory.current", "inactive_file"),
        ("", base / "unified", "memory.current", "inactive_file"),
    ):
        if controller not in groups:
            continue
        directory = place / groups[controller].lstrip("/")
        try:
            used = int((directory / usage).read_text())
            counted = dict(line.split() for line in (directory / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):
            continue
        return max(0, used - int(counted.get(cache, 0)))
    return None


def fill(units: Iterable[dict[str, Any]], found: Iterable[Process], base: Path = Path("/sys/fs/cgroup")) -> None:
    """Add to the units what their processes tell."""
    by_name = {entry["name"]: entry for entry in units}
    for process in found:
        entry = by_name[process.unit]
        entry["processes"] += 1
        if process.state == STOPPED:
            entry["stopped"].append(process.pid)
        if process.pid == entry["main"]:
            used = memory_of(process.groups, base)
            entry["memory"] = entry["memory"] if used is None else used
