# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster that would be built, as rows: who runs what, who connects to whom, who consumes what, who may log in.

``plan`` derives the rows from the model; ``plan_text`` here and ``plan_html`` next door only show them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .databases import ACCESS, CERTIFICATE, NO_POOLER, owner_name
from .flower import NGINX, OAUTH
from .ports import DISTRIBUTION
from .text import table

Row = dict[str, Any]

#: Stands in the names of units for the identifier of the release, which is known when the release is made.
RELEASE = "RELEASE"
#: Stands for the version of PostgreSQL, which is the distribution's.
VERSION = "VERSION"
#: Who copies the code to the hosts when the inventory names no source host.
CONTROLLER = "controller"
#: Where results go when the cluster has no database of its own.
ELSEWHERE = "result backend"

#: Where the pooler logs in to the server for its clients.
SAME_HOST = "same host"
#: What the commands are called that set up the tables, and that log in as their owner.
SETUP = "setup commands"

_VERIFIED = "yes, authority and name"
#: How a user of the broker proves who it is, where a password alone does not.
LOGINS = {"password_and_certificate": " and certificate", "certificate": " by certificate"}
_AS_ITS_URL = "as its URL says"
_NUMBERED = re.compile(r"([^.]*?)([0-9]{1,9})([^.0-9]*(?:\..*)?)", re.DOTALL)


def plan(
    model: Mapping[str, Any],
    settings: Mapping[str, Any],
    budget: Mapping[str, Any] | None = None,
    problems: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The rows of the plan.

    model: the fact ``celery_cluster``. settings: the cluster's variables that name ports and identities.
    budget: ``{"lines": [{"who", "connections"}], "total", "server", "limit"}``.
    problems: as ``Problem.as_dict`` gives them.
    """
    hosts = _hosts(model, settings)
    return {
        "name": _text(model.get("name") or settings.get("celery_name")),
        "app": _text(settings.get("celery_app")),
        "hosts": hosts,
        "addresses_known": all(row["known"] for row in hosts),
        "links": _links(model, settings),
        "queues": _queues(model),
        "budget": [
            {"who": _text(line.get("who")), "connections": _text(line.get("connections"))}
            for line in (budget or {}).get("lines") or []
        ],
        "connections": {key: (budget or {}).get(key) for key in ("total", "server", "limit")},
        "is_existing": model.get("database_mode") == ACCESS,
        "access": _access(model, settings),
        "ports": _ports(model),
        "problems": [
            {key: _text(row.get(key)) for key in ("code", "severity", "host", "place", "what", "instead")}
            for row in problems
        ],
    }


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _names(value: Any) -> list[str]:
    return [str(item) for item in value or []]


def at_once(worker: Mapping[str, Any]) -> int:
    """The most tasks one worker runs at the same time."""
    if worker.get("pool") == "solo":
        return 1
    return int((worker.get("autoscale") or [0, worker.get("concurrency") or 1])[1])


def _runs(model: Mapping[str, Any], host: str) -> list[str]:
    """The kinds of workers of a host."""
    return [str(kind) for kind, worker in (model.get("workers") or {}).items() if host in _names(worker.get("hosts"))]


# --------------------------------------------------------------------------------------------------
# Hosts and their services


def _members(model: Mapping[str, Any]) -> list[str]:
    """Every host that has a job; one whose address is not known yet may be missing among the model's hosts."""
    listed = [*(model.get("brokers") or []), model.get("database"), model.get("source"), *_beats(model)]
    listed += [*(model.get("flower") or []), *(model.get("worker_hosts") or [])]
    return list(dict.fromkeys(str(host) for host in [*listed, *(model.get("hosts") or {})] if host))


def _beats(model: Mapping[str, Any]) -> list[str]:
    return _names(model.get("beat_hosts") or [host for host in [model.get("beat")] if host])


def _known(model: Mapping[str, Any], host: str) -> Mapping[str, Any]:
    found = (model.get("hosts") or {}).get(host)
    return found if isinstance(found, Mapping) else {}


def _hosts(model: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Row]:
    rows = []
    for host in _members(model):
        about = _known(model, host)
        address = _text(about.get("address")) or host
        rows.append(
            {
                "host": host,
                "address": address,
                # Its own name in place of an address means: nobody knows one yet.
                "known": address != host or bool(about.get("addresses")),
                "services": _services(model, settings, host),
            }
        )
    return rows


def _services(model: Mapping[str, Any], settings: Mapping[str, Any], host: str) -> list[Row]:
    name = _text(model.get("name") or settings.get("celery_name"))
    rows = []

    def add(role: str, title: str, unit: str, detail: str = "", queues: Sequence[str] = ()) -> None:
        rows.append({"role": role, "title": title, "unit": unit, "detail": detail, "queues": list(queues)})

    if host in _names(model.get("brokers")):
        node = _text((model.get("broker_nodes") or {}).get(host))
        vhost = f"vhost {_text(settings.get('celery_vhost'))}".rstrip()
        add("broker", "RabbitMQ", "rabbitmq-server.service", f"{vhost}, node {node}" if node else vhost)
    if host == model.get("database"):
        database = f"database {_text(settings.get('celery_database_name'))}".rstrip()
        if model.get("database_mode") == ACCESS:
            add("database", "PostgreSQL", "", f"existing server, {database}")
        else:
            add("database", "PostgreSQL", f"postgresql@{VERSION}-main.service", database)
        if _has_pooler(model):
            port, mode = _text(model.get("database_port")), _text(model.get("database_pooler"))
            add("pooler", "PgBouncer", "pgbouncer.service", f"{mode} pooler, port {port}")
    if host == model.get("source"):
        add("source", "application", "", _text(settings.get("code_source_path")))
    beats = _beats(model)
    if host in beats:
        detail = "sends the periodic tasks" if len(beats) == 1 else f"one of {len(beats)}: sends, or waits to take over"
        add("beat", "beat", f"{name}-beat@{RELEASE}.service", detail)
    if host in _names(model.get("flower")):
        place = f"{_text(settings.get('flower_listen_address'))} port {_text(settings.get('flower_port'))}"
        listener = "nginx" if settings.get("flower_proxy") == NGINX else "listens"
        add("flower", "Flower", f"{name}-flower@{RELEASE}.service", f"{listener} on {place.strip()}")
    for kind in _runs(model, host):
        worker = model["workers"][kind]
        pool = _text(worker.get("pool")) or "prefork"
        autoscale = worker.get("autoscale")
        size = f"{autoscale[0]} to {autoscale[1]}" if autoscale else at_once(worker)
        unit = f"{name}-worker-{kind}@{RELEASE}.service"
        add("worker", kind, unit, f"{pool} × {size}", _names(worker.get("queues")))  # noqa: RUF001
    return rows


# --------------------------------------------------------------------------------------------------
# Links


def _links(model: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Row]:
    """Every connection of the cluster, one row for each pair of hosts, service and port."""
    rows: list[Row] = []

    def add(
        kind: str, service: str, start: str, end: str, port: object, protocol: str, identity: str, tls: str
    ) -> None:
        found = {"kind": kind, "service": service, "from": start, "to": end, "port": _text(port)}
        rows.append({**found, "protocol": protocol, "identity": identity, "tls": tls})

    names = _broker_users(model, settings)
    login = LOGINS.get(_text(model.get("broker_login")), "")
    flowers, brokers = _names(model.get("flower")), _names(model.get("brokers"))
    users = [("worker", "worker", host) for host in _names(model.get("worker_hosts"))]
    users += [("application", "producer", str(model["source"]))] if model.get("source") else []
    users += [("beat", "producer", host) for host in _beats(model)]
    users += [("Flower", "flower", host) for host in flowers]
    for service, identity, host in users:
        for broker in brokers:
            port = settings.get("celery_broker_port")
            add("amqp", service, host, broker, port, "AMQP", f"{names[identity]}{login}", _VERIFIED)
    management = settings.get("celery_broker_management_port")
    for broker in brokers:
        for host in flowers:
            add("management", "Flower", host, broker, management, "HTTPS", names["flower"], _VERIFIED)
        add("management", "administration", broker, broker, management, "HTTPS", names["admin"], _VERIFIED)
    for broker in brokers:
        for port in _known(model, broker).get("ports") or []:
            if port.get("purpose") == DISTRIBUTION:
                for other in (name for name in brokers if name != broker):
                    add("cluster", "broker", other, broker, port.get("port"), "Erlang", "Erlang cookie", _VERIFIED)
    identity = _database_user(settings)
    by_certificate = LOGINS["certificate"] if model.get("database_login") == CERTIFICATE else ""
    for service, _identity, host in users:
        if model.get("database"):
            port, server = _client_port(model, settings), "PgBouncer" if _has_pooler(model) else "PostgreSQL"
            add(
                "database",
                service,
                host,
                str(model["database"]),
                port,
                server,
                f"{identity}{by_certificate}",
                _VERIFIED,
            )
        else:
            add("database", service, host, ELSEWHERE, "", "results", "", _AS_ITS_URL)
    if model.get("database") and model.get("submitter"):
        port, owner = _server_port(model, settings), owner_name(settings)
        if owner != identity or _has_pooler(model):
            add(
                "database", SETUP, str(model["submitter"]), str(model["database"]), port, "PostgreSQL", owner, _VERIFIED
            )
    _code_links(model, settings, add)
    for host in flowers:
        loopback = _text(settings.get("flower_listen_address")) in ("127.0.0.1", "::1", "localhost")
        start = "browser, by SSH" if loopback else "browser"
        add(
            "browser",
            "browser",
            start,
            host,
            settings.get("flower_port"),
            "HTTPS",
            "OAuth" if settings.get("flower_auth") == OAUTH else "basic auth",
            "yes, cluster's authority",
        )
    return rows


def _has_pooler(model: Mapping[str, Any]) -> bool:
    return model.get("database_pooler") not in (None, NO_POOLER)


def _client_port(model: Mapping[str, Any], settings: Mapping[str, Any]) -> object:
    return model.get("database_port") or settings.get("celery_database_port")


def _server_port(model: Mapping[str, Any], settings: Mapping[str, Any]) -> object:
    return model.get("database_server_port") or settings.get("celery_database_port")


def _database_user(settings: Mapping[str, Any]) -> str:
    return _text(settings.get("celery_database_user"))


def _broker_users(model: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, str]:
    """The user of each identity. Users that each host has for itself are shown alike: equal hosts still look equal."""
    prefix = _text(settings.get("celery_broker_user_prefix"))
    own = {user.get("identity") for user in model.get("broker_users") or [] if user.get("host")}
    identities = ("worker", "producer", "flower", "admin")
    return {name: f"{prefix}{name}.HOST" if name in own else f"{prefix}{name}" for name in identities}


def _code_links(model: Mapping[str, Any], settings: Mapping[str, Any], add: Any) -> None:
    source = model.get("source")
    for host in _names(model.get("release_hosts")):
        if source is None:
            add("code", "code", CONTROLLER, host, "", "Ansible's connection", "Ansible's user", "as Ansible connects")
        elif host != source:
            user = _text(settings.get("code_source_user")) or f"{_text(settings.get('celery_name'))}-source"
            port = settings.get("code_source_ssh_port")
            add("code", "code", host, str(source), port, "SSH", user, "SSH, host key pinned")


def grouped_links(links: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Links that differ only in the host at one end, as one row; ``from`` and ``to`` are lists of names."""
    groups: dict[tuple[str, ...], Row] = {}
    for link in links:
        many, one = ("to", "from") if link["from"] == CONTROLLER else ("from", "to")
        key = tuple(str(link[part]) for part in ("service", one, "port", "protocol", "identity", "tls"))
        group = groups.setdefault((*key, many), {**link, one: [str(link[one])], many: []})
        group[many].append(str(link[many]))
    return list(groups.values())


def ranges(names: Iterable[str]) -> list[str]:
    """Names with runs of three or more consecutive numbers written as inventories write them: node[01:60]."""
    found: list[str] = []
    run: list[str] = []
    for name in names:
        if run and name != _successor(run[-1]):
            found += _folded(run)
            run = []
        run.append(name)
    return found + _folded(run)


def _successor(name: str) -> str | None:
    match = _NUMBERED.fullmatch(name)
    if not match:
        return None
    return f"{match[1]}{str(int(match[2]) + 1).zfill(len(match[2]))}{match[3]}"


def _folded(run: Sequence[str]) -> list[str]:
    first, last = (_NUMBERED.fullmatch(run[0]), _NUMBERED.fullmatch(run[-1])) if run else (None, None)
    if len(run) < 3 or not first or not last:
        return list(run)
    return [f"{first[1]}[{first[2]}:{last[2]}]{first[3]}"]


# --------------------------------------------------------------------------------------------------
# Queues and access


def _queues(model: Mapping[str, Any]) -> list[Row]:
    rows = []
    workers = model.get("workers") or {}
    for queue, consumers in (model.get("queues") or {}).items():
        kinds = list(dict.fromkeys(str(consumer["worker"]) for consumer in consumers))
        slots = sum(at_once(workers[consumer["worker"]]) for consumer in consumers if consumer["worker"] in workers)
        hosts = list(dict.fromkeys(str(consumer["host"]) for consumer in consumers))
        rows.append({"queue": str(queue), "workers": kinds, "hosts": hosts, "at_once": slots})
    return rows


def _access(model: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Row]:
    """The entries of pg_hba, in their order; with a pooler those of the user are the pooler's."""
    if not model.get("database"):
        return []
    by_password = {
        "type": "hostssl",
        "database": _text(settings.get("celery_database_name")),
        "user": _database_user(settings),
        "port": _text(_client_port(model, settings)),
        "method": "scram-sha-256",
    }
    common = {**by_password, "method": "cert"} if model.get("database_login") == CERTIFICATE else by_password
    rows = [
        {**common, "who": _text(client.get("name")), "address": _text(client.get("cidr"))}
        for client in model.get("database_clients") or []
    ]
    users = [*(model.get("worker_hosts") or []), model.get("source"), *_beats(model), *(model.get("flower") or [])]
    listed = {row["who"] for row in rows}
    for host in dict.fromkeys(str(user) for user in users if user):
        if host not in listed and not _known(model, host).get("addresses"):
            rows.append({**common, "who": host, "address": ""})
    return [*rows, *_direct_access(model, settings, by_password)]


def _direct_access(model: Mapping[str, Any], settings: Mapping[str, Any], common: Row) -> list[Row]:
    """Who logs in to the server itself: the pooler, and past it the lock of beat and the owner."""
    rows: list[Row] = []
    server, owner = _text(_server_port(model, settings)), owner_name(settings)
    if _has_pooler(model):
        rows.append({**common, "type": "local", "who": "the pooler", "address": SAME_HOST, "port": server})
        for client in model.get("lock_clients") or []:
            who = f"{_text(client.get('name'))} (lock of beat)"
            rows.append({**common, "who": who, "address": _text(client.get("cidr")), "port": server})
    elif owner == common["user"]:
        return []
    submitter = _text(model.get("submitter"))
    known = [_text(client.get("cidr")) for client in model.get("database_owners") or []]
    for address in known or ([""] if submitter else []):
        rows.append({**common, "user": owner, "who": submitter, "address": address, "port": server})
    return rows


def _ports(model: Mapping[str, Any]) -> list[Row]:
    """What others may find open, one row for each port and what it is for."""
    rows: dict[tuple[int, str], Row] = {}
    for host in _members(model):
        for port in _known(model, host).get("ports") or []:
            key = (port["port"], port["purpose"])
            row = rows.setdefault(key, {"port": key[0], "purpose": key[1], "tls": bool(port["tls"]), "hosts": []})
            row["hosts"].append(host)
    return list(rows.values())


# --------------------------------------------------------------------------------------------------
# The terminal

LATER = "follows from facts"


def counts(content: Mapping[str, Any]) -> str:
    """The size of the cluster in one line."""
    kinds = {service["title"] for row in content["hosts"] for service in row["services"] if service["role"] == "worker"}
    numbers = (
        (len(content["hosts"]), "host", "hosts"),
        (len(kinds), "kind of worker", "kinds of workers"),
        (len(content["queues"]), "queue", "queues"),
        (len(content["links"]), "link", "links"),
    )
    return ", ".join(f"{number} {one if number == 1 else many}" for number, one, many in numbers)


def plan_text(content: Mapping[str, Any]) -> str:
    """The plan for a terminal."""
    parts = [f"{content['name']}: {counts(content)}"]
    if not content["addresses_known"]:
        parts.append(
            "Addresses that are not in the inventory follow from the hosts' facts, which are not gathered here."
        )
    for heading, rows, columns in (
        ("Problems", _problem_rows(content), ("code", "severity", "where", "what")),
        ("Hosts", _host_rows(content), ("host", "address", "service", "unit", "detail")),
        ("Links", _link_rows(content), ("service", "from", "to", "port", "protocol", "identity", "TLS verified")),
        ("Ports that may be open to others", _port_rows(content), ("port", "for", "TLS", "hosts")),
        ("Queues", _queue_rows(content), ("queue", "workers", "hosts", "tasks at once")),
        ("Connections of the database", _budget_rows(content), ("who", "connections")),
        (
            "Who may log in to the database",
            _access_rows(content),
            ("type", "database", "user", "address", "port", "method", "who"),
        ),
    ):
        if rows:
            parts.append(f"{heading}\n{table(rows, columns)}")
    return "\n\n".join(parts)


def _problem_rows(content: Mapping[str, Any]) -> list[Row]:
    return [
        {
            **row,
            "where": f"{row['host']}: {row['place']}" if row["host"] else row["place"],
            "what": f"{row['what']}: {row['instead']}",
        }
        for row in content["problems"]
    ]


def _host_rows(content: Mapping[str, Any]) -> list[Row]:
    rows = []
    for host in content["hosts"]:
        address = host["address"] if host["known"] else LATER
        for index, service in enumerate(host["services"] or [{}]):
            detail = ", ".join(part for part in (service.get("detail"), " ".join(service.get("queues", []))) if part)
            title = f"worker {service['title']}" if service.get("role") == "worker" else service.get("title")
            first = {"host": host["host"], "address": address} if index == 0 else {}
            rows.append({**first, "service": title, "unit": service.get("unit"), "detail": detail})
    return rows


def _link_rows(content: Mapping[str, Any]) -> list[Row]:
    return [
        {**row, "from": _listed(row["from"]), "to": _listed(row["to"]), "TLS verified": row["tls"]}
        for row in grouped_links(content["links"])
    ]


def _port_rows(content: Mapping[str, Any]) -> list[Row]:
    return [
        {
            "port": row["port"],
            "for": row["purpose"],
            "TLS": "yes" if row["tls"] else "no",
            "hosts": _listed(row["hosts"]),
        }
        for row in content["ports"]
    ]


def _queue_rows(content: Mapping[str, Any]) -> list[Row]:
    return [
        {**row, "workers": " ".join(row["workers"]), "hosts": _listed(row["hosts"]), "tasks at once": row["at_once"]}
        for row in content["queues"]
    ]


def _budget_rows(content: Mapping[str, Any]) -> list[Row]:
    if not content["budget"]:
        return []
    total, server, limit = (content["connections"][key] for key in ("total", "server", "limit"))
    rows = [*content["budget"], {"who": "together", "connections": _text(total)}]
    if server not in (None, total):
        rows.append({"who": "of the server, through the pooler", "connections": _text(server)})
    return [*rows, *([] if limit is None else [{"who": "possible", "connections": _text(limit)}])]


def _access_rows(content: Mapping[str, Any]) -> list[Row]:
    return [{**row, "address": row["address"] or LATER} for row in content["access"]]


def _listed(names: Sequence[str]) -> str:
    return " ".join(ranges(names))
