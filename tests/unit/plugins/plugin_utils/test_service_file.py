"""libpq itself reads its connection service file as it was meant."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.text import LONGEST_SERVICE_LINE, service_file
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

VALUE = st.text(st.one_of(st.sampled_from(" #=[]'\"\\\t\r\x85é"), st.characters(min_codepoint=1, codec="utf-8")))
CLEARTEXT_PASSWORD = b"R" + struct.pack("!II", 8, 3)

Serve = Callable[[Callable[[socket.socket], None]], int]


def exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (part := connection.recv(size - len(data))):
        data += part
    return data


def read_by_libpq(serve: Serve, name: str, parameters: dict[str, Any], before: dict[str, Any]) -> dict[str, str]:
    """What libpq sends to a server when it is told nothing but the name of the service."""
    told: dict[str, str] = {}

    def server(connection: socket.socket) -> None:
        (size,) = struct.unpack("!I", exactly(connection, 4))
        words = exactly(connection, size - 4)[4:].decode().split("\0")
        told.update(zip(words[::2], words[1::2], strict=False))
        connection.sendall(CLEARTEXT_PASSWORD)
        if not exactly(connection, 1):
            # It has no password to send.
            return
        (size,) = struct.unpack("!I", exactly(connection, 4))
        told["password"] = exactly(connection, size - 4)[:-1].decode()

    port = serve(server)
    own = {"host": "127.0.0.1", "port": port, "sslmode": "disable", "gssencmode": "disable", "connect_timeout": 5}
    with tempfile.NamedTemporaryFile() as file:
        file.write(service_file({"before": before, name: {**own, **parameters}, "behind": before}).encode())
        file.flush()
        with pytest.MonkeyPatch.context() as patch:
            for variable in [known for known in os.environ if known.startswith("PG")]:
                patch.delenv(variable)
            patch.setenv("PGSERVICEFILE", file.name)
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(f"service={name}")
    return told


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(" #=[shop]\\'\"\r\x85 é")
@example("p" * (LONGEST_SERVICE_LINE - len("password=")))
@given(VALUE)
def test_libpq_reads_a_password_as_it_was_or_it_is_refused(serve: Serve, password: str) -> None:
    wanted = {"user": "shop", "dbname": "shelves", "password": password, "sslcert": "", "sslkey": None}
    try:
        told = read_by_libpq(serve, "shop", wanted, {"user": "other", "password": "other"})
    except ValueError:
        assert "\n" in password or password != password.rstrip(" \t\v\f\r")
        return
    assert (told["user"], told["database"]) == ("shop", "shelves")
    assert told.get("password", "") == password


def test_empty_parameters_are_left_out() -> None:
    text = service_file({"shop": {"host": "::1", "port": 5432, "sslcert": "", "password": None}, "none": {}})
    assert text == "[shop]\nhost=::1\nport=5432\n[none]\n"


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ({"a b": {}}, "'a b' is no name of a service"),
        ({"a]": {}}, "is no name of a service"),
        ({1: {}}, "1 is no name of a service"),
        ({"shop": {"Host": "x"}}, "shop: 'Host' is no connection parameter"),
        ({"shop": {"host\n": "x"}}, "is no connection parameter"),
        ({"shop": {"service": "x"}}, "service means something else"),
        ({"shop": {"ldap": "x"}}, "ldap means something else"),
        ({"shop": {"password": "hunter2\nuser=postgres"}}, "the value of password holds a line break"),
        ({"shop": {"password": "hunter2 "}}, "ends with white space"),
        ({"shop": {"password": "hunter2\0"}}, "NUL"),
        ({"shop": {"password": "hunter2\ud800"}}, "value of password"),
        ({"shop": {"password": ["hunter2"]}}, "the value of password is no text"),
        ({"shop": {"password": True}}, "the value of password is no text"),
        ({"shop": {"password": "hunter2" * 200}}, "the value of password is too long"),
    ],
)
def test_what_libpq_would_read_otherwise_is_refused_without_telling_it(services: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        service_file(services)
    assert "hunter2" not in str(caught.value)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ValueError, match=r"'a b' is no name.*; shop: the value of user .*; shop: 'X' is no"):
        service_file({"a b": {}, "shop": {"user": "\n", "X": "1"}})
