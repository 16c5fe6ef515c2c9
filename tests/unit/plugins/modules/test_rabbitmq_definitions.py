"""The module against a management API over TLS that keeps its state."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq import (
    SHA256,
    ManagementApi,
    password_hash,
    password_matches,
)
from ansible_collections.taskfleet.celery_cluster.plugins.modules import rabbitmq_definitions

ADMIN_PASSWORD = "admin-secret"


class Broker:
    """The part of RabbitMQ's management API that is used, with what it does beside the request itself."""

    def __init__(self) -> None:
        self.vhosts = {"/"}
        self.users: dict[str, dict[str, Any]] = {}
        self.permissions: dict[tuple[str, str], dict[str, str]] = {}
        self.requests: list[str] = []
        self.hosts_seen = 0
        self.answer_first: list[int] = []  # statuses to answer before the API is ready
        self.fail_on = ""
        for name, password in (("admin", ADMIN_PASSWORD), ("guest", "guest")):
            self.users[name] = {
                "password_hash": password_hash(password, b"salt"),
                "hashing_algorithm": SHA256,
                "tags": ["administrator"],
            }

    def definitions(self) -> dict[str, Any]:
        return {
            "rabbitmq_version": "4.0.5",
            "vhosts": [{"name": name} for name in sorted(self.vhosts)],
            "users": [{"name": name, **user} for name, user in self.users.items()],
            "permissions": [
                {"vhost": vhost, "user": user, **given} for (vhost, user), given in self.permissions.items()
            ],
        }

    def login(self, header: str) -> str | None:
        name, _colon, password = base64.b64decode(header.partition(" ")[2]).decode().partition(":")
        user = self.users.get(name)
        known = user and password_matches(password, user["password_hash"], user["hashing_algorithm"])
        return name if known and user and "administrator" in user["tags"] else None

    def handle(self, method: str, path: str, actor: str, body: dict[str, Any]) -> int:
        parts = [unquote(part) for part in path.removeprefix("/api/").split("/")]
        if path == self.fail_on:
            return 500
        match (method, *parts):
            case ("PUT", "vhosts", vhost):
                self.vhosts.add(vhost)
                self.permissions[vhost, actor] = {"configure": ".*", "write": ".*", "read": ".*"}
            case ("PUT", "users", name):
                self.users[name] = {**body, "tags": [tag for tag in body["tags"].split(",") if tag]}
            case ("PUT", "permissions", vhost, name):
                if vhost not in self.vhosts or name not in self.users:
                    return 400
                self.permissions[vhost, name] = body
            case ("DELETE", "users", name) if name in self.users:
                del self.users[name]
                self.permissions = {key: value for key, value in self.permissions.items() if key[1] != name}
            case ("DELETE", "permissions", vhost, name) if (vhost, name) in self.permissions:
                del self.permissions[vhost, name]
            case _:
                return 404
        return 204


def handler_for(broker: Broker) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            broker.hosts_seen += 1
            super().setup()

        def answer(self, status: int, body: Any = None) -> None:
            payload = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def any_method(self) -> None:
            broker.requests.append(f"{self.command} {self.path}")
            payload = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if broker.answer_first:
                self.answer(broker.answer_first.pop(0), {"error": "x", "reason": "starting"})
                return
            actor = broker.login(self.headers["Authorization"])
            if actor is None:
                self.answer(401, {"error": "not_authorized", "reason": "Login failed"})
            elif (self.command, self.path) == ("GET", "/api/definitions"):
                self.answer(200, broker.definitions())
            else:
                self.answer(broker.handle(self.command, self.path, actor, json.loads(payload or b"{}")))

        do_GET = do_PUT = do_DELETE = any_method  # noqa: N815 - names that http.server calls

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@pytest.fixture
def broker(pki: Any) -> Iterator[tuple[Broker, str]]:
    state = Broker()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_for(state)) as server:
        server.socket = pki.context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield state, f"https://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def run(broker: tuple[Broker, str], pki: Any, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def call(**more: Any) -> dict[str, Any]:
        given = {"url": broker[1], "ca_file": pki.ca, "username": "admin", "password": ADMIN_PASSWORD, **more}
        with patch_module_args(given), pytest.raises(SystemExit):
            rabbitmq_definitions.main()
        answer: dict[str, Any] = json.loads(capsys.readouterr().out)
        answer.pop("invocation", None)
        return answer

    return call


WANTED: dict[str, Any] = {
    "vhosts": [{"name": "shop/eu"}],
    "users": [
        {"name": "admin", "password": ADMIN_PASSWORD, "tags": ["administrator"]},
        {
            "name": "shop worker",
            "password": "worker-secret",
            "tags": ["monitoring"],
            "permissions": [{"vhost": "shop/eu", "configure": "^(a)$", "write": "^(a)$", "read": "^(a)$"}],
        },
    ],
    "absent_users": ["guest", "never"],
}


def test_from_nothing_and_again(broker: tuple[Broker, str], run: Callable[..., dict[str, Any]]) -> None:
    state = broker[0]
    first = run(**WANTED)
    assert first["changed"] is True
    assert first["rabbitmq_version"] == "4.0.5"
    assert state.vhosts == {"/", "shop/eu"}
    assert set(state.users) == {"admin", "shop worker"}
    assert password_matches("worker-secret", state.users["shop worker"]["password_hash"], SHA256)
    assert state.permissions == {("shop/eu", "shop worker"): {"configure": "^(a)$", "write": "^(a)$", "read": "^(a)$"}}
    assert state.requests == [
        "GET /api/definitions",
        "DELETE /api/users/guest",
        "PUT /api/vhosts/shop%2Feu",
        "DELETE /api/permissions/shop%2Feu/admin",
        "PUT /api/users/shop%20worker",
        "PUT /api/permissions/shop%2Feu/shop%20worker",
    ]
    assert state.hosts_seen == 1  # one connection, one TLS handshake

    state.requests.clear()
    second = run(**WANTED)
    assert (second["changed"], second["operations"]) == (False, [])
    assert second["diff"]["before"] == second["diff"]["after"]
    assert state.requests == ["GET /api/definitions"]


def test_check_mode_tells_the_same_and_does_nothing(
    broker: tuple[Broker, str], run: Callable[..., dict[str, Any]]
) -> None:
    before = json.dumps(broker[0].definitions())
    predicted = run(**WANTED, _ansible_check_mode=True)
    assert json.dumps(broker[0].definitions()) == before
    assert broker[0].requests == ["GET /api/definitions"]
    assert run(**WANTED) == predicted
    assert run(**WANTED, _ansible_check_mode=True)["changed"] is False


def test_no_secret_in_the_answer(
    broker: tuple[Broker, str], run: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = json.dumps(run(**WANTED, _ansible_diff=True))
    assert "password: set" in shown
    for secret in (ADMIN_PASSWORD, "worker-secret", broker[0].users["shop worker"]["password_hash"]):
        assert secret not in shown


def test_the_own_password_is_changed_last_and_the_run_completes(
    broker: tuple[Broker, str], run: Callable[..., dict[str, Any]]
) -> None:
    run(**WANTED)
    admin, worker = WANTED["users"]
    users = [{**admin, "password": "admin-next"}, {**worker, "password": "worker-next"}]
    changed = run(**{**WANTED, "users": users})
    assert changed["operations"] == ["change user shop worker: password changed", "change user admin: password changed"]
    assert run(**{**WANTED, "users": users, "password": "admin-next"})["changed"] is False


def test_permissions_of_our_users_on_other_vhosts_go(
    broker: tuple[Broker, str], run: Callable[..., dict[str, Any]]
) -> None:
    run(**WANTED)
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    broker[0].permissions["/", "shop worker"] = rights
    broker[0].permissions["/", "theirs"] = rights
    assert run(**WANTED)["operations"] == ["take from user shop worker the permissions on vhost /"]
    assert list(broker[0].permissions) == [("shop/eu", "shop worker"), ("/", "theirs")]


def test_a_failure_half_way_names_the_step_and_a_second_run_completes(
    broker: tuple[Broker, str], run: Callable[..., dict[str, Any]]
) -> None:
    broker[0].fail_on = "/api/users/shop%20worker"
    failed = run(**WANTED)
    assert failed["failed"] is True
    assert failed["changed"] is True
    assert "create user shop worker: password set, tags failed with HTTP 500" in failed["msg"]
    assert failed["operations"][0] == "delete user guest"
    broker[0].fail_on = ""
    assert run(**WANTED)["changed"] is True
    assert run(**WANTED)["changed"] is False


def test_a_wrong_password_says_which_user_and_what_to_do(run: Callable[..., dict[str, Any]]) -> None:
    failed = run(**{**WANTED, "password": "not-it"})
    assert failed["failed"] is True
    assert "user 'admin' is refused (Login failed)" in failed["msg"]
    assert "rabbitmqctl change_password admin" in failed["msg"]
    assert "not-it" not in json.dumps(failed)


def test_an_untrusted_certificate_stops_at_once_whatever_the_time(run: Callable[..., dict[str, Any]], pki: Any) -> None:
    failed = run(**WANTED, **{"ca_file": pki.other_ca, "ready_timeout": 60})
    assert "cannot verify the broker's certificate" in failed["msg"]
    assert pki.other_ca in failed["msg"]


def test_the_name_in_the_url_must_be_in_the_certificate(
    broker: tuple[Broker, str], run: Callable[..., dict[str, Any]], serve: Any, pki: Any
) -> None:
    elsewhere = serve(lambda connection: pki.wrong_name.wrap_socket(connection, server_side=True).close())
    failed = run(**{**WANTED, "url": f"https://127.0.0.1:{elsewhere}"}, ready_timeout=60)
    assert "cannot verify the broker's certificate" in failed["msg"]
    assert "IP address mismatch" in failed["msg"]
    assert run(**{**WANTED, "url": broker[1].replace("127.0.0.1", "localhost")})["changed"] is True


def test_it_waits_until_the_api_is_ready(
    broker: tuple[Broker, str], run: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ManagementApi, "PAUSE", 0.01)
    # Not up yet, then up but without the users of the first boot.
    broker[0].answer_first = [503, 500, 401, 401]
    assert run(**WANTED, ready_timeout=5)["changed"] is True
    broker[0].answer_first = [503]
    assert "HTTP 503 (starting)" in run(**WANTED)["msg"]


def test_a_login_that_stays_refused_does_not_use_up_the_time(
    run: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ManagementApi, "PAUSE", 0.01)
    monkeypatch.setattr(ManagementApi, "LOGIN_GRACE", 0.05)
    assert "is refused" in run(**{**WANTED, "password": "not-it"}, ready_timeout=600)["msg"]


def test_nobody_there(run: Callable[..., dict[str, Any]], closed_port: int) -> None:
    failed = run(**{**WANTED, "url": f"https://127.0.0.1:{closed_port}"}, ready_timeout=0.1)
    assert "did not answer in 0.1 s ([Errno 111] Connection refused)" in failed["msg"]
    assert "journalctl -u rabbitmq-server" in failed["msg"]


def test_somebody_who_never_answers(run: Callable[..., dict[str, Any]], serve: Any) -> None:
    wait = threading.Event()
    port = serve(lambda connection: wait.wait(3))
    failed = run(**{**WANTED, "url": f"https://127.0.0.1:{port}"}, timeout=0.2)
    wait.set()
    assert "no answer within 0.2 s" in failed["msg"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"url": "http://127.0.0.1:15672"}, "write https://"),
        ({"url": "https://admin:pw@127.0.0.1:15671"}, "write them into username and password"),
        ({"ca_file": "/nonexistent/ca.pem"}, "cannot load certificates from /nonexistent/ca.pem"),
        ({"absent_users": ["admin"]}, "the user this module logs in as"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_sent(
    broker: tuple[Broker, str], run: Callable[..., dict[str, Any]], more: dict[str, Any], message: str
) -> None:
    failed = run(**{"users": [], "vhosts": [], "absent_users": [], **more})
    assert failed["failed"] is True
    assert message in failed["msg"]
    assert broker[0].requests == []


def test_a_missing_vhost_is_refused_before_anything_is_changed(
    broker: tuple[Broker, str], run: Callable[..., dict[str, Any]]
) -> None:
    failed = run(**{**WANTED, "vhosts": []})
    assert "add it to vhosts" in failed["msg"]
    assert broker[0].requests == ["GET /api/definitions"]
