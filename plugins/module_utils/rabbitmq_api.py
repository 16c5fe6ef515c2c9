# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""RabbitMQ's management API."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from typing import Any
from urllib.parse import quote, urlsplit

from .rabbitmq_requests import Operation
from .rabbitmq_state import State, parse_definitions


class ApiError(Exception):
    """A message for the operator."""


class _Connection(http.client.HTTPConnection):
    """TLS to one address, with a certificate for one name."""

    def __init__(self, host: str, port: int, timeout: float, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(host, port, timeout=timeout)
        self._context, self._server_name = context, server_name

    def connect(self) -> None:
        super().connect()
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._server_name)


class ManagementApi:
    """The management API over verified TLS: no proxy, no redirect, one connection for all requests."""

    # The API listens some moments before the definitions of the first boot are loaded.
    LOGIN_GRACE = 5.0
    PAUSE = 0.5
    LOGIN = "reading the definitions"

    def __init__(
        self,
        url: str,
        ca_file: str,
        username: str,
        password: str,
        timeout: float = 10.0,
        ready_timeout: float = 0.0,
        server_name: str = "",
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise ApiError(f"url: {url!r} is not an https address; write https://<address>:15671")
        if parts.username or parts.password:
            raise ApiError("url: it holds a user name or password; write them into username and password")
        try:
            self._context = ssl.create_default_context(cafile=ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ApiError(f"ca_file: cannot load certificates from {ca_file}: {error}") from error
        self._url = f"https://{parts.netloc}"
        self._host, self._port = parts.hostname, parts.port or 15671
        self._prefix = parts.path.rstrip("/")
        self._ca_file, self._username = ca_file, username
        self._server_name = server_name or parts.hostname
        self._timeout, self._ready_timeout = timeout, ready_timeout
        credentials = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
        self._headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def definitions(self) -> State:
        """GET /api/definitions, waiting until the API answers."""
        return self._parse(self._first_answer())

    def _first_answer(self) -> bytes:
        deadline = time.monotonic() + self._ready_timeout
        refused_until = 0.0
        while True:
            try:
                status, body = self._request("GET", ("definitions",))
            except ssl.SSLCertVerificationError as error:
                raise ApiError(self._untrusted(error)) from error
            except (OSError, http.client.HTTPException) as error:
                if time.monotonic() >= deadline:
                    raise ApiError(self._silent(error)) from error
            else:
                if status == 200:
                    return body
                refused_until = refused_until or min(deadline, time.monotonic() + self.LOGIN_GRACE)
                limit = refused_until if status == 401 else deadline
                if (status != 401 and status < 500) or time.monotonic() >= limit:
                    raise ApiError(self._refused(self.LOGIN, status, body))
            time.sleep(self.PAUSE)

    def read(self, *path: str, query: str = "") -> Any:
        """The answer to one more GET, or None when there is no such thing."""
        what = "/".join(path)
        try:
            status, body = self._request("GET", path, query=query)
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"reading {what}: {self._silent(error)}") from error
        if status == 404:
            return None
        if status != 200:
            raise ApiError(self._refused(f"reading {what}", status, body))
        try:
            return json.loads(body.decode("utf-8"))
        except ValueError as error:
            raise ApiError(self._foreign()) from error

    def apply(self, operation: Operation) -> str:
        """Send a request. The answer is why the broker keeps what was to be removed, or nothing."""
        try:
            status, body = self._request(operation.method, operation.path, operation.body, operation.query)
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"{operation.text}: {self._silent(error)}") from error
        if operation.guarded and status == 400:
            return _reason(body) or "the broker refuses to remove it"
        gone = operation.method == "DELETE" and status == 404
        if not (200 <= status < 300 or gone):
            raise ApiError(self._refused(operation.text, status, body))
        return ""

    def _request(
        self, method: str, path: tuple[str, ...], body: dict[str, Any] | None = None, query: str = ""
    ) -> tuple[int, bytes]:
        target = self._prefix + "/api/" + "/".join(quote(part, safe="") for part in path)
        target += f"?{query}" if query else ""
        payload = None if body is None else json.dumps(body).encode("utf-8")
        for reused in (self._connection is not None, False):
            if self._connection is None:
                self._connection = _Connection(self._host, self._port, self._timeout, self._context, self._server_name)
            try:
                self._connection.request(method, target, payload, self._headers)
                response = self._connection.getresponse()
                return response.status, response.read()
            except (ConnectionError, http.client.BadStatusLine):
                # The broker may close an idle connection; each request may be sent twice without harm.
                self.close()
                if not reused:
                    raise
            except Exception:
                self.close()
                raise
        raise AssertionError("unreachable")

    def _parse(self, body: bytes) -> State:
        try:
            return parse_definitions(json.loads(body.decode("utf-8")))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ApiError(self._foreign()) from error

    def _foreign(self) -> str:
        return f"{self._url} answers, but not like RabbitMQ's management API; check url"

    def _untrusted(self, error: ssl.SSLCertVerificationError) -> str:
        return (
            f"{self._url}: cannot verify the broker's certificate against {self._ca_file}: {error.verify_message}."
            " Give the CA that signed it as ca_file, and as host of the url a name or address from the certificate"
        )

    def _silent(self, error: BaseException) -> str:
        slow = isinstance(error, TimeoutError)
        reason = f"no answer within {self._timeout:g} s" if slow else str(error) or type(error).__name__
        waited = f" in {self._ready_timeout:g} s" if self._ready_timeout else ""
        return (
            f"{self._url}: RabbitMQ's management API did not answer{waited} ({reason}). Check that rabbitmq-server runs"
            f" (journalctl -u rabbitmq-server), that rabbitmq_management is enabled and listens on port {self._port}"
        )

    def _refused(self, what: str, status: int, body: bytes) -> str:
        reason = _reason(body)
        told = f" ({reason})" if reason else ""
        # Some refusals of single requests have this status, too: they are not about the login.
        if status == 401 and what == self.LOGIN:
            return (
                f"{self._url}: user {self._username!r} is refused{told}. Its password differs from the broker's, or it"
                f" lacks the tag administrator: on the broker run 'rabbitmqctl change_password {self._username}', or"
                f" 'rabbitmqctl set_user_tags {self._username} administrator'"
            )
        return f"{self._url}: {what} failed with HTTP {status}{told}"


def _reason(body: bytes) -> str:
    """What the broker says about a refusal."""
    try:
        answer = json.loads(body.decode("utf-8"))
        return str(answer.get("reason") or answer.get("error") or "")
    except (ValueError, AttributeError):
        return ""
