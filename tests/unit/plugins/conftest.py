"""Certificates and servers for tests that speak over real sockets."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Handler = Callable[[socket.socket], None]


class Pki(NamedTuple):
    ca: str  # signed `context`'s certificate, which is for 127.0.0.1 and localhost
    other_ca: str
    context: ssl.SSLContext
    wrong_name: ssl.SSLContext  # the same CA, but for another host
    pair: str  # key and certificate of `context`; a client may show them as well


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(subject: str, key: ec.EllipticCurvePrivateKey, issuer: str) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
    )


def _authority(name: str, folder: Path) -> tuple[ec.EllipticCurvePrivateKey, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    certificate = (
        _certificate(name, key, name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return key, str(path)


def _server(
    folder: Path, ca: str, ca_key: ec.EllipticCurvePrivateKey, file: str, names: list[x509.GeneralName]
) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _certificate(file, key, ca)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        # Python 3.13 takes no certificate that does not name its issuer's key.
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    path = folder / f"{file}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    ca_key, ca = _authority("cluster", folder)
    _key, other_ca = _authority("other", folder)
    local: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    return Pki(
        ca,
        other_ca,
        _server(folder, "cluster", ca_key, "server", local),
        _server(folder, "cluster", ca_key, "elsewhere", [x509.DNSName("elsewhere.example")]),
        str(folder / "server.pem"),
    )


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], int]]:
    """serve(handler) listens on a free port of 127.0.0.1 and calls handler with each connection; returns the port."""
    with contextlib.ExitStack() as cleanup:

        def start(handler: Handler) -> int:
            listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))

            def one(connection: socket.socket) -> None:
                # What clients do to a server is for the client's assertions, not for the server's thread.
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(5)
                    handler(connection)

            def accept() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        connection, _peer = listener.accept()
                        threading.Thread(target=one, args=(connection,), daemon=True).start()

            threading.Thread(target=accept, daemon=True).start()
            return int(listener.getsockname()[1])

        yield start


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 on which nobody listens, and which nobody else gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])
