# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How RabbitMQ stores passwords."""

from __future__ import annotations

import base64
import hashlib
import hmac

SHA256 = "rabbit_password_hashing_sha256"
SHA512 = "rabbit_password_hashing_sha512"
_DIGESTS = {SHA256: hashlib.sha256, SHA512: hashlib.sha512}
#: The algorithms that new passwords are stored with; older ones are replaced when the password changes.
ALGORITHMS = frozenset(_DIGESTS)
_SALT_BYTES = 4


def password_hash(password: str, salt: bytes, algorithm: str = SHA256) -> str:
    """The password as RabbitMQ stores it: base64(salt + digest(salt + password)), with a salt of 4 bytes."""
    if len(salt) != _SALT_BYTES:
        raise ValueError(f"RabbitMQ's salt has {_SALT_BYTES} bytes, not {len(salt)}")
    if algorithm not in _DIGESTS:
        raise ValueError(f"unknown hashing algorithm {algorithm!r}: use one of {', '.join(sorted(_DIGESTS))}")
    digest = _DIGESTS[algorithm](salt + password.encode("utf-8")).digest()
    return base64.b64encode(salt + digest).decode("ascii")


def derived_salt(name: str, password: str) -> bytes:
    """A salt that is different for every user and password, and the same in every run.

    A random one would change the rendered definitions, and with them the file, on every run.
    """
    return hmac.new(password.encode("utf-8"), b"rabbitmq " + name.encode("utf-8"), hashlib.sha256).digest()[
        :_SALT_BYTES
    ]


def password_matches(password: str, stored: str, algorithm: str) -> bool:
    """Whether a stored hash was made of this password. Algorithms that are too old count as 'no'."""
    try:
        raw = base64.b64decode(stored, validate=True)
    except ValueError:
        return False
    if len(raw) <= _SALT_BYTES or algorithm not in _DIGESTS:
        return False
    return hmac.compare_digest(password_hash(password, raw[:_SALT_BYTES], algorithm), stored)
