"""Hashes, permissions and the plan; the permissions also against what Celery really does when it publishes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq import (
    SHA256,
    SHA512,
    Desired,
    boot_definitions,
    broker_user,
    derived_salt,
    diff,
    escape,
    parse_definitions,
    password_hash,
    password_matches,
    permissions,
    plan,
    problems,
)
from celery import Celery
from kombu import pools
from kombu.transport import memory

QUEUES = ["celery", "mail.bulk", "video"]
EXCHANGES = ["celery", "tasks"]
CLUSTER_NAMES = ["celery", "mail.bulk", "video", "tasks"]
REPLIES = ["reply.celery.pidbox", "0f3a-22.reply.celery.pidbox"]
INTERNAL = ["celery.pidbox", *REPLIES, "default-4f2c@worker1.celery.pidbox", "celeryev", "celeryev.5e1b-77"]
DELAYED = ["celery_delayed_0", "celery_delayed_27", "celery_delayed_delivery"]
NEAR_MISSES = [
    "",
    "celeryX",
    "xcelery",
    "mailXbulk",
    "mail.bulk.more",
    "celeryXpidbox",
    "reply.celeryXpidbox",
    ".celery.pidbox2",
    "celeryevX",
    "celeryev.",
    "celery_delayed_",
    "celery_delayed_27x",
    "celery_delayed_deliveryx",
    "amqXdefault",
    "amq.direct",
    "other",
]
UNIVERSE = [*CLUSTER_NAMES, *INTERNAL, *DELAYED, "amq.default", *NEAR_MISSES]

# role, producer_declares, what -> exactly the names of UNIVERSE that it lets through
ALLOWED: list[tuple[str, bool, str, list[str]]] = [
    ("worker", True, "configure", [*CLUSTER_NAMES, *INTERNAL, *DELAYED]),
    ("worker", True, "read", [*CLUSTER_NAMES, *INTERNAL, *DELAYED]),
    ("worker", True, "write", [*CLUSTER_NAMES, *INTERNAL, *DELAYED, "amq.default"]),
    ("flower", True, "configure", ["celery.pidbox", *REPLIES, "celeryev", "celeryev.5e1b-77"]),
    ("flower", True, "write", ["celery.pidbox", *REPLIES, "celeryev", "celeryev.5e1b-77"]),
    ("flower", True, "read", ["celery.pidbox", *REPLIES, "celeryev", "celeryev.5e1b-77"]),
    ("admin", True, "configure", UNIVERSE),
    ("admin", True, "write", UNIVERSE),
    ("admin", True, "read", UNIVERSE),
    ("producer", False, "configure", [""]),
    ("producer", False, "write", ["amq.default", *CLUSTER_NAMES, "celery_delayed_27", "celeryev"]),
    ("producer", False, "read", [""]),
    ("producer", True, "configure", [*CLUSTER_NAMES, "celeryev"]),
    ("producer", True, "write", ["amq.default", *CLUSTER_NAMES, "celery_delayed_27", "celeryev"]),
    ("producer", True, "read", CLUSTER_NAMES),
]


def allows(expression: str, name: str) -> bool:
    # RabbitMQ searches, it does not match from the start: the anchors must be in the expression.
    return re.search(expression, name) is not None


# --- permissions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "declares", "what", "names"), ALLOWED)
def test_exactly_these_names(role: str, declares: bool, what: str, names: list[str]) -> None:
    expression = permissions(role, QUEUES, EXCHANGES, declares)[what]
    assert sorted(name for name in UNIVERSE if allows(expression, name)) == sorted(names)


def test_the_expressions_as_text() -> None:
    pidbox = r"celery\.pidbox|reply\.celery\.pidbox|.+\.reply\.celery\.pidbox"
    events, delayed = r"celeryev(\..+)?", "celery_delayed_([0-9]+|delivery)"
    assert permissions("worker", ["a.b", "c"]) == {
        "configure": rf"^(a\.b|c|{pidbox}|.+\.celery\.pidbox|{events}|{delayed})$",
        "write": rf"^(a\.b|c|amq\.default|{pidbox}|.+\.celery\.pidbox|{events}|{delayed})$",
        "read": rf"^(a\.b|c|{pidbox}|.+\.celery\.pidbox|{events}|{delayed})$",
    }
    assert permissions("flower", ["c"]) == dict.fromkeys(("configure", "write", "read"), f"^({pidbox}|{events})$")
    assert permissions("producer", ["c"], producer_declares=False) == {
        "configure": "^$",
        "write": r"^(amq\.default|c|celery_delayed_27|celeryev)$",
        "read": "^$",
    }
    assert permissions("producer", ["c"]) == {
        "configure": "^(c|celeryev)$",
        "write": r"^(amq\.default|c|celery_delayed_27|celeryev)$",
        "read": "^(c)$",
    }


def test_no_queue_at_all_is_not_every_queue() -> None:
    assert permissions("producer", [])["read"] == "^$"
    assert not allows(permissions("producer", [""])["write"], "")


@pytest.mark.parametrize(
    "name", ["a.b", "a+b", "a|b", "(a)", "a[0]", "a{2}", "^a$", "a\\d", "a?", "a*", "a b#-~&", "é"]
)
def test_every_name_is_matched_as_it_is_written(name: str) -> None:
    expression = f"^({escape(name)})$"
    assert allows(expression, name)
    # A name that is not escaped would match one of these, or not itself.
    for other in ("axb", "aab", "a", "b", "aa", "a5", "aa0", "", "a0"):
        assert not allows(expression, other) or other == name


def test_order_and_repetition_of_the_names_do_not_matter() -> None:
    assert permissions("worker", ["b", "a", "b"], ["a"]) == permissions("worker", ["a"], ["b"])


@pytest.mark.parametrize("name", ["celery.pidbox", "x.celery.pidbox", "celeryev", "celery_delayed_27", "amq.default"])
def test_names_of_celery_itself_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="Celery itself uses this name"):
        permissions("producer", ["ok", name])
    with pytest.raises(ValueError, match="Celery itself uses this name"):
        permissions("worker", ["ok"], [name])


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(ValueError, match="use one of worker, producer, flower, admin"):
        permissions("beat", ["a"])


class Recorder:
    """What a process asks of the broker, in RabbitMQ's terms: (configure | write | read, name)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.needs: set[tuple[str, str]] = set()
        real = memory.Channel
        needs = self.needs

        def exchange_declare(channel: Any, exchange: str | None = None, *args: Any, **options: Any) -> Any:
            needs.add(("configure", exchange or ""))
            return originals["exchange_declare"](channel, exchange, *args, **options)

        def queue_declare(channel: Any, queue: str | None = None, passive: bool = False, **options: Any) -> Any:
            needs.add(("configure", queue or ""))
            return originals["queue_declare"](channel, queue, passive, **options)

        def queue_bind(channel: Any, queue: str, exchange: str | None = None, *args: Any, **options: Any) -> Any:
            needs.update({("write", queue), ("read", exchange or "")})
            return originals["queue_bind"](channel, queue, exchange, *args, **options)

        def basic_publish(channel: Any, message: Any, exchange: str, *args: Any, **options: Any) -> Any:
            needs.add(("write", exchange or "amq.default"))
            if exchange == "celery_delayed_27":  # declared by workers, so not there in this test
                return None
            return originals["basic_publish"](channel, message, exchange, *args, **options)

        replacements = [exchange_declare, queue_declare, queue_bind, basic_publish]
        originals = {function.__name__: getattr(real, function.__name__) for function in replacements}
        for function in replacements:
            monkeypatch.setattr(real, function.__name__, function)

    def beyond(self, allowed: dict[str, str]) -> set[tuple[str, str]]:
        return {(what, name) for what, name in self.needs if not allows(allowed[what], name)}


def publishing(exchange_type: str, quorum: bool, monkeypatch: pytest.MonkeyPatch) -> Celery:
    pools.reset()  # connections are shared by URL, and remember what they declared
    memory.Transport.global_state.clear()
    app = Celery("shop", broker="memory://", set_as_current=False)
    app.conf.update(
        task_default_queue="orders",
        task_default_exchange_type=exchange_type,
        task_create_missing_queue_exchange_type=exchange_type,
        task_send_sent_event=True,
    )
    # Only asked of a real RabbitMQ: whether an ETA goes through the native delay.
    monkeypatch.setattr(
        "celery.app.base.detect_quorum_queues", lambda app, driver: (quorum, "orders" if quorum else "")
    )
    return app


@pytest.mark.parametrize("exchange_type", ["direct", "topic"])
@pytest.mark.parametrize("quorum", [False, True])
def test_an_unmodified_application_can_publish(
    exchange_type: str, quorum: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch)
    app = publishing(exchange_type, quorum, monkeypatch)
    app.send_task("a")
    app.send_task("b", queue="video")
    app.send_task("c", queue="video", countdown=60)
    assert ("configure", "video") in recorder.needs
    assert ("write", "celeryev") in recorder.needs
    assert (("write", "celery_delayed_27") in recorder.needs) == (quorum and exchange_type == "topic")
    assert recorder.beyond(permissions("producer", ["orders", "video"])) == set()
    # The same must not hold for just any permissions, or this test proves nothing.
    assert recorder.beyond(permissions("producer", ["orders"])) >= {("configure", "video"), ("write", "video")}


def test_a_producer_that_does_not_declare_needs_only_write(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    app = publishing("topic", True, monkeypatch)
    monkeypatch.setattr("celery.events.event.event_exchange.no_declare", True)
    for name in ("orders", "video"):
        app.amqp.queues[name].no_declare = True
    app.send_task("a")
    app.send_task("b", queue="video", countdown=60)
    assert recorder.beyond(permissions("producer", ["orders", "video"], producer_declares=False)) == set()
    assert {what for what, _name in recorder.needs} == {"write"}


def test_remote_control_is_beyond_a_producer_and_within_flower(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    app = publishing("topic", True, monkeypatch)
    app.control.broadcast("shutdown")
    app.control.inspect(timeout=0.01).ping()
    assert ("write", "celery.pidbox") in recorder.beyond(permissions("producer", ["orders"]))
    assert recorder.beyond(permissions("flower", ["orders"])) == set()
    assert recorder.beyond(permissions("worker", ["orders"])) == set()


# --- passwords -------------------------------------------------------------------------------------


def test_the_hash_of_rabbitmqs_own_documentation() -> None:
    assert password_hash("test12", bytes.fromhex("908DC60A")) == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"


def test_sha512() -> None:
    salt = b"\x00\x01\x02\x03"
    expected = base64.b64encode(salt + hashlib.sha512(salt + "pä".encode()).digest()).decode()
    assert password_hash("pä", salt, SHA512) == expected
    assert password_matches("pä", expected, SHA512)
    assert not password_matches("pä", expected, SHA256)


def test_what_does_not_match() -> None:
    stored = password_hash("right", b"salt")
    assert password_matches("right", stored, SHA256)
    for password, stored_hash, algorithm in [
        ("wrong", stored, SHA256),
        ("right", "", SHA256),
        ("right", "not base64!", SHA256),
        ("right", stored, "rabbit_password_hashing_md5"),
        ("", base64.b64encode(b"salt").decode(), SHA256),
    ]:
        assert not password_matches(password, stored_hash, algorithm)


def test_wrong_salts_and_algorithms_are_refused() -> None:
    with pytest.raises(ValueError, match="4 bytes"):
        password_hash("p", b"salty")
    with pytest.raises(ValueError, match="unknown hashing algorithm"):
        password_hash("p", b"salt", "md5")


def test_the_derived_salt_differs_by_name_and_by_password_and_by_nothing_else() -> None:
    salts = {derived_salt("a", "p"), derived_salt("b", "p"), derived_salt("a", "q"), derived_salt("a", "p")}
    assert len(salts) == 3
    assert {len(salt) for salt in salts} == {4}


# --- the first boot --------------------------------------------------------------------------------


def test_boot_definitions() -> None:
    users = [broker_user("worker", "w", "pw", "shop", ["a"]), broker_user("admin", "adm", "pw2", "shop", [])]
    first, again = (boot_definitions([{"name": "shop"}], users) for _attempt in range(2))
    assert json.dumps(first) == json.dumps(again)
    assert first["vhosts"] == [{"name": "shop"}]
    assert [(user["name"], user["tags"]) for user in first["users"]] == [("w", []), ("adm", ["administrator"])]
    assert password_matches("pw", first["users"][0]["password_hash"], first["users"][0]["hashing_algorithm"])
    assert "pw" not in first["users"][0].values()
    assert first["permissions"][1] == {"user": "adm", "vhost": "shop", "configure": ".*", "write": ".*", "read": ".*"}


def test_a_broker_that_booted_with_them_needs_no_change() -> None:
    users = [broker_user(role, role, f"pw-{role}", "shop", ["a", "b.c"]) for role in ("worker", "producer", "flower")]
    users.append(broker_user("admin", "admin", "pw-admin", "shop", []))
    booted = parse_definitions(boot_definitions([{"name": "shop"}], users))
    assert plan(booted, Desired(["shop"], users, ["guest"]), "admin") == []


def test_boot_definitions_refuse_what_a_broker_would_refuse() -> None:
    with pytest.raises(ValueError, match="vhost 'shop', which does not exist; add it to vhosts"):
        boot_definitions([], [broker_user("worker", "w", "pw", "shop", ["a"])])
    with pytest.raises(ValueError, match="empty password"):
        boot_definitions([], [{"name": "w", "password": ""}])


# --- the plan --------------------------------------------------------------------------------------

EVERYTHING = {"configure": ".*", "write": ".*", "read": ".*"}


def user(name: str, password: str = "pw", tags: list[str] | None = None, **granted: str) -> dict[str, Any]:
    rights = [{"vhost": v, "configure": p, "write": p, "read": p} for v, p in granted.items()]
    return {"name": name, "password": password, "tags": tags or [], "permissions": rights}


def remote(
    vhosts: list[str], users: list[dict[str, Any]], as_text: bool = False, algorithm: str = SHA256
) -> dict[str, Any]:
    return {
        "rabbitmq_version": "3.10.8",
        "vhosts": [{"name": name} for name in vhosts],
        "users": [
            {
                "name": user["name"],
                "password_hash": password_hash(user["password"], b"abcd", algorithm),
                "hashing_algorithm": algorithm,
                "tags": ",".join(user["tags"]) if as_text else user["tags"],
            }
            for user in users
        ],
        "permissions": [{"user": user["name"], **entry} for user in users for entry in user["permissions"]],
        "queues": [{"name": "ignored"}],
    }


ADMIN = user("admin", tags=["administrator"])


def texts(
    before: dict[str, Any],
    users: list[dict[str, Any]],
    vhosts: list[str] | None = None,
    absent: list[str] | None = None,
) -> list[str]:
    operations = plan(parse_definitions(before), Desired(vhosts or [], users, absent or []), "admin")
    return [operation.text for operation in operations]


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("algorithm", [SHA256, SHA512])
def test_nothing_to_do(as_text: bool, algorithm: str) -> None:
    users = [ADMIN, user("w", tags=["monitoring", "policymaker"], shop="^(a)$")]
    before = remote(["/", "shop"], [*users, user("theirs", shop=".*")], as_text, algorithm)
    shuffled = [ADMIN, user("w", tags=["policymaker", "monitoring"], shop="^(a)$")]
    assert texts(before, shuffled, ["shop"], ["guest"]) == []


def test_everything_on_an_empty_broker_in_order() -> None:
    users = [ADMIN, user("w", shop="^(a)$")]
    assert texts(remote(["/"], [ADMIN, user("guest")]), users, ["shop"], ["guest"]) == [
        "delete user guest",
        "create vhost shop",
        "take from user admin the permissions that creating vhost shop gave it",
        "create user w: password set, tags",
        "set the permissions of user w on vhost shop",
    ]


def test_access_is_taken_before_it_is_given_and_the_own_user_comes_last() -> None:
    before = remote(
        ["shop", "old"],
        [ADMIN, user("gone"), user("less", old="^(a)$", shop="^(a|b)$"), user("more", shop="^(a)$"), user("pw", "x")],
    )
    admin = user("admin", "new password", tags=["administrator"], shop=".*")
    users = [admin, user("more", "changed", shop="^(a|b)$"), user("less", shop="^(b)$"), user("pw", "y")]
    assert texts(before, users, ["shop"], ["gone"]) == [
        "delete user gone",
        "take from user less the permissions on vhost old",
        "set the permissions of user less on vhost shop",
        "change user more: password changed",
        "change user pw: password changed",
        "set the permissions of user admin on vhost shop",
        "set the permissions of user more on vhost shop",
        "change user admin: password changed",
    ]


def test_what_is_not_named_is_not_touched() -> None:
    theirs = user("theirs", tags=["administrator"], shop=".*", other=".*")
    before = remote(["/", "shop", "other"], [ADMIN, theirs, user("w", shop=".*")])
    operations = plan(parse_definitions(before), Desired(["shop"], [user("w", shop="^$")], []), "admin")
    assert [operation.path for operation in operations] == [("permissions", "shop", "w")]


def test_a_changed_tag_keeps_the_stored_password() -> None:
    before = remote(["shop"], [user("w", tags=["administrator"])])
    (operation,) = plan(parse_definitions(before), Desired([], [user("w", tags=["b", "a"])], []), "admin")
    assert operation.body == {
        "password_hash": before["users"][0]["password_hash"],
        "hashing_algorithm": SHA256,
        "tags": "a,b",
    }


@pytest.mark.parametrize(
    ("there", "written"), [(SHA256, SHA256), (SHA512, SHA512), ("rabbit_password_hashing_md5", SHA256)]
)
def test_a_changed_password_is_written_in_the_users_algorithm_unless_that_is_too_old(there: str, written: str) -> None:
    before = remote([], [user("w", "old")])
    before["users"][0]["hashing_algorithm"] = there
    (operation,) = plan(parse_definitions(before), Desired([], [user("w", "new")], []), "admin")
    assert operation.body is not None
    assert operation.body["hashing_algorithm"] == written
    assert password_matches("new", operation.body["password_hash"], written)


def test_no_text_and_no_diff_holds_a_password_or_hash() -> None:
    before = remote(["shop"], [user("w", "old-secret"), user("gone", "gone-secret")])
    desired = Desired(["shop"], [user("w", "new-secret", shop=".*"), user("n", "first-secret")], ["gone"])
    current = parse_definitions(before)
    shown = json.dumps([*(operation.text for operation in plan(current, desired, "admin")), diff(current, desired)])
    assert "secret" not in shown
    for stored in before["users"]:
        assert stored["password_hash"] not in shown


def test_the_diff() -> None:
    before = remote(["/", "shop"], [ADMIN, user("w", "old", shop="^(a)$"), user("gone"), user("theirs", shop=".*")])
    desired = Desired(
        ["new", "shop"], [user("w", "new", ["monitoring"], shop="^(it's)$"), user("n")], ["gone", "never"]
    )
    shown = diff(parse_definitions(before), desired)
    assert shown["before"] == (
        "vhosts:\n  - 'shop'\nusers:\n  'gone':\n    tags: []\n    permissions:\n"
        "  'w':\n    tags: []\n    permissions:\n      'shop':\n"
        "        configure: '^(a)$'\n        write: '^(a)$'\n        read: '^(a)$'\n"
    )
    assert shown["after"] == (
        "vhosts:\n  - 'new'\n  - 'shop'\nusers:\n  'n':\n    tags: []\n    password: set\n    permissions:\n"
        "  'w':\n    tags: [monitoring]\n    password: changed\n    permissions:\n      'shop':\n"
        "        configure: '^(it''s)$'\n        write: '^(it''s)$'\n        read: '^(it''s)$'\n"
    )


def test_without_a_change_the_diff_is_empty() -> None:
    users = [user("w", shop="^(a)$")]
    shown = diff(parse_definitions(remote(["shop"], users)), Desired(["shop"], users, []))
    assert shown["before"] == shown["after"]


def test_every_problem_is_told_at_once() -> None:
    twice = user("w", "", shop=".*")
    twice["permissions"] *= 2
    found = problems(Desired([], [twice, user("w"), user("admin"), user("x")], ["admin", "x"]), "admin", {"/"})
    assert [text.split(";")[0] for text in found] == [
        "users: 'w' is listed 2 times",
        "'admin' is in users and in absent_users",
        "'x' is in users and in absent_users",
        "absent_users: 'admin' is the user this module logs in as",
        "users: 'w' has an empty password",
        "users: 'w' has 2 permissions on vhost 'shop'",
        "users: 'w' gets permissions on vhost 'shop', which does not exist",
        "users: 'admin' is the user this module logs in as",
    ]
    assert problems(Desired(["shop"], [ADMIN, user("w", shop=".*")], ["guest"]), "admin", {"/"}) == []
