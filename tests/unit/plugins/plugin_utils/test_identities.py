"""Passwords that everybody knows, and names that one of the services cannot carry."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.identities import (
    NAMES,
    PASSWORDS,
    WELL_KNOWN,
    check_identities,
)
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Inventory
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.text import env_file
from hypothesis import assume, given, settings
from hypothesis import strategies as st

CLUSTER = {"celery_name": "shop", "celery_broker_user_prefix": "shop-", "celery_database_user": "shopkeeper"}
DATABASE = "celery_database_password"
GOOD = "correct horse battery"


def found(own: frozenset[str] | None = None, /, **values: Any) -> list[str]:
    problems = Problems()
    names = frozenset(values) if own is None else own
    check_identities(Inventory({}, {}, {**CLUSTER, **values}, lambda _pattern: (), names), problems)
    return [str(problem) for problem in problems]


# --------------------------------------------------------------------------------------------------
# Passwords


@pytest.mark.parametrize(
    "password", [GOOD, "w0rk %2F@:/?#&=\"'$x`\\ er", "pr0duce %41+~ß", "Xk2" * 4, "päßwört auf deutsch", "\x7f" + GOOD]
)
def test_a_password_of_ones_own(password: str) -> None:
    assert found(**{DATABASE: password}) == []


@pytest.mark.parametrize(
    "password",
    [
        *["changeme", "password", "secret", "guest", "admin", "postgres", "rabbitmq", "celery", "flower", "galaxy"],
        *["123456", "Change_Me!", "CHANGE-ME", "Password1!", "secret123", "postgres_password", "your-password-here"],
        *["<password>", "<the password of the broker>", "{{ vault_password }}", "a {{ b }} c", "${PASSWORD}"],
        *[
            "%(password)s",
            "[your password]",
            "TODO",
            "xxxx",
            "XXXXXXXXXXXXXXXX",
            "                ",
            "----------------",
        ],
        *[
            "shop",
            "Shop",
            "shopkeeper",
            "shopkeeper_owner",
            "shop-worker",
            "SHOP_WORKER",
            "$ANSIBLE_VAULT;1.1;AES256\\n6131",
        ],
    ],
)
def test_a_password_that_everybody_knows_is_refused(password: str) -> None:
    (problem,) = found(**{DATABASE: password})
    assert problem.startswith(f"CC602 error: {DATABASE} is ")
    assert "write one of your own" in problem


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("", "CC601 error: celery_database_password is empty"),
        (None, "CC601 error: celery_database_password is empty"),
        ("tr0ub4", "CC603 error: celery_database_password is shorter than 8 characters"),
        ("tr0ub4dor&3", "CC604 warning: celery_database_password is shorter than 12 characters"),
        (f"{GOOD}\n", "CC606 error: celery_database_password holds a control character"),
        (f"{GOOD}\0", "CC606"),
        (f"{GOOD}\ud800", "CC606"),
        (12345678901234, "CC607 error: celery_database_password is no text"),
        (["a"], "CC607"),
        (True, "CC607"),
        ("md5" + "0123456789abcdef" * 2, "CC609 error: celery_database_password is a stored form"),
        ("SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy", "CC609"),
        (f"{GOOD} ", "CC641 error: celery_database_password ends with white space or is too long for libpq"),
        (GOOD * 50, "CC641"),
    ],
)
def test_a_password_that_cannot_work(password: Any, message: str) -> None:
    (problem,) = found(**{DATABASE: password})
    assert problem.startswith(message)


def test_the_owners_password_is_judged_like_the_users() -> None:
    owner = "celery_database_owner_password"
    for password, code in (("postgres", "CC602"), ("md5" + "0a" * 16, "CC609"), (f"{GOOD} ", "CC641")):
        (problem,) = found(**{owner: password})
        assert problem.startswith(f"{code} error: {owner} ")
    (problem,) = found(**{DATABASE: GOOD, owner: GOOD})
    assert problem.startswith(f"CC605 warning: {owner} is the same as {DATABASE}")


def test_a_password_of_the_database_that_nobody_uses() -> None:
    owner = "celery_database_owner_password"
    (problem,) = found(celery_database_owner="shopkeeper", **{DATABASE: GOOD, owner: GOOD})
    assert problem == (
        f"CC622 warning: {owner} is set, and celery_database_owner is celery_database_user, so that {DATABASE} is the "
        "password of both: remove it"
    )
    (problem,) = found(celery_database_login="certificate", **{DATABASE: GOOD, owner: f"other {GOOD}"})
    assert problem.startswith(f"CC622 warning: {DATABASE} is set, and celery_database_login is certificate")
    assert found(celery_database_login="password", **{DATABASE: GOOD, owner: f"other {GOOD}"}) == []


@pytest.mark.parametrize("password", ["with, a comma in it", "mit Umläuten äöü"])
def test_flower_lets_nobody_in_with_a_comma_or_more_than_ascii(password: str) -> None:
    assert found(flower_password=password)[0].startswith("CC608 error: flower_password holds")
    assert found(celery_broker_flower_password=password) == []


def test_one_password_for_two_identities_is_doubtful() -> None:
    values = {"celery_broker_worker_password": GOOD, "celery_broker_admin_password": GOOD, DATABASE: f"other {GOOD}"}
    (problem,) = found(**values)
    assert problem.startswith(
        "CC605 warning: celery_broker_admin_password is the same as celery_broker_worker_password: write another"
    )


def test_no_password_is_ever_shown() -> None:
    for secret in ("s3cret", "secret123", "<s3cr3t>", "s3cr3t-s3cr3t", "s3cr3t-s3cr3t\n", "md5" + "0a" * 16):
        values = {DATABASE: secret, "celery_broker_admin_password": secret, "flower_password": f"{secret},"}
        problems = found(**values)
        assert problems and not any(shown in problem for problem in problems for shown in (secret, repr(secret)[1:-1]))


def test_generated_passwords_are_not_judged() -> None:
    assert found(frozenset(), **dict.fromkeys(PASSWORDS, "guest")) == []
    assert found(frozenset(PASSWORDS)) == []
    in_check_mode = dict.fromkeys(PASSWORDS, "not-generated-in-check-mode")
    assert found(**in_check_mode) == []


def test_every_variable_of_a_password_is_judged() -> None:
    words = ["guest", "admin", "changeme", "secret", "celery", "rabbitmq", "postgres"]
    problems = found(**dict(zip(PASSWORDS, words, strict=True)))
    assert sorted(problem.split()[2] for problem in problems) == sorted(PASSWORDS)


@settings(max_examples=300, deadline=None)
@given(st.text(min_size=1, max_size=40), st.sampled_from([name for name in PASSWORDS if name != "flower_password"]))
def test_any_password_is_accepted_where_it_can_travel_and_never_shown(password: str, variable: str) -> None:
    problems = Problems()
    value = f"Xq7Tm4{password}z9Kw5_"
    check_identities(Inventory({}, {}, {variable: value}, lambda _pattern: (), frozenset({variable})), problems)
    codes = {problem.code for problem in problems}
    assert not any(shown in str(problem) for problem in problems for shown in (value, repr(value)))
    try:
        env_file({"PASSWORD": value})
    except ValueError:
        assert codes == {"CC606"}
    else:
        assume("{{" not in value)
        assert codes == set()


@given(
    st.sampled_from(sorted(word for word in WELL_KNOWN if word.isalpha())),
    st.sampled_from(["", "!", "1", "123", "_2", " "]),
)
def test_a_well_known_word_stays_one_with_a_mark_behind_it(word: str, mark: str) -> None:
    assert any(problem.startswith("CC602 error") for problem in found(**{DATABASE: word.upper() + mark}))


# --------------------------------------------------------------------------------------------------
# Names


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("celery_broker_user_prefix", "sh."),
        ("celery_broker_user_prefix", ""),
        ("celery_broker_user_prefix", "Laden 1 @ Köln/"),
        ("celery_vhost", "shelves/one"),
        ("celery_vhost", "/"),
        ("celery_vhost", "ä ?#"),
        ("celery_database_user", "shelf.user"),
        ("celery_database_owner", "shelf.owner"),
        ("celery_database_owner", "o" * 63),
        ("celery_database_name", "shelf-db"),
        ("celery_database_name", "A" * 63),
        ("flower_user", "gardener@example.org"),
        ("celery_user", "shelfrunner"),
        ("celery_user", "_svc-Celery_2"),
        ("celery_user", "a" * 26),
    ],
)
def test_a_name_that_all_carry(name: str, value: str) -> None:
    assert found(**{name: value}) == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("celery_broker_user_prefix", "a:b", "CC611 error: celery_broker_user_prefix is 'a:b'"),
        ("celery_broker_user_prefix", " a", "CC611"),
        ("celery_broker_user_prefix", "a\n", "CC611"),
        (
            "celery_broker_user_prefix",
            "ä" * 124,
            "CC611 error: celery_broker_user_prefix is too long: write at most 247",
        ),
        ("celery_vhost", "", "CC612 error: celery_vhost is empty"),
        ("celery_vhost", "a\tb", "CC612 error: celery_vhost is 'a\\tb'"),
        ("celery_vhost", "\ud800", "CC612"),
        ("celery_vhost", "a" * 256, "CC612 error: celery_vhost is too long"),
        ("celery_database_user", "all", "CC613 error: celery_database_user is 'all', which means something else"),
        ("celery_database_user", "postgres", "CC613"),
        ("celery_database_user", "pg_monitor", "CC613"),
        ("celery_database_user", "+everybody", "CC613 error: celery_database_user is '+everybody': write up to 63"),
        ("celery_database_user", "/^.*$", "CC613"),
        ("celery_database_user", "@file", "CC613"),
        ("celery_database_user", "a b", "CC613"),
        ("celery_database_user", "a,b", "CC613"),
        ("celery_database_user", 'a"b', "CC613"),
        ("celery_database_user", "a\n", "CC613"),
        ("celery_database_owner", "postgres", "CC613 error: celery_database_owner is 'postgres', which means"),
        ("celery_database_owner", "pg_write_all_data", "CC613"),
        ("celery_database_owner", "a" * 64, "CC613"),
        ("celery_database_owner", "a b", "CC613 error: celery_database_owner is 'a b': write up to 63"),
        ("celery_database_name", "", "CC614"),
        ("celery_database_name", "a" * 64, "CC614"),
        ("celery_database_name", "template1", "CC614 error: celery_database_name is 'template1', which means"),
        ("celery_database_name", "SameUser", "CC614"),
        ("flower_user", "a:b", "CC615 error: flower_user is 'a:b'"),
        ("flower_user", "a,b", "CC615"),
        ("flower_user", "jürgen", "CC615"),
        ("flower_user", "", "CC615"),
        ("celery_user", "a" * 27, "CC616 error: celery_user is"),
        ("celery_user", "1celery", "CC616"),
        ("celery_user", "svc.celery", "CC616"),
        ("celery_user", "a b", "CC616"),
        ("celery_user", "", "CC616"),
        ("celery_user", "root", "CC617 error: celery_user is root, an account of the system"),
        ("celery_user", "rabbitmq", "CC617"),
        ("celery_user", "systemd-resolve", "CC617"),
        *((name, 5, f"CC610 error: {name} is 5: write a text") for name in NAMES),
    ],
)
def test_a_name_that_one_of_them_cannot_carry(name: str, value: Any, message: str) -> None:
    (problem,) = found(**{name: value})
    assert problem.startswith(message)


def test_a_name_that_follows_from_the_clusters_name_says_so() -> None:
    (problem,) = found(frozenset({"celery_name"}), celery_name="postgres", celery_user="postgres")
    assert "which comes from celery_name" in problem
    # A wrong name of the cluster is told as that, and once.
    assert found(frozenset({"celery_name"}), celery_name="a b", celery_user="a b", celery_database_name="a b") == []
    assert len(found(frozenset({"celery_user"}), celery_name="a b", celery_user="a b")) == 1


def test_an_owner_that_follows_from_the_user_says_so() -> None:
    user = frozenset({"celery_name", "celery_database_user"})
    (problem,) = found(user, celery_database_user="u" * 58)
    assert problem.startswith(f"CC613 error: celery_database_owner is '{'u' * 58}_owner', which comes from celery_data")
    # Its default may be there as well.
    computed = {"celery_database_user": "u" * 58, "celery_database_owner": f"{'u' * 58}_owner"}
    assert found(user, **computed) == [problem]
    assert found(user, celery_database_user="u" * 57) == []
    # A wrong user is told as that, and once.
    for wrong in ("a b", "pg_reader", "u" * 64):
        assert len(found(user, celery_database_user=wrong)) == 1
    assert found(frozenset({"celery_name"}), celery_name="a b", celery_database_user="a b") == []


ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.dates()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*PASSWORDS, *NAMES, "celery_name"]), ANY))
def test_any_value_is_accepted_or_told(values: dict[str, Any]) -> None:
    problems = Problems()
    check_identities(Inventory({}, {}, values, lambda _pattern: (), frozenset(values)), problems)
    assert all(str(problem) for problem in problems)
