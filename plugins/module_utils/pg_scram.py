# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How PostgreSQL stores passwords: SCRAM verifiers, from which nobody can log in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import stringprep
import unicodedata

ITERATIONS = 4096
_SALT_BYTES = 16
_STORED = re.compile(r"SCRAM-SHA-256\$([1-9][0-9]{0,9}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)\Z")
_MD5 = re.compile(r"md5[0-9a-f]{32}\Z")

_FORBIDDEN = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
    stringprep.in_table_a1,  # unassigned in Unicode 3.2
)


def verifier(password: str, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """What the server stores of a password, with a salt of its own every time."""
    salt = os.urandom(_SALT_BYTES) if salt is None else salt
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password), salt, iterations)
    client_key = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.new(salted, b"Server Key", hashlib.sha256).digest()
    return f"SCRAM-SHA-256${iterations}:{_text(salt)}${_text(stored_key)}:{_text(server_key)}"


def is_scram(stored: str) -> bool:
    return bool(_STORED.match(stored))


def is_md5(stored: str) -> bool:
    return bool(_MD5.match(stored))


def matches(stored: str, password: str) -> bool:
    """Whether a stored verifier was made of this password. What is no SCRAM verifier counts as 'no'."""
    found = _STORED.match(stored)
    if found is None:
        return False
    try:
        salt = base64.b64decode(found[2], validate=True)
    except ValueError:
        return False
    return hmac.compare_digest(verifier(password, salt, int(found[1])), stored)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _prepared(password: str) -> bytes:
    """SASLprep (RFC 4013). Like the server and libpq, a password that it forbids is taken as it is."""
    if password.isascii():
        return password.encode("ascii")
    # The server looks for spaces first: a zero width space, which is in both tables, becomes one.
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in password
        if stringprep.in_table_c12(character) or not stringprep.in_table_b1(character)
    )
    # It judges what it has before the normal form, unlike the RFC.
    forbidden = any(table(character) for character in mapped for table in _FORBIDDEN)
    usable = mapped and not forbidden and _one_direction(mapped)
    return (unicodedata.normalize("NFKC", mapped) if usable else password).encode("utf-8", "surrogateescape")


def _one_direction(text: str) -> bool:
    """RFC 3454, section 6: with right-to-left characters, no left-to-right ones, and the former at both ends."""
    if not any(stringprep.in_table_d1(character) for character in text):
        return True
    if any(stringprep.in_table_d2(character) for character in text):
        return False
    return stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
