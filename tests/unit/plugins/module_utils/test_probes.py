"""Every kind of probe against a server that behaves and against servers that do not."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import probe_wire as wire
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.probes import KINDS, run_probe, run_probes

Serve = Callable[[Callable[[socket.socket], None]], int]
START = wire.method_frame(
    wire.START, b"\x00\x09" + wire.field_table({}) + wire.long_string(b"PLAIN") + wire.long_string(b"en_US")
)
TUNE = wire.method_frame(wire.TUNE, struct.pack(">HIH", 2047, 131072, 60))


def probe(check: str, port: int, **more: Any) -> dict[str, Any]:
    given = {"check": check, "host": "127.0.0.1", "port": port, "timeout": 2.0, **more}
    return run_probe(given)


def refusal(row: dict[str, Any]) -> str:
    assert row["ok"] is True, row
    assert row["expected"] == "refused"
    return str(row["detail"])


def complaint(row: dict[str, Any]) -> str:
    assert row["ok"] is False, row
    return str(row["detail"])


def silent(connection: socket.socket) -> None:
    connection.recv(100)
    time.sleep(1)


def says(answer: bytes) -> Callable[[socket.socket], None]:
    def handler(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(answer)

    return handler


def over_tls(
    context: ssl.SSLContext, handler: Callable[[socket.socket], None], before: bytes = b""
) -> Callable[[socket.socket], None]:
    def handle(connection: socket.socket) -> None:
        if before:
            connection.recv(len(wire.SSL_REQUEST))
            connection.sendall(before)
        with context.wrap_socket(connection, server_side=True) as tls:
            handler(tls)

    return handle


# --- ports and plaintext ---------------------------------------------------------------------------


def test_port_closed(serve: Serve, closed_port: int) -> None:
    assert refusal(probe("port_closed", closed_port)) == "connection refused"
    assert "accepts connections" in complaint(probe("port_closed", serve(silent)))


@pytest.mark.parametrize("order", [1, -1])
def test_a_name_with_an_address_nobody_here_reaches(
    serve: Serve, closed_port: int, monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    """A host without IPv6 still learns what the other side says over IPv4, whichever address comes first."""

    def both(host: str, port: int, **_options: Any) -> list[tuple[Any, ...]]:
        # An address that fails on every machine in the same way, whatever its network.
        found: list[tuple[Any, ...]] = [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port)),
            (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", "/nonexistent/socket"),
        ]
        return found[::order]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    assert refusal(probe("port_closed", closed_port, host="broker")) == "connection refused"
    assert "accepts connections" in complaint(probe("port_closed", serve(silent), host="broker"))


def test_a_name_that_does_not_resolve_is_no_refusal(closed_port: int) -> None:
    for check in ("port_closed", "amqp_plaintext"):
        assert "does not resolve" in complaint(probe(check, closed_port, host="nowhere.invalid"))


def test_a_source_address_that_is_not_ours_is_no_refusal(closed_port: int) -> None:
    assert "assign" in complaint(probe("port_closed", closed_port, source_address="192.0.2.1"))


@pytest.mark.parametrize(
    ("answer", "detail"),
    [(b"\x15\x03\x03\x00\x02\x02\x0a", "TLS alert"), (b"", "connection closed"), (b"HTTP/1.1 400", "no AMQP")],
)
def test_plaintext_amqp_is_refused(serve: Serve, answer: bytes, detail: str) -> None:
    assert detail in refusal(probe("amqp_plaintext", serve(says(answer))))


def test_plaintext_amqp_to_a_closed_silent_or_real_tls_port(serve: Serve, closed_port: int, pki: Any) -> None:
    assert refusal(probe("amqp_plaintext", closed_port)) == "connection refused"
    assert refusal(probe("amqp_plaintext", serve(silent), timeout=0.2)) == "no answer to plaintext AMQP"
    refusal(probe("amqp_plaintext", serve(over_tls(pki.context, silent))))


@pytest.mark.parametrize("answer", [START, b"AMQP\x00\x00\x09\x01"])
def test_a_broker_that_speaks_plaintext_is_found(serve: Serve, answer: bytes) -> None:
    assert "without TLS" in complaint(probe("amqp_plaintext", serve(says(answer))))


def test_a_slow_first_frame_is_still_read(serve: Serve) -> None:
    def drips(connection: socket.socket) -> None:
        connection.recv(8)
        for position in range(11):
            connection.sendall(START[position : position + 1])
            time.sleep(0.01)

    assert "without TLS" in complaint(probe("amqp_plaintext", serve(drips)))


# --- TLS -------------------------------------------------------------------------------------------


def test_unknown_ca(serve: Serve, pki: Any) -> None:
    port = serve(over_tls(pki.context, lambda tls: None))
    assert "TLSv1." in refusal(probe("tls_unknown_ca", port, ca_file=pki.ca))


def test_unknown_ca_needs_its_control(serve: Serve, pki: Any, closed_port: int) -> None:
    port = serve(over_tls(pki.context, lambda tls: None))
    elsewhere = serve(over_tls(pki.wrong_name, lambda tls: None))
    assert "control" in complaint(probe("tls_unknown_ca", port, ca_file=pki.other_ca))
    assert "127.0.0.1" in complaint(probe("tls_unknown_ca", elsewhere, ca_file=pki.ca))
    assert "control" in complaint(probe("tls_unknown_ca", serve(says(START)), ca_file=pki.ca))
    assert "Connection refused" in complaint(probe("tls_unknown_ca", closed_port, ca_file=pki.ca))
    assert "No such file" in complaint(probe("tls_unknown_ca", port, ca_file="/nonexistent/ca.pem"))


def test_unknown_ca_is_not_proved_by_a_broken_second_connection(serve: Serve, pki: Any) -> None:
    connections = []

    def once(connection: socket.socket) -> None:
        connections.append(connection)
        if len(connections) == 1:
            over_tls(pki.context, lambda tls: None)(connection)

    assert "another reason" in complaint(probe("tls_unknown_ca", serve(once), ca_file=pki.ca))


@pytest.mark.parametrize(("check", "before"), [("tls_certificate", b""), ("postgres_certificate", b"S")])
def test_a_certificate_has_to_last(serve: Serve, pki: Any, check: str, before: bytes) -> None:
    # The certificate of the fixture lasts an hour.
    port = serve(over_tls(pki.context, lambda tls: None, before))
    elsewhere = serve(over_tls(pki.wrong_name, lambda tls: None, before))
    row = probe(check, port, ca_file=pki.ca)
    assert row["ok"] is True and row["expected"] == "accepted", row
    assert "valid for 127.0.0.1 until 20" in row["detail"]
    assert "in 0 days, and not in 1" in complaint(probe(check, port, ca_file=pki.ca, min_days=1))
    assert "not accepted" in complaint(probe(check, port, ca_file=pki.other_ca))
    assert "not accepted" in complaint(probe(check, elsewhere, ca_file=pki.ca))
    assert probe(check, elsewhere, ca_file=pki.ca, server_name="elsewhere.example")["ok"] is True
    assert "not accepted" in complaint(probe(check, port, ca_file=pki.ca, server_name="elsewhere.example"))


def test_the_certificate_of_a_database_without_tls(serve: Serve, pki: Any) -> None:
    assert "offers no TLS" in complaint(probe("postgres_certificate", serve(says(b"N")), ca_file=pki.ca))


# --- client certificates ---------------------------------------------------------------------------


def start_with(mechanisms: bytes) -> bytes:
    return wire.method_frame(
        wire.START,
        b"\x00\x09"
        + wire.field_table({"product": "RabbitMQ"})
        + wire.long_string(mechanisms)
        + wire.long_string(b"en"),
    )


def offers(mechanisms: bytes) -> Callable[[socket.socket], None]:
    def handler(tls: socket.socket) -> None:
        if tls.recv(8) == wire.AMQP_HEADER:
            tls.sendall(start_with(mechanisms))
            tls.recv(1)

    return handler


def mutual(pki: Any, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.pair)
    context.load_verify_locations(pki.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = version
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
def test_a_client_without_a_certificate_is_refused_for_that(serve: Serve, pki: Any, version: ssl.TLSVersion) -> None:
    port = serve(over_tls(mutual(pki, version), offers(b"EXTERNAL")))
    said = refusal(probe("amqp_no_client_certificate", port, ca_file=pki.ca))
    assert said.endswith(("certificate required", "handshake failure"))
    # One that is given to the probe is not shown.
    given = {"client_certificate": pki.pair}
    refusal(probe("amqp_no_client_certificate", port, ca_file=pki.ca, **given))


def test_another_end_is_not_a_missing_certificate(serve: Serve, pki: Any, closed_port: int) -> None:
    lenient = serve(over_tls(pki.context, offers(b"PLAIN")))
    hangs_up = serve(over_tls(pki.context, lambda tls: None))
    given = {"ca_file": pki.ca}
    assert "may log in" in complaint(probe("amqp_no_client_certificate", lenient, timeout=0.6, **given))
    assert "another reason" in complaint(probe("amqp_no_client_certificate", hangs_up, **given))
    assert "not accepted" in complaint(probe("amqp_no_client_certificate", lenient, ca_file=pki.other_ca))
    assert complaint(probe("amqp_no_client_certificate", closed_port, **given)) == "Connection refused"


@pytest.mark.parametrize(
    ("mechanisms", "ok", "detail"),
    [
        (b"EXTERNAL", True, "the broker offers EXTERNAL only"),
        (b"EXTERNAL PLAIN AMQPLAIN", False, "by password: PLAIN, AMQPLAIN"),
        (b"", False, "no login at all"),
    ],
)
def test_a_login_by_password_is_not_offered(serve: Serve, pki: Any, mechanisms: bytes, ok: bool, detail: str) -> None:
    port = serve(over_tls(mutual(pki), offers(mechanisms)))
    row = probe("amqp_password_refused", port, ca_file=pki.ca, client_certificate=pki.pair)
    assert (row["ok"], row["expected"]) == (ok, "refused"), row
    assert detail in row["detail"]
    # Without its certificate the probe learns nothing.
    complaint(probe("amqp_password_refused", port, ca_file=pki.ca))


def test_a_broker_that_closes_at_once_offers_nothing(serve: Serve, pki: Any) -> None:
    def closes(tls: socket.socket) -> None:
        tls.recv(8)
        tls.sendall(closing(320, "CONNECTION_FORCED"))

    port = serve(over_tls(pki.context, closes))
    assert "another reason: 320" in complaint(probe("amqp_password_refused", port, ca_file=pki.ca))


def test_the_other_checks_show_their_certificate(serve: Serve, pki: Any) -> None:
    port = serve(over_tls(mutual(pki), broker_talk))
    given = {"ca_file": pki.ca, "client_certificate": pki.pair}
    assert refusal(probe("amqp_wrong_password", port, username="anna", **given)) == "403 ACCESS_REFUSED"
    assert "without it:" in refusal(probe("tls_unknown_ca", port, **given))
    assert probe("tls_certificate", port, **given)["ok"] is True
    complaint(probe("amqp_wrong_password", port, username="anna", ca_file=pki.ca))
    missing = probe("amqp_wrong_password", port, username="anna", ca_file=pki.ca, client_certificate="/nonexistent")
    assert "No such file" in complaint(missing)


# --- AMQP logins -----------------------------------------------------------------------------------


def closing(code: int, text: str) -> bytes:
    return wire.method_frame(wire.CLOSE, struct.pack(">H", code) + wire.short_string(text) + struct.pack(">HH", 10, 11))


def read_method(connection: socket.socket) -> wire.Method:
    header = connection.recv(7, socket.MSG_WAITALL) if not isinstance(connection, ssl.SSLSocket) else b""
    while len(header) < 7:
        part = connection.recv(7 - len(header))
        if not part:
            raise ConnectionResetError
        header += part
    body = b""
    size = wire.frame_size(header)
    while len(body) < size:
        body += connection.recv(size - len(body))
    return wire.parse_method(body)


def broker(
    pki: Any, password: str = "right", vhost: str = "celery", refuse: bytes | None = None
) -> Callable[[socket.socket], None]:
    """As much of a broker as a login sees."""

    def handler(tls: socket.socket) -> None:
        if tls.recv(8) != wire.AMQP_HEADER:
            return
        tls.sendall(START)
        login = read_method(tls)
        if f"\x00anna\x00{password}".encode() not in login.arguments:
            tls.sendall(closing(403, "ACCESS_REFUSED - Login was refused") if refuse is None else refuse)
            return
        tls.sendall(TUNE)
        assert read_method(tls).id == wire.TUNE_OK
        opened = read_method(tls)
        if opened.arguments != wire.short_string(vhost) + b"\x00\x00":
            tls.sendall(closing(530, "NOT_ALLOWED - vhost not found"))
            return
        tls.sendall(wire.method_frame(wire.OPEN_OK, b"\x00"))
        if read_method(tls).id == wire.CLOSE:
            tls.sendall(wire.method_frame(wire.CLOSE_OK))

    return over_tls(pki.context, handler)


def broker_talk(tls: socket.socket) -> None:
    """A broker that refuses every password."""
    if tls.recv(8) == wire.AMQP_HEADER:
        tls.sendall(START)
        read_method(tls)
        tls.sendall(closing(403, "ACCESS_REFUSED - Login was refused"))


def test_login(serve: Serve, pki: Any) -> None:
    given = {"ca_file": pki.ca, "username": "anna", "vhost": "celery"}
    port = serve(broker(pki))
    row = probe("amqp_login", port, password="right", **given)
    assert (row["ok"], row["expected"]) == (True, "accepted"), row
    assert "403" in complaint(probe("amqp_login", port, password="wrong", **given))
    assert "530" in complaint(probe("amqp_login", port, password="right", **{**given, "vhost": "other"}))
    assert "not accepted" in complaint(
        probe("amqp_login", port, password="right", **{**given, "ca_file": pki.other_ca})
    )


def test_login_does_not_depend_on_an_orderly_end(serve: Serve, pki: Any) -> None:
    def hangs_up(tls: socket.socket) -> None:
        tls.recv(8)
        tls.sendall(START)
        read_method(tls)
        tls.sendall(TUNE)
        read_method(tls)
        read_method(tls)
        tls.sendall(wire.method_frame(wire.OPEN_OK, b"\x00"))

    port = serve(over_tls(pki.context, hangs_up))
    assert probe("amqp_login", port, ca_file=pki.ca, username="anna", password="p", vhost="v")["ok"] is True


def test_wrong_password(serve: Serve, pki: Any) -> None:
    given = {"ca_file": pki.ca, "username": "anna"}
    port = serve(broker(pki))
    assert refusal(probe("amqp_wrong_password", port, **given)) == "403 ACCESS_REFUSED"
    assert refusal(probe("amqp_wrong_password", port, password="guess", **given)) == "403 ACCESS_REFUSED"
    assert "let in with a wrong password" in complaint(probe("amqp_wrong_password", port, password="right", **given))


@pytest.mark.parametrize(
    ("refuse", "detail"),
    [
        (b"", "closed the connection without a word"),
        (closing(320, "CONNECTION_FORCED - shutdown"), "another reason: 320"),
        (wire.method_frame(wire.OPEN_OK), "expected method"),
        (b"HTTP/1.1 400 Bad Request", "not a method frame"),
    ],
)
def test_another_end_is_not_a_refused_password(serve: Serve, pki: Any, refuse: bytes, detail: str) -> None:
    port = serve(broker(pki, refuse=refuse))
    assert detail in complaint(probe("amqp_wrong_password", port, ca_file=pki.ca, username="anna"))


def test_a_server_that_drips_cannot_hold_a_probe_beyond_its_time(serve: Serve, pki: Any) -> None:
    def drips(tls: socket.socket) -> None:
        tls.recv(8)
        for position in range(40):
            tls.sendall(START[position % len(START) : position % len(START) + 1])
            time.sleep(0.1)

    port = serve(over_tls(pki.context, drips))
    began = time.monotonic()
    row = probe("amqp_wrong_password", port, ca_file=pki.ca, username="anna", timeout=0.4)
    assert complaint(row) == "no answer within 0.4 s"
    assert time.monotonic() - began < 1.5


# --- PostgreSQL ------------------------------------------------------------------------------------


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack(">I", len(body) + 4) + body


def error(code: str, text: str) -> bytes:
    return message(b"E", f"SFATAL\x00VFATAL\x00C{code}\x00M{text}\x00\x00".encode())


NO_ENTRY = error("28000", 'no pg_hba.conf entry for host "192.0.2.9", user "anna", database "shop", SSL encryption')
GERMAN = error("28000", "kein pg_hba.conf-Eintrag für Host »192.0.2.9«, keine Verschlüsselung")
# The last line of pg_hba.conf, as PostgreSQL 15 and 17 say it.
REJECTED = error("28000", 'pg_hba.conf rejects connection for host "192.0.2.9", user "anna", database "shop"')


def pooler_error(text: str) -> bytes:
    """As PgBouncer 1.18 and 1.24 send it."""
    return message(b"E", f"SFATAL\x00C08P01\x00M{text}\x00\x00".encode())


SCRAM = message(b"R", struct.pack(">I", 10) + b"SCRAM-SHA-256\x00\x00")
WHO = {"username": "anna", "database": "shop"}
STARTUP = wire.startup_message("anna", "shop")


def database(answer: bytes) -> Callable[[socket.socket], None]:
    def handler(connection: socket.socket) -> None:
        if connection.recv(1000) == STARTUP:
            connection.sendall(answer)

    return handler


@pytest.mark.parametrize("answer", [NO_ENTRY, GERMAN, REJECTED, message(b"N", b"SNOTICE\x00\x00") + NO_ENTRY])
def test_postgres_refused(serve: Serve, pki: Any, answer: bytes) -> None:
    port = serve(over_tls(pki.context, database(answer), before=b"S"))
    assert "pg_hba.conf" in refusal(probe("postgres_refused", port, ca_file=pki.ca, **WHO))
    assert "pg_hba.conf" in refusal(probe("postgres_plaintext_refused", serve(database(answer)), **WHO))


def test_a_pooler_refuses_in_its_own_words(serve: Serve, pki: Any) -> None:
    rejects = serve(over_tls(pki.context, database(pooler_error("login rejected")), before=b"S"))
    assert refusal(probe("postgres_refused", rejects, ca_file=pki.ca, **WHO)) == "08P01 login rejected"
    wants_tls = serve(database(pooler_error("SSL required")))
    assert refusal(probe("postgres_plaintext_refused", wants_tls, **WHO)) == "08P01 SSL required"


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (SCRAM, "the server asks this address for a password"),
        # The rules admitted these.
        (pooler_error("SASL authentication failed"), "another reason: 08P01 SASL authentication failed"),
        (pooler_error("no more connections allowed (max_client_conn)"), "another reason: 08P01 no more"),
        (pooler_error("query_wait_timeout"), "another reason: 08P01 query_wait_timeout"),
        (pooler_error("unsupported startup parameter: options"), "another reason: 08P01 unsupported"),
        (error("28000", "login rejected"), "another reason: 28000"),
        (message(b"R", struct.pack(">I", 5) + b"salt"), "the server asks this address for a password"),
        (message(b"R", struct.pack(">I", 0)), "lets it in without a password"),
        (error("28000", 'role "anna" does not exist'), "another reason: 28000"),
        (error("28000", "connection requires a valid client certificate"), "another reason: 28000"),
        (error("57P03", "the database system is starting up"), "another reason: 57P03"),
        (message(b"Z", b"I"), "message of type"),
        (b"HTTP/1.1 400 Bad Request\r\n", "not a message of PostgreSQL"),
        (b"", "closed the connection without a word"),
    ],
)
def test_another_end_is_not_a_refusal_of_postgres(serve: Serve, pki: Any, answer: bytes, detail: str) -> None:
    port = serve(over_tls(pki.context, database(answer), before=b"S"))
    assert detail in complaint(probe("postgres_refused", port, ca_file=pki.ca, **WHO))
    assert detail in complaint(probe("postgres_plaintext_refused", serve(database(answer)), **WHO))


def test_postgres_refused_verifies_the_server(serve: Serve, pki: Any, closed_port: int) -> None:
    good = serve(over_tls(pki.context, database(NO_ENTRY), before=b"S"))
    elsewhere = serve(over_tls(pki.wrong_name, database(NO_ENTRY), before=b"S"))
    assert "not accepted" in complaint(probe("postgres_refused", good, ca_file=pki.other_ca, **WHO))
    assert "not accepted" in complaint(probe("postgres_refused", elsewhere, ca_file=pki.ca, **WHO))
    assert "offers no TLS" in complaint(probe("postgres_refused", serve(says(b"N")), ca_file=pki.ca, **WHO))
    assert "not speak PostgreSQL" in complaint(probe("postgres_refused", serve(says(b"H")), ca_file=pki.ca, **WHO))
    assert complaint(probe("postgres_refused", closed_port, ca_file=pki.ca, **WHO)) == "Connection refused"


def page(status: bytes, asked: list[bytes] | None = None) -> Callable[[socket.socket], None]:
    def handler(connection: socket.socket) -> None:
        request = connection.recv(1000)
        if asked is not None:
            asked.append(request)
        connection.sendall(status)

    return handler


@pytest.mark.parametrize("status", [401, 403])
def test_a_page_behind_a_login(serve: Serve, pki: Any, status: int) -> None:
    asked: list[bytes] = []
    port = serve(over_tls(pki.context, page(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status, asked)))
    row = probe("https_refused", port, ca_file=pki.ca, path="/f/workers", statuses=[401, 403])
    assert refusal(row) == f"/f/workers answers {status}"
    assert asked == [b"GET /f/workers HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n" % port]


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "/m is open: 200"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "refused for another reason: /m answers 502, and not 403"),
        (b"AMQP\x00\x00\x09\x01 403", "the server does not speak HTTP"),
        (b"HTTP/1.1", "the server does not speak HTTP"),
        (b"", "the server does not speak HTTP"),
    ],
)
def test_another_answer_is_not_a_closed_page(serve: Serve, pki: Any, answer: bytes, detail: str) -> None:
    port = serve(over_tls(pki.context, page(answer)))
    assert complaint(probe("https_refused", port, ca_file=pki.ca, path="/m", statuses=[403])) == detail


def test_a_closed_page_is_that_of_a_server_with_the_right_certificate(serve: Serve, pki: Any, closed_port: int) -> None:
    port = serve(over_tls(pki.context, page(b"HTTP/1.1 403 No\r\n\r\n")))
    wanted = {"ca_file": pki.ca, "path": "/m", "statuses": [403]}
    assert "certificate not accepted" in complaint(probe("https_refused", port, server_name="other.org", **wanted))
    assert complaint(probe("https_refused", closed_port, **wanted)) == "Connection refused"


def test_the_source_address_is_used(serve: Serve, pki: Any) -> None:
    seen = []

    def handler(connection: socket.socket) -> None:
        seen.append(connection.getpeername()[0])
        database(NO_ENTRY)(connection)

    refusal(probe("postgres_plaintext_refused", serve(handler), source_address="127.0.0.7", **WHO))
    assert seen == ["127.0.0.7"]


# --- rows ------------------------------------------------------------------------------------------


def test_rows_keep_the_order_and_carry_the_labels(serve: Serve, closed_port: int) -> None:
    slow, quick = serve(silent), closed_port
    given = [
        {
            "check": "amqp_plaintext",
            "host": "127.0.0.1",
            "port": slow,
            "timeout": 0.3,
            "name": "x",
            "from": "a",
            "to": "b",
        },
        {"check": "port_closed", "host": "127.0.0.1", "port": quick, "timeout": 1.0, "name": None, "from": None},
    ]
    first, second = run_probes(given)
    assert {key: first[key] for key in ("check", "name", "from", "to", "expected", "ok")} == {
        "check": "amqp_plaintext",
        "name": "x",
        "from": "a",
        "to": "b",
        "expected": "refused",
        "ok": True,
    }
    assert 0.2 < first["seconds"] < 2
    assert (second["name"], second["from"], second["to"]) == ("port_closed", "", f"127.0.0.1:{quick}")
    assert run_probes([]) == []


def test_probes_run_at_the_same_time(serve: Serve) -> None:
    port = serve(silent)
    began = time.monotonic()
    rows = run_probes([{"check": "amqp_plaintext", "host": "127.0.0.1", "port": port, "timeout": 0.5}] * 8)
    assert [row["ok"] for row in rows] == [True] * 8
    assert time.monotonic() - began < 2


def test_only_the_positive_checks_expect_to_be_accepted() -> None:
    accepted = [check for check, kind in KINDS.items() if kind.expected == "accepted"]
    assert accepted == ["tls_certificate", "amqp_login", "postgres_certificate"]
