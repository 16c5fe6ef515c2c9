"""Paths: what a role would make, own or copy, and what that would destroy."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.model import Inventory
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.paths import check_paths, inside
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.problems import Problems
from hypothesis import given, settings
from hypothesis import strategies as st

#: What a small inventory has, its own words and defaults alike.
REFERENCE: dict[str, Any] = {
    "celery_name": "shop",
    "celery_root": "/opt/shop",
    "celery_state_directory": "/var/lib/shop",
    "celery_directories": ["/srv/shop-data"],
    "celery_secrets_directory": "/home/me/cluster/.secrets",
    "celery_config_files": [{"src": "shop.ini.j2", "dest": "shop.ini", "mode": "0640"}],
    "code_source_path": "/srv/shop",
    "code_exclude": [".git", "*.pyc", "/media"],
    "code_python": "/usr/bin/python3",
    "code_environment": "build",
    "code_environment_path": ".venv",
    "rabbitmq_tls_directory": "/etc/rabbitmq/tls",
    "postgresql_tls_directory": "/etc/postgresql-common/celery-cluster-tls",
    "postgresql_backup_directory": "/var/lib/postgresql/backups/shop",
    "postgresql_backup_keep": 5,
    "postgresql_socket_directory": "/var/run/postgresql",
}
GROUPS = {"rabbitmq": ["mq"], "postgresql": ["db"], "celery_source": ["app"]}
OWNED = ["celery_root", "celery_state_directory"]
TLS = ["rabbitmq_tls_directory", "postgresql_tls_directory"]


def found(groups: dict[str, list[str]] | None = None, own: frozenset[str] | None = None, /, **values: Any) -> list[str]:
    problems = Problems()
    merged = {**REFERENCE, **values}
    names = frozenset(merged) if own is None else own
    check_paths(Inventory({**GROUPS, **(groups or {})}, {}, merged, lambda _pattern: (), names), problems)
    return [str(problem) for problem in problems]


def test_the_reference_is_accepted() -> None:
    assert found() == []
    problems = Problems()
    check_paths(Inventory({}, {}, {}, lambda _pattern: ()), problems)
    assert len(problems) == 0


def test_a_path_lies_inside_another() -> None:
    assert inside("/a/b", "/a") and inside("/a", "/a") and inside("/a", "/")
    assert not inside("/ab", "/a") and not inside("/a", "/a/b")


# --------------------------------------------------------------------------------------------------
# One path


@pytest.mark.parametrize(
    "path", ["/srv/shop-root", "/opt/a/b", "/data/celery", "/usr/local/shop", "/opt/shop_1.2+x@y,z=~/"]
)
@pytest.mark.parametrize("name", OWNED)
def test_a_directory_of_its_own(name: str, path: str) -> None:
    assert found(**{name: path}) == []
    assert found(celery_directories=[path]) == []


SYSTEM = ["/", "//", "/opt/", "/./opt", "/etc", "/usr", "/var", "/var/lib", "/home", "/root", "/tmp", "/run", "/srv"]


@pytest.mark.parametrize("name", [*OWNED, *TLS, "code_source_path", "celery_secrets_directory"])
@pytest.mark.parametrize(
    "path", [*SYSTEM, "/etc/ssl/private", "/usr/local/bin", "/usr/share/shop", "/proc/1", "/boot/x"]
)
def test_a_directory_of_the_system_is_refused(name: str, path: str) -> None:
    (problem,) = found(**{name: path})
    assert problem.startswith(f"CC703 error: {name} is /")


@pytest.mark.parametrize("name", [*OWNED, *TLS, "code_source_path", "celery_secrets_directory", "code_python"])
@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("opt/shop", "CC702"),
        ("./shop", "CC702"),
        ("~/shop", "CC702"),
        ("/opt/../etc", "CC704"),
        ("/opt/shop/..", "CC704"),
        ("/opt/a\nb", "CC705"),
        ("/opt/a\0b", "CC705"),
        (None, "CC701"),
        (5, "CC701"),
        (["/opt/shop"], "CC701"),
    ],
)
def test_a_path_that_is_none_for_a_role(name: str, path: Any, code: str) -> None:
    problems = found(**{name: path})
    if name == "code_source_path" and path is None:
        # The tree need not be named while nothing is deployed.
        assert problems == []
    else:
        (problem,) = problems
        assert problem.startswith(f"{code} error: {name} is ")


@pytest.mark.parametrize("name", [*OWNED, *TLS, "code_source_path"])
@pytest.mark.parametrize(
    "path", ["/opt/a b", "/opt/50%", "/opt/$HOME", "/opt/a:b", "/opt/a;b", "/opt/'a'", '/opt/"a"', "/opt/ä"]
)
def test_a_character_that_needs_quotes_is_refused(name: str, path: str) -> None:
    (problem,) = found(**{name: path})
    assert problem.startswith(f"CC705 error: {name} is ")
    assert found(celery_directories=[path])[0].startswith("CC705 error: celery_directories[0] is ")


def test_on_the_controller_a_path_may_have_any_name() -> None:
    assert found({"celery_source": []}, code_source_path="/home/me/my shop, 50%") == []
    assert found(celery_secrets_directory="/home/me/my secrets: 50%") == []


@pytest.mark.parametrize("path", ["/tmp/shop", "/run/shop", "/var/tmp/shop", "/var/run/shop"])
def test_what_is_lost_at_a_reboot_is_refused(path: str) -> None:
    for name in [*OWNED, *TLS]:
        assert found(**{name: path})[0].startswith(f"CC706 error: {name} is {path}, and ")
    assert found(celery_secrets_directory=path)[0].startswith("CC707 warning: celery_secrets_directory is ")
    # The tree only has to be there while it is copied.
    assert found(code_source_path=path) == []


@pytest.mark.parametrize("path", ["/home/shop", "/home/me/shop", "/root/shop"])
def test_what_the_services_cannot_see_is_refused(path: str) -> None:
    for name in OWNED:
        assert found(**{name: path})[0].startswith(f"CC708 error: {name} is {path}, and the services see nothing of /")
    assert found(celery_directories=["/srv/x", path])[0].startswith("CC708 error: celery_directories[1] is ")


def test_nobody_but_root_enters_its_home() -> None:
    assert found(rabbitmq_tls_directory="/root/tls")[0].startswith("CC708 error: rabbitmq_tls_directory is /root/tls")


def test_directories_are_a_list() -> None:
    assert found(celery_directories=None) == []
    assert found(celery_directories="/srv/x")[0].startswith("CC701 error: celery_directories is '/srv/x'")


@pytest.mark.parametrize("path", ["/usr/bin/python3.12", "python3", "/opt/python/bin/python3", "/usr/local/bin/python"])
def test_an_interpreter_that_all_can_start(path: str) -> None:
    assert found(code_python=path) == []


@pytest.mark.parametrize("path", ["/root/.pyenv/bin/python", "/home/me/.local/bin/python3", "/tmp/python"])
def test_an_interpreter_below_a_closed_directory_is_refused(path: str) -> None:
    (problem,) = found(code_python=path)
    assert problem.startswith(f"CC709 error: code_python is {path}")


@pytest.mark.parametrize("path", ["/opt/venv", "../venv", "a/../../b", "", None, 5])
def test_the_environment_lies_in_the_tree(path: Any) -> None:
    (problem,) = found(code_environment="sync", code_environment_path=path)
    assert problem.startswith("CC715 error: code_environment_path is ")
    assert found(code_environment="build", code_environment_path=path) == []
    assert found(code_environment="sync", code_environment_path="env/prod") == []


def test_the_directory_of_a_service_that_is_not_deployed_is_not_judged() -> None:
    assert found({"postgresql": []}, postgresql_tls_directory="x") == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("backups", "CC702 error: postgresql_backup_directory is 'backups', which is relative"),
        ("", "CC701 error: postgresql_backup_directory is ''"),
        ("/var/lib/postgresql", "CC703 error: postgresql_backup_directory is /var/lib/postgresql, a directory of the"),
        ("/usr/share/dumps", "CC703"),
        ("/srv/../etc", "CC704"),
        ("/srv/a b", "CC705"),
        ("/var/tmp/dumps", "CC706 error: postgresql_backup_directory is /var/tmp/dumps, and /var/tmp is emptied"),
        ("/root/dumps", "CC708 error: postgresql_backup_directory is /root/dumps, and nobody but root enters /root"),
        ("/opt/shop", "CC710 error: postgresql_backup_directory is /opt/shop, and celery_root is or lies in it"),
    ],
)
def test_where_the_dumps_of_the_database_go(path: str, message: str) -> None:
    (problem,) = found(postgresql_backup_directory=path)
    assert problem.startswith(message)
    assert found({"postgresql": []}, postgresql_backup_directory=path) == []


@pytest.mark.parametrize("keep", [0, -1, True, "5", None])
def test_at_least_one_dump_is_kept(keep: Any) -> None:
    (problem,) = found(postgresql_backup_keep=keep)
    assert problem == f"CC717 error: postgresql_backup_keep is {keep!r}: write the number of dumps to keep, 1 or more"
    assert found({"postgresql": []}, postgresql_backup_keep=keep) == []


def test_dumps_do_not_travel_with_the_code() -> None:
    inner = {"postgresql_backup_directory": "/srv/shop/dumps"}
    assert found(**inner) == []
    (problem,) = found({"postgresql": ["app"]}, **inner)
    assert problem.startswith(
        "CC713 error: postgresql_backup_directory is /srv/shop/dumps, a part of the tree /srv/shop"
    )
    assert found({"postgresql": ["app"]}, code_exclude=["/dumps"], **inner) == []


def test_the_socket_of_the_database_is_an_absolute_path() -> None:
    assert found(postgresql_socket_directory="/tmp") == []
    (problem,) = found(postgresql_socket_directory="run")
    assert problem.startswith("CC702 error: postgresql_socket_directory is 'run', which is relative")
    assert found({"postgresql": []}, postgresql_socket_directory="run") == []


def test_nobody_makes_a_directory_for_the_keys_of_an_existing_server() -> None:
    assert found(postgresql_mode="access", postgresql_tls_directory="x") == []


def test_what_follows_from_a_wrong_name_is_told_with_the_name() -> None:
    values = {"celery_name": "a b", "celery_root": "/opt/a b", "celery_state_directory": "/var/lib/a b"}
    assert found(None, frozenset({"celery_name"}), **values) == []
    assert len(found(None, frozenset({"celery_root"}), **values)) == 1


def test_where_the_inventory_lies_is_the_operators_business() -> None:
    assert found(None, frozenset(), celery_secrets_directory="/tmp/x/.secrets") == []


# --------------------------------------------------------------------------------------------------
# Two paths


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"celery_state_directory": "/opt/shop"},
            "CC711 error: celery_state_directory is /opt/shop, which is celery_root",
        ),
        (
            {"celery_directories": ["/opt/shop/"]},
            "CC711 error: celery_directories[0] is /opt/shop, which is celery_root",
        ),
        (
            {"celery_root": "/data/shop/root", "celery_directories": ["/data/shop"]},
            "CC711 error: celery_directories[0] is /data/shop, which is celery_root or holds it",
        ),
        (
            {"celery_state_directory": "/opt/shop/releases/x"},
            "CC711 error: celery_state_directory is /opt/shop/releases/x",
        ),
        (
            {"celery_directories": ["/opt/shop/config"]},
            "CC711 error: celery_directories[0] is /opt/shop/config, and the",
        ),
        ({"celery_root": "/srv/shop"}, "CC712 error: code_source_path is /srv/shop, and the roles keep /srv/shop"),
        (
            {"celery_root": "/srv/shop/.celery"},
            "CC712 error: celery_root is /srv/shop/.celery, a part of the tree /srv",
        ),
        (
            {"code_source_path": "/opt/shop/current/code"},
            "CC712 error: code_source_path is /opt/shop/current/code, and",
        ),
        (
            {"celery_directories": ["/srv/shop"]},
            "CC712 error: celery_directories[0] is /srv/shop, the tree of code_sou",
        ),
        ({"celery_directories": ["/srv/shop/data"]}, "CC714 warning: celery_directories[0] is /srv/shop/data, a part"),
        ({"rabbitmq_tls_directory": "/opt"}, "CC703 error: rabbitmq_tls_directory is /opt"),
        (
            {"rabbitmq_tls_directory": "/data", "celery_root": "/data/shop"},
            "CC710 error: rabbitmq_tls_directory is /data, and celery_root is or lies in it",
        ),
    ],
)
def test_two_paths_that_disturb_each_other(values: dict[str, Any], message: str) -> None:
    (problem,) = found(**values)
    assert problem.startswith(message)


@pytest.mark.parametrize(
    "values",
    [
        {"celery_directories": ["/opt/shop/data"]},
        {"celery_state_directory": "/opt/shop/state"},
        {"celery_directories": ["/var/lib/shop/data", "/var/lib/shop"]},
        {"code_source_path": "/opt/shop/src"},
        {"celery_root": "/srv/shop/media/celery"},
        {"celery_root": "/srv/shop/.celery", "code_exclude": [".celery"]},
        {"celery_directories": ["/srv/shop/media/uploads"]},
        {"celery_directories": ["/srv/shop-data", "/srv/shopping"]},
        {"code_exclude": None},
    ],
)
def test_paths_beside_each_other(values: dict[str, Any]) -> None:
    assert found(**values) == []


def test_two_services_of_one_host_need_two_directories() -> None:
    same = dict.fromkeys(TLS, "/etc/tls-keys")
    assert found(**same) == []
    (problem,) = found({"postgresql": ["mq"]}, **same)
    assert problem.startswith(
        "CC710 error: postgresql_tls_directory is /etc/tls-keys, and so is rabbitmq_tls_directory"
    )


def test_a_tree_on_the_controller_is_not_beside_the_hosts_directories() -> None:
    assert found({"celery_source": []}, code_source_path="/opt/shop") == []


def test_secrets_do_not_travel_with_the_code() -> None:
    on_controller: dict[str, list[str]] = {"celery_source": []}
    inner = {"code_source_path": "/home/me/shop", "celery_secrets_directory": "/home/me/shop/deploy/.secrets"}
    for own in (None, frozenset({"code_source_path"})):
        (problem,) = found(on_controller, own, **inner)
        assert problem.startswith("CC713 error: celery_secrets_directory is /home/me/shop/deploy/.secrets, a part of")
    for excluded in (".secrets", "/deploy", "deploy/", "deploy/.secrets", ".s*"):
        assert found(on_controller, code_exclude=[excluded], **inner) == [], excluded
    assert len(found(on_controller, code_exclude=["/.secrets", "secrets"], **inner)) == 1
    # On a source host the directory of the controller is not.
    assert found(**inner) == []


@pytest.mark.parametrize("pattern", ["a\\b", "**/x", "[a", "", "../x", "- x", "\ud8ff"])
def test_an_exclude_pattern_that_cannot_be_read(pattern: str) -> None:
    (problem,) = found(code_exclude=[pattern])
    assert problem.startswith(f"CC716 error: code_exclude has {pattern!r}")


# --------------------------------------------------------------------------------------------------
# The application's configuration files


@pytest.mark.parametrize("mode", [None, "0440", "0640", "00640", "u=rw,g=r", "g-w"])
def test_a_configuration_file(mode: str | None) -> None:
    assert found(celery_config_files=[{"src": "a", "dest": "a.ini", "mode": mode}, {"src": "b", "dest": "..b"}]) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x", "CC720 error: celery_config_files is no list"),
        (["x"], "CC720 error: celery_config_files[0] is no mapping"),
        ([{}], "CC720 error: celery_config_files[0].dest is None"),
        ([{"dest": "/etc/shop.ini"}], "CC720 error: celery_config_files[0].dest is '/etc/shop.ini': write the name"),
        ([{"dest": "../shop.ini"}], "CC720"),
        ([{"dest": "sub/shop.ini"}], "CC720"),
        ([{"dest": ".."}], "CC720"),
        ([{"dest": "a\nb"}], "CC720"),
        ([{"dest": 5}], "CC720"),
        ([{"dest": "worker.env"}], "CC721 error: celery_config_files[0].dest is 'worker.env', which the collection"),
        ([{"dest": "worker-default.env"}], "CC721"),
        ([{"dest": "next"}], "CC721"),
        (
            [{"dest": "a"}, {"dest": "a"}],
            "CC722 error: celery_config_files[1].dest is 'a', as in celery_config_files[0]",
        ),
        ([{"dest": "a", "mode": 416}], "CC723 error: celery_config_files[0].mode is 416: write it in quotes"),
        ([{"dest": "a", "mode": "416"}], "CC723"),
        ([{"dest": "a", "mode": ""}], "CC723"),
        ([{"dest": "a", "mode": "0999"}], "CC723"),
    ],
)
def test_a_configuration_file_that_cannot_be_placed(value: Any, message: str) -> None:
    (problem,) = found(celery_config_files=value)
    assert problem.startswith(message)


ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.dates()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["src", "dest", "mode", "x"]), inner, max_size=3),
    ),
    max_leaves=5,
)
PATHS = st.lists(st.sampled_from(["opt", "srv", "shop", "tmp", "etc", "..", ".", "", "a b"]), max_size=5).map("/".join)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(REFERENCE)), st.one_of(ANY, PATHS, PATHS.map("/{}".format), st.lists(PATHS)))
)
def test_any_value_is_accepted_or_told(values: dict[str, Any]) -> None:
    assert all(found(**values))
