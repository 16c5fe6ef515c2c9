# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probes of one link: what must be refused is refused, for the right reason, and what must work works.

A refusal counts only when the other side was there to refuse. A name that does not resolve or a
certificate file that cannot be read makes a row fail, it never makes it pass.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from . import probe_wire as wire

# OpenSSL's verify results for "signed by nobody I know".
_UNKNOWN_CA = frozenset({18, 19, 20, 21})
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH})
_ACCESS_REFUSED = 403
_INVALID_AUTHORIZATION = "28000"
# All that PgBouncer says to a login that its rules do not admit, and to one without TLS. The code alone says nothing:
# it has the same one when it is full, for example.
_PGBOUNCER_CODE, _PGBOUNCER_REFUSALS = "08P01", ("login rejected", "SSL required")
_BY_CERTIFICATE = "EXTERNAL"
# How the alerts end with which TLS 1.3 and TLS 1.2 refuse a client without a certificate.
_NO_CERTIFICATE = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")
# Seconds in which a server that refuses has said so.
_GRACE = 1.0
# More at once would trip a broker's or database's connection limits.
_PARALLEL = 16


class Answer(NamedTuple):
    ok: bool
    detail: str


def connected(host: str, port: int, timeout: float, bound: tuple[str, int] | None) -> socket.socket:
    """The first connection to one of a name's addresses.

    When there is none, the other side's answer is raised rather than that this host has no way to the other family.
    """
    failures: list[OSError] = []
    for family, kind, protocol, _name, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        found = socket.socket(family, kind, protocol)
        try:
            found.settimeout(timeout)
            if bound:
                found.bind(bound)
            found.connect(address)
        except OSError as error:
            found.close()
            failures.append(error)
        else:
            return found
    raise min(
        failures, key=lambda error: 0 if isinstance(error, ConnectionRefusedError) else 1 if _is_timeout(error) else 2
    )


class Link:
    """One connection of a probe, with one deadline for everything that happens on it."""

    def __init__(self, probe: dict[str, Any]) -> None:
        self.host: str = probe["host"]
        self.server_name: str = probe.get("server_name") or self.host
        self.port: int = probe["port"]
        self.timeout: float = probe["timeout"]
        self._deadline = time.monotonic() + self.timeout
        source = probe.get("source_address")
        bound = (source, 0) if source else None
        self._socket = connected(self.host, self.port, self.timeout, bound)

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _in_time(self) -> socket.socket:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
        return self._socket

    def start_tls(self, context: ssl.SSLContext) -> str:
        self._socket = tls = context.wrap_socket(self._in_time(), server_hostname=self.server_name)
        return tls.version() or "TLS"

    def certificate_ends(self) -> float:
        """When the other side's certificate ends, in seconds since 1970. After start_tls with a CA only."""
        certificate = self._socket.getpeercert() if isinstance(self._socket, ssl.SSLSocket) else None
        if not certificate:
            raise wire.WireError("the server showed no certificate")
        return float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))

    def send(self, data: bytes) -> None:
        self._in_time().sendall(data)

    def some(self, size: int) -> bytes:
        return self._in_time().recv(size)

    def within(self, seconds: float, size: int) -> bytes | None:
        """What the other side says of itself in a short time; None when it waits for us."""
        left = self._in_time().gettimeout() or seconds
        self._socket.settimeout(min(seconds, left))
        try:
            return self._socket.recv(size)
        except TimeoutError:
            return None

    def up_to(self, size: int) -> bytes:
        """Size bytes, or fewer when the other side closes before."""
        data = b""
        while len(data) < size:
            part = self.some(size - len(data))
            if not part:
                break
            data += part
        return data

    def exactly(self, size: int) -> bytes:
        data = self.up_to(size)
        if len(data) < size:
            raise wire.WireError("the server closed the connection without a word")
        return data


def _trusting(probe: dict[str, Any]) -> ssl.SSLContext:
    return _with_client_certificate(ssl.create_default_context(cafile=probe["ca_file"]), probe)


def _trusting_nobody(probe: dict[str, Any]) -> ssl.SSLContext:
    # Unlike create_default_context this loads no certificate authority at all.
    return _with_client_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), probe)


def _with_client_certificate(context: ssl.SSLContext, probe: dict[str, Any]) -> ssl.SSLContext:
    # Where the server wants one, it would refuse everything else before the probe learns anything.
    if probe.get("client_certificate"):
        context.load_cert_chain(probe["client_certificate"], probe.get("client_key") or None)
    return context


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError)


def reason(error: BaseException, probe: dict[str, Any]) -> str:
    """An error as a short sentence."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    if isinstance(error, socket.gaierror):
        return f"{probe['host']} does not resolve"
    if _is_timeout(error):
        return f"no answer within {probe['timeout']:g} s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


# --------------------------------------------------------------------------------------------------
# Ports and plaintext


def _connect_refused(error: OSError) -> str | None:
    """How the other side refused a connection; None when the error says nothing about the other side."""
    if isinstance(error, socket.gaierror):
        return None
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if _is_timeout(error):
        return "connection attempts are dropped"
    # What a firewall that rejects with 'administratively prohibited' looks like.
    return "connection attempts are rejected on the way" if error.errno in _UNREACHABLE else None


def port_closed(probe: dict[str, Any]) -> Answer:
    try:
        with Link(probe):
            return Answer(False, f"port {probe['port']} accepts connections")
    except OSError as error:
        refused = _connect_refused(error)
        return Answer(refused is not None, refused or reason(error, probe))


def amqp_plaintext(probe: dict[str, Any]) -> Answer:
    try:
        link = Link(probe)
    except OSError as error:
        refused = _connect_refused(error)
        return Answer(refused is not None, refused or reason(error, probe))
    with link:
        try:
            link.send(wire.AMQP_HEADER)
            reply = link.up_to(wire.AMQP_FRAME_HEADER + 4)
        except OSError as error:
            if _is_timeout(error):
                return Answer(True, "no answer to plaintext AMQP")
            return Answer(True, f"connection dropped: {reason(error, probe)}")
    if wire.speaks_amqp(reply):
        return Answer(False, "the server speaks AMQP without TLS")
    if wire.is_tls_alert(reply):
        return Answer(True, "TLS alert")
    return Answer(True, "no AMQP in the answer" if reply else "connection closed")


# --------------------------------------------------------------------------------------------------
# TLS


def tls_unknown_ca(probe: dict[str, Any]) -> Answer:
    try:
        with Link(probe) as link:
            version = link.start_tls(_trusting(probe))
    except OSError as error:
        return Answer(False, f"control with the CA failed, so a refusal proves nothing: {reason(error, probe)}")
    try:
        with Link(probe) as link:
            link.start_tls(_trusting_nobody(probe))
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _UNKNOWN_CA:
            return Answer(True, f"{version} with the CA; without it: {error.verify_message}")
        return Answer(False, f"without the CA it fails for another reason: {error.verify_message}")
    except OSError as error:
        return Answer(False, f"without the CA it fails for another reason: {reason(error, probe)}")
    return Answer(False, "a client without any CA accepts the certificate")


def _lasts(link: Link, version: str, probe: dict[str, Any]) -> Answer:
    """Whether the certificate that was just accepted is valid for long enough."""
    ends = link.certificate_ends()
    days = int((ends - time.time()) // 86400)
    until = time.strftime("%Y-%m-%d", time.gmtime(ends))
    least = probe.get("min_days") or 0
    if days < least:
        return Answer(
            False,
            f"the certificate ends on {until}, in {days} days, and not in {least}: run site.yml, or have one issued",
        )
    return Answer(True, f"{version}, valid for {link.server_name} until {until}")


def tls_certificate(probe: dict[str, Any]) -> Answer:
    with Link(probe) as link:
        return _lasts(link, link.start_tls(_trusting(probe)), probe)


# --------------------------------------------------------------------------------------------------
# AMQP logins


def amqp_no_client_certificate(probe: dict[str, Any]) -> Answer:
    """A client that trusts the server and shows no certificate of its own.

    With TLS 1.3 its handshake is over before the server looks for the certificate: the refusal is the first thing it
    reads. Nothing is sent before that, because a reset connection would swallow the reason.
    """
    bare = {**probe, "client_certificate": None, "client_key": None}
    with Link(bare) as link:
        try:
            link.start_tls(_trusting(bare))
            said = link.within(min(_GRACE, link.timeout / 2), 1)
            if said is None:
                link.send(wire.AMQP_HEADER)
                said = link.up_to(wire.AMQP_FRAME_HEADER + 4)
        except ssl.SSLCertVerificationError:
            raise
        except ssl.SSLError as error:
            alert = error.reason or ""
            if alert.endswith(_NO_CERTIFICATE):
                return Answer(True, alert.replace("_", " ").lower())
            raise
    if wire.speaks_amqp(said):
        return Answer(False, "a client without a certificate may log in")
    return Answer(False, "refused for another reason: the server closed the connection without a word")


def amqp_password_refused(probe: dict[str, Any]) -> Answer:
    """The broker takes a login only by a mechanism that it offers."""
    with Link(probe) as link:
        start = _greet(link, probe)
        if isinstance(start, wire.Close):
            return Answer(False, f"refused for another reason: {start.code} {start.text}")
        offered = wire.parse_mechanisms(start.arguments)
    by_password = [name for name in offered if name != _BY_CERTIFICATE]
    if by_password:
        return Answer(False, f"the broker offers a login by password: {', '.join(by_password)}")
    if not offered:
        return Answer(False, "the broker offers no login at all")
    return Answer(True, f"the broker offers {_BY_CERTIFICATE} only")


def _method(link: Link) -> wire.Method:
    size = wire.frame_size(link.exactly(wire.AMQP_FRAME_HEADER))
    return wire.parse_method(link.exactly(size))


def _expect(link: Link, wanted: tuple[int, int]) -> wire.Method | wire.Close:
    method = _method(link)
    if method.id == wire.CLOSE:
        return wire.parse_close(method.arguments)
    if method.id != wanted:
        raise wire.WireError(f"expected method {wanted} of AMQP, got {method.id}")
    return method


def _greet(link: Link, probe: dict[str, Any]) -> wire.Method | wire.Close:
    link.start_tls(_trusting(probe))
    link.send(wire.AMQP_HEADER)
    return _expect(link, wire.START)


def _login(link: Link, probe: dict[str, Any], password: str) -> wire.Tune | wire.Close:
    start = _greet(link, probe)
    if isinstance(start, wire.Close):
        return start
    link.send(wire.start_ok(probe["username"], password))
    answer = _expect(link, wire.TUNE)
    return answer if isinstance(answer, wire.Close) else wire.parse_tune(answer.arguments)


def amqp_wrong_password(probe: dict[str, Any]) -> Answer:
    # Nobody's password, unless the caller wants to try a certain one.
    password = probe.get("password") or secrets.token_urlsafe(24)
    with Link(probe) as link:
        answer = _login(link, probe, password)
    if isinstance(answer, wire.Tune):
        return Answer(False, f"user {probe['username']} is let in with a wrong password")
    if answer.code == _ACCESS_REFUSED:
        return Answer(True, f"{answer.code} {answer.text.split(' ')[0]}")
    return Answer(False, f"refused for another reason: {answer.code} {answer.text}")


def amqp_login(probe: dict[str, Any]) -> Answer:
    with Link(probe) as link:
        tune = _login(link, probe, probe["password"])
        if isinstance(tune, wire.Close):
            return Answer(False, f"user {probe['username']} is refused: {tune.code} {tune.text}")
        link.send(wire.tune_ok(tune) + wire.open_vhost(probe["vhost"]))
        opened = _expect(link, wire.OPEN_OK)
        if isinstance(opened, wire.Close):
            return Answer(False, f"vhost {probe['vhost']} is refused: {opened.code} {opened.text}")
        # An orderly end keeps the broker's log free of warnings. The login is proved without it.
        with contextlib.suppress(OSError, wire.WireError):
            link.send(wire.close())
            _expect(link, wire.CLOSE_OK)
    return Answer(True, f"user {probe['username']} opened vhost {probe['vhost']}")


# --------------------------------------------------------------------------------------------------
# PostgreSQL


def _by_rule(error: dict[str, str]) -> bool:
    """Whether a rule about addresses, users and databases is the reason of a refusal."""
    code, message = error.get("C"), error.get("M", "")
    # Messages of PostgreSQL are translated, the name of the file is not. 28000 alone has other reasons, too.
    if code == _INVALID_AUTHORIZATION:
        return "pg_hba.conf" in message
    return code == _PGBOUNCER_CODE and message in _PGBOUNCER_REFUSALS


def _pg_hba_verdict(link: Link, probe: dict[str, Any]) -> Answer:
    """What a server or a pooler says to a start-up message. A refusal counts only when its rules are the reason."""
    link.send(wire.startup_message(probe["username"], probe["database"]))
    while True:
        header = link.exactly(wire.POSTGRES_HEADER)
        body = link.exactly(wire.message_size(header))
        # Notices and the negotiation of minor versions may come first.
        if header[:1] not in (b"N", b"v"):
            break
    if header[:1] == b"R":
        return Answer(False, f"the server {wire.authentication_request(body)}")
    if header[:1] != b"E":
        return Answer(False, f"the server answers with a message of type {header[:1]!r}")
    error = wire.parse_error(body)
    said = f"{error.get('C', '')} {error.get('M', '')}".strip()
    if _by_rule(error):
        return Answer(True, said)
    return Answer(False, f"refused for another reason: {said}")


def _postgres_tls(link: Link, probe: dict[str, Any]) -> tuple[str, str]:
    """Ask for TLS and begin it: its version, or why there is none."""
    link.send(wire.SSL_REQUEST)
    reply = link.exactly(1)
    if reply != b"S":
        return "", "the server offers no TLS" if reply == b"N" else "the server does not speak PostgreSQL"
    return link.start_tls(_trusting(probe)), ""


def postgres_refused(probe: dict[str, Any]) -> Answer:
    with Link(probe) as link:
        _version, fault = _postgres_tls(link, probe)
        return Answer(False, fault) if fault else _pg_hba_verdict(link, probe)


def postgres_certificate(probe: dict[str, Any]) -> Answer:
    with Link(probe) as link:
        version, fault = _postgres_tls(link, probe)
        return Answer(False, fault) if fault else _lasts(link, version, probe)


def postgres_plaintext_refused(probe: dict[str, Any]) -> Answer:
    with Link(probe) as link:
        return _pg_hba_verdict(link, probe)


# --------------------------------------------------------------------------------------------------
# HTTPS


def https_refused(probe: dict[str, Any]) -> Answer:
    """A page that is not shown to who asks without a login: the status says that the door was the reason."""
    wanted = probe["statuses"]
    with Link(probe) as link:
        link.start_tls(_trusting(probe))
        link.send(wire.http_get(link.server_name, link.port, probe["path"]))
        status = wire.http_status(link.up_to(wire.HTTP_STATUS))
    said = f"{probe['path']} answers {status}"
    if status in wanted:
        return Answer(True, said)
    if 200 <= status < 300:
        return Answer(False, f"{probe['path']} is open: {status}")
    return Answer(False, f"refused for another reason: {said}, and not {' or '.join(map(str, wanted))}")


# --------------------------------------------------------------------------------------------------

REFUSED, ACCEPTED = "refused", "accepted"


class Kind(NamedTuple):
    run: Callable[[dict[str, Any]], Answer]
    expected: str
    needs: tuple[str, ...]


KINDS: dict[str, Kind] = {
    "amqp_plaintext": Kind(amqp_plaintext, REFUSED, ()),
    "port_closed": Kind(port_closed, REFUSED, ()),
    "tls_unknown_ca": Kind(tls_unknown_ca, REFUSED, ("ca_file",)),
    "tls_certificate": Kind(tls_certificate, ACCEPTED, ("ca_file",)),
    "amqp_no_client_certificate": Kind(amqp_no_client_certificate, REFUSED, ("ca_file",)),
    "amqp_password_refused": Kind(amqp_password_refused, REFUSED, ("ca_file",)),
    "amqp_wrong_password": Kind(amqp_wrong_password, REFUSED, ("ca_file", "username")),
    "amqp_login": Kind(amqp_login, ACCEPTED, ("ca_file", "username", "password", "vhost")),
    "https_refused": Kind(https_refused, REFUSED, ("ca_file", "path", "statuses")),
    "postgres_certificate": Kind(postgres_certificate, ACCEPTED, ("ca_file",)),
    "postgres_refused": Kind(postgres_refused, REFUSED, ("ca_file", "username", "database")),
    "postgres_plaintext_refused": Kind(postgres_plaintext_refused, REFUSED, ("username", "database")),
}


def run_probe(probe: dict[str, Any]) -> dict[str, Any]:
    """One row. Whatever goes wrong is a row that failed, never an exception."""
    kind = KINDS[probe["check"]]
    began = time.monotonic()
    try:
        answer = kind.run(probe)
    except Exception as error:  # a fault in one probe must not hide the other rows
        answer = Answer(False, reason(error, probe))
    return {
        "check": probe["check"],
        "name": probe.get("name") or probe["check"],
        "from": probe.get("from") or "",
        "to": probe.get("to") or f"{probe['host']}:{probe['port']}",
        "expected": kind.expected,
        "ok": answer.ok,
        "detail": answer.detail,
        "seconds": round(time.monotonic() - began, 3),
    }


def run_probes(probes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows, in the order of the probes, which run at the same time."""
    if not probes:
        return []
    with ThreadPoolExecutor(min(_PARALLEL, len(probes))) as pool:
        return list(pool.map(run_probe, probes))
