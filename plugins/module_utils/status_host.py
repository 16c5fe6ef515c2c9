# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases, certificates, disks and the last proof of a host. It reads, it never changes and never judges."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import certificate_dates

#: More than any verify run writes.
LARGEST_CANARY = 4 * 1024 * 1024


def releases(root: str) -> dict[str, Any]:
    """What is switched on, and what else is kept."""
    current = Path(root, "current")
    kept = Path(root, "releases")
    return {
        "current": current.readlink().name if current.is_symlink() else "",
        "kept": sorted(entry.name for entry in kept.iterdir() if entry.is_dir()) if kept.is_dir() else [],
    }


def certificates(patterns: Iterable[str]) -> list[dict[str, Any]]:
    """An entry for each file with certificates; files with keys alone are not among them."""
    rows: list[dict[str, Any]] = []
    for path in sorted({path for pattern in patterns for path in glob.glob(pattern)}):  # noqa: PTH207 - absolute
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            rows.append({"path": path, "ends": None, "error": f"cannot be read: {error.strerror}"})
            continue
        if b"CERTIFICATE-----" in data or b"KEY-----" not in data:
            rows.append(certificate_dates.read(path, data))
    return rows


def unescape(text: str) -> str:
    """Of a path in mountinfo: blanks and the like are octal."""
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1").decode("utf-8", "replace")


def mounts(paths: Iterable[str], mountinfo: str) -> list[str]:
    """The mount points that carry these paths, and those below them."""
    points = [unescape(line.split()[4]) for line in mountinfo.splitlines() if len(line.split()) > 4]
    found: dict[str, None] = {}
    for path in paths:
        real = os.path.realpath(path)
        if not os.path.lexists(real):
            continue
        above = [point for point in points if real == point or real.startswith(point.rstrip("/") + "/")]
        below = [point for point in points if point.startswith(real.rstrip("/") + "/") and real != "/"]
        for point in [*([max(above, key=len)] if above else []), *below]:
            found[point] = None
    return list(found)


def disks(points: Iterable[str]) -> list[dict[str, Any]]:
    """One entry for each file system. percent: of what an account without privileges may use, as df counts."""
    rows: dict[int, dict[str, Any]] = {}
    for point in points:
        try:
            room, device = os.statvfs(point), os.stat(point).st_dev  # noqa: PTH116 - beside statvfs
        except OSError:
            continue
        used = room.f_blocks - room.f_bfree
        if not used + room.f_bavail:
            continue
        inodes = 100 * (room.f_files - room.f_ffree) / room.f_files if room.f_files else 0.0
        rows.setdefault(
            device,
            {
                "path": point,
                "percent": round(100 * used / (used + room.f_bavail), 1),
                "inodes_percent": round(inodes, 1),
                "free": room.f_bavail * room.f_frsize,
            },
        )
    return list(rows.values())


def canary(path: str) -> dict[str, Any] | None:
    """What the last run of verify wrote; None when there was none, or it is not understood."""
    try:
        with Path(path).open("rb") as file:
            told = json.loads(file.read(LARGEST_CANARY))
        rows = [
            {
                "queue": str(row.get("queue", "")),
                "host": str(row.get("host", "")),
                "seconds": row.get("seconds"),
                "ok": bool(row.get("ok")),
            }
            for row in told["results"]
        ]
        return {"time": float(told["time"]), "results": rows}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
