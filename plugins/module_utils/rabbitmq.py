# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What RabbitMQ's users may do, how their passwords are stored, and how a broker is brought to that state."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import re
import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

SHA256 = "rabbit_password_hashing_sha256"
SHA512 = "rabbit_password_hashing_sha512"
_DIGESTS = {SHA256: hashlib.sha256, SHA512: hashlib.sha512}
_SALT_BYTES = 4

# --------------------------------------------------------------------------------------------------
# Passwords


def password_hash(password: str, salt: bytes, algorithm: str = SHA256) -> str:
    """The password as RabbitMQ stores it: base64(salt + digest(salt + password)), with a salt of 4 bytes."""
    if len(salt) != _SALT_BYTES:
        raise ValueError(f"RabbitMQ's salt has {_SALT_BYTES} bytes, not {len(salt)}")
    if algorithm not in _DIGESTS:
        raise ValueError(f"unknown hashing algorithm {algorithm!r}: use one of {', '.join(sorted(_DIGESTS))}")
    digest = _DIGESTS[algorithm](salt + password.encode("utf-8")).digest()
    return base64.b64encode(salt + digest).decode("ascii")


def derived_salt(name: str, password: str) -> bytes:
    """A salt that is different for every user and password, and the same in every run.

    A random one would change the rendered definitions, and with them the file, on every run.
    """
    return hmac.new(password.encode("utf-8"), b"rabbitmq " + name.encode("utf-8"), hashlib.sha256).digest()[
        :_SALT_BYTES
    ]


def password_matches(password: str, stored: str, algorithm: str) -> bool:
    """Whether a stored hash was made of this password. Algorithms that are too old count as 'no'."""
    try:
        raw = base64.b64decode(stored, validate=True)
    except ValueError:
        return False
    if len(raw) <= _SALT_BYTES or algorithm not in _DIGESTS:
        return False
    return hmac.compare_digest(password_hash(password, raw[:_SALT_BYTES], algorithm), stored)


# --------------------------------------------------------------------------------------------------
# Permissions. Only plain alternations and escaped literals: Erlang and Python read them alike.

_PIDBOX_REPLIES = (r"reply\.celery\.pidbox", r".+\.reply\.celery\.pidbox")
_EVENTS = (r"celeryev(\..+)?",)
_INTERNAL = (r"celery\.pidbox", *_PIDBOX_REPLIES, r".+\.celery\.pidbox", *_EVENTS)
_DELAYED = (r"celery_delayed_([0-9]+|delivery)",)
_DEFAULT_EXCHANGE = (r"amq\.default",)
# Messages with an ETA enter the delay at the highest level; the broker itself moves them on.
_DELAY_ENTRANCE = (r"celery_delayed_27",)
_EVENT_EXCHANGE = (r"celeryev",)
_NOTHING = "^$"

ROLES = ("worker", "producer", "flower", "admin")
_TAGS: dict[str, list[str]] = {"worker": [], "producer": [], "flower": ["monitoring"], "admin": ["administrator"]}


def escape(name: str) -> str:
    """A name as a regular expression that matches exactly this name, in Erlang and in Python."""
    return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", name)


def _any_of(patterns: Iterable[str]) -> str:
    found = list(patterns)
    return f"^({'|'.join(found)})$" if found else _NOTHING


def permissions(
    role: str, queues: Iterable[str], exchanges: Iterable[str] = (), producer_declares: bool = True
) -> dict[str, str]:
    """The configure, write and read expressions of one identity of the cluster.

    A producer never reaches celery.pidbox: who writes there can shut workers down.
    With producer_declares it may do what an unmodified application does when it publishes: declare the
    queue and its exchange and bind them (RabbitMQ wants configure on both, write on the queue, read on
    the exchange). Without, the queues must exist and the application must not declare.
    """
    if role not in ROLES:
        raise ValueError(f"unknown role {role!r}: use one of {', '.join(ROLES)}")
    names = sorted({*queues, *exchanges} - {""})
    own = re.compile(_any_of((*_INTERNAL, *_DELAYED, *_DEFAULT_EXCHANGE)))
    taken = [name for name in names if own.match(name)]
    if taken:
        raise ValueError(
            f"{', '.join(taken)}: Celery itself uses this name on the broker; give the queue or exchange another one"
        )
    cluster = [escape(name) for name in names]
    if role == "admin":
        return {"configure": ".*", "write": ".*", "read": ".*"}
    if role == "flower":
        inspect = _any_of((r"celery\.pidbox", *_PIDBOX_REPLIES, *_EVENTS))
        return {"configure": inspect, "write": inspect, "read": inspect}
    if role == "worker":
        everything = _any_of((*cluster, *_INTERNAL, *_DELAYED))
        write = _any_of((*cluster, *_DEFAULT_EXCHANGE, *_INTERNAL, *_DELAYED))
        return {"configure": everything, "write": write, "read": everything}
    write = _any_of((*_DEFAULT_EXCHANGE, *cluster, *_DELAY_ENTRANCE, *_EVENT_EXCHANGE))
    if not producer_declares:
        return {"configure": _NOTHING, "write": write, "read": _NOTHING}
    # celeryev: with task_send_sent_event every publish declares the event exchange, too.
    return {"configure": _any_of((*cluster, *_EVENT_EXCHANGE)), "write": write, "read": _any_of(cluster)}


def broker_user(
    role: str,
    name: str,
    password: str,
    vhost: str,
    queues: Iterable[str],
    exchanges: Iterable[str] = (),
    producer_declares: bool = True,
) -> dict[str, Any]:
    """One identity of the cluster, as rabbitmq_definitions and boot_definitions take it."""
    allowed = permissions(role, queues, exchanges, producer_declares)
    return {"name": name, "password": password, "tags": list(_TAGS[role]), "permissions": [{"vhost": vhost, **allowed}]}


# --------------------------------------------------------------------------------------------------
# What is wanted, and what is there


class Permission(NamedTuple):
    configure: str
    write: str
    read: str


class User(NamedTuple):
    tags: frozenset[str]
    password_hash: str = ""
    algorithm: str = SHA256


class State(NamedTuple):
    """The part of a broker's definitions that says who may do what."""

    vhosts: frozenset[str]
    users: dict[str, User]
    permissions: dict[tuple[str, str], Permission]  # (user, vhost)
    version: str = ""


class Desired(NamedTuple):
    vhosts: list[str]
    users: list[dict[str, Any]]
    absent_users: list[str]


class Operation(NamedTuple):
    """One request to the management API. `text` is for people; `body` may hold a hash and is never shown."""

    method: str
    path: tuple[str, ...]
    body: dict[str, Any] | None
    text: str


def _tags(value: Any) -> frozenset[str]:
    # Up to RabbitMQ 3.8 a comma separated string, from 3.9 on a list.
    parts = value.split(",") if isinstance(value, str) else value or []
    return frozenset(str(part).strip() for part in parts) - {""}


def _permission(entry: dict[str, Any]) -> Permission:
    return Permission(entry["configure"], entry["write"], entry["read"])


def parse_definitions(document: dict[str, Any]) -> State:
    """What GET /api/definitions answered, as a State."""
    users = {
        user["name"]: User(_tags(user.get("tags")), user.get("password_hash", ""), user.get("hashing_algorithm", ""))
        for user in document.get("users", [])
    }
    granted = {(entry["user"], entry["vhost"]): _permission(entry) for entry in document.get("permissions", [])}
    version = document.get("rabbitmq_version") or document.get("rabbit_version") or ""
    return State(frozenset(vhost["name"] for vhost in document.get("vhosts", [])), users, granted, version)


def problems(desired: Desired, acting_user: str, known_vhosts: Iterable[str] | None = None) -> list[str]:
    """Everything that is wrong with what is wanted, each with what to write instead."""
    found = []
    names = [user["name"] for user in desired.users]
    found += [
        f"users: {name!r} is listed {names.count(name)} times; keep one entry"
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    found += [
        f"{name!r} is in users and in absent_users; keep it in one of them"
        for name in sorted({*names} & {*desired.absent_users})
    ]
    if acting_user in desired.absent_users:
        found.append(
            f"absent_users: {acting_user!r} is the user this module logs in as; log in as another administrator"
        )
    for user in desired.users:
        if not user["password"]:
            found.append(f"users: {user['name']!r} has an empty password; RabbitMQ refuses such a login")
        if user["name"] == acting_user and "administrator" not in user["tags"]:
            found.append(
                f"users: {acting_user!r} is the user this module logs in as; give it the tag administrator,"
                " or the next run cannot log in"
            )
        vhosts = [entry["vhost"] for entry in user["permissions"]]
        found += [
            f"users: {user['name']!r} has {vhosts.count(vhost)} permissions on vhost {vhost!r}; keep one"
            for vhost in sorted({vhost for vhost in vhosts if vhosts.count(vhost) > 1})
        ]
        if known_vhosts is not None:
            missing = {*vhosts} - {*known_vhosts} - {*desired.vhosts}
            found += [
                f"users: {user['name']!r} gets permissions on vhost {vhost!r}, which does not exist; add it to vhosts"
                for vhost in sorted(missing)
            ]
    return found


def _wanted_permissions(desired: Desired) -> dict[tuple[str, str], Permission]:
    return {
        (user["name"], entry["vhost"]): _permission(entry) for user in desired.users for entry in user["permissions"]
    }


def _user_changes(current: State, user: dict[str, Any]) -> list[str]:
    there = current.users.get(user["name"])
    if there is None:
        return ["password set", "tags"]
    changes = []
    if not password_matches(user["password"], there.password_hash, there.algorithm):
        changes.append("password changed")
    if there.tags != frozenset(user["tags"]):
        changes.append("tags")
    return changes


def _put_user(current: State, user: dict[str, Any], changes: list[str]) -> Operation:
    name = user["name"]
    there = current.users.get(name)
    if there is not None and "password changed" not in changes:
        # A PUT without a password would clear it.
        stored, algorithm = there.password_hash, there.algorithm
    else:
        algorithm = there.algorithm if there is not None and there.algorithm in _DIGESTS else SHA256
        stored = password_hash(user["password"], derived_salt(name, user["password"]), algorithm)
    body = {"password_hash": stored, "hashing_algorithm": algorithm, "tags": ",".join(sorted(user["tags"]))}
    verb = "create" if there is None else "change"
    return Operation("PUT", ("users", name), body, f"{verb} user {name}: {', '.join(changes)}")


def plan(current: State, desired: Desired, acting_user: str) -> list[Operation]:
    """The requests that lead from current to desired, in an order in which nobody ever has more than in one of both.

    Access is taken away first; new passwords stand before any permission is granted, and whoever this
    module logs in as is changed last, because its old password must serve until then.
    """
    wanted = _wanted_permissions(desired)
    ours = {user["name"] for user in desired.users}
    new_vhosts = [vhost for vhost in dict.fromkeys(desired.vhosts) if vhost not in current.vhosts]

    operations = [
        Operation("DELETE", ("users", name), None, f"delete user {name}")
        for name in dict.fromkeys(desired.absent_users)
        if name in current.users
    ]
    operations += [
        Operation(
            "DELETE", ("permissions", vhost, user), None, f"take from user {user} the permissions on vhost {vhost}"
        )
        for user, vhost in sorted(current.permissions)
        if user in ours and (user, vhost) not in wanted
    ]
    operations += _permission_changes(current, wanted, existing=True, acting_user=acting_user)
    for vhost in new_vhosts:
        operations.append(Operation("PUT", ("vhosts", vhost), {}, f"create vhost {vhost}"))
        # RabbitMQ gives whoever creates a vhost everything on it.
        if (acting_user, vhost) not in wanted:
            text = f"take from user {acting_user} the permissions that creating vhost {vhost} gave it"
            operations.append(Operation("DELETE", ("permissions", vhost, acting_user), None, text))
    users = sorted(desired.users, key=lambda user: user["name"] == acting_user)
    puts = [
        (user["name"], _put_user(current, user, changes)) for user in users if (changes := _user_changes(current, user))
    ]
    operations += [operation for name, operation in puts if name != acting_user]
    operations += _permission_changes(current, wanted, existing=False, acting_user=acting_user)
    operations += [operation for name, operation in puts if name == acting_user]
    return operations


def _permission_changes(
    current: State, wanted: dict[tuple[str, str], Permission], existing: bool, acting_user: str
) -> list[Operation]:
    """Permissions to write. First those that narrow what a user already has, later those that may widen it."""
    operations = []
    for (user, vhost), permission in wanted.items():
        there = current.permissions.get((user, vhost))
        if there == permission or _narrows(there, permission) != existing:
            continue
        text = f"set the permissions of user {user} on vhost {vhost}"
        operations.append(Operation("PUT", ("permissions", vhost, user), permission._asdict(), text))
    return operations


def _narrows(there: Permission | None, wanted: Permission) -> bool:
    """Whether a change takes something away and certainly gives nothing.

    In general two expressions cannot be compared. Ours are alternations of literals: fewer of them is less.
    """
    if there is None:
        return False
    return all(_parts(new) <= _parts(old) or old == ".*" for old, new in ((there[i], wanted[i]) for i in range(3)))


def _parts(expression: str) -> set[str]:
    if expression in ("", _NOTHING):
        return set()
    inner = re.match(r"^\^\((.*)\)\$$", expression)
    return set(inner.group(1).split("|")) if inner else {expression}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _describe(vhosts: Iterable[str], users: Mapping[str, tuple[Iterable[str], dict[str, Permission], str]]) -> str:
    lines = ["vhosts:", *(f"  - {_quoted(vhost)}" for vhost in vhosts), "users:"]
    for name in sorted(users):
        tags, granted, note = users[name]
        lines += [f"  {_quoted(name)}:", f"    tags: [{', '.join(sorted(tags))}]"]
        if note:
            lines.append(f"    password: {note}")
        lines.append("    permissions:")
        for vhost in sorted(granted):
            lines.append(f"      {_quoted(vhost)}:")
            lines += [f"        {key}: {_quoted(value)}" for key, value in granted[vhost]._asdict().items()]
    return "\n".join(lines) + "\n"


def diff(current: State, desired: Desired) -> dict[str, str]:
    """Before and after of what was asked for, as text; of passwords only whether they change."""
    asked = {user["name"] for user in desired.users} | {*desired.absent_users}
    before = {
        name: (user.tags, {v: p for (u, v), p in current.permissions.items() if u == name}, "")
        for name, user in current.users.items()
        if name in asked
    }
    after = {}
    for user in desired.users:
        notes = [change.split(" ")[1] for change in _user_changes(current, user) if change.startswith("password")]
        granted = {entry["vhost"]: _permission(entry) for entry in user["permissions"]}
        after[user["name"]] = (user["tags"], granted, "".join(notes))
    return {
        "before": _describe([v for v in sorted({*desired.vhosts}) if v in current.vhosts], before),
        "after": _describe(sorted({*desired.vhosts}), after),
    }


def boot_definitions(vhosts: Iterable[dict[str, Any]], users: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The file for load_definitions: a broker that starts with it never has a guest account or an open moment."""
    desired = Desired(
        [vhost["name"] for vhost in vhosts],
        [{"tags": [], "permissions": [], **user} for user in users],
        [],
    )
    wrong = problems(desired, acting_user="", known_vhosts=())
    if wrong:
        raise ValueError("; ".join(wrong))
    return {
        "vhosts": [{"name": name} for name in desired.vhosts],
        "users": [
            {
                "name": user["name"],
                "password_hash": password_hash(user["password"], derived_salt(user["name"], user["password"])),
                "hashing_algorithm": SHA256,
                "tags": list(user["tags"]),
            }
            for user in desired.users
        ],
        "permissions": [
            {"user": user, "vhost": vhost, **permission._asdict()}
            for (user, vhost), permission in _wanted_permissions(desired).items()
        ],
    }


# --------------------------------------------------------------------------------------------------
# The management API


class ApiError(Exception):
    """A message for the operator."""


class ManagementApi:
    """The management API over verified TLS: no proxy, no redirect, one connection for all requests."""

    # The API listens some moments before the definitions of the first boot are loaded.
    LOGIN_GRACE = 5.0
    PAUSE = 0.5

    def __init__(
        self, url: str, ca_file: str, username: str, password: str, timeout: float = 10.0, ready_timeout: float = 0.0
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
        self._timeout, self._ready_timeout = timeout, ready_timeout
        credentials = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
        self._headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        self._connection: http.client.HTTPSConnection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def definitions(self) -> State:
        """GET /api/definitions, waiting until the API answers."""
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
                    return self._parse(body)
                refused_until = refused_until or min(deadline, time.monotonic() + self.LOGIN_GRACE)
                limit = refused_until if status == 401 else deadline
                if (status != 401 and status < 500) or time.monotonic() >= limit:
                    raise ApiError(self._refused("reading the definitions", status, body))
            time.sleep(self.PAUSE)

    def apply(self, operation: Operation) -> None:
        try:
            status, body = self._request(operation.method, operation.path, operation.body)
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"{operation.text}: {self._silent(error)}") from error
        gone = operation.method == "DELETE" and status == 404
        if not (200 <= status < 300 or gone):
            raise ApiError(self._refused(operation.text, status, body))

    def _request(self, method: str, path: tuple[str, ...], body: dict[str, Any] | None = None) -> tuple[int, bytes]:
        target = self._prefix + "/api/" + "/".join(quote(part, safe="") for part in path)
        payload = None if body is None else json.dumps(body).encode("utf-8")
        for reused in (self._connection is not None, False):
            if self._connection is None:
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=self._timeout, context=self._context
                )
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
            raise ApiError(f"{self._url} answers, but not like RabbitMQ's management API; check url") from error

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
        try:
            answer = json.loads(body.decode("utf-8"))
            reason = str(answer.get("reason") or answer.get("error") or "")
        except (ValueError, AttributeError):
            reason = ""
        told = f" ({reason})" if reason else ""
        if status == 401:
            return (
                f"{self._url}: user {self._username!r} is refused{told}. Its password differs from the broker's, or it"
                f" lacks the tag administrator: on the broker run 'rabbitmqctl change_password {self._username}', or"
                f" 'rabbitmqctl set_user_tags {self._username} administrator'"
            )
        return f"{self._url}: {what} failed with HTTP {status}{told}"
