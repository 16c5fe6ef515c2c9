"""Really logs in to PostgreSQL, as a stranger would: with nothing but Python, from whichever machine it runs on.

Given: a list of attempts, each with `host` (an address, a name, or the directory of a socket), `port`, `user`,
`database`, `password`, `tls`, and if wanted `certificate` and `key` (texts) and `statements`. Answers for each
{"in": true, "user": …, "tls": …, "address": …, "statements": […]} or {"in": false, "code": SQLSTATE, "text": …};
each statement is answered by its rows, or by {"code": …, "text": …}. What is no answer of a server has the code "".
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import socket
import ssl
import struct
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

SECONDS = 20.0
AT_ONCE = 8
PROTOCOL, SSL_REQUEST = 196608, 80877103
WHO = "SELECT current_user, coalesce(ssl, false), inet_client_addr() FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


class RefusedError(Exception):
    """What the server said, with its SQLSTATE."""

    def __init__(self, code, text):
        super().__init__(text)
        self.answer = {"code": code, "text": text}


def md5(data):
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def texts(*words):
    return b"".join(word.encode() + b"\0" for word in words)


class Session:
    def __init__(self, attempt):
        self.attempt = attempt
        host, port = attempt["host"], attempt["port"]
        if host.startswith("/"):
            self.link = socket.socket(socket.AF_UNIX)
            self.link.settimeout(SECONDS)
            self.link.connect(f"{host}/.s.PGSQL.{port}")
        else:
            self.link = socket.create_connection((host, port), SECONDS)
        if attempt["tls"]:
            self.link.sendall(struct.pack(">II", 8, SSL_REQUEST))
            answer = self.link.recv(1)
            if answer != b"S":
                raise RefusedError("", f"the server has no TLS: {answer!r}")
            self.link = self.context().wrap_socket(self.link)

    def context(self):
        # Who the server is does not matter to a stranger. The cluster's own clients are tested with their own library.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if self.attempt.get("certificate"):
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(self.attempt["certificate"] + self.attempt["key"])
                file.flush()
                context.load_cert_chain(file.name)
        return context

    def send(self, kind, body):
        self.link.sendall(kind + struct.pack(">I", len(body) + 4) + body)

    def exactly(self, size):
        data = b""
        while len(data) < size:
            part = self.link.recv(size - len(data))
            if not part:
                raise RefusedError("", "the server closed the connection without a word")
            data += part
        return data

    def read(self):
        """The next message that is no notice; an error is raised."""
        while True:
            kind = self.exactly(1)
            body = self.exactly(struct.unpack(">I", self.exactly(4))[0] - 4)
            if kind == b"E":
                fields = {part[:1]: part[1:].decode() for part in body.split(b"\0") if part}
                raise RefusedError(fields[b"C"], fields[b"M"])
            if kind not in b"NSK":
                return kind, body

    def login(self):
        user = self.attempt["user"]
        names = texts("user", user, "database", self.attempt["database"], "application_name", "pg_login") + b"\0"
        self.link.sendall(struct.pack(">II", len(names) + 8, PROTOCOL) + names)
        while True:
            kind, body = self.read()
            if kind == b"Z":
                return
            (method,) = struct.unpack(">I", body[:4])
            password = self.attempt.get("password") or ""
            if method == 3:
                self.send(b"p", texts(password))
            elif method == 5:
                inner = md5((password + user).encode())
                self.send(b"p", texts("md5" + md5(inner.encode() + body[4:8])))
            elif method == 10:
                self.scram(password)
            elif method != 0:
                raise RefusedError("", f"the server wants to log us in by method {method}")

    def scram(self, password):
        """RFC 5802, without channel binding. These passwords are ASCII, so that there is nothing to normalize."""
        bare = "n=,r=" + secrets.token_urlsafe(18)
        first = b"n,," + bare.encode()
        self.send(b"p", texts("SCRAM-SHA-256") + struct.pack(">I", len(first)) + first)
        challenge = self.read()[1][4:].decode()
        nonce, salt, rounds = (part[2:] for part in challenge.split(","))
        final = f"c=biws,r={nonce}"
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
        key = hmac.digest(salted, b"Client Key", "sha256")
        signed = f"{bare},{challenge},{final}".encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = bytes(one ^ other for one, other in zip(key, signature, strict=True))
        self.send(b"p", f"{final},p={base64.b64encode(proof).decode()}".encode())
        expected = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        if self.read()[1][4:].decode() != f"v={base64.b64encode(expected).decode()}":
            raise RefusedError("", "the server does not know the password itself")

    def run(self, statement):
        """The rows, as lists of texts."""
        self.send(b"Q", texts(statement))
        rows, error = [], None
        while True:
            try:
                kind, body = self.read()
            except RefusedError as refused:
                if not refused.answer["code"]:
                    raise
                error = refused.answer
                continue
            if kind == b"Z":
                return error or rows
            if kind == b"D":
                rows.append(row(body))


def row(body):
    (count,), at, found = struct.unpack(">H", body[:2]), 2, []
    for _column in range(count):
        (size,) = struct.unpack(">i", body[at : at + 4])
        at += 4
        found.append(None if size < 0 else body[at : at + size].decode())
        at += max(size, 0)
    return found


def attempt_one(attempt):
    try:
        session = Session(attempt)
        with session.link:
            session.login()
            ((user, tls, address),) = session.run(WHO)
            answers = [session.run(statement) for statement in attempt.get("statements", [])]
            session.send(b"X", b"")
        return {"in": True, "user": user, "tls": tls == "t", "address": address, "statements": answers}
    except RefusedError as refused:
        return {"in": False, **refused.answer}
    except (OSError, ValueError, struct.error) as error:
        return {"in": False, "code": "", "text": f"{type(error).__name__}: {error}"}


with ThreadPoolExecutor(AT_ONCE) as pool:
    print(json.dumps(list(pool.map(attempt_one, json.load(sys.stdin)))))
