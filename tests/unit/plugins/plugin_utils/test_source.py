"""Where the code and its packages come from."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Inventory
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.paths import check_paths
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.source import check_source
from hypothesis import given
from hypothesis import strategies as st

REFERENCE: dict[str, Any] = {
    "code_source_path": "",
    "code_git_repository": "git@git.example.com:shop/shop.git",
    "code_git_revision": "v4.2",
    "code_index_url": "https://pypi.example.com/simple",
    "code_index_username": "reader",
    "code_index_password": "s3cret!$%&()*+,-./:;<=>?@[]^_`{|}~",
}


def found(*source: str, **values: Any) -> list[str]:
    problems = Problems()
    settings = {**REFERENCE, **values}
    check_source(Inventory({"celery_source": source}, {}, settings, lambda _pattern: ()), problems)
    return [str(problem) for problem in problems]


def test_what_is_accepted() -> None:
    assert found() == []
    assert found("app", code_source_path="/srv/shop", code_git_repository="", code_git_revision="") == []
    problems = Problems()
    check_source(Inventory({}, {}, {}, lambda _pattern: ()), problems)
    # A value that is not known yet is not judged: neither is what belongs to it.
    check_source(
        Inventory({}, {}, {"code_git_revision": "x", "code_index_username": "u"}, lambda _pattern: ()), problems
    )
    assert len(problems) == 0


@pytest.mark.parametrize(
    "repository",
    [
        "https://git.example.com/shop.git",
        "https://git.example.com:8443/a b/shop.git",
        "ssh://git@git.example.com:2222/shop.git",
        "git.example.com:shop",
        "file:///srv/git/shop.git",
        "/srv/git/shop.git",
        "/srv/git/a:b@c.git",
    ],
)
def test_a_repository(repository: str) -> None:
    assert found(code_git_repository=repository) == []


def test_one_source_only() -> None:
    (problem,) = found(code_source_path="/srv/shop")
    assert problem == "CC730 error: code_source_path is set, and so is code_git_repository: remove one of them"
    (problem,) = found("app")
    assert problem.startswith("CC730 error: code_git_repository is set, and the tree of app in the group celery_source")


def test_a_repository_and_a_revision_belong_together() -> None:
    (problem,) = found(code_git_revision="")
    assert problem.startswith("CC731 error: code_git_revision is not set, and code_git_repository is: write a branch")
    (problem,) = found(code_git_repository="")
    assert problem.startswith("CC731 error: code_git_repository is not set, and code_git_revision is: write the URL")


@pytest.mark.parametrize(
    "repository",
    [
        "https://user:hunter2@git.example.com/shop.git",
        "https://hunter2@git.example.com/shop.git",
        "HTTP://hunter2@git.example.com/shop.git",
        "https://a@b:hunter2@git.example.com/shop.git",
        "ssh://git:hunter2@git.example.com/shop.git",
    ],
)
def test_a_login_in_the_url_is_refused_and_not_shown(repository: str) -> None:
    (problem,) = found(code_git_repository=repository)
    assert problem.startswith("CC732 error: code_git_repository holds a login: ") and "hunter2" not in problem


@pytest.mark.parametrize(
    "repository",
    ["shop.git", "../shop", "~/shop", "--upload-pack=x", "-x:y", "ext::sh -c id", "ftp://x/y", "a://b/c", "/a\nb", 7],
)
def test_a_repository_that_cannot_be_asked_for(repository: Any) -> None:
    (problem,) = found(code_git_repository=repository)
    assert problem.startswith("CC733 error: code_git_repository is ") and "or an absolute path" in problem


@pytest.mark.parametrize("repository", ["http://git.example.com/shop.git", "git://git.example.com/shop.git"])
def test_a_connection_that_proves_nothing(repository: str) -> None:
    (problem,) = found(code_git_repository=repository)
    assert problem.startswith("CC734 warning: code_git_repository is ")


def test_a_login_of_the_index() -> None:
    (problem,) = found(code_index_url="https://reader:hunter2@pypi.example.com/simple")
    assert problem.startswith("CC735 error: code_index_url holds a login: ") and "hunter2" not in problem
    assert found(code_index_username="", code_index_password="") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"code_index_password": ""}, "code_index_password is not set, and code_index_username is: write both"),
        ({"code_index_username": ""}, "code_index_username is not set, and code_index_password is: write both"),
        ({"code_index_url": ""}, "code_index_url is not set, and code_index_username is: write the URL"),
        ({"code_index_url": "http://pypi.example.com/simple"}, "code_index_url is 'http://pypi.example.com/simple': "),
        *(
            ({"code_index_password": f"hunter2{char}"}, "code_index_password holds a space, a quote, a backslash, # or")
            for char in " \t\n'\"\\#é"
        ),
    ],
)
def test_a_login_of_the_index_that_cannot_be_used(changes: dict[str, str], message: str) -> None:
    (problem,) = found(**changes)
    assert problem.startswith(f"CC736 error: {message}") and "hunter2" not in problem


@pytest.mark.parametrize("path", ["cache", "/etc", "/srv/a/../b", 3, ""])
def test_the_cache_needs_a_directory_of_its_own(path: Any) -> None:
    problems = Problems()
    settings = {"code_git_cache": path}
    check_paths(Inventory({}, {}, settings, lambda _pattern: (), frozenset(settings)), problems)
    (problem,) = problems
    assert problem.place == "code_git_cache" and problem.is_error
    # Where the inventory lies, and with it the default, is the operator's business.
    check_paths(Inventory({}, {}, settings, lambda _pattern: ()), problems)
    check_paths(
        Inventory({}, {}, {"code_git_cache": "/home/me/cache"}, lambda _pattern: (), frozenset(settings)), problems
    )
    assert len(problems) == 1


ANY = st.one_of(st.text("ahtps:/@.-# \n\0é"), st.integers(), st.none())


@given(st.dictionaries(st.sampled_from(sorted(REFERENCE)), ANY))
def test_any_value_gives_problems_and_no_failure(values: dict[str, Any]) -> None:
    assert all(line.startswith("CC73") for line in found("app", **values))
