# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The topology as a drawing: boxes in columns, and between the columns one lane for each protocol.

Every label is a line inside a box, so labels never meet. A connection runs from the edge of a box to the lane of its
protocol, along the lane, and to the port it ends at. Lines of boxes beside each other are half a step apart, so that
two connections never share a path unless they belong together.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .plan import CONTROLLER, ELSEWHERE, LATER, SETUP, Row, ranges

#: What is drawn.
KINDS = ("amqp", "management", "database", "code")

#: Services whose hosts are drawn as clients, beside the workers.
CLIENTS = ("source", "beat", "flower")
#: Their lanes, beginning at the servers.
LANES = ("database", "management", "amqp", "code")

STEP = 10  #: all boxes begin and all lines of text are high a multiple of it
LINE = 2 * STEP
PADDING = 14
RADIUS = 7
#: Up to so many worker hosts are drawn one by one; more are drawn together where they are equal.
SINGLE_HOSTS = 6
#: More different boxes than this help nobody: the rest becomes one.
MOST_BOXES = 8
#: A column that is shorter than the highest one begins at most so much lower: servers are not looked for.
LOWER = 160
#: Width of a character of the monospaced fonts, as a part of the font's size.
CHARACTER = 0.61
SIZES = {"title": 14.0, "sub": 12.0, "heading": 12.5, "queues": 12.0, "port": 12.0}

#: Two characters wide, and the same at both ends of a line.
_TSPAN_GAP = "<tspan>\u00a0\u00a0</tspan>"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(value: object) -> str:
    """Text as XML and HTML carry it, whatever characters it has."""
    return html.escape(_NOT_XML.sub("\ufffd", str(value)))


@dataclass(frozen=True)
class Line:
    """One line of a box. A line with a kind is the end of a connection; ``target``: it is the end with the arrow."""

    style: str
    text: str
    right: str = ""
    kind: str = ""
    target: bool = False


@dataclass
class Box:
    """``edges``: the sides at which connections end."""

    lines: list[Line]
    edges: tuple[str, ...]
    many: bool = False
    server: bool = False
    x: int = 0
    y: int = 0
    width: int = 0
    lanes: dict[str, str] = field(default_factory=dict)

    @property
    def height(self) -> int:
        return LINE + sum(_height(line, index == 0) for index, line in enumerate(self.lines))

    def ys(self) -> Iterable[tuple[Line, int]]:
        """Each line and the y of its middle."""
        y = self.y + STEP
        for index, line in enumerate(self.lines):
            y += _height(line, index == 0)
            yield line, y - STEP


def _height(line: Line, first: bool) -> int:
    # Room above a new service.
    return LINE + STEP if line.style == "heading" and not first else LINE


# --------------------------------------------------------------------------------------------------
# What the boxes say


def _ends(links: Iterable[Mapping[str, Any]], kinds: Sequence[str] = KINDS) -> list[Line]:
    """The outgoing connections of a host's service, each kind once."""
    found = dict.fromkeys((link["kind"], link["identity"], link["port"]) for link in links if link["kind"] in kinds)
    return [Line("port", identity or "see its URL", port, kind) for kind, identity, port in found]


def _head(row: Mapping[str, Any]) -> list[Line]:
    address = row["address"] if row["known"] else f"address {LATER}"
    return [Line("title", row["host"]), *([Line("sub", address)] if address != row["host"] else [])]


class _Links:
    """The links by their ends: asked once for each host, whatever the number of links."""

    def __init__(self, links: Iterable[Mapping[str, Any]]) -> None:
        self._from: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        self._to: dict[str, list[Mapping[str, Any]]] = {}
        for link in links:
            self._from.setdefault((link["from"], link["service"]), []).append(link)
            self._to.setdefault(link["to"], []).append(link)

    def of(self, host: str, service: str) -> list[Mapping[str, Any]]:
        return self._from.get((host, service), [])

    def to(self, host: str, *kinds: str) -> list[Mapping[str, Any]]:
        return [link for link in self._to.get(host, []) if link["kind"] in kinds]

    def code(self, host: str) -> list[Line]:
        """How a host gets the code: it fetches it, or the controller brings it."""
        if any(link["from"] == CONTROLLER for link in self.to(host, "code")):
            return [Line("port", "code from the controller", "", "code", target=True)]
        return _ends(self.of(host, "code"))


def _servers(rows: Iterable[Row], links: _Links, everything: Sequence[Row]) -> list[Box]:
    boxes = []
    labels = {"amqp": "AMQP over TLS", "management": "management API"}
    roles = {"broker": ("amqp", "management"), "database": ("database",)}
    for role, kinds in roles.items():
        for row in rows:
            for service in row["services"]:
                if service["role"] != role:
                    continue
                ports = dict.fromkeys(
                    (link["kind"], link["port"], labels.get(link["kind"], f"{link['protocol']} over TLS"))
                    for link in links.to(row["host"], *kinds)
                )
                lines = [*_head(row), Line("heading", service["title"], service["detail"])]
                lines += [Line("port", label, port, kind, target=True) for kind, port, label in ports]
                boxes.append(Box(lines, ("left", "right"), server=True))
    if any(link["to"] == ELSEWHERE for link in everything):
        lines = [Line("title", ELSEWHERE), Line("sub", "outside the cluster")]
        lines.append(Line("port", "celery_result_backend_url", "", "database", target=True))
        boxes.append(Box(lines, ("left", "right"), server=True))
    return boxes


def _clients(rows: Iterable[Row], links: _Links, everything: Sequence[Row]) -> list[Box]:
    """The application, beat and Flower; the controller when the code comes from it."""
    boxes = []
    if any(link["from"] == CONTROLLER for link in everything):
        lines = [Line("title", CONTROLLER), Line("sub", "runs Ansible"), Line("port", "copies the code", "", "code")]
        boxes.append(Box(lines, ("right",)))
    for row in rows:
        services = [service for service in row["services"] if service["role"] in CLIENTS]
        if not services:
            continue
        lines = _head(row)
        for service in services:
            lines.append(Line("heading", service["title"]))
            if service["role"] == "source" and (served := links.to(row["host"], "code")):
                lines.append(Line("port", "SSH, read only", served[0]["port"], "code", target=True))
            if service["role"] == "flower" and service["detail"]:
                lines.append(Line("sub", service["detail"]))
            lines += _ends(links.of(row["host"], service["title"]))
        lines += _setup_lines(_ends(links.of(row["host"], SETUP)))
        if not any(service["role"] == "worker" for service in row["services"]):
            lines += _code_lines(links.code(row["host"]))
        boxes.append(Box(lines, ("right",)))
    return boxes


def _code_lines(lines: Sequence[Line]) -> list[Line]:
    return [Line("heading", "code"), *lines] if lines else []


def _setup_lines(lines: Sequence[Line]) -> list[Line]:
    return [Line("heading", SETUP), *lines] if lines else []


def _workers(rows: Iterable[Row], links: _Links, width: int) -> list[Box]:
    """width: how many characters a line of a box holds."""
    groups: dict[object, list[tuple[Row, list[Line]]]] = {}
    hosts = [row for row in rows if any(service["role"] == "worker" for service in row["services"])]
    for row in hosts:
        ends = [*_ends(links.of(row["host"], "worker")), *links.code(row["host"])]
        if not any(service["role"] in CLIENTS for service in row["services"]):
            # Without an application and beat, a worker's host submits, and sets up.
            ends += _setup_lines(_ends(links.of(row["host"], SETUP)))
        kinds = [service for service in row["services"] if service["role"] == "worker"]
        lines = [line for service in kinds for line in _kind(service, width)]
        lines += [Line("heading", "connects as"), *ends]
        key: object = row["host"] if len(hosts) <= SINGLE_HOSTS else tuple(lines)
        groups.setdefault(key, []).append((row, lines))
    found = list(groups.values())
    shown = found if len(found) <= MOST_BOXES else found[: MOST_BOXES - 1]
    boxes = []
    for members in shown:
        if len(members) == 1:
            boxes.append(Box([*_head(members[0][0]), *members[0][1]], ("left",)))
        else:
            boxes.append(Box([*_crowd([row for row, _lines in members], width), *members[0][1]], ("left",), many=True))
    if len(shown) < len(found):
        rest = [member for members in found[len(shown) :] for member in members]
        ends = list(dict.fromkeys(line for _row, lines in rest for line in lines if line.kind))
        text = Line("heading", "different kinds", "see the table")
        boxes.append(Box([*_crowd([row for row, _lines in rest], width), text, *ends], ("left",), many=True))
    return boxes


def _kind(service: Mapping[str, Any], width: int) -> list[Line]:
    lines = [Line("heading", service["title"], service["detail"])]
    return lines + [Line("queues", text) for text in wrap(service["queues"], ", ", width, 4)]


def _crowd(rows: Sequence[Row], width: int) -> list[Line]:
    names = wrap(ranges(row["host"] for row in rows), ", ", width, 3)
    return [Line("title", f"{len(rows)} hosts"), *(Line("sub", text) for text in names)]


# --------------------------------------------------------------------------------------------------
# Text that fits


def cells(text: str) -> int:
    """How many characters of a monospaced font a text is wide."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def shorten(text: str, width: int) -> str:
    """At most so many cells; what is left out is in the middle, because both ends tell names apart."""
    if cells(text) <= width:
        return text
    half = max(1, (width - 1) // 2)
    head, tail = text[:half], text[-half:]
    while cells(head) > half:
        head = head[:-1]
    while cells(tail) > half:
        tail = tail[1:]
    return f"{head}…{tail}"


def wrap(words: Sequence[str], separator: str, width: int, most: int) -> list[str]:
    """Words in lines of at most so many cells, and at most so many lines; the last one says what is left out."""
    lines: list[str] = []
    for index, word in enumerate(words):
        word = shorten(word, width - len(separator)) + (separator if index < len(words) - 1 else "")
        if lines and cells(lines[-1] + word.rstrip()) <= width:
            lines[-1] += word
        elif len(lines) < most:
            lines.append(word)
        else:
            more = f"and {len(words) - index} more"
            lines[-1] = shorten(lines[-1].rstrip(), width - len(more) - 1) + f" {more}"
            break
    return [line.rstrip() for line in lines]


# --------------------------------------------------------------------------------------------------
# Where things are


@dataclass
class Drawing:
    """``channel``: the y of the way above all boxes, from one gap between the columns to the other."""

    width: int
    height: int
    boxes: list[Box]
    lanes: dict[str, dict[str, int]]
    channel: int


def _wide(servers: list[Box], clients: list[Box], workers: list[Box], frame: Sequence[Line]) -> Drawing:
    """Clients, servers, workers: three columns."""
    side, middle, gap, margin = 304, 272, 120, 16
    starts = (margin, margin + side + gap, margin + side + gap + middle + gap)
    columns = ((clients, side, LINE), (servers, middle, 6 * STEP), (workers, side, LINE))
    heights = [_stack(boxes, 0, distance) for boxes, _width, distance in columns]
    top = margin + LINE * len(frame) + LINE
    for (boxes, width, distance), start, height, shift in zip(columns, starts, heights, (0, STEP // 2, 0), strict=True):
        _stack(boxes, top + shift + min(LOWER, (max(heights) - height) // 2 // STEP * STEP), distance)
        for box in boxes:
            box.x, box.width = start, width
    for box in clients:
        box.lanes = dict.fromkeys(box.edges, "left")
    for box in servers:
        box.lanes = {"left": "left", "right": "right"}
    for box in workers:
        box.lanes = dict.fromkeys(box.edges, "right")
    right_gap = starts[2] - gap
    lanes = {
        "left": {kind: starts[1] - 30 - 20 * index for index, kind in enumerate(LANES)},
        "right": {kind: right_gap + 30 + 20 * index for index, kind in enumerate(LANES)},
    }
    height = top + max(heights) + STEP + margin
    return Drawing(starts[2] + side + margin, height, [*clients, *servers, *workers], lanes, top - LINE)


def _narrow(servers: list[Box], clients: list[Box], workers: list[Box], frame: Sequence[Line]) -> Drawing:
    """One column for the screen of a phone, and all lanes at its left."""
    boxes = [*servers, *clients, *workers]
    for box in boxes:
        box.x, box.width, box.edges, box.lanes = 84, 268, ("left",), {"left": "left"}
    top = STEP + (LINE * len(frame) + STEP if frame else 0)
    height = _stack(boxes, top, LINE)
    lanes = {"left": {kind: 66 - 16 * index for index, kind in enumerate(LANES)}}
    return Drawing(360, top + height + LINE, boxes, lanes, 0)


def _stack(boxes: Iterable[Box], top: int, distance: int) -> int:
    """Boxes below each other; the height of all."""
    y = top
    for box in boxes:
        box.y = y
        y += box.height + distance
    return max(0, y - distance - top)


# --------------------------------------------------------------------------------------------------
# The drawing


def topology_svg(content: Mapping[str, Any], *, narrow: bool = False) -> str:
    """The plan as an ``svg`` element that lives in an HTML page and takes its colours from there."""
    hosts, everything = content["hosts"], content["links"]
    links = _Links(everything)
    columns = (
        _servers(hosts, links, everything),
        _clients(hosts, links, everything),
        _workers(hosts, links, 32 if narrow else 37),
    )
    frame = [] if len(hosts) != 1 else _head(hosts[0])
    # One host for everything: its name stands on the frame, not on every box.
    for box in (box for boxes in columns for box in boxes if frame and box.lines[: len(frame)] == frame):
        del box.lines[: len(frame)]
    drawing = (_narrow if narrow else _wide)(*columns, frame)
    label = escape(f"Topology of {content['name']}: {len(hosts)} hosts")
    parts = [
        f'<svg class="topology {"narrow" if narrow else "wide"}" viewBox="0 0 {drawing.width} {drawing.height}" '
        f'role="img" aria-label="{label}">'
    ]
    if frame:
        parts.append(
            f'<rect class="frame" x="1" y="1" width="{drawing.width - 2}" height="{drawing.height - 2}" rx="8"/>'
        )
        for index, line in enumerate(frame):
            parts.append(_text(line.style, 16, 27 + LINE * index, line.text, (drawing.width - 32) // 9))
    for kind in reversed(LANES):
        parts += _connections(drawing, kind)
    for box in drawing.boxes:
        parts += _box(box)
    for kind in KINDS:
        parts += _tips(drawing, kind)
    return "\n".join([*parts, "</svg>"])


Point = tuple[int, int]


class End(NamedTuple):
    """One end of a connection on the edge of a box. gap: between which columns. port: as its line says."""

    point: Point
    gap: str
    port: str

    def meets(self, other: End) -> bool:
        """Connections stay in their gap, and lead to the port they name."""
        return (self.gap, self.port) == (other.gap, other.port)


def _points(drawing: Drawing, kind: str, *, target: bool) -> list[End]:
    """The ends of a kind's connections."""
    return [
        End((box.x if edge == "left" else box.x + box.width, y), box.lanes[edge], line.right)
        for box in drawing.boxes
        for line, y in box.ys()
        if line.kind == kind and line.target is target
        for edge in box.edges
    ]


def _used(drawing: Drawing, kind: str) -> tuple[list[End], list[End]]:
    """Starts and ends that are connected: one side of a server may have no client."""
    starts, ends = _points(drawing, kind, target=False), _points(drawing, kind, target=True)
    if kind != "code":
        met = {(start.gap, start.port) for start in starts}
        ends = [end for end in ends if (end.gap, end.port) in met]
    return (starts, ends) if starts and ends else ([], [])


def _connections(drawing: Drawing, kind: str) -> list[str]:
    starts, ends = _used(drawing, kind)
    paths = dict.fromkeys(
        _rounded(_way(drawing, kind, start, end))
        for start in starts
        for end in ends
        if kind == "code" or start.meets(end)
    )
    if not paths:
        return []
    # The background first: where two kinds cross, the upper one passes over the lower one.
    data = " ".join(paths)
    return [f'<path class="halo" d="{data}"/>', f'<path class="link {kind}" d="{data}"/>']


def _way(drawing: Drawing, kind: str, start: End, end: End) -> list[Point]:
    (start_x, start_y), (end_x, end_y) = start.point, end.point
    first, last = drawing.lanes[start.gap][kind], drawing.lanes[end.gap][kind]
    if first == last:
        return [(start_x, start_y), (first, start_y), (first, end_y), (end_x, end_y)]
    across = drawing.channel
    return [(start_x, start_y), (first, start_y), (first, across), (last, across), (last, end_y), (end_x, end_y)]


def _rounded(points: Sequence[Point]) -> str:
    """A way of horizontal and vertical lines with round corners."""
    parts = [f"M{points[0][0]} {points[0][1]}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        radius = min(RADIUS, _distance(before, corner) // 2, _distance(corner, after) // 2)
        enter, leave = _towards(corner, before, radius), _towards(corner, after, radius)
        parts.append(f"L{enter[0]} {enter[1]}Q{corner[0]} {corner[1]} {leave[0]} {leave[1]}")
    return "".join([*parts, f"L{points[-1][0]} {points[-1][1]}"])


def _distance(one: Point, other: Point) -> int:
    return abs(one[0] - other[0]) + abs(one[1] - other[1])


def _towards(start: Point, end: Point, length: int) -> Point:
    def sign(value: int) -> int:
        return (value > 0) - (value < 0)

    return start[0] + length * sign(end[0] - start[0]), start[1] + length * sign(end[1] - start[1])


def _tips(drawing: Drawing, kind: str) -> list[str]:
    """Dots where connections begin, arrows where they end."""
    starts, ends = _used(drawing, kind)
    parts = [f'<circle class="dot {kind}" cx="{x}" cy="{y}" r="3"/>' for (x, y), _gap, _port in starts]
    for (x, y), gap, _port in ends:
        back = x - 9 if drawing.lanes[gap][kind] < x else x + 9
        parts.append(f'<path class="tip {kind}" d="M{x} {y}L{back} {y - 5}V{y + 5}Z"/>')
    return parts


def _box(box: Box) -> list[str]:
    style = "box server" if box.server else "box"
    offsets = (8, 4, 0) if box.many else (0,)
    parts = [
        f'<rect class="{"box behind" if offset else style}" x="{box.x + offset}" y="{box.y + offset}" '
        f'width="{box.width}" height="{box.height}" rx="6"/>'
        for offset in offsets
    ]
    for line, y in box.ys():
        parts += _line(box, line, y)
    return parts


def _line(box: Box, line: Line, y: int) -> list[str]:
    left, right, base = box.x + PADDING, box.x + box.width - PADDING, y + 4
    room = int((right - left) / (SIZES[line.style] * CHARACTER))
    if line.style == "port":
        text = shorten(line.text, room - (cells(line.right) + 2 if line.right else 0))
        words = [f"<tspan>{escape(text)}</tspan>"]
        if line.right:
            words.append(f'<tspan class="number {line.kind}">{escape(line.right)}</tspan>')
        # The port stands next to the connection.
        ends = box.edges == ("right",)
        body = _TSPAN_GAP.join(words if ends else reversed(words))
        place = f'class="port end" x="{right}"' if ends else f'class="port" x="{left}"'
        return [f'<text {place} y="{base}">{_title(line.text, text)}{body}</text>']
    parts = []
    if line.style == "heading" and line is not box.lines[0]:
        parts.append(f'<path class="rule" d="M{left} {y - LINE + 5}H{right}"/>')
    detail = shorten(line.right, max(17, room - cells(line.text) - 2))
    parts.append(_text(line.style, left, base, line.text, room - (cells(detail) + 2 if detail else 0)))
    if detail:
        parts.append(
            f'<text class="sub end" x="{right}" y="{base}">{_title(line.right, detail)}{escape(detail)}</text>'
        )
    return parts


def _text(style: str, x: int, y: int, text: str, room: int | None = None) -> str:
    shown = text if room is None else shorten(text, max(4, room))
    return f'<text class="{style}" x="{x}" y="{y}">{_title(text, shown)}{escape(shown)}</text>'


def _title(text: str, shown: str) -> str:
    """What was shortened is told by the pointer."""
    return "" if shown == text else f"<title>{escape(text)}</title>"
