# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the cluster is, as rows and findings; ``status_text`` here and ``status_html`` next door only show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from . import status_hosts, status_queues, status_services
from .releases import release_of
from .status_seen import Finding, Limits, Row, Seen, Service, duration, instance, is_running, size
from .text import table

#: A release's name is a digest; so many characters tell releases apart.
SHORT = 12


def cluster_status(
    model: Mapping[str, Any],
    settings: Mapping[str, Any],
    hosts: Mapping[str, Mapping[str, Any]],
    brokers: Mapping[str, Mapping[str, Any]] | None = None,
    databases: Mapping[str, Mapping[str, Any]] | None = None,
    budget: Mapping[str, Any] | None = None,
    limits: Mapping[str, int] | None = None,
    inventory: Sequence[str] = ("INVENTORY",),
) -> dict[str, Any]:
    """The rows and findings of a status.

    model, settings, budget: what ``topology`` returned. hosts, brokers, databases: host -> what host_status,
    broker_status and database_status returned. limits: fields of ``Limits``. inventory: as it was named on the command
    line, for the commands of the remedies.
    """
    seen = Seen(
        model,
        settings,
        _asked(hosts),
        _asked(brokers),
        _asked(databases),
        budget,
        Limits(**{name: int(value) for name, value in (limits or {}).items()}),
        tuple(inventory) or ("INVENTORY",),
    )
    found = [*status_hosts.findings(seen), *status_services.findings(seen)]
    found += status_queues.findings(seen, {finding.host for finding in found})
    rows = [finding.as_dict() for finding in sorted(found, key=_order)]
    times = [answer["time"] for answer in seen.answers.values()]
    return {
        "version": 1,
        "name": seen.name,
        "time": datetime.fromtimestamp(max(times), UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if times else "",
        "release": seen.release(),
        "findings": rows,
        "wrong": sum(row["severity"] == "error" or bool(seen.limits.warnings_fail) for row in rows),
        "errors": sum(row["severity"] == "error" for row in rows),
        "warnings": sum(row["severity"] != "error" for row in rows),
        "hosts": [_host(seen, host) for host in seen.hosts],
        "services": [_service(seen, service) for service in seen.services() if service.host in seen.answers],
        "queues": _queues(seen),
        "databases": _databases(seen),
        "proof": _proof(seen),
    }


def _asked(answers: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Mapping[str, Any]]:
    """Without those of skipped tasks."""
    return {host: answer for host, answer in (answers or {}).items() if "answered" in answer}


def _order(finding: Finding) -> tuple[bool, str, str]:
    return not finding.is_error, finding.code, finding.host


def _host(seen: Seen, host: str) -> Row:
    answer = seen.hosts[host]
    if not answer.get("answered"):
        return {"host": host, "answers": False, "why": str(answer.get("why", "")), "disk": None, "disk_path": ""}
    fullest = max(answer["disks"], key=lambda disk: disk["percent"], default=None)
    return {
        "host": host,
        "answers": True,
        "why": "",
        "release": answer["releases"]["current"],
        "disk": fullest["percent"] if fullest else None,
        "disk_path": fullest["path"] if fullest else "",
        "certificate_days": status_hosts.certificate_days(answer),
    }


def _service(seen: Seen, service: Service) -> Row:
    unit = seen.unit(service)
    row: Row = {"host": service.host, "service": service.title, "role": service.role, "kind": service.kind}
    if unit is None:
        return {**row, "unit": seen.expected_unit(service), "state": "missing", "status": ""}
    row |= {"unit": unit["name"], "state": unit["active"], "status": unit["status"], "restarts": unit["restarts"]}
    row |= {"memory": unit["memory"], "memory_max": unit["memory_max"]}
    row |= {"release": instance(unit["name"]) if service.prefix else "", "up": unit["up"] if is_running(unit) else None}
    if service.role == "beat":
        row["state"] = {"silent": "active"}.get(state := status_services.beat_state(seen, unit), state)
    if service.role == "worker" and is_running(unit):
        queues = status_services.consumed(seen, unit)
        row["active"] = status_services.active_tasks(unit)
        row["reserved"] = status_services.reserved_tasks(seen, unit)
        row["consumers"] = None if queues is None else len(queues)
        row["planned"] = len(seen.model["workers"][service.kind]["queues"])
    return row


def _queues(seen: Seen) -> list[Row]:
    told = seen.broker
    if told is None:
        return []
    rows: list[Row] = []
    for name, consumers in seen.model["queues"].items():
        queue = told["queues"].get(name) or {}
        rows.append(
            {
                "queue": name,
                "ready": queue.get("ready"),
                "unacknowledged": queue.get("unacknowledged"),
                "in_rate": queue.get("in_rate"),
                "out_rate": queue.get("out_rate"),
                "oldest": queue.get("age"),
                "oldest_at_least": bool(queue.get("at_least")),
                "consumers": sum(entry["queue"] == name for entry in told["consumers"]),
                "planned": len(consumers),
                "proof": status_queues.canary_of(seen, name),
            }
        )
    return rows


def _databases(seen: Seen) -> list[Row]:
    return [
        {
            "host": host,
            "cluster": sum(told["roles"].values()),
            "planned": status_queues.planned_connections(seen),
            "used": told["used"],
            "limit": told["limit"] - told["reserved"],
        }
        for host, told in seen.databases.items()
        if told.get("answered")
    ]


def _proof(seen: Seen) -> Row | None:
    answer = seen.answers.get(seen.model["submitter"])
    if answer is None or answer["canary"] is None:
        return None
    results = answer["canary"]["results"]
    return {
        "age": max(0.0, answer["time"] - answer["canary"]["time"]),
        "sent": len(results),
        "failed": sum(not row["ok"] for row in results),
    }


# --------------------------------------------------------------------------------------------------
# As a reader wants to see them


def short(release: str) -> str:
    """4f2c0d1e9a7b.2 of a longer name: the digest may be cut, the number may not."""
    digest = release_of(release)
    return digest[:SHORT] + release[len(digest) :]


def summary(content: Mapping[str, Any]) -> str:
    parts = []
    for key, one in (("errors", "error"), ("warnings", "warning")):
        count = content[key]
        if count:
            parts.append(f"{count} {one}{'' if count == 1 else 's'}")
    return " and ".join(parts) or "nothing is wrong"


def proof_text(content: Mapping[str, Any]) -> str:
    proof = content["proof"]
    if proof is None:
        return "not known"
    failed = f", {proof['failed']} failed" if proof["failed"] else ""
    return f"{proof['sent']} tasks {duration(proof['age'])} ago{failed}"


def service_rows(content: Mapping[str, Any], *, repeat: bool = False) -> list[Row]:
    """repeat: whether every row names its host, as rows that may stand alone must."""
    rows, before = [], None
    for row in content["services"]:
        limit = f"/{size(row['memory_max'])}" if row.get("memory_max") else ""
        consumers = row.get("consumers")
        rows.append(
            {
                "host": row["host"] if repeat or row["host"] != before else "",
                "service": row["service"],
                "state": row["state"],
                "release": short(row.get("release", "")),
                "up": duration(row.get("up")),
                "active": _shown(row.get("active")),
                "reserved": _shown(row.get("reserved")),
                "consumes": f"{consumers}/{row['planned']}" if consumers is not None else "",
                "memory": f"{size(row.get('memory'))}{limit}",
            }
        )
        before = row["host"]
    return rows


def _shown(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _age(seconds: float | None, at_least: bool) -> str:
    if not seconds:
        return "" if seconds is None else "-"
    return f"> {duration(seconds)}" if at_least else duration(seconds)


def queue_rows(content: Mapping[str, Any]) -> list[Row]:
    rows = []
    for row in content["queues"]:
        proof = row["proof"] or {}
        latency = f"{proof['seconds'] * 1000:.0f} ms" if proof.get("seconds") is not None else ""
        rows.append(
            {
                "queue": row["queue"],
                "waiting": _shown(row["ready"]),
                "held": _shown(row["unacknowledged"]),
                "in/s": _shown(row["in_rate"]),
                "out/s": _shown(row["out_rate"]),
                "oldest": _age(row["oldest"], row["oldest_at_least"]),
                "consumers": f"{row['consumers']}/{row['planned']}",
                "last proof": "FAILED" if proof and not proof["ok"] else latency,
            }
        )
    return rows


def host_rows(content: Mapping[str, Any]) -> list[Row]:
    rows = []
    for row in content["hosts"]:
        disk = "" if row["disk"] is None else f"{row['disk']:.0f} % of {row['disk_path']}"
        days = row.get("certificate_days")
        rows.append(
            {
                "host": row["host"],
                "answers": "yes" if row["answers"] else "NO",
                "release": short(row.get("release", "")),
                "fullest disk": disk,
                "certificate": "" if days is None else f"{days} days",
            }
        )
    return rows


def database_rows(content: Mapping[str, Any]) -> list[Row]:
    return [
        {
            "database": row["host"],
            "of the cluster": f"{row['cluster']} of {_shown(row['planned']) or '?'} planned",
            "of all": f"{row['used']} of {row['limit']}",
        }
        for row in content["databases"]
    ]


def status_text(content: Mapping[str, Any]) -> str:
    """The screen. Remedies are not broken into lines, so that they can be pasted."""
    release = short(content["release"]) or "none"
    parts = [f"{content['name']}, release {release}: {summary(content)}. Last proof: {proof_text(content)}."]
    for heading, rows in (
        ("Services", service_rows(content)),
        ("Queues, as the broker sees them", queue_rows(content)),
        ("Hosts", host_rows(content)),
        ("Connections of the database", database_rows(content)),
    ):
        if rows:
            parts.append(f"{heading}\n{table(rows, list(rows[0]))}")
    if content["findings"]:
        lines = ["What is wrong, and what to do"]
        for row in content["findings"]:
            where = f"{row['host']}: " if row["host"] else ""
            lines += [f"{row['code']} {row['severity']}: {where}{row['what']}", f"      {row['remedy']}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)
