# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan as one HTML page: no script, nothing to load, light and dark, for a phone, a desktop and paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .html_page import code, codes, finding, findings, muted, page, section, table
from .plan import LATER, RELEASE, VERSION, counts, grouped_links, ranges
from .plan_svg import KINDS, escape, topology_svg

_LEGEND = {
    "amqp": "AMQP over TLS",
    "management": "management API over TLS",
    "database": "PostgreSQL over TLS",
    "code": "code",
}


def plan_html(content: Mapping[str, Any]) -> str:
    """The page of a plan that ``plan`` made."""
    name = escape(content["name"])
    app = f'<p class="app">Application <code>{escape(content["app"])}</code></p>' if content["app"] else ""
    header = f'<h1>{name}</h1><p class="lead">The cluster as planned: {escape(counts(content))}.</p>{app}'
    sections = [
        _problems(content["problems"]),
        _topology(content),
        _hosts(content["hosts"]),
        _queues(content["queues"]),
        _links(content["links"]),
        _ports(content["ports"]),
        _budget(content),
        _access(content["access"], is_existing=content["is_existing"]),
    ]
    return page(f"{name}: the cluster as planned", header, sections, _notes(content))


def _notes(content: Mapping[str, Any]) -> str:
    notes = ["Made from the inventory alone: no host was contacted, and nothing was changed."]
    if not content["addresses_known"]:
        notes.append("Addresses that the inventory does not have follow from the facts of the hosts.")
    notes.append(f"<code>{RELEASE}</code> stands for the release, which gets its name when it is made.")
    if any(VERSION in service["unit"] for row in content["hosts"] for service in row["services"]):
        notes.append(f"<code>{VERSION}</code> is the version of PostgreSQL that the distribution has.")
    return " ".join(notes)


# --------------------------------------------------------------------------------------------------
# Sections


def _problems(problems: Sequence[Mapping[str, str]]) -> str:
    if not problems:
        return '<p class="fine">The inventory has no errors and no warnings.</p>'
    items = []
    for row in problems:
        text = f"{code(row['place'])} {escape(row['what'])}: {escape(row['instead'])}."
        items.append(finding(row, text))
    errors = sum(row["severity"] == "error" for row in problems)
    heading = "Warnings" if not errors else "Errors" if errors == len(problems) else "Errors and warnings"
    return findings(heading, items)


def _topology(content: Mapping[str, Any]) -> str:
    present = {link["kind"] for link in content["links"]}
    legend = "".join(
        f'<li><svg class="key" viewBox="0 0 34 12" aria-hidden="true"><path class="link {kind}" d="M2 6H26"/>'
        f'<path class="tip {kind}" d="M33 6L24 1V11Z"/></svg>{_LEGEND[kind]}</li>'
        for kind in KINDS
        if kind in present
    )
    figure = (
        f"<figure>\n{topology_svg(content)}\n{topology_svg(content, narrow=True)}\n"
        f'<figcaption><ul class="legend">{legend}</ul></figcaption>\n</figure>'
    )
    return section(
        "topology", "Topology", figure, "Arrows lead from who connects, and as which user, to the port it connects to."
    )


def _hosts(hosts: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for row in hosts:
        address = code(row["address"]) if row["known"] else muted(LATER)
        rows.append((code(row["host"]), address, "".join(_service(service) for service in row["services"])))
    return section("hosts", "Hosts", table(("Host", "Address", "Services"), rows))


def _service(service: Mapping[str, Any]) -> str:
    title = f"worker {service['title']}" if service["role"] == "worker" else service["title"]
    details = [escape(service["detail"])] if service["detail"] else []
    details += [codes(service["queues"])] if service["queues"] else []
    unit = f'<span class="unit">{code(service["unit"])}</span>' if service["unit"] else ""
    what = f'<span class="what"><b>{escape(title)}</b> {muted("; ".join(details))}</span>'
    return f'<div class="service">{what}{unit}</div>'


def _queues(queues: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (code(row["queue"]), codes(row["workers"]), codes(ranges(row["hosts"])), escape(row["at_once"]))
        for row in queues
    ]
    return section(
        "queues",
        "Queues and their consumers",
        table(("Queue", "Workers", "On", "Tasks at once"), rows, numbers=(3,)),
        "A worker that consumes several queues runs so many tasks of all of them together.",
    )


def _links(links: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for row in grouped_links(links):
        size = max(len(row["from"]), len(row["to"]))
        hosts = f" {muted(f'({size} hosts)')}" if size > 3 else ""
        start, end = (codes(ranges(row[key])) for key in ("from", "to"))
        where = (f"{start}{hosts}", end) if len(row["from"]) > 1 else (start, f"{end}{hosts}")
        port = f"{code(row['port'])} {escape(row['protocol'])}".strip()
        rows.append((escape(row["service"]), *where, port, code(row["identity"]), escape(row["tls"])))
    return section("links", "Links", table(("Service", "From", "To", "Port", "Identity", "TLS verified"), rows))


def _ports(ports: Sequence[Mapping[str, Any]]) -> str:
    if not ports:
        return ""
    rows = [
        (code(row["port"]), escape(row["purpose"]), "yes" if row["tls"] else "no", codes(ranges(row["hosts"])))
        for row in ports
    ]
    lead = "What other hosts may find open. Everything else that answers does not belong to the cluster."
    return section("ports", "Open ports", table(("Port", "For", "TLS", "On"), rows), lead)


def _budget(content: Mapping[str, Any]) -> str:
    if not content["budget"]:
        return ""
    total, limit = content["connections"]["total"], content["connections"]["limit"]
    rows = [(escape(row["who"]), escape(row["connections"])) for row in content["budget"]]
    rows.append(("<b>together</b>", f"<b>{escape(total)}</b>"))
    body = table(("Who", "Connections"), rows, numbers=(1,))
    server = content["connections"]["server"]
    server = total if server is None else server
    if not isinstance(limit, int) or not isinstance(server, int):
        return section("budget", "Connections of the database", body)
    full = min(1.0, server / limit) if limit > 0 else 1.0
    style = "bar over" if server > limit else "bar"
    gauge = (
        f'<svg class="{style}" viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="rest" width="100" height="1"/><rect class="used" width="{100 * full:.1f}" height="1"/></svg>'
    )
    lead = f"At most <b>{server}</b> of the <b>{limit}</b> connections that the database offers."
    if server != total:
        lead += " The pooler lends them to all clients."
    return section("budget", "Connections of the database", f"{gauge}\n{body}", lead)


def _access(access: Sequence[Mapping[str, Any]], *, is_existing: bool) -> str:
    if not access:
        return ""
    rows = [
        (
            code(row["who"]),
            code(row["user"]),
            code(row["address"]) if row["address"] else muted(LATER),
            code(row["port"]),
            code(row["method"]),
        )
        for row in access
    ]
    line = f"{access[0]['type']} {access[0]['database']} ROLE ADDRESS METHOD"
    others = "Every other address is refused."
    if is_existing:
        others = "At every other address the roles that the cluster makes are refused; the server's own lines stay."
    lead = f"Each is one line of <code>pg_hba.conf</code>: {code(line)}. {others}"
    columns = ("Who", "Role", "Address", "Port", "Method")
    return section("access", "Who may log in to the database", table(columns, rows), lead)
