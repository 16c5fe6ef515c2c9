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
from kombu.exceptions import OperationalError
from kombu.utils import functional

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
    def __init__(self, directory: Path, name: str = "Test CA") -> None:
        self.ca = certificate(name, [])
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self.ca_file.write_bytes(self.ca[0].public_bytes(serialization.Encoding.PEM))

    def server(self, sans: list[x509.GeneralName]) -> Path:
        leaf, key = self.issue("broker1", sans)
        path = self.directory / "server.pem"
        path.write_bytes(key + leaf)
        return path

    def client(self, name: str) -> dict[str, str]:
        """The certificate of an identity, in the place where its processes look for it."""
        leaf, key = self.issue(name, [])
        found = {}
        for variable, text in (("CELERY_AGENT_CLIENT_CERTIFICATE", leaf), ("CELERY_AGENT_CLIENT_KEY", key)):
            path = self.directory / variable.lower()
            path.write_bytes(text)
            found[variable] = str(path)
        return found

    def issue(self, name: str, sans: list[x509.GeneralName]) -> tuple[bytes, bytes]:
        leaf, key = certificate(name, sans, self.ca)
        return leaf.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


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


START = (
    b"\x00\x0a\x00\x0a\x00\x09\x00\x00\x00\x00"  # connection.start of AMQP 0.9 without properties
    b"\x00\x00\x00\x17PLAIN AMQPLAIN EXTERNAL\x00\x00\x00\x05en_US"
)


class Broker:
    """Greets as RabbitMQ does, notes who logs in and how, and hangs up."""

    def __init__(self, pki: Pki) -> None:
        self.every_login: list[tuple[str, str]] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pki.server(GOOD))
        self.context.load_verify_locations(pki.ca_file)
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                sock, _peer = self.listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), self.context.wrap_socket(sock, server_side=True) as talk:
                self.greet(talk)

    def greet(self, talk: ssl.SSLSocket) -> None:
        assert talk.recv(8).startswith(b"AMQP")
        talk.sendall(b"\x01\x00\x00" + len(START).to_bytes(4, "big") + START + b"\xce")
        answer = talk.recv(65536)
        (mechanism,) = [name for name in (b"AMQPLAIN", b"PLAIN", b"EXTERNAL") if bytes([len(name)]) + name in answer]
        names = dict(pair for (pair,) in (talk.getpeercert() or {}).get("subject", ()))
        self.every_login.append((names["commonName"], mechanism.decode()))
        if mechanism == b"EXTERNAL":
            assert b"secret" not in answer and b"shop-worker" not in answer

    @property
    def logins(self) -> list[tuple[str, str]]:
        """Common name and mechanism; kombu may try more than once before it gives up."""
        return list(dict.fromkeys(self.every_login))

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


@pytest.fixture
def broker(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    # Between two attempts to connect, kombu would sleep for two seconds.
    monkeypatch.setattr(functional, "sleep", lambda _seconds: None)
    started = Broker(pki)
    yield started
    started.close()


@pytest.fixture(params=["installed", "old"])
def py_amqp(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an old py-amqp is given must work, too; the part of it that is called has not changed since."""
    if request.param == "old":
        import amqp

        monkeypatch.setattr(amqp, "VERSION", (2, 6, 1))
    monkeypatch.setattr(SSLTransport, "_wrap_context", SSLTransport._wrap_context)


def application(load_agent: Load, pki: Pki, url: str, extra: str = "", **environment: str) -> Any:
    source = f"from celery import Celery\napp = Celery('m', broker='{url}')\n{extra}"
    return load_agent(
        source, SSL_CERT_FILE=str(pki.ca_file), CELERY_AGENT_BROKER_NAME="broker1", **environment, **pki.client("me")
    ).app


def knock(connection: Any) -> None:
    """Connect once, as far as this broker lets anybody."""
    with contextlib.closing(connection), pytest.raises(OSError):
        connection.connect()


@pytest.mark.usefixtures("py_amqp")
@pytest.mark.parametrize("kind", ["connection_for_read", "connection_for_write", "connection", "pool", "failover"])
def test_login_by_certificate_on_every_connection(load_agent: Load, pki: Pki, broker: Broker, kind: str) -> None:
    """Workers read, publishers write, events and Flower take a plain one, control commands one of the pool."""
    url = f"pyamqp://shop-worker:secret@127.0.0.1:{broker.port}/v?ssl=1"
    nobody = socket.create_server(("127.0.0.1", 0))
    away = f"pyamqp://shop-worker@localhost:{nobody.getsockname()[1]}/v?ssl=1"
    nobody.close()
    urls = f"{away};{url}" if kind == "failover" else url
    app = application(load_agent, pki, urls, CELERY_AGENT_BROKER_LOGIN="certificate")
    if kind == "pool":
        knock(app.pool.acquire())
    elif kind == "failover":
        connection = app.connection_for_write()
        with pytest.raises(OperationalError):  # the first is not there, the second hangs up
            connection.ensure_connection(max_retries=2, interval_start=0, interval_step=0)
        assert connection.login_method == "EXTERNAL"
    else:
        knock(getattr(app, kind)())
    assert broker.logins == [("me", "EXTERNAL")]


@pytest.mark.usefixtures("py_amqp")
def test_a_url_without_a_password_logs_in_by_certificate(load_agent: Load, pki: Pki, broker: Broker) -> None:
    url = f"pyamqp://shop-worker@127.0.0.1:{broker.port}/v?ssl=1"
    knock(application(load_agent, pki, url, CELERY_AGENT_BROKER_LOGIN="certificate").connection())
    assert broker.logins == [("me", "EXTERNAL")]


@pytest.mark.usefixtures("py_amqp")
def test_a_password_and_a_certificate(load_agent: Load, pki: Pki, broker: Broker) -> None:
    url = f"pyamqp://shop-worker:secret@127.0.0.1:{broker.port}/v?ssl=1"
    knock(application(load_agent, pki, url, CELERY_AGENT_BROKER_LOGIN="password_and_certificate").connection())
    ((name, mechanism),) = broker.logins
    assert name == "me"
    assert mechanism in {"PLAIN", "AMQPLAIN"}


def test_an_application_that_chose_its_login_keeps_it(load_agent: Load, pki: Pki, broker: Broker) -> None:
    url = f"pyamqp://shop-worker:secret@127.0.0.1:{broker.port}/v?ssl=1"
    chosen = "app.conf.broker_login_method = 'PLAIN'\n"
    knock(application(load_agent, pki, url, chosen, CELERY_AGENT_BROKER_LOGIN="certificate").connection())
    assert broker.logins == [("me", "PLAIN")]


@pytest.mark.usefixtures("py_amqp")
def test_a_renewed_certificate_is_used_without_a_restart(load_agent: Load, pki: Pki, broker: Broker) -> None:
    url = f"pyamqp://shop-worker@127.0.0.1:{broker.port}/v?ssl=1"
    app = application(load_agent, pki, url, CELERY_AGENT_BROKER_LOGIN="certificate")
    connection = app.connection()
    knock(connection)
    pki.client("me, renewed")
    knock(connection.clone())
    assert broker.logins == [("me", "EXTERNAL"), ("me, renewed", "EXTERNAL")]


def test_a_renewed_authority_is_trusted_without_a_restart(
    load_agent: Load, pki: Pki, broker: Broker, tmp_path: Path
) -> None:
    """First the broker's authority is unknown; then it is added to the bundle, as in a rotation."""
    bundle = tmp_path / "bundle.pem"
    other = Pki(tmp_path, "Another CA")
    bundle.write_bytes(other.ca_file.read_bytes())
    url = f"pyamqp://shop-worker@127.0.0.1:{broker.port}/v?ssl=1"
    source = f"from celery import Celery\napp = Celery('m', broker='{url}')\n"
    app = load_agent(source, SSL_CERT_FILE=str(bundle), CELERY_AGENT_BROKER_NAME="broker1", **pki.client("me")).app
    with contextlib.closing(app.connection()) as connection, pytest.raises(ssl.SSLCertVerificationError):
        connection.connect()
    bundle.write_bytes(other.ca_file.read_bytes() + pki.ca_file.read_bytes())
    knock(app.connection())
    assert [name for name, _mechanism in broker.logins] == ["me"]


@pytest.mark.usefixtures("py_amqp")
def test_what_publishers_are_told(load_agent: Load, pki: Pki, broker: Broker) -> None:
    """The settings of the documented snippet, as an application applies them: the agent leaves them in force."""
    files = pki.client("me")
    tls = {
        "server_hostname": "broker1",
        "cert_reqs": 2,
        "ca_certs": str(pki.ca_file),
        "certfile": files["CELERY_AGENT_CLIENT_CERTIFICATE"],
        "keyfile": files["CELERY_AGENT_CLIENT_KEY"],
    }
    settings = {"broker_login_method": "EXTERNAL", "broker_transport_options": {"confirm_publish": True, "ssl": tls}}
    url = f"pyamqp://shop-worker@127.0.0.1:{broker.port}/v?ssl=1"
    source = f"from celery import Celery\napp = Celery('m', broker='{url}')\napp.conf.update({settings!r})\n"
    knock(load_agent(source).app.connection())
    if ssl_options_are_flat():
        from celery import Celery

        outside = Celery("outside", broker=url)
        outside.conf.update(settings)
        knock(outside.connection())
    assert broker.logins == [("me", "EXTERNAL")]


def ssl_options_are_flat() -> bool:
    import amqp

    return tuple(amqp.VERSION[:2]) >= (5, 1)
