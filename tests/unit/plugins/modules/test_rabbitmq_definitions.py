"""The module against a management API over TLS that keeps its state."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import rabbitmq_apply, rabbitmq_survey
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_api import ManagementApi
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_passwords import (
    SHA256,
    password_hash,
    password_matches,
)
from ansible_collections.taskfleet.celery_cluster.plugins.modules import rabbitmq_definitions

ADMIN_PASSWORD = "admin-secret"
FULL = {"configure": ".*", "write": ".*", "read": ".*"}


class Broker:
    """The part of RabbitMQ's management API that is used, with what it does beside the request itself."""

    def __init__(self) -> None:
        self.vhosts = {"/"}
        self.users: dict[str, dict[str, Any]] = {}
        self.permissions: dict[tuple[str, str], dict[str, str]] = {}
        # Everything else: (kind, vhost, name, ...) -> the rest of its definition
        self.things: dict[tuple[str, ...], dict[str, Any]] = {}
        self.bindings: list[dict[str, Any]] = []
        self.counts: dict[str, dict[str, int]] = {}  # of queues
        self.requests: list[str] = []
        self.hosts_seen = 0
        self.answer_first: list[int] = []  # statuses to answer before the API is ready
        self.fail_on, self.fail_with = "", 500
        self.refusals: dict[str, str] = {}  # path -> why a deletion is refused
        for name, password in (("admin", ADMIN_PASSWORD), ("guest", "guest")):
            self.users[name] = {
                "password_hash": password_hash(password, b"salt"),
                "hashing_algorithm": SHA256,
                "tags": ["administrator"],
            }

    def of(self, kind: str, *names: str) -> list[dict[str, Any]]:
        found = ((key[1:], value) for key, value in self.things.items() if key[0] == kind)
        return [{**dict(zip(names, key, strict=True)), **value} for key, value in found]

    def definitions(self) -> dict[str, Any]:
        return {
            "rabbitmq_version": "4.0.5",
            "vhosts": [{"name": name} for name in sorted(self.vhosts)],
            "users": [{"name": name, **user} for name, user in self.users.items()],
            "permissions": [
                {"vhost": vhost, "user": user, **given} for (vhost, user), given in self.permissions.items()
            ],
            "queues": self.of("queues", "vhost", "name"),
            "exchanges": self.of("exchanges", "vhost", "name"),
            "policies": self.of("policies", "vhost", "name"),
            "parameters": self.of("parameters", "component", "vhost", "name"),
            "global_parameters": self.of("global-parameters", "name"),
            "bindings": self.bindings,
        }

    def login(self, header: str) -> str | None:
        name, _colon, password = base64.b64decode(header.partition(" ")[2]).decode().partition(":")
        user = self.users.get(name)
        known = user and password_matches(password, user["password_hash"], user["hashing_algorithm"])
        return name if known and user and "administrator" in user["tags"] else None

    def bound(self, vhost: str, source: str, destination_type: str = "", destination: str = "") -> list[dict[str, Any]]:
        return [
            {**entry, "properties_key": f"{entry['routing_key']}~{number}"}
            for number, entry in enumerate(self.bindings)
            if (entry["vhost"], entry["source"]) == (vhost, source)
            and entry["destination_type"].startswith(destination_type)
            and entry["destination"].startswith(destination)
        ]

    def read(self, *parts: str) -> Any:
        match parts:
            case ("queues", vhost):
                return [entry for entry in self.of("queues", "vhost", "name") if entry["vhost"] == vhost]
            case ("queues", _vhost, name) if parts in self.things:
                return {**self.things[parts], **self.counts.get(name, {"messages": 0, "consumers": 0})}
            case ("exchanges", vhost, name, "bindings", "source"):
                return self.bound(vhost, name)
            case ("bindings", vhost, "e", source, destination_type, destination):
                return self.bound(vhost, source, destination_type, destination)
        return None

    def handle(self, method: str, path: str, actor: str, body: dict[str, Any]) -> tuple[int, Any]:
        url = urlsplit(path)
        parts = tuple(unquote(part) for part in url.path.removeprefix("/api/").split("/"))
        if url.path == self.fail_on:
            return self.fail_with, {"reason": "told"}
        if method == "GET":
            answer = self.read(*parts)
            return (404, None) if answer is None else (200, answer)
        if method == "DELETE" and url.path in self.refusals:
            return 400, {"error": "bad_request", "reason": self.refusals[url.path]}
        if parts[0] in ("exchanges", "queues", "bindings") and self.permissions.get((parts[1], actor)) != FULL:
            return 401, {"error": "not_authorised", "reason": "Access refused."}
        if parts[0] == "queues" and method == "DELETE":
            quorum = self.things[parts]["arguments"].get("x-queue-type") == "quorum"
            if quorum == bool(parse_qs(url.query)):
                return 400, {"error": "bad_request", "reason": "540 NOT_IMPLEMENTED"}
        return self.change(method, *parts, actor=actor, body=body), None

    def change(self, method: str, *parts: str, actor: str, body: dict[str, Any]) -> int:
        match (method, *parts):
            case ("PUT", "vhosts", vhost):
                self.vhosts.add(vhost)
                self.permissions[vhost, actor] = dict(FULL)
            case ("DELETE", "vhosts", vhost) if vhost in self.vhosts:
                self.vhosts.remove(vhost)
                self.permissions = {key: value for key, value in self.permissions.items() if key[0] != vhost}
                self.things = {key: value for key, value in self.things.items() if vhost not in key}
                self.bindings = [entry for entry in self.bindings if entry["vhost"] != vhost]
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
            case ("POST", "bindings", vhost, "e", source, kind, destination):
                names = {"vhost": vhost, "source": source, "destination": destination}
                self.bindings.append({**names, "destination_type": {"q": "queue", "e": "exchange"}[kind], **body})
            case ("DELETE", "bindings", vhost, "e", source, kind, destination, name):
                self.bindings.pop(int(name.rpartition("~")[2]))
            case ("PUT", "exchanges" | "queues" | "policies" | "parameters" | "global-parameters", *_names):
                self.things[parts] = body
            case ("DELETE", *_names) if parts in self.things:
                del self.things[parts]
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
                self.answer(*broker.handle(self.command, self.path, actor, json.loads(payload or b"{}")))

        do_GET = do_PUT = do_POST = do_DELETE = any_method  # noqa: N815 - names that http.server calls

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
    assert "password set" in shown
    for secret in (ADMIN_PASSWORD, "worker-secret", broker[0].users["shop worker"]["password_hash"]):
        assert secret not in shown


def test_the_own_password_is_changed_last_and_the_run_completes(
    broker: tuple[Broker, str], run: Callable[..., dict[str, Any]]
) -> None:
    run(**WANTED)
    admin, worker = WANTED["users"]
    users = [{**admin, "password": "admin-next"}, {**worker, "password": "worker-next"}]
    changed = run(**{**WANTED, "users": users})
    assert changed["operations"] == [
        "change the user shop worker: password changed",
        "change the user admin: password changed",
    ]
    assert run(**{**WANTED, "users": users, "password": "admin-next"})["changed"] is False


def test_permissions_of_our_users_on_other_vhosts_go(
    broker: tuple[Broker, str], run: Callable[..., dict[str, Any]]
) -> None:
    run(**WANTED)
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    broker[0].permissions["/", "shop worker"] = rights
    broker[0].permissions["/", "theirs"] = rights
    assert run(**WANTED)["operations"] == ["take away the permissions of user shop worker on vhost /"]
    assert list(broker[0].permissions) == [("shop/eu", "shop worker"), ("/", "theirs")]


def test_a_failure_half_way_names_the_step_and_a_second_run_completes(
    broker: tuple[Broker, str], run: Callable[..., dict[str, Any]]
) -> None:
    broker[0].fail_on = "/api/users/shop%20worker"
    failed = run(**WANTED)
    assert failed["failed"] is True
    assert failed["changed"] is True
    assert "create the user shop worker: password set, tags failed with HTTP 500" in failed["msg"]
    assert failed["operations"][0] == "delete the user guest"
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


# --- what is made and removed ----------------------------------------------------------------------

THINGS: dict[str, Any] = {
    "owner": "me",
    "vhosts": [{"name": "shop/eu"}],
    "users": [{"name": "w", "password": "worker-secret", "permissions": [{"vhost": "shop/eu", **FULL}]}],
    "policies": [{"vhost": "shop/eu", "name": "p", "pattern": "a", "definition": {"max-length": 1}}],
    "exchanges": [{"vhost": "shop/eu", "name": "x/y", "type": "topic"}],
    "queues": [
        {"vhost": "shop/eu", "name": "classic", "arguments": {"x-queue-type": "classic"}},
        {"vhost": "shop/eu", "name": "quorum", "arguments": {"x-queue-type": "quorum"}},
    ],
    "bindings": [
        {"vhost": "shop/eu", "source": "x/y", "destination": "classic", "routing_key": "a.#"},
        {"vhost": "shop/eu", "source": "x/y", "destination": "quorum", "arguments": {"n": 1}},
        {"vhost": "shop/eu", "source": "x/y", "destination": "quorum", "arguments": {"n": 2}},
    ],
}
ONLY_VHOST = {"owner": "me", "vhosts": THINGS["vhosts"]}
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def made(broker: tuple[Broker, str], run: Run, monkeypatch: pytest.MonkeyPatch) -> Broker:
    """A broker on which everything of THINGS was made."""
    monkeypatch.setattr(rabbitmq_apply, "SETTLE", 0.0)
    monkeypatch.setattr(rabbitmq_survey, "COUNTED_WITHIN", 0.05)
    monkeypatch.setattr(rabbitmq_survey, "PAUSE", 0.01)
    assert "msg" not in run(**THINGS)
    broker[0].requests.clear()
    return broker[0]


def predicted(run: Run, **options: Any) -> dict[str, Any]:
    """A run that check mode predicts."""
    before = run(**options, _ansible_check_mode=True)
    assert run(**options) == before
    return before


def test_a_second_run_is_one_request(made: Broker, run: Run) -> None:
    again = run(**THINGS)
    assert (again["changed"], again["kept"], made.requests) == (False, [], ["GET /api/definitions"])


def test_bindings_go_by_the_name_the_broker_gave_them(made: Broker, run: Run) -> None:
    first, _second, third = THINGS["bindings"]
    assert predicted(run, **{**THINGS, "bindings": [first, third]})["changed"]
    assert [entry["arguments"] for entry in made.bindings] == [{}, {"n": 2}]
    assert ("shop/eu", "admin") not in made.permissions


def test_everything_goes_while_the_vhost_stays(made: Broker, run: Run) -> None:
    assert predicted(run, **ONLY_VHOST)["kept"] == []
    assert [key[0] for key in made.things] == ["global-parameters"]
    assert (made.bindings, made.permissions, list(made.users)) == ([], {}, ["admin", "guest"])
    assert made.things["global-parameters", "celery_cluster.owned.me"] == {"value": {"vhosts": ["shop/eu"]}}
    assert predicted(run, owner="me")["operations"] == ["delete the vhost shop/eu", "forget the owner me"]
    assert (made.vhosts, made.things) == ({"/"}, {})


def test_with_the_vhost_everything_goes_at_once(made: Broker, run: Run) -> None:
    assert predicted(run, owner="me")["operations"][-4:] == [
        "delete the queue classic on vhost shop/eu",
        "delete the queue quorum on vhost shop/eu",
        "delete the vhost shop/eu",
        "forget the owner me",
    ]
    assert (made.vhosts, made.things) == ({"/"}, {})


@pytest.mark.parametrize("name", ["classic", "quorum"])
@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ({"messages": 3, "consumers": 0}, "it has 3 messages"),
        ({"messages": 1, "consumers": 1}, "it has 1 message and 1 consumer"),
        ({"messages": 0, "consumers": 2}, "it has 2 consumers"),
    ],
)
def test_a_queue_in_use_stays_and_so_does_its_vhost(
    made: Broker, run: Run, name: str, counts: dict[str, int], reason: str
) -> None:
    made.counts[name] = counts
    kept = {"kind": "queues", "name": f"queue {name} on vhost shop/eu", "reason": reason}
    assert predicted(run, **ONLY_VHOST)["kept"] == [kept]
    made.requests.clear()
    again = run(**ONLY_VHOST)
    assert (again["changed"], again["kept"]) == (False, [kept])
    assert made.requests == ["GET /api/definitions", f"GET /api/queues/shop%2Feu/{name}"]
    vhost = {"kind": "vhosts", "name": "vhost shop/eu", "reason": f"it has the queue {name}"}
    assert run(owner="me")["kept"] == [kept, vhost]
    made.counts.clear()
    assert run(owner="me")["kept"] == []
    assert made.things == {}


def test_without_counts_only_the_broker_can_tell(made: Broker, run: Run) -> None:
    made.counts = {"classic": {}, "quorum": {}}
    found = predicted(run, **ONLY_VHOST)
    assert [(item["name"], item["reason"]) for item in found["kept"]] == [
        (
            "queue quorum on vhost shop/eu",
            "the broker does not tell how many messages it holds (its statistics are off)",
        )
    ]
    assert ("queues", "shop/eu", "classic") not in made.things


def test_what_the_broker_refuses_at_last_stays_recorded(made: Broker, run: Run) -> None:
    made.refusals["/api/queues/shop%2Feu/classic"] = "PRECONDITION_FAILED - queue 'classic' not empty"
    found = run(owner="me")
    assert [(item["kind"], item["reason"]) for item in found["kept"]] == [
        ("queues", "PRECONDITION_FAILED - queue 'classic' not empty"),
        ("vhosts", "it has the queue classic"),
    ]
    record = made.things["global-parameters", "celery_cluster.owned.me"]["value"]
    assert (record["queues"], record["vhosts"]) == ([["shop/eu", "classic"]], ["shop/eu"])
    # What would have gone with the vhost is still ours, and nobody keeps access for it.
    assert (len(record["bindings"]), record["policies"], "users" in record) == (3, [["shop/eu", "p"]], False)
    assert made.permissions == {}
    made.refusals.clear()
    assert run(owner="me")["kept"] == []
    assert (made.vhosts, made.things) == ({"/"}, {})


def test_a_message_that_comes_last_keeps_a_quorum_queue(
    made: Broker, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def arrive(seconds: float) -> None:
        made.counts["quorum"] = {"messages": 1, "consumers": 0}

    monkeypatch.setattr(rabbitmq_apply.time, "sleep", arrive)
    found = run(**ONLY_VHOST)
    assert [item["reason"] for item in found["kept"]] == ["it has 1 message"]
    assert ("queues", "shop/eu", "quorum") in made.things


def test_an_exchange_that_others_use_stays(made: Broker, run: Run) -> None:
    # Bindings to exclusive queues are not in the definitions; here it is merely somebody else's.
    theirs = {"vhost": "shop/eu", "source": "x/y", "destination_type": "exchange", "destination": "theirs"}
    made.bindings.append({**theirs, "routing_key": "", "arguments": {}})
    found = predicted(run, **ONLY_VHOST)
    assert [item["reason"] for item in found["kept"]] == ["others have 1 binding to it, for theirs"]
    assert ("exchanges", "shop/eu", "x/y") in made.things
    made.bindings.clear()
    assert predicted(run, **ONLY_VHOST)["kept"] == []


def test_the_user_we_log_in_as_is_never_removed(broker: tuple[Broker, str], run: Run) -> None:
    admin = WANTED["users"][0]
    run(owner="me", users=[admin])
    found = predicted(run, owner="me")
    assert found["kept"] == [{"kind": "users", "name": "user admin", "reason": "this module logs in as this user"}]
    assert (found["changed"], "admin" in broker[0].users) == (False, True)


def test_access_for_a_change_ends_with_a_failure(made: Broker, run: Run) -> None:
    made.permissions["shop/eu", "admin"] = {"configure": "^$", "write": "^$", "read": ".*"}
    before = dict(made.permissions)
    made.fail_on = "/api/queues/shop%2Feu/new"
    queue = {"vhost": "shop/eu", "name": "new"}
    failed = run(**{**THINGS, "queues": [*THINGS["queues"], queue]})
    assert "create the queue new on vhost shop/eu failed with HTTP 500" in failed["msg"]
    assert failed["operations"][-1] == "give the user admin its own permissions on vhost shop/eu"
    assert made.permissions == before
    # It was recorded before it was made, so nothing is forgotten either way.
    assert ["shop/eu", "new"] in made.things["global-parameters", "celery_cluster.owned.me"]["value"]["queues"]
    made.fail_on = ""
    assert run(**THINGS)["operations"] == ["no longer record 1 thing as owned by me"]


def test_a_conflict_stops_before_any_change(made: Broker, run: Run) -> None:
    queue = {**THINGS["queues"][0], "arguments": {"x-queue-type": "quorum"}}
    failed = run(**{**THINGS, "queues": [queue], "absent_users": ["guest"]})
    assert "queue classic on vhost shop/eu exists with type classic; wanted is type quorum" in failed["msg"]
    assert made.requests == ["GET /api/definitions"]
    assert "guest" in made.users


def test_a_record_of_somebody_else_stops_before_any_change(made: Broker, run: Run) -> None:
    made.things["global-parameters", "celery_cluster.owned.me"] = {"value": "mine"}
    assert "is not a record this module wrote" in run(**THINGS)["msg"]
    assert made.requests == ["GET /api/definitions"]


def test_passwords_in_parameters_are_not_shown(broker: tuple[Broker, str], run: Run) -> None:
    upstream = {"vhost": "/", "component": "federation-upstream", "name": "u"}
    shown = json.dumps(
        run(parameters=[{**upstream, "value": {"uri": "amqps://f:hidden-pass@far"}}], _ansible_diff=True)
    )
    assert "hidden-pass" not in shown
    key = ("parameters", "federation-upstream", "/", "u")
    assert broker[0].things[key] == {"value": {"uri": "amqps://f:hidden-pass@far"}}


def test_the_certificate_may_be_for_another_name_than_the_address(run: Run) -> None:
    assert "msg" not in run(server_name="localhost")
    assert "Hostname mismatch" in run(server_name="elsewhere.example")["msg"]


def test_a_refused_request_is_not_taken_for_a_refused_login(made: Broker, run: Run) -> None:
    made.fail_on, made.fail_with = "/api/users/new", 401
    told = run(users=[{"name": "new", "password": "new-secret"}])["msg"]
    assert told.endswith("create the user new: password set, tags failed with HTTP 401 (told)")
