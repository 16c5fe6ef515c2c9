"""Flower's page: where it may be, and whom it lets in."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.flower import (
    DECIDED,
    PROVIDERS,
    auth_pattern,
    check_flower,
    email_problem,
    flower_site,
    may_read_metrics,
    oauth_environment,
)
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Inventory
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from hypothesis import given
from hypothesis import strategies as st

OAUTH = {"provider": "github", "key": "id", "secret": "s3cr3t-of-theirs", "emails": ["ann@example.org"]}


def found(hosts: tuple[str, ...] = ("mon",), **settings: Any) -> list[str]:
    problems = Problems()
    check_flower(Inventory({"flower": hosts}, {}, settings, lambda pattern: []), problems)
    return [str(problem) for problem in problems]


def login(**changes: Any) -> list[str]:
    return found(flower_auth="oauth", flower_oauth={**OAUTH, **changes})


def lets_in(pattern: str, email: str) -> bool:
    """What Flower 2.0.0 to 2.2.0 make of their option, in other words."""
    if "|" in pattern:
        return email in pattern.split("|")
    if "*" not in pattern:
        return email == pattern
    before, after = pattern.split(".*")
    return re.fullmatch(re.escape(before) + r"[\w!#$%&'*+/=?^`{|}~.-]*" + re.escape(after), email) is not None


def test_the_defaults_and_a_complete_login_are_fine() -> None:
    assert found() == login() == []
    assert login(emails=["ann@example.org", "bob.b+x@example.org"], redirect_uri="https://x.example.org/login") == []
    assert login(provider="okta", instance="https://x.okta.com/oauth2/default") == []
    assert login(provider="gitlab", instance="git.example.org") == login(provider="shop.auth.Handler") == []
    assert (
        found(
            flower_url_prefix="a/b",
            flower_server_name="flower.example.org",
            flower_listen_address="::",
            flower_port=443,
        )
        == []
    )


@pytest.mark.parametrize(
    ("email", "why"),
    [
        (".*@example.com", "a regular expression without ^ and $ at its ends"),
        (".*@example\\.com", "a regular expression without ^ and $ at its ends"),
        ("^.*@example.com", "without ^ and $"),
        ("^ann@example.com", "without ^ and $"),
        ("^ann@example.com\\$", "without ^ and $"),
        ("(ann|bob)@example.com", "without ^ and $"),
        ("ann@example.com|", "without ^ and $"),
        ("[a-z]+@example.com", "without ^ and $"),
        ("^[a-z]+@example\\.com$", "a regular expression which Flower compares as it stands"),
        ("example.org", "no address"),
        ("@example.org", "no address"),
        ("*", "no address"),
        ("*@*", "no address"),
        ("*@localhost", "no address"),
        ("*ann@example.org", "no address"),
        ("ann@exam ple.org", "no address"),
        ("ann@example.org\n", "no address"),
        ("", "no address"),
        (None, "no address"),
    ],
)
def test_what_is_no_address_lets_nobody_in(email: str, why: str) -> None:
    (problem,) = login(emails=[email])
    assert problem.startswith("CC660 error: flower_oauth.emails[0] is ") and why in problem
    assert problem.endswith("write addresses such as ann@example.org, or '*@example.org' for everybody there")
    with pytest.raises(ValueError):
        auth_pattern([str(email)])


@pytest.mark.parametrize("emails", [[], None, "ann@example.org"])
def test_somebody_must_be_let_in(emails: Any) -> None:
    assert login(emails=emails) == [
        "CC660 error: flower_oauth.emails names nobody: write a list of addresses, or *@ and a domain"
    ]


def test_a_domain_stands_alone() -> None:
    assert login(emails=["*@example.org"]) == []
    for more in ("ann@example.net", "*@example.net"):
        assert login(emails=["*@example.org", more])[0].startswith("CC661 error: flower_oauth.emails has a whole")
        with pytest.raises(ValueError, match="one domain"):
            auth_pattern(["*@example.org", more])


@given(st.text("abc.@*|+^$\\()[]-_1", max_size=25), st.text("abc.@*|+^$-_1", max_size=25))
def test_whoever_is_not_named_stays_out(entry: str, visitor: str) -> None:
    if email_problem(entry):
        return
    expected = visitor == entry or (
        entry.startswith("*@") and visitor.endswith(entry[1:]) and re.fullmatch(r"[^@\\]*", visitor[: -len(entry) + 1])
    )
    assert lets_in(auth_pattern([entry]), visitor) == bool(expected)


@pytest.mark.parametrize("stranger", ["ann@example.org.evil.net", "xann@example.org", "ann@exampleXorg", "@", ""])
def test_a_longer_address_stays_out(stranger: str) -> None:
    for emails in (["ann@example.org"], ["ann@example.org", "bob@example.org"]):
        assert lets_in(auth_pattern(emails), "ann@example.org")
        assert not lets_in(auth_pattern(emails), stranger)
    everybody = auth_pattern(["*@example.org"])
    assert lets_in(everybody, "xann@example.org") and not lets_in(everybody, "ann@example.org.evil.net")
    assert not lets_in(everybody, "ann@exampleXorg")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"provider": "azure"}, "provider is 'azure'"),
        ({"provider": ""}, "provider is ''"),
        ({"key": ""}, "key is empty"),
        ({"secret": None}, "secret is empty"),
        ({"secret": "a\nb"}, "secret is empty or no text"),
        ({"redirect_uri": "http://x.example.org/login"}, "redirect_uri is 'http:"),
        ({"redirect_uri": "flower"}, "redirect_uri is 'flower'"),
        ({"provider": "okta"}, "instance is None"),
        ({"provider": "google", "instance": "x.org"}, "instance is 'x.org', and this provider has none"),
        ({"provider": "github", "instance": "https://x.org"}, "instance is 'https://x.org'"),
        ({"client_id": "x"}, "client_id is no key of it"),
    ],
)
def test_a_login_is_complete(changes: dict[str, Any], place: str) -> None:
    (problem,) = login(**changes)
    assert problem.startswith(f"CC662 error: flower_oauth.{place}")
    assert OAUTH["secret"] not in problem


def test_a_login_without_settings_and_settings_without_a_login() -> None:
    assert found(flower_auth="oauth")[0].startswith("CC662 error: flower_oauth is empty")
    assert found(flower_oauth=OAUTH)[0].startswith("CC666 warning: flower_oauth is set, and flower_auth is basic")
    # Nobody runs Flower: nothing is wrong with it.
    assert found((), flower_auth="oauth") == []


@pytest.mark.parametrize("name", sorted(DECIDED))
def test_what_the_role_decides_is_not_set_beside_it(name: str) -> None:
    (problem,) = found(flower_settings={name: "hunter2", "FLOWER_MAX_TASKS": 5})
    assert problem.startswith(f"CC663 error: flower_settings.{name} is decided by the role: ")
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *[("flower_url_prefix", prefix) for prefix in ("/flower", "flower/", "a//b", "a b", "a;b", "..", "a\n")],
        *[("flower_server_name", name) for name in ("*.example.org", "a b", "_", "a;", "https://x.org")],
        *[("flower_listen_address", address) for address in ("0.0.0.0:80", "[::]", "*; x", "10.0.0.300")],
        *[("flower_port", port) for port in (0, 65536, -1)],
        ("flower_backend_port", 70000),
    ],
)
def test_a_place_that_cannot_be(variable: str, value: Any) -> None:
    (problem,) = found(**{variable: value})
    assert problem.startswith(f"CC664 error: {variable} is {value!r}: write ")


def test_nginx_and_flower_need_a_port_each() -> None:
    same = {"flower_port": 5556, "flower_listen_address": "0.0.0.0"}
    assert found(**same)[0].startswith("CC119 error: flower_backend_port is 5556, which is the port of nginx")
    assert found(**same, flower_proxy="none") == []


@pytest.mark.parametrize(
    "item", ["monitor.example.org", "192.0.2.1/24", "300.1.1.1", "all", "", "192.0.2.1; allow all"]
)
def test_metrics_are_for_addresses(item: str) -> None:
    (problem,) = found(flower_metrics_allowed=["192.0.2.1", item])
    assert problem.startswith("CC665 error: flower_metrics_allowed[1] is ")


def test_who_may_read_the_metrics() -> None:
    site = flower_site({"flower_metrics_allowed": ["127.0.0.1/32", "192.0.2.0/28", "2001:db8::/64"]})
    assert may_read_metrics(site, ["192.0.2.3"]) and may_read_metrics(site, ["10.0.0.1", "2001:db8::5"])
    assert not may_read_metrics(site, ["192.0.2.17", "2001:db9::1", "not-an-address"])
    assert not may_read_metrics(flower_site({}), ["192.0.2.3"])


def test_the_variables_of_a_login() -> None:
    made = oauth_environment({**OAUTH, "instance": "git.example.org"}, "https://mon:5555/login")
    assert made == {
        "FLOWER_AUTH": "ann@example.org",
        "FLOWER_AUTH_PROVIDER": "flower.views.auth.GithubLoginHandler",
        "FLOWER_OAUTH2_KEY": "id",
        "FLOWER_OAUTH2_SECRET": "s3cr3t-of-theirs",
        "FLOWER_OAUTH2_REDIRECT_URI": "https://mon:5555/login",
        "FLOWER_GITHUB_OAUTH_DOMAIN": "git.example.org",
    }
    own = {**OAUTH, "provider": "shop.auth.Handler", "emails": ["*@example.org"], "redirect_uri": "https://x.org/login"}
    made = oauth_environment(own, "https://mon:5555/login")
    assert (made["FLOWER_AUTH"], made["FLOWER_AUTH_PROVIDER"]) == (".*@example.org", "shop.auth.Handler")
    assert made["FLOWER_OAUTH2_REDIRECT_URI"] == "https://x.org/login"
    assert set(PROVIDERS) == {"google", "github", "gitlab", "okta"}
