"""Every identity does its work, and nothing else; who somebody is, the certificate says."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from cluster import BROKER_PORT, BROKERS, MANAGEMENT_PORT, NAME, QUEUES, RUN, executed, secret, send, source
from conftest import wait_for
from testing import script_on

HOME = {"worker": "worker1", "producer": "app1", "flower": "app1"}
USERS = {identity: f"{NAME}-{identity}.{host}" for identity, host in HOME.items()}
FOREIGN = "not-of-the-cluster"
OTHER_VHOST = "another-cluster"
# A routing key that nothing is bound to: the right to publish is used, and no worker gets the message.
NOWHERE = "nobody-listens"
ACCESS_REFUSED, NOT_ALLOWED, PRECONDITION_FAILED = 403, 530, 406
# Numbers that the stream never reaches.
FIRST = 10_000_000

ALLOWED: dict[str, list[list[str]]] = {
    "worker": [
        ["consume", "numbers"],
        ["consume", "odd"],
        ["look", "celery"],
        ["publish", "numbers", NOWHERE],
        ["events"],
    ],
    "producer": [["publish", "celery", NOWHERE], ["publish", "numbers", NOWHERE], ["publish", "odd", NOWHERE]],
    "flower": [["events"]],
}
FORBIDDEN: dict[str, list[list[str]]] = {
    "worker": [
        ["consume", FOREIGN],
        ["get", FOREIGN],
        ["purge", FOREIGN],
        ["delete", FOREIGN],
        ["declare", "a-queue-that-nobody-planned"],
        ["publish", "amq.topic", NOWHERE],
        # The results of failed tasks may hold anybody's data.
        ["get", f"{NAME}.dead"],
    ],
    "producer": [
        ["consume", "numbers"],
        ["get", "numbers"],
        ["purge", "numbers"],
        ["delete", "numbers"],
        ["declare", "a-queue-that-nobody-planned"],
        ["consume", FOREIGN],
        ["get", f"{NAME}.dead"],
        ["eavesdrop", "numbers"],
        ["events"],
        # Who writes there shuts workers down.
        ["publish", "celery.pidbox", ""],
        ["publish", "amq.topic", NOWHERE],
    ],
    "flower": [
        ["publish", "numbers", NOWHERE],
        ["publish", "", "numbers"],
        ["consume", "numbers"],
        ["get", "numbers"],
        ["purge", "numbers"],
        ["delete", "numbers"],
        ["declare", "a-queue-that-nobody-planned"],
        ["eavesdrop", "numbers"],
        ["get", f"{NAME}.dead"],
    ],
}


def cases(table: dict[str, list[list[str]]]) -> list[Any]:
    return [
        pytest.param(identity, action, id=f"{identity}-{'-'.join(word or 'default' for word in action)}")
        for identity, actions in table.items()
        for action in actions
    ]


def act(cluster, identity: str, actions: list[list[str]], broker: str = BROKERS[0]) -> list[dict[str, Any]]:
    """What the broker answers to each action of the identity, with the certificate that its host has."""
    given = {
        "host": cluster.addresses[broker],
        "port": BROKER_PORT,
        "ca_file": f"/opt/{NAME}/config/ca.pem",
        "name": f"{NAME}-broker",
        "vhost": NAME,
        "certificate": f"/opt/{NAME}/config/tls/{identity}.pem",
        "key": f"/opt/{NAME}/config/tls/{identity}.key",
        "actions": actions,
    }
    command = (RUN, "--identity", identity, "python")
    return script_on(HOME[identity], source("amqp_actions.py"), given, command, seconds=300)


@pytest.fixture(scope="module", autouse=True)
def _strange_things(cluster) -> Iterator[None]:
    """A queue and a vhost that are not the cluster's: a refusal is then a refusal, not something that is missing."""
    queue = f"/queues/{quote(NAME, safe='')}/{FOREIGN}"
    cluster.change("PUT", f"/vhosts/{OTHER_VHOST}", {})
    cluster.change("PUT", queue, {"durable": True, "arguments": {"x-queue-type": "quorum"}})
    yield
    cluster.change("DELETE", queue)
    cluster.change("DELETE", f"/vhosts/{OTHER_VHOST}")


@pytest.fixture(scope="module")
def answers(cluster) -> dict[str, dict[tuple[str, ...], dict[str, Any]]]:
    """identity -> action -> answer. All actions of an identity in one go: starting Python takes longer than they do."""
    found = {}
    for identity in HOME:
        actions = ALLOWED[identity] + FORBIDDEN[identity]
        replies = act(cluster, identity, actions)
        found[identity] = {tuple(action): reply for action, reply in zip(actions, replies, strict=True)}
    return found


def test_every_host_has_its_own_users(model, cluster):
    names = {user["name"] for user in model["broker_users"]}
    assert {*USERS.values(), f"{NAME}-worker.worker2", f"{NAME}-admin"} <= names
    there = {user["name"]: user for user in json.loads(cluster.ask(BROKERS[0], "GET", "/users")[1])}
    assert set(there) == names
    for user in model["broker_users"]:
        # Without a hash no password is right.
        has_password = bool(there[user["name"]]["password_hash"])
        assert has_password is (user["identity"] in ("admin", "flower")), user


@pytest.mark.parametrize(("identity", "action"), cases(ALLOWED))
def test_an_identity_does_its_work(identity, action, answers):
    assert answers[identity][tuple(action)]["ok"], answers[identity][tuple(action)]


@pytest.mark.parametrize(("identity", "action"), cases(FORBIDDEN))
def test_an_identity_does_nothing_else(identity, action, answers):
    answer = answers[identity][tuple(action)]
    assert not answer["ok"] and answer["code"] == ACCESS_REFUSED, answer


@pytest.mark.parametrize("identity", HOME)
def test_no_identity_sees_another_vhost(identity, cluster):
    own, other = act(cluster, identity, [["vhost", NAME], ["vhost", OTHER_VHOST]])
    assert own["ok"], own
    assert not other["ok"] and other["code"] == NOT_ALLOWED, other


def test_tasks_of_the_producer_run(rows):
    sent = send(FIRST, 12)
    assert sorted(set(sent["ok"])) == list(range(FIRST, FIRST + 12))
    assert wait_for(lambda: len(executed(rows, FIRST, FIRST + 11)) == 12, 60)


def test_the_documented_snippet_is_enough_for_a_publisher(rows):
    # Without the agent: the application applies CELERY_SETTINGS, and nothing else is done for it.
    first = FIRST + 100
    sent = send(first, 3, app="ledger.celery:app")
    assert sorted(set(sent["ok"])) == [first, first + 1, first + 2]
    assert wait_for(lambda: len(executed(rows, first, first + 2)) == 3, 60)


def test_every_queue_is_a_quorum_queue_on_all_brokers(cluster):
    queues = cluster.queues()
    for name in (*QUEUES, f"{NAME}.dead"):
        assert queues[name]["type"] == "quorum" and len(queues[name]["members"]) == len(BROKERS), queues[name]
    for name in QUEUES:
        bindings = cluster.get(f"/queues/{NAME}/{name}/bindings")
        sources = {binding["source"] for binding in bindings} - {""}
        assert sources, f"{name} is bound to no exchange of its own"
        for exchange in sources - {"celery_delayed_delivery"}:
            assert cluster.get(f"/exchanges/{NAME}/{exchange}")["type"] == "topic"


def test_the_producer_cannot_stop_the_workers(cluster, on):
    before = cluster.worker_processes()
    done = on("app1").run(f"{RUN} --identity producer python -m celery -A celery_agent control shutdown")
    assert done.rc != 0 and "ACCESS_REFUSED" in done.stdout + done.stderr, done.stdout + done.stderr
    assert cluster.worker_processes() == before


def test_flower_reads_the_overview_and_changes_nothing(cluster):
    given = {
        "host": cluster.addresses[BROKERS[1]],
        "port": MANAGEMENT_PORT,
        "ca_file": f"/opt/{NAME}/config/ca.pem",
        "user": USERS["flower"],
        "password": secret("broker_flower.app1"),
        "body": None,
        "seconds": 10,
    }

    def ask(method: str, path: str, body: Any = None) -> int:
        return script_on("app1", source("api.py"), {**given, "method": method, "path": path, "body": body})[0]

    assert ask("GET", "/overview") == 200
    assert ask("GET", f"/queues/{NAME}") == 200
    for method, path, body in (
        ("PUT", "/users/intruder", {"password": "intruder-intruder", "tags": "administrator"}),
        ("DELETE", f"/queues/{NAME}/{FOREIGN}/contents", None),
        ("DELETE", f"/vhosts/{OTHER_VHOST}", None),
        ("GET", "/definitions", None),
    ):
        assert ask(method, path, body) in (400, 401, 403), f"{method} {path}"
    assert cluster.get(f"/queues/{NAME}/{FOREIGN}") and cluster.get(f"/vhosts/{OTHER_VHOST}")


def test_the_administrator_administrates_and_does_not_connect(cluster):
    assert cluster.ask(BROKERS[0], "GET", "/users")[0] == 200
    (answer,) = act(cluster, "worker", [["login_password", f"{NAME}-admin", secret("broker_admin")]])
    assert not answer["ok"], answer


def test_users_of_certificates_have_no_password(cluster):
    # Neither an empty one, nor the one that everybody tries first.
    for user in (USERS["worker"], USERS["producer"]):
        for password in ("", "guest", user):
            assert cluster.ask(BROKERS[0], "GET", "/whoami", login=(user, password))[0] == 401


def test_the_name_comes_from_the_certificate(cluster):
    other = f"{NAME}-worker.worker2"
    mechanisms, own, claimed, password, anonymous = act(
        cluster,
        "worker",
        [
            ["mechanisms"],
            ["login_as", USERS["worker"]],
            ["login_as", other],
            ["login_password", other, "guest"],
            ["login_anonymous"],
        ],
    )
    assert mechanisms.get("value") == ["EXTERNAL"], mechanisms
    assert own["ok"], own
    assert not claimed["ok"], claimed
    if claimed["code"] == PRECONDITION_FAILED:
        # The broker ignored the claim, and says as whom it let the connection in.
        assert f"'{USERS['worker']}'" in claimed["text"], claimed
    else:
        assert claimed["code"] == ACCESS_REFUSED, claimed
    assert not password["ok"] and not anonymous["ok"]


def test_a_host_whose_user_was_removed_is_refused(cluster):
    user = USERS["producer"]
    path = f"/users/{quote(user, safe='')}"
    before = cluster.get(path)
    granted = cluster.get(f"{path}/permissions")
    topics = cluster.get(f"{path}/topic-permissions")
    (first,) = act(cluster, "producer", [["vhost", NAME]])
    assert first["ok"], first
    cluster.change("DELETE", path)
    try:
        (refused,) = act(cluster, "producer", [["vhost", NAME]])
    finally:
        kept = {key: before[key] for key in ("password_hash", "hashing_algorithm", "tags")}
        cluster.change("PUT", path, kept)
        for permission in granted:
            place = f"/permissions/{quote(permission['vhost'], safe='')}/{quote(user, safe='')}"
            rights = {key: permission[key] for key in ("configure", "write", "read")}
            cluster.change("PUT", place, rights)
        for permission in topics:
            place = f"/topic-permissions/{quote(permission['vhost'], safe='')}/{quote(user, safe='')}"
            rights = {key: permission[key] for key in ("exchange", "write", "read")}
            cluster.change("PUT", place, rights)
    assert not refused["ok"] and refused["code"] == ACCESS_REFUSED, refused
    (again,) = act(cluster, "producer", [["publish", "numbers", f"{NOWHERE}-{uuid.uuid4()}"]])
    assert again["ok"], again
