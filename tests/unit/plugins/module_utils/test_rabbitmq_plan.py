"""The order in which a broker is brought to what is wanted."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_ownership import (
    PREFIX,
    RecordError,
    from_value,
    recorded,
    to_value,
)
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_passwords import (
    SHA256,
    SHA512,
    password_hash,
    password_matches,
)
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_plan import Kept, leaving, plan
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_state import (
    parse_definitions,
    wanted_from,
)

FULL = {"configure": ".*", "write": ".*", "read": ".*"}


def user(name: str, password: str = "pw", tags: list[str] | None = None, **granted: str) -> dict[str, Any]:
    rights = [{"vhost": v, "configure": p, "write": p, "read": p} for v, p in granted.items()]
    return {"name": name, "password": password, "tags": tags or [], "permissions": rights}


def remote(
    vhosts: list[str], users: list[dict[str, Any]], as_text: bool = False, algorithm: str = SHA256, **more: Any
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
                "limits": user.get("limits", []),
            }
            for user in users
        ],
        "permissions": [{"user": user["name"], **entry} for user in users for entry in user["permissions"]],
        **more,
    }


def record(owner: str = "shop", **names: list[Any]) -> list[dict[str, Any]]:
    return [{"name": PREFIX + owner, "value": names}]


ADMIN = user("admin", tags=["administrator"])


def steps(before: dict[str, Any], kept: tuple[Kept, ...] = (), **wanted: Any) -> list[Any]:
    return plan(parse_definitions(before), wanted_from(wanted), "admin", kept).operations


def texts(before: dict[str, Any], kept: tuple[Kept, ...] = (), **wanted: Any) -> list[str]:
    return [step.text for step in steps(before, kept, **wanted)]


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("algorithm", [SHA256, SHA512])
def test_nothing_to_do(as_text: bool, algorithm: str) -> None:
    users = [ADMIN, user("w", tags=["monitoring", "policymaker"], shop="^(a)$")]
    before = remote(["/", "shop"], [*users, user("theirs", shop=".*")], as_text, algorithm)
    shuffled = [ADMIN, user("w", tags=["policymaker", "monitoring"], shop="^(a)$")]
    assert texts(before, users=shuffled, vhosts=[{"name": "shop"}], absent_users=["guest"]) == []


def test_everything_on_an_empty_broker_in_order() -> None:
    worker = {
        **user("w", shop="^(a)$"),
        "limits": {"max-channels": 3},
        "topic_permissions": [{"vhost": "shop", "exchange": "x", "write": "", "read": ""}],
    }
    wanted = {
        "owner": "shop",
        "vhosts": [{"name": "shop", "limits": {"max-queues": 9}}],
        "users": [ADMIN, worker, {"name": "c", "certificate": True}],
        "policies": [{"vhost": "shop", "name": "p", "pattern": "a", "definition": {"max-length": 1}}],
        "parameters": [{"vhost": "shop", "component": "shovel", "name": "s", "value": {"a": 1}}],
        "global_parameters": [{"name": "g", "value": 1}],
        "exchanges": [{"vhost": "shop", "name": "x", "type": "topic"}],
        "queues": [{"vhost": "shop", "name": "a"}],
        "bindings": [{"vhost": "shop", "source": "x", "destination": "a", "routing_key": "k"}],
        "absent_users": ["guest"],
    }
    assert texts(remote(["/"], [ADMIN, user("guest")]), **wanted) == [
        "delete the user guest",
        "record 11 things as owned by shop",
        "create the vhost shop",
        "create the limit max-queues of vhost shop",
        "create the exchange x on vhost shop",
        "create the queue a on vhost shop",
        "create the binding x -> queue a by 'k' on vhost shop",
        "create the parameter s of shovel on vhost shop",
        "create the global parameter g",
        "create the policy p on vhost shop",
        "take from user admin the permissions that creating vhost shop gave it",
        "create the user w: password set, tags",
        "create the user c: login by certificate only, tags",
        "set the limit max-channels of user w",
        "set the topic permissions of user w on exchange x of vhost shop",
        "set the permissions of user w on vhost shop",
    ]


def test_access_is_taken_before_it_is_given_and_the_own_user_comes_last() -> None:
    before = remote(
        ["shop", "old"],
        [ADMIN, user("gone"), user("less", old="^(a)$", shop="^(a|b)$"), user("more", shop="^(a)$"), user("pw", "x")],
    )
    admin = user("admin", "new password", tags=["administrator"], shop=".*")
    users = [admin, user("more", "changed", shop="^(a|b)$"), user("less", shop="^(b)$"), user("pw", "y")]
    assert texts(before, users=users, absent_users=["gone"]) == [
        "delete the user gone",
        "take away the permissions of user less on vhost old",
        "set the permissions of user less on vhost shop",
        "change the user more: password changed",
        "change the user pw: password changed",
        "set the permissions of user admin on vhost shop",
        "set the permissions of user more on vhost shop",
        "change the user admin: password changed",
    ]


def test_a_topic_permission_narrows_and_its_removal_widens() -> None:
    given = [
        {"user": "w", "vhost": "shop", "exchange": name, "write": "^(a|b)$", "read": ""} for name in ("x", "y", "z")
    ]
    before = remote(["shop"], [ADMIN, user("w", shop="^(a)$")], topic_permissions=given)
    worker = {
        **user("w", shop="^(b)$"),
        "topic_permissions": [
            {"vhost": "shop", "exchange": "new", "write": "", "read": ""},
            {"vhost": "shop", "exchange": "x", "write": "^(a)$", "read": ""},
            {"vhost": "shop", "exchange": "y", "write": "^(c)$", "read": ""},
        ],
    }
    assert texts(before, users=[worker]) == [
        "set the topic permissions of user w on exchange new of vhost shop",
        "set the topic permissions of user w on exchange x of vhost shop",
        "set the topic permissions of user w on exchange y of vhost shop",
        "set the permissions of user w on vhost shop",
        "delete the topic permissions of user w on exchange z of vhost shop",
    ]
    assert steps(before, users=[worker])[-1].path == ("topic-permissions", "shop", "w", "z")


def test_what_is_not_named_is_not_touched() -> None:
    theirs = user("theirs", tags=["administrator"], shop=".*", other=".*")
    before = remote(
        ["/", "shop", "other"],
        [ADMIN, theirs, user("w", shop=".*")],
        policies=[{"vhost": "shop", "name": "p", "pattern": "", "apply-to": "all", "definition": {}, "priority": 0}],
        global_parameters=[{"name": "g", "value": 1}],
    )
    found = steps(before, owner="", vhosts=[{"name": "shop"}], users=[user("w", shop="^$")])
    assert [step.path for step in found] == [("permissions", "shop", "w")]
    found = steps(before, owner="shop", vhosts=[{"name": "shop"}])
    assert [step.text for step in found] == ["record 1 thing as owned by shop"]


def test_a_changed_tag_keeps_the_stored_password() -> None:
    before = remote(["shop"], [user("w", tags=["administrator"])])
    (step,) = steps(before, users=[user("w", tags=["b", "a"])])
    stored = before["users"][0]["password_hash"]
    assert step.body == {"password_hash": stored, "hashing_algorithm": SHA256, "tags": "a,b"}


def test_a_certificate_user_loses_its_password_and_may_get_one_again() -> None:
    (step,) = steps(remote([], [user("w")]), users=[{"name": "w", "certificate": True}])
    assert step.text == "change the user w: password removed"
    assert step.body["password_hash"] == ""
    before = remote([], [user("w")])
    before["users"][0]["password_hash"] = ""
    assert texts(before, users=[{"name": "w", "certificate": True}]) == []
    (step,) = steps(before, users=[user("w")])
    assert step.text == "change the user w: password set"
    assert password_matches("pw", step.body["password_hash"], SHA256)


@pytest.mark.parametrize(
    ("there", "written"), [(SHA256, SHA256), (SHA512, SHA512), ("rabbit_password_hashing_md5", SHA256)]
)
def test_a_changed_password_is_written_in_the_users_algorithm_unless_that_is_too_old(there: str, written: str) -> None:
    before = remote([], [user("w", "old")])
    before["users"][0]["hashing_algorithm"] = there
    (step,) = steps(before, users=[user("w", "new")])
    assert step.body["hashing_algorithm"] == written
    assert password_matches("new", step.body["password_hash"], written)


def test_limits_of_a_named_user_are_complete() -> None:
    limited = {**user("w"), "limits": {"max-channels": 3, "max-connections": 4}}
    before = remote([], [limited])
    assert texts(before, users=[{**user("w"), "limits": {"max-channels": 2}}]) == [
        "set the limit max-channels of user w",
        "delete the limit max-connections of user w",
    ]
    assert [step.path[0] for step in steps(before, users=[user("w")])] == ["user-limits", "user-limits"]


# --- ownership -------------------------------------------------------------------------------------

QUEUES = [
    {"vhost": "shop", "name": name, "durable": True, "auto_delete": False, "arguments": {}} for name in ("a", "b")
]


def test_what_exists_is_recorded_and_nothing_else_changes() -> None:
    before = remote(["shop"], [ADMIN], queues=QUEUES)
    (step,) = steps(before, owner="shop", vhosts=[{"name": "shop"}], queues=[{"vhost": "shop", "name": "a"}])
    assert step.text == "record 2 things as owned by shop"
    assert step.path == ("global-parameters", "celery_cluster.owned.shop")
    assert step.body == {"value": {"queues": [["shop", "a"]], "vhosts": ["shop"]}}
    again = {**before, "global_parameters": [{"name": step.path[1], "value": step.body["value"]}]}
    assert texts(again, owner="shop", vhosts=[{"name": "shop"}], queues=[{"vhost": "shop", "name": "a"}]) == []


def test_the_record_grows_before_and_shrinks_after() -> None:
    before = remote(
        ["shop"],
        [ADMIN, user("old")],
        queues=QUEUES,
        global_parameters=record(users=["old"], queues=[["shop", "a"]], vhosts=["shop"]),
    )
    found = steps(before, owner="shop", vhosts=[{"name": "shop"}], queues=[{"vhost": "shop", "name": "c"}])
    assert [step.text for step in found] == [
        "delete the user old",
        "record 1 thing as owned by shop",
        "give user admin all permissions on vhost shop while it changes",
        "create the queue c on vhost shop",
        "delete the queue a on vhost shop",
        "take from user admin the permissions on vhost shop again",
        "no longer record 2 things as owned by shop",
    ]
    assert found[1].body["value"]["queues"] == [["shop", "a"], ["shop", "c"]]
    assert found[4].query == "if-empty=true&if-unused=true"
    assert found[-1].body == {"value": {"queues": [["shop", "c"]], "vhosts": ["shop"]}}


def test_with_a_vhost_everything_in_it_goes_but_queues_are_looked_at() -> None:
    inside = {"queues": [["shop", "q"]], "exchanges": [["shop", "x"]], "policies": [["shop", "p"]]}
    before = remote(
        ["shop"],
        [user("admin", tags=["administrator"], shop=".*")],
        queues=[{**QUEUES[0], "name": "q", "arguments": {"x-queue-type": "quorum"}}],
        exchanges=[{"vhost": "shop", "name": "x", "type": "fanout"}],
        policies=[{"vhost": "shop", "name": "p", "pattern": "", "definition": {}}],
        global_parameters=record(vhosts=["shop"], **inside),
    )
    found = steps(before, owner="shop")
    assert [step.text for step in found] == [
        "delete the queue q on vhost shop",
        "delete the vhost shop",
        "forget the owner shop",
    ]
    assert found[0].query == ""  # a quorum queue refuses conditions
    assert found[-1].method == "DELETE"


def test_what_is_kept_stays_recorded() -> None:
    before = remote(["shop"], [ADMIN], queues=QUEUES, global_parameters=record(queues=[["shop", "a"]], vhosts=["shop"]))
    kept = (Kept("queues", ("shop", "a"), "full"), Kept("vhosts", ("shop",), "has queues"))
    assert texts(before, kept, owner="shop") == []


def test_what_another_owner_records_is_only_forgotten() -> None:
    records = record(vhosts=["shop"], users=["u"]) + record("other", vhosts=["shop"])
    before = remote(["shop"], [ADMIN, user("u")], global_parameters=records)
    assert texts(before, owner="shop") == ["delete the user u", "forget the owner shop"]


def test_what_is_gone_already_leaves_the_record() -> None:
    before = remote([], [ADMIN], global_parameters=record(users=["u"], vhosts=["v"]))
    assert texts(before, owner="shop") == ["forget the owner shop"]


def test_without_an_owner_nothing_is_removed() -> None:
    before = remote(["shop"], [ADMIN, user("u")], global_parameters=record("", users=["u"]))
    assert texts(before, owner="") == []
    assert leaving(parse_definitions(before), wanted_from({})) == frozenset()


@pytest.mark.parametrize(
    "value",
    [1, "text", {"users": 1}, {"users": [1]}, {"users": [["a", "b"]]}, {"cats": ["a"]}, {"queues": ["a"]}, ["a"]],
)
def test_a_record_of_somebody_else_stops_everything(value: Any) -> None:
    with pytest.raises(RecordError, match=r"celery_cluster\.owned\.x' is not a record this module wrote"):
        from_value("celery_cluster.owned.x", value)


def test_a_record_as_the_broker_returns_it() -> None:
    names = frozenset({("users", ("a",)), ("bindings", ("v", "s", "queue", "d", "k", '{"x": 1}'))})
    assert from_value("n", to_value(names)) == names
    # RabbitMQ cannot tell an empty mapping from an empty list.
    state = parse_definitions({"global_parameters": [{"name": PREFIX + "x", "value": []}]})
    assert recorded(state.items, "x") == frozenset()


# --- the permissions of the user we log in as --------------------------------------------------------


def test_own_permissions_come_back_after_a_change() -> None:
    before = remote(["shop"], [user("admin", tags=["administrator"], shop="^(mine)$")])
    wanted = {"exchanges": [{"vhost": "shop", "name": "x"}]}
    found = plan(parse_definitions(before), wanted_from(wanted), "admin")
    first, _made, last = found.operations
    assert (first.opens, first.body) == ("shop", FULL)
    assert (last.closes, last.body) == ("shop", dict.fromkeys(FULL, "^(mine)$"))
    assert found.restores == {"shop": last}


@pytest.mark.parametrize("shop", [{}, {"shop": ".*"}])
def test_own_permissions_that_are_wanted_stay(shop: dict[str, str]) -> None:
    admin = user("admin", tags=["administrator"], shop=".*")
    before = remote(["shop"], [user("admin", tags=["administrator"], **shop)])
    found = texts(before, users=[admin], queues=[{"vhost": "shop", "name": "x"}])
    given = [] if shop else ["give user admin all permissions on vhost shop"]
    assert found == [*given, "create the queue x on vhost shop"]
