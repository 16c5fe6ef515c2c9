"""The roles of this checkout: defaults, argument specs, entry points and READMEs agree."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils import workers

import docs
from common import CHECKOUT

ROLES = docs.role_directories(CHECKOUT)
SECRET_NAME = re.compile(
    r"password|celery_result_backend_url$|celery_(environment|credentials)$|flower_(settings|oauth)$"
)


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def every_option(options: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, option in options.items():
        yield name, option
        yield from every_option(option.get("options") or {})


def all_options(role: Path) -> list[tuple[str, Mapping[str, Any]]]:
    return [pair for spec in docs.entry_points(role).values() for pair in every_option(spec.get("options") or {})]


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_defaults_and_specs_agree_by_value(role: Path) -> None:
    assert docs.drift(docs.load(role / "defaults" / "main.yml"), docs.entry_points(role)["main"]["options"]) == []


def test_the_documentation_is_up_to_date() -> None:
    assert len(ROLES) >= 9
    assert docs.problems(CHECKOUT) == []


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_every_option_has_a_known_type_and_a_description(role: Path) -> None:
    for name, option in all_options(role):
        assert option["type"] in ("str", "int", "float", "bool", "path", "list", "dict"), name
        assert (option["type"] == "list") == ("elements" in option), name
        assert all(text.endswith(".") for text in docs.paragraphs(option)) and docs.paragraphs(option), name


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_the_defaults_pass_their_own_specs(role: Path) -> None:
    options = docs.entry_points(role)["main"]["options"]
    defaults = docs.load(role / "defaults" / "main.yml")
    plain = {name: value for name, value in defaults.items() if not docs.is_computed(value)}
    assert plain
    result = ArgumentSpecValidator(options).validate(plain)
    assert result.error_messages == []
    # A type that converts the default would document another value than the role uses.
    assert {name: result.validated_parameters[name] for name in plain} == plain


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_specs_hold_no_jinja(role: Path) -> None:
    # Options are arguments of a task: Ansible would evaluate it.
    for spec in docs.entry_points(role).values():
        assert not docs.is_computed(spec.get("options") or {})


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_an_option_is_the_same_in_every_entry_point(role: Path) -> None:
    specs = docs.entry_points(role)
    main = specs["main"]["options"]
    for name, spec in specs.items():
        for key, option in (spec.get("options") or {}).items():
            if key in main:
                assert option == main[key], f"{name}: {key}"


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_every_entry_point_is_a_file(role: Path) -> None:
    for name in docs.entry_points(role):
        assert (role / "tasks" / f"{name}.yml").is_file(), name


def used_entry_points() -> Iterator[tuple[str, str, str]]:
    """File, role and entry point of every import_role and include_role."""
    for path in [*CHECKOUT.glob("playbooks/*.yml"), *CHECKOUT.glob("roles/*/tasks/*.yml")]:
        yield from ((str(path.relative_to(CHECKOUT)), *found) for found in roles_in(docs.load(path)))


def roles_in(node: object) -> Iterator[tuple[str, str]]:
    if isinstance(node, list):
        for item in node:
            yield from roles_in(item)
    elif isinstance(node, Mapping):
        for key in ("ansible.builtin.import_role", "ansible.builtin.include_role"):
            if key in node:
                yield node[key]["name"], node[key].get("tasks_from", "main")
        for value in node.values():
            yield from roles_in(value)


def test_every_entry_point_in_use_is_documented() -> None:
    used = list(used_entry_points())
    assert len({(role, entry) for _file, role, entry in used}) >= 10
    for file, name, entry in used:
        role = CHECKOUT / "roles" / name.removeprefix("taskfleet.celery_cluster.")
        # Validation happens for the bare name only: `tasks_from: switch.yml` would skip it.
        assert entry in docs.entry_points(role), f"{file}: {name} {entry}"


@pytest.mark.parametrize("role", ROLES, ids=names(ROLES))
def test_variables_bear_their_role_and_secrets_are_marked(role: Path) -> None:
    for name in docs.entry_points(role)["main"]["options"]:
        assert name.startswith(f"{role.name}_"), name
    for name, option in all_options(role):
        assert bool(option.get("no_log")) == bool(SECRET_NAME.search(name)), name


SECRETS = [(name, option) for role in ROLES for name, option in all_options(role) if option.get("no_log")]


@pytest.mark.parametrize(("name", "option"), SECRETS, ids=[name for name, _option in SECRETS])
@pytest.mark.parametrize("wrong", ["hunter2", "a=hunter2 b", ["hunter2"], {"a": "hunter2"}, 5, None], ids=repr)
def test_a_secret_of_a_wrong_type_is_not_printed(name: str, option: dict[str, Any], wrong: object) -> None:
    # Role validation prints its messages as they are: no_log hides nothing there.
    messages = ArgumentSpecValidator({name: option}).validate({name: wrong}).error_messages
    assert "hunter2" not in " ".join(messages)


def test_the_options_of_a_worker_are_documented() -> None:
    options = docs.entry_points(CHECKOUT / "roles" / "celery")["main"]["options"]
    entry = re.compile(r"C\((\w+)\) \((\w+)(?:, (?:V\(([^)]*)\)|[^)]*))?\) - ")
    found = {}
    for text in docs.paragraphs(options["celery_workers"]):
        if match := entry.match(text):
            found[match[1]] = (match[2], match[3])
    expected = {
        name: (kind.__name__, None if default is None else str(default))
        for name, (kind, default) in workers.OPTIONS.items()
    }
    assert found == expected
