"""SCRAM verifiers: those a server made of passwords, and what is no verifier of a password."""

from __future__ import annotations

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_scram import (
    is_md5,
    is_scram,
    matches,
    verifier,
)
from hypothesis import given
from hypothesis import strategies as st

# What PostgreSQL 15 stored of the password "pencil".
PENCIL = (
    "SCRAM-SHA-256$4096:KP7TE7y1GwzlFh5BF9dcbQ==$Rnni8zXvbiTfUXex7GnJA2Eo5JJ0oc9fudURmYl2dac="
    ":pNv5tMpFyzIqxLoYF6Gb+j+dy5mrXZWzq2MdOzq7U+Y="
)


def test_what_a_server_stored() -> None:
    assert matches(PENCIL, "pencil")
    assert not matches(PENCIL, "Pencil")
    assert not matches(PENCIL, "")


def test_the_example_of_rfc_7677() -> None:
    # Its server signature follows from this server key; salt and count are those of the RFC.
    made = verifier("pencil", b"[m\x99h\x9d\x12\x35\x8e\xec\xa0K\x14\x126\xfa\x81", 4096)
    assert made.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    assert made.endswith(":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")


def test_every_verifier_has_its_own_salt() -> None:
    one, other = verifier("a"), verifier("a")
    assert one != other
    assert matches(one, "a")
    assert matches(other, "a")


def test_another_count_of_iterations_is_the_stored_ones() -> None:
    assert matches(verifier("a", iterations=1), "a")
    assert verifier("a", iterations=77).startswith("SCRAM-SHA-256$77:")


@given(st.text(min_size=1), st.text(min_size=1))
def test_only_the_password_matches(one: str, other: str) -> None:
    made = verifier(one, b"salt", 1)
    assert is_scram(made)
    assert matches(made, one)
    # SASLprep makes some passwords the same, so that plain ones are compared.
    if one.isascii() and other.isascii() and one != other:
        assert not matches(made, other)


# Each pair was tried on PostgreSQL 15 and 17: the server makes the same of both.
@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("I\u00adX", "IX"),  # a soft hyphen is mapped to nothing
        ("\u00aa", "a"),  # compatibility forms
        ("\u2168", "IX"),
        ("\ufb01\u00bd", "fi1\u20442"),
        ("p\u00e4", "pa\u0308"),  # composed and decomposed
        ("a\u00a0b", "a b"),  # other spaces
        ("a\u200bb", "a b"),  # in the table of spaces and in that of nothing: the server looks for spaces first
    ],
)
def test_saslprep(password: str, prepared: str) -> None:
    assert matches(verifier(prepared, b"salt", 1), password)


@pytest.mark.parametrize(
    "password",
    [
        "\u0007\u00e4",  # a control character
        "\u0627\u00e9",  # right to left and left to right in one
        "\u06271",  # right to left, but not at the end
        "\u0221",  # unassigned in Unicode 3.2
        "\u00ad",  # nothing is left of it
        "\ue000",  # private use
        "\u0340a",  # deprecated, although its normal form is not
    ],
)
def test_what_saslprep_forbids_is_taken_as_it_is(password: str) -> None:
    raw = verifier("x", b"salt", 1)
    made = verifier(password, b"salt", 1)
    assert made != raw
    assert matches(made, password)
    for part in (password.strip("\u00ad\u0007"), password.replace("\u0340", "\u0300")):
        if part != password:
            assert not matches(made, part)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "pencil",
        "md5" + 32 * "0",
        "SCRAM-SHA-256$0:c2FsdA==$YQ==:YQ==",
        "SCRAM-SHA-256$4096:=$YQ==:YQ==",
        "SCRAM-SHA-1$4096:c2FsdA==$YQ==:YQ==",
        PENCIL + "\n",
    ],
)
def test_what_is_no_verifier_matches_nothing(stored: str) -> None:
    assert not matches(stored, "pencil")


def test_kinds() -> None:
    assert is_md5("md5" + 32 * "a")
    assert not is_md5("md5" + 32 * "A")
    assert not is_md5(PENCIL)
    assert is_scram(PENCIL)
    assert not is_scram("md5" + 32 * "a")
