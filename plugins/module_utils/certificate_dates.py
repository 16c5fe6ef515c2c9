# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the certificates of a PEM file end. Nothing but the standard library: a status must be quick on every host."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _GENERAL_TIME = 0x30, 0xA0, 0x17, 0x18


def ends(pem: bytes) -> float:
    """Seconds since the epoch at which the first of all certificates ends. ValueError when there is none to read."""
    found = [_not_after(base64.b64decode(b"".join(text.split()), validate=True)) for text in _texts(pem)]
    if not found:
        raise ValueError("holds no certificate")
    return min(found)


def _texts(pem: bytes) -> Iterator[bytes]:
    for match in _PEM.finditer(pem):
        yield match.group(1)


def _not_after(der: bytes) -> float:
    """Certificate: {TBSCertificate: {[version], serial, algorithm, issuer, validity: {notBefore, notAfter}, …}, …}."""
    try:
        _tag, certificate, _rest = _element(der, _SEQUENCE)
        _tag, fields, _rest = _element(certificate, _SEQUENCE)
        if fields[0] == _VERSION:
            _tag, _value, fields = _element(fields)
        for _skipped in ("serial number", "algorithm", "issuer"):
            _tag, _value, fields = _element(fields)
        _tag, validity, _rest = _element(fields, _SEQUENCE)
        _tag, _begin, validity = _element(validity)
        tag, moment, _rest = _element(validity)
        return _moment(tag, moment.decode("ascii"))
    except (IndexError, UnicodeDecodeError) as error:
        raise ValueError("holds a damaged certificate") from error


def _element(data: bytes, wanted: int | None = None) -> tuple[int, bytes, bytes]:
    """Tag, value, and what follows."""
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if (wanted is not None and tag != wanted) or len(data) < start + length:
        raise ValueError("holds a damaged certificate")
    return tag, data[start : start + length], data[start + length :]


def _moment(tag: int, text: str) -> float:
    if tag not in (_UTC_TIME, _GENERAL_TIME):
        raise ValueError("holds a certificate without an end")
    if tag == _UTC_TIME:
        # Two digits of the year; RFC 5280 says which century.
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def read(path: str, data: bytes) -> dict[str, object]:
    """The entry of one file: ``ends``, or ``error`` in words that follow the path."""
    try:
        return {"path": path, "ends": ends(data), "error": ""}
    except (ValueError, binascii.Error) as error:
        return {"path": path, "ends": None, "error": str(error)}
