"""Hashes as RabbitMQ stores them."""

from __future__ import annotations

import base64
import hashlib

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_passwords import (
    SHA256,
    SHA512,
    derived_salt,
    password_hash,
    password_matches,
)


def test_the_hash_of_rabbitmqs_own_documentation() -> None:
    assert password_hash("test12", bytes.fromhex("908DC60A")) == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


def test_sha512() -> None:
    salt = b"\x00\x01\x02\x03"
    expected = base64.b64encode(salt + hashlib.sha512(salt + "pä".encode()).digest()).decode()
    assert password_hash("pä", salt, SHA512) == expected
    assert password_matches("pä", expected, SHA512)
    assert not password_matches("pä", expected, SHA256)


def test_what_does_not_match() -> None:
    stored = password_hash("right", b"salt")
    assert password_matches("right", stored, SHA256)
    for password, stored_hash, algorithm in [
        ("wrong", stored, SHA256),
        ("right", "", SHA256),
        ("right", "not base64!", SHA256),
        ("right", stored, "rabbit_password_hashing_md5"),
        ("", base64.b64encode(b"salt").decode(), SHA256),
    ]:
        assert not password_matches(password, stored_hash, algorithm)


def test_wrong_salts_and_algorithms_are_refused() -> None:
    with pytest.raises(ValueError, match="4 bytes"):
        password_hash("p", b"salty")
    with pytest.raises(ValueError, match="unknown hashing algorithm"):
        password_hash("p", b"salt", "md5")


def test_the_derived_salt_differs_by_name_and_by_password_and_by_nothing_else() -> None:
    salts = {derived_salt("a", "p"), derived_salt("b", "p"), derived_salt("a", "q"), derived_salt("a", "p")}
    assert len(salts) == 3
    assert {len(salt) for salt in salts} == {4}
