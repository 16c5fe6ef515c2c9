"""The module rabbitmq_definitions against a real broker: every kind of thing, on a vhost of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import testing
from cluster import ADMIN, BROKERS, MANAGEMENT_PORT, Cluster, secret
from module_there import ModulesThere

BROKER = BROKERS[0]
OWNER = VHOST = "probe"
USER, PASSWORD = "probe-user", "probe-password"
EVERYTHING = {"configure": ".*", "write": ".*", "read": ".*"}
PUBLISHER = {
    "name": USER,
    "password": PASSWORD,
    "tags": ["management"],
    "permissions": [{"vhost": VHOST, **EVERYTHING}],
}
EVERY_KIND: dict[str, Any] = {
    "vhosts": [{"name": VHOST, "description": "a probe", "tags": ["b", "a"], "limits": {"max-queues": 20}}],
    "users": [
        {
            **PUBLISHER,
            "limits": {"max-channels": 5},
            "topic_permissions": [{"vhost": VHOST, "exchange": "topics", "write": "^a", "read": "^b"}],
        },
        {"name": "probe-certificate", "certificate": True, "permissions": []},
    ],
    "policies": [
        {
            "vhost": VHOST,
            "name": "limits",
            "pattern": r"^(quorum\.queue)$",
            "apply_to": "queues",
            "priority": 1,
            "definition": {"dead-letter-exchange": "dead/letters", "delivery-limit": 20},
        }
    ],
    "global_parameters": [{"name": "probe parameter", "value": {"list": [1, 2], "text": "x", "empty": []}}],
    "exchanges": [
        {"vhost": VHOST, "name": "topics", "type": "topic"},
        {"vhost": VHOST, "name": "dead/letters", "type": "fanout", "arguments": {"alternate-exchange": "topics"}},
        {"vhost": VHOST, "name": "heads", "type": "headers"},
    ],
    "queues": [
        {"vhost": VHOST, "name": "quorum.queue", "arguments": {"x-queue-type": "quorum"}},
        {"vhost": VHOST, "name": "classic queue", "arguments": {"x-queue-type": "classic", "x-max-length": 100}},
        {"vhost": VHOST, "name": "any"},
    ],
    "bindings": [
        {"vhost": VHOST, "source": "topics", "destination": "quorum.queue", "routing_key": "a.#"},
        {"vhost": VHOST, "source": "topics", "destination": "quorum.queue", "routing_key": "b/~ %.*"},
        {"vhost": VHOST, "source": "topics", "destination": "any", "arguments": {"x-match": "all", "n": 1}},
        {"vhost": VHOST, "source": "topics", "destination": "any", "arguments": {"x-match": "any", "n": 2}},
        {"vhost": VHOST, "source": "dead/letters", "destination": "heads", "destination_type": "exchange"},
        {"vhost": VHOST, "source": "amq.topic", "destination": "classic queue", "routing_key": "#"},
    ],
}


class Probe:
    """The module on the first broker."""

    def __init__(self, cluster: Cluster, modules: ModulesThere) -> None:
        self.cluster, self.modules = cluster, modules

    def __call__(self, wanted: dict[str, Any], check: bool = False, owner: str = OWNER) -> dict[str, Any]:
        arguments = {
            "url": f"https://127.0.0.1:{MANAGEMENT_PORT}",
            "ca_file": "/etc/rabbitmq/tls/ca.pem",
            "username": ADMIN,
            "password": secret("broker_admin"),
            "owner": owner,
            **wanted,
        }
        return self.modules("rabbitmq_definitions", arguments, check=check)

    def exactly(self, wanted: dict[str, Any], owner: str = OWNER) -> dict[str, Any]:
        """A run that check mode predicts, and after which nothing is left to do."""
        # A queue is kept as long as the broker's statistics do not say that it is empty, which takes some seconds.
        assert testing.wait_for(self.is_counted, 60, 1)
        # On a busy machine one can be without figures again; what the broker does not tell, nobody can predict.
        predicted = testing.wait_for(lambda: self.prediction(wanted, owner), 60, 1)
        assert predicted is not None
        done = self(wanted, owner=owner)
        assert "msg" not in done, done["msg"]
        for what in ("operations", "kept", "changed"):
            assert done[what] == predicted[what], what
        again = self(wanted, owner=owner)
        assert again["operations"] == []
        assert (again["changed"], again["kept"]) == (False, done["kept"])
        return done

    def prediction(self, wanted: dict[str, Any], owner: str) -> dict[str, Any] | None:
        """What check mode says, unless the broker withholds figures of a queue."""
        found = self(wanted, check=True, owner=owner)
        return None if any("the broker does not tell" in kept["reason"] for kept in found["kept"]) else found

    def definitions(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.get("/definitions")
        return {
            kind: sorted(found[kind], key=json.dumps)
            for kind in ("vhosts", "users", "permissions", "global_parameters", "policies", "queues", "exchanges")
        }

    def publish(self, queue: str) -> None:
        body = {"properties": {}, "routing_key": queue, "payload": "x", "payload_encoding": "string"}
        path = f"/exchanges/{VHOST}/amq.default/publish"
        status, answer = self.cluster.ask(BROKER, "POST", path, body, login=(USER, PASSWORD))
        assert (status, json.loads(answer)) == (200, {"routed": True})

    def is_counted(self) -> bool:
        """Whether the broker's statistics know every queue of the vhost."""
        found = self.cluster.get("/queues")
        return found is not None and all("messages" in queue for queue in found if queue["vhost"] == VHOST)

    def counted(self, queue: str, messages: int) -> bool:
        """Whether the broker's own statistics have caught up."""
        return bool(self.cluster.get(f"/queues/{VHOST}/{queue}").get("messages") == messages)


@pytest.fixture(scope="module")
def modules() -> Iterator[ModulesThere]:
    found = ModulesThere(BROKER)
    yield found
    found.remove()


@pytest.fixture
def probe(cluster: Cluster, modules: ModulesThere) -> Iterator[Probe]:
    """The module; afterwards the broker is as it was before."""
    module = Probe(cluster, modules)
    before = module.definitions()
    yield module
    # What a failed test left behind in its queues goes with the vhost.
    if any(vhost["name"] == VHOST for vhost in module.definitions()["vhosts"]):
        cluster.change("DELETE", f"/vhosts/{VHOST}")
    for owner in (OWNER, f"{OWNER}-2"):
        assert module({}, owner=owner)["kept"] == []
    assert module.definitions() == before


def test_every_kind_is_made_once_and_removed_again(probe: Probe) -> None:
    before = probe.definitions()
    assert probe.exactly(EVERY_KIND)["changed"]
    made = probe.definitions()
    assert {entry["name"] for entry in made["queues"] if entry["vhost"] == VHOST} == {
        "quorum.queue",
        "classic queue",
        "any",
    }
    # Who made the vhost has no access left there, and whoever has one is as it was.
    assert [given["user"] for given in made["permissions"] if given["vhost"] == VHOST] == [USER]

    # Everything inside the vhost goes one by one while the vhost stays, bindings with arguments, too.
    done = probe.exactly({"vhosts": [{"name": VHOST}]})
    assert sum(" binding " in step for step in done["operations"]) == 6
    assert probe.exactly({})["operations"][-2:] == [f"delete the vhost {VHOST}", f"forget the owner {OWNER}"]
    assert probe.definitions() == before


def test_a_change_of_everything_that_can_be_changed(probe: Probe) -> None:
    probe(EVERY_KIND)
    changed = {
        **EVERY_KIND,
        "vhosts": [{"name": VHOST, "description": "another", "tags": ["c"], "limits": {"max-connections": 9}}],
        "users": [
            {**PUBLISHER, "password": "another", "tags": ["monitoring"], "limits": {"max-connections": 3}},
            {"name": "probe-certificate", "password": "now with one", "permissions": []},
        ],
        "policies": [{**EVERY_KIND["policies"][0], "priority": 2, "definition": {"max-length": 7}}],
        "global_parameters": [{"name": "probe parameter", "value": "text"}],
        "bindings": EVERY_KIND["bindings"][1:3],
    }
    assert "another" not in json.dumps(probe.exactly(changed)["operations"])
    # And back: a certificate user has no password again.
    back = probe.exactly(EVERY_KIND)["operations"]
    assert "change the user probe-certificate: password removed" in back
    probe.exactly({})


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_queue_with_messages_stays_until_it_is_empty(probe: Probe, kind: str) -> None:
    queue = {"vhost": VHOST, "name": "full", "arguments": {"x-queue-type": kind}}
    probe({"vhosts": [{"name": VHOST}], "users": [PUBLISHER], "queues": [queue]})
    probe.publish("full")
    assert testing.wait_for(lambda: probe.counted("full", 1), 30, 1)
    wanted = {"vhosts": [{"name": VHOST}], "users": [PUBLISHER]}
    kept = {"kind": "queues", "name": f"queue full on vhost {VHOST}", "reason": "it has 1 message"}
    assert probe.exactly(wanted)["kept"] == [kept]
    # With it its vhost stays, and the user who made both is gone.
    stayed = probe.exactly({})
    assert [item["kind"] for item in stayed["kept"]] == ["queues", "vhosts"]
    probe(wanted)
    status, answer = probe.cluster.ask(BROKER, "DELETE", f"/queues/{VHOST}/full/contents", login=(USER, PASSWORD))
    assert status == 204, answer
    assert testing.wait_for(lambda: probe.counted("full", 0), 30, 1)
    assert probe.exactly({})["kept"] == []


def test_what_cannot_be_changed_in_place_stops_everything(probe: Probe) -> None:
    queue = {"vhost": VHOST, "name": "q"}
    probe({"vhosts": [{"name": VHOST}], "queues": [{**queue, "arguments": {"x-queue-type": "classic"}}]})
    before = probe.definitions()
    wanted = {
        "vhosts": [{"name": VHOST}],
        "users": [PUBLISHER],
        "queues": [{**queue, "arguments": {"x-queue-type": "quorum"}}],
    }
    told = f"queue q on vhost {VHOST} exists with type classic; wanted is type quorum"
    for check in (True, False):
        assert told in probe(wanted, check=check)["msg"]
    assert probe.definitions() == before


def test_what_others_made_is_never_removed(probe: Probe) -> None:
    shared = {"vhosts": [{"name": VHOST}], "exchanges": [{"vhost": VHOST, "name": "shared"}]}
    probe(shared)
    other = {"vhosts": [{"name": VHOST}], "exchanges": [*shared["exchanges"], {"vhost": VHOST, "name": "theirs"}]}
    probe.exactly(other, owner=f"{OWNER}-2")
    probe.exactly({})
    names = {entry["name"] for entry in probe.definitions()["exchanges"] if entry["vhost"] == VHOST}
    assert names == {"shared", "theirs"}
    probe.exactly({}, owner=f"{OWNER}-2")
