"""Does the canary tell the truth about TLS? Against real handshakes, with py-amqp's own transport."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from amqp.transport import SSLTransport
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Load = Callable[..., ModuleType]
MEMORY = "from celery import Celery\napp = Celery('m', broker='memory://')\n"


def certificate(name: str, sans: list[x509.GeneralName], issuer: Any = None) -> tuple[Any, Any]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


class Pki:
    def __init__(self, directory: Path) -> None:
        self.ca = certificate("Test CA", [])
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(self.ca[0].public_bytes(serialization.Encoding.PEM))

    def server(self, sans: list[x509.GeneralName]) -> Path:
        leaf, key = certificate("broker1", sans, self.ca)
        path = self.directory / "server.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + leaf.public_bytes(serialization.Encoding.PEM)
        )
        return path


GOOD: list[x509.GeneralName] = [x509.DNSName("broker1"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
OTHER: list[x509.GeneralName] = [x509.DNSName("someone-else")]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@contextlib.contextmanager
def listening(pem: Path | None) -> Iterator[int]:
    """A server that accepts one client, shakes hands, and hangs up after it."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = None
    if pem:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)

    def serve() -> None:
        with contextlib.suppress(OSError):
            sock, _peer = listener.accept()
            with context.wrap_socket(sock, server_side=True) if context else sock as talk:
                while talk.recv(4096):
                    pass
                if isinstance(talk, ssl.SSLSocket):
                    talk.unwrap()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    thread.join(5)
    listener.close()


@contextlib.contextmanager
def connected(port: int, options: Any) -> Iterator[SSLTransport]:
    transport = SSLTransport(f"127.0.0.1:{port}", connect_timeout=5, ssl=options)
    transport.connect()
    try:
        yield transport
    finally:
        transport.close()


def agent_options(load_agent: Load, pki: Pki, **environment: str) -> tuple[ModuleType, dict[str, Any]]:
    source = "from celery import Celery\napp = Celery('m', broker='pyamqp://u:p@127.0.0.1:5671/v?ssl=1')\n"
    agent = load_agent(source, SSL_CERT_FILE=str(pki.ca_file), **environment)
    return agent, agent.app.conf.broker_transport_options["ssl"]


@pytest.mark.parametrize("name", ["", "broker1"], ids=["address", "name"])
def test_verified_with_the_options_of_the_agent(load_agent: Load, pki: Pki, name: str) -> None:
    """The authority has none of the extensions that strict contexts want: company authorities often do not."""
    agent, options = agent_options(load_agent, pki, CELERY_AGENT_BROKER_NAME=name)
    with listening(pki.server(GOOD)) as port, connected(port, options) as transport:
        found = agent.tls_of_socket(transport.sock)
    assert found["verified"] is True
    assert found["why"] == ""
    assert found["version"].startswith("TLSv1.")
    assert found["cipher"]
    assert found["peer"] == "CN=broker1; broker1, 127.0.0.1"


def test_a_certificate_of_another_host_is_refused(load_agent: Load, pki: Pki) -> None:
    _agent, options = agent_options(load_agent, pki)
    with listening(pki.server(OTHER)) as port, pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        connected(port, options).__enter__()


def test_an_unknown_authority_is_refused(load_agent: Load, pki: Pki, tmp_path: Path) -> None:
    _agent, options = agent_options(load_agent, Pki(tmp_path))
    with listening(pki.server(GOOD)) as port, pytest.raises(ssl.SSLCertVerificationError, match="verify failed"):
        connected(port, options).__enter__()


def test_ssl_1_alone_does_not_verify_the_name(load_agent: Load, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = load_agent(MEMORY)
    monkeypatch.setenv("SSL_CERT_FILE", str(pki.ca_file))
    with listening(pki.server(OTHER)) as port, connected(port, "1") as transport:
        found = agent.tls_of_socket(transport.sock)
    assert found["verified"] is False
    assert "not the name in it" in found["why"]
    assert found["peer"] == "CN=broker1; someone-else"


def test_an_unchecked_certificate_is_not_verified(load_agent: Load, pki: Pki) -> None:
    agent = load_agent(MEMORY)
    with listening(pki.server(GOOD)) as port, connected(port, {"cert_reqs": ssl.CERT_NONE}) as transport:
        found = agent.tls_of_socket(transport.sock)
    assert found["verified"] is False
    assert found["why"] == "the certificate of the broker is not checked"
    assert found["version"].startswith("TLSv1.")


def test_plaintext_is_not_verified(load_agent: Load) -> None:
    agent = load_agent(MEMORY)
    with listening(None) as port, socket.create_connection(("127.0.0.1", port)) as sock:
        connection = SimpleNamespace(
            transport=SimpleNamespace(driver_type="amqp"),
            connection=SimpleNamespace(transport=SimpleNamespace(sock=sock)),
        )
        found = agent.tls_of_connection(connection)
    assert found["verified"] is False
    assert found["why"] == "the broker connection is not encrypted"


def test_children_read_what_the_parent_saw(load_agent: Load) -> None:
    agent = load_agent(MEMORY)
    assert agent.tls_board.read() is None
    note = {"verified": True, "peer": "CN=broker1"}
    agent.tls_board.write(note)
    child = os.fork()
    if child == 0:
        os._exit(0 if agent.tls_board.read() == note and not agent.state.is_main() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_torn_note_is_not_believed(load_agent: Load) -> None:
    board = load_agent(MEMORY).tls_board
    board.write({"verified": True})
    board.memory[board.header.size + 2] ^= 1
    assert board.read() is None
