# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The few messages of AMQP 0-9-1 and of PostgreSQL's protocol 3.0 that a login needs, as pure functions."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple


class WireError(Exception):
    """What came back is not the protocol that was expected."""


# --------------------------------------------------------------------------------------------------
# AMQP 0-9-1

AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
AMQP_FRAME_HEADER = 7
AMQP_FRAME_END = 0xCE
_AMQP_METHOD_FRAME = 1
# A broker's first frames are far smaller; more is not AMQP.
AMQP_LARGEST_FRAME = 131072

START = (10, 10)
START_OK = (10, 11)
TUNE = (10, 30)
TUNE_OK = (10, 31)
OPEN = (10, 40)
OPEN_OK = (10, 41)
CLOSE = (10, 50)
CLOSE_OK = (10, 51)


class Method(NamedTuple):
    """A method frame on channel 0."""

    id: tuple[int, int]
    arguments: bytes


class Close(NamedTuple):
    code: int
    text: str


class Tune(NamedTuple):
    channel_max: int
    frame_max: int
    heartbeat: int


def short_string(text: str) -> bytes:
    raw = text.encode("utf-8")
    if len(raw) > 255:
        raise WireError(f"AMQP allows 255 bytes for a short string, this one has {len(raw)}")
    return bytes([len(raw)]) + raw


def long_string(raw: bytes) -> bytes:
    return struct.pack(">I", len(raw)) + raw


def field_table(fields: dict[str, Any]) -> bytes:
    """A field table of booleans, strings and tables."""
    body = b""
    for name, value in fields.items():
        if isinstance(value, bool):
            encoded = b"t" + (b"\x01" if value else b"\x00")
        elif isinstance(value, dict):
            encoded = b"F" + field_table(value)
        else:
            encoded = b"S" + long_string(str(value).encode("utf-8"))
        body += short_string(name) + encoded
    return long_string(body)


def method_frame(method: tuple[int, int], arguments: bytes = b"") -> bytes:
    payload = struct.pack(">HH", *method) + arguments
    return struct.pack(">BHI", _AMQP_METHOD_FRAME, 0, len(payload)) + payload + bytes([AMQP_FRAME_END])


def start_ok(username: str, password: str) -> bytes:
    """PLAIN login of a client that understands a refusal as Connection.Close instead of a dropped connection."""
    response = b"\x00" + username.encode("utf-8") + b"\x00" + password.encode("utf-8")
    properties = {
        "product": "taskfleet.celery_cluster link_probe",
        "capabilities": {"authentication_failure_close": True},
    }
    arguments = field_table(properties) + short_string("PLAIN") + long_string(response) + short_string("en_US")
    return method_frame(START_OK, arguments)


def tune_ok(tune: Tune) -> bytes:
    # No heartbeats: the connection lives for a moment.
    return method_frame(TUNE_OK, struct.pack(">HIH", tune.channel_max, tune.frame_max, 0))


def open_vhost(vhost: str) -> bytes:
    return method_frame(OPEN, short_string(vhost) + short_string("") + b"\x00")


def close() -> bytes:
    return method_frame(CLOSE, struct.pack(">H", 200) + short_string("probe done") + struct.pack(">HH", 0, 0))


def frame_size(header: bytes) -> int:
    """How many bytes follow a frame's first seven, its end byte included."""
    if header[:4] == b"AMQP":
        raise WireError(f"the server speaks another version of AMQP ({'.'.join(str(byte) for byte in header[4:])})")
    kind, channel, size = struct.unpack(">BHI", header)
    if kind != _AMQP_METHOD_FRAME or channel != 0 or not 4 <= size <= AMQP_LARGEST_FRAME:
        raise WireError(f"not a method frame of AMQP: {header!r}")
    return int(size) + 1


def parse_method(body: bytes) -> Method:
    """What follows a frame's first seven bytes."""
    if len(body) < 5 or body[-1] != AMQP_FRAME_END:
        raise WireError("a frame of AMQP without its end byte")
    class_id, method_id = struct.unpack(">HH", body[:4])
    return Method((class_id, method_id), body[4:-1])


def parse_mechanisms(arguments: bytes) -> list[str]:
    """The ways to log in that a Connection.Start offers: version, server properties, mechanisms, locales."""
    rest = arguments[2:]
    for _number in range(2):
        if len(rest) < 4:
            raise WireError("a Connection.Start of the wrong length")
        (size,) = struct.unpack(">I", rest[:4])
        field, rest = rest[4 : 4 + size], rest[4 + size :]
        if len(field) < size:
            raise WireError("a Connection.Start of the wrong length")
    return field.decode("utf-8", "replace").split()


def parse_tune(arguments: bytes) -> Tune:
    if len(arguments) != 8:
        raise WireError("a Connection.Tune of the wrong length")
    return Tune(*struct.unpack(">HIH", arguments))


def parse_close(arguments: bytes) -> Close:
    if len(arguments) < 3 or len(arguments) < 3 + arguments[2]:
        raise WireError("a Connection.Close of the wrong length")
    (code,) = struct.unpack(">H", arguments[:2])
    return Close(code, arguments[3 : 3 + arguments[2]].decode("utf-8", "replace"))


def speaks_amqp(reply: bytes) -> bool:
    """Whether the first bytes a server sent after the protocol header are AMQP, of whatever version."""
    if reply.startswith(b"AMQP"):
        return True
    start = struct.pack(">HH", *START)
    return len(reply) >= 11 and reply[0] == _AMQP_METHOD_FRAME and reply[1:3] == b"\x00\x00" and reply[7:11] == start


def is_tls_alert(reply: bytes) -> bool:
    return len(reply) >= 2 and reply[0] == 0x15 and reply[1] == 0x03


# --------------------------------------------------------------------------------------------------
# PostgreSQL

SSL_REQUEST = struct.pack(">II", 8, 80877103)
POSTGRES_HEADER = 5
_POSTGRES_LARGEST_MESSAGE = 65536

_AUTHENTICATION = {
    0: "lets it in without a password",
    3: "asks this address for a password",
    5: "asks this address for a password",
    7: "asks this address for Kerberos",
    9: "asks this address for SSPI",
    10: "asks this address for a password",
}


def startup_message(user: str, database: str) -> bytes:
    if "\x00" in user + database:
        raise WireError("user and database must not contain a zero byte")
    text = "".join(f"{part}\x00" for part in ("user", user, "database", database)) + "\x00"
    body = struct.pack(">I", 196608) + text.encode("utf-8")
    return struct.pack(">I", len(body) + 4) + body


def message_size(header: bytes) -> int:
    """How many bytes follow a message's first five."""
    size = struct.unpack(">I", header[1:5])[0] - 4
    if not 0 <= size <= _POSTGRES_LARGEST_MESSAGE:
        raise WireError(f"not a message of PostgreSQL: {header!r}")
    return int(size)


def parse_error(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse by their letter: S severity, C code, M message, ..."""
    fields = (part for part in body.split(b"\x00") if part)
    return {chr(part[0]): part[1:].decode("utf-8", "replace") for part in fields}


def authentication_request(body: bytes) -> str:
    """What an authentication request means, to follow 'the server'."""
    if len(body) < 4:
        raise WireError("an authentication request of the wrong length")
    (kind,) = struct.unpack(">I", body[:4])
    return _AUTHENTICATION.get(kind, f"asks this address for authentication of kind {kind}")


# --------------------------------------------------------------------------------------------------
# HTTP

# The status line begins so: HTTP/1.1 401
HTTP_STATUS = 12


def http_get(host: str, port: int, path: str) -> bytes:
    name = f"[{host}]" if ":" in host else host
    return f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nConnection: close\r\n\r\n".encode("ascii")


def http_status(answer: bytes) -> int:
    """The number in the first line of an answer."""
    version, _space, status = answer.partition(b" ")
    if not version.startswith(b"HTTP/") or len(status) != 3 or not status.isdigit():
        raise WireError("the server does not speak HTTP")
    return int(status)
