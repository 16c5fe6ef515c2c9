# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's variables as the plain values the model takes. The one file that knows how Ansible keeps them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleUndefinedVariable
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.template import Templar

from .model import GROUPS, Inventory
from .problems import Problems
from .variables import OWN_PREFIX, check_equal, check_names

ROLES = Path(__file__).resolve().parents[2] / "roles"
#: Which group's hosts a role's variables are read from; all other roles run on every kind of host.
OWNERS = {"rabbitmq": "rabbitmq", "postgresql": "postgresql", "beat": "celery_beat", "flower": "flower"}
#: What the model judges itself, together with everything else it says about them.
JUDGED = frozenset(
    {
        "celery_allowed_clients",
        "celery_broker_login",
        "celery_database_login",
        "celery_database_schemas",
        "celery_queue_type",
        "celery_workers",
        "postgresql_mode",
        "postgresql_pooler",
    }
)
HOST_VARIABLES = ("celery_address", "ansible_host", "ansible_facts")
SPEC_KEYS = ("type", "choices", "elements", "options", "no_log")


class Unknown:
    """Stands for a value that cannot be known yet: it waits for the facts of a host."""


class Documented:
    """The variables of all roles: their specs, their defaults and the variables computed from them."""

    def __init__(self, loader: Any) -> None:
        self.specs: dict[str, Mapping[str, Any]] = {}
        self.defaults: dict[str, Any] = {}
        self.computed: dict[str, Any] = {}
        self.role_of: dict[str, str] = {}
        for role in sorted(path.name for path in ROLES.iterdir() if (path / "tasks").is_dir()):
            entry_points = loader.load_from_file(str(ROLES / role / "meta" / "argument_specs.yml"))["argument_specs"]
            for name, spec in entry_points["main"].get("options", {}).items():
                if name not in self.specs or name.startswith(f"{role}_"):
                    self.specs[str(name)] = spec
                    self.role_of[str(name)] = role
            for kind, target in (("defaults", self.defaults), ("vars", self.computed)):
                file = ROLES / role / kind / "main.yml"
                if file.exists():
                    # The collection's own templates may be templated, like the inventory's.
                    target.update(loader.load_from_file(str(file), trusted_as_template=True) or {})
        self.prefixes = tuple(sorted({f"{role}_" for role in self.role_of.values()} | {OWN_PREFIX}))


class Reader:
    """Reads one inventory, as one task sees it.

    without: hosts that are on their way out; it is read as if they had left it.
    """

    def __init__(
        self,
        loader: Any,
        task_vars: Mapping[str, Any],
        match: Callable[[str], Sequence[str]],
        without: Collection[str] = (),
    ) -> None:
        self._loader = loader
        self._task_vars = task_vars
        self._match = lambda pattern: [host for host in match(pattern) if host not in without]
        self.documented = Documented(loader)
        self.groups: dict[str, list[str]] = {
            str(name): [host for host in hosts if host not in without] for name, hosts in task_vars["groups"].items()
        }
        self.hosts = list(dict.fromkeys(host for group in GROUPS for host in self.groups.get(group, [])))
        self._raw = {host: dict(task_vars["hostvars"].raw_get(host)) for host in self.groups.get("all", [])}
        self._overrides = self._play_variables()

    def _play_variables(self) -> dict[str, Any]:
        """Documented variables that the play or the role call sets: they win over the inventory."""
        current = self._raw.get(str(self._task_vars.get("inventory_hostname")), {})
        documented = self.documented
        return {
            name: self._task_vars[name]
            for name in documented.specs
            if name in self._task_vars
            and not same(self._task_vars[name], current.get(name, documented.defaults.get(name)))
        }

    def _written(self, host: str) -> dict[str, Any]:
        """The documented variables that host has from the inventory or the play, as they are written."""
        mine = {**self._raw.get(host, {}), **self._overrides}
        return {name: mine[name] for name in self.documented.specs if name in mine}

    def read(self, problems: Problems, *, complete: bool) -> Inventory:
        """complete: the facts are gathered. Before, the names of the variables are judged as well."""
        written = {host: self._written(host) for host in self.hosts}
        if not complete:
            names: dict[str, list[str]] = {}
            for host in self.hosts:
                for name in self._raw[host]:
                    names.setdefault(str(name), []).append(host)
            check_names(names, self.documented.specs, self.documented.prefixes, problems)
            check_equal(self._by_variable(written), problems)
        settings: dict[str, Any] = {}
        own = set()
        for name in self.documented.specs:
            place = self._host_for(name, written)
            is_own = place is not None and name in written[place]
            value = self._value(place, name, problems)
            if is_own:
                own.add(name)
                value = self._checked(name, value, problems)
            if value is not Unknown:
                settings[name] = value
        hosts = {host: self._host(host, problems) for host in self._raw}
        return Inventory(self.groups, hosts, settings, self._match, frozenset(own), complete, _text)

    def _by_variable(self, written: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, object]]:
        names = {name for values in written.values() for name in values}
        default = self.documented.defaults
        return {
            name: {host: _plain(values.get(name, default.get(name))) for host, values in written.items()}
            for name in names
        }

    def _host_for(self, name: str, written: Mapping[str, Mapping[str, Any]]) -> str | None:
        """The host whose word counts: the first that sets the variable, of those its role runs on."""
        group = OWNERS.get(self.documented.role_of[name])
        candidates = self.groups.get(group, []) if group else self.hosts
        return next((host for host in candidates if name in written[host]), next(iter(candidates), None))

    def _variables(self, host: str | None) -> dict[str, Any]:
        inventory = {**self._raw.get(host, {}), **self._overrides} if host else {**self._overrides}
        inventory["hostvars"] = self._task_vars["hostvars"]
        return {**self.documented.defaults, **inventory, **self.documented.computed}

    def _value(self, host: str | None, name: str, problems: Problems) -> Any:
        variables = self._variables(host)
        raw = variables.get(name, Unknown)
        is_default = raw is self.documented.defaults.get(name)
        if raw is Unknown or (is_default and "lookup(" in str(raw)):
            # A generated secret: nobody needs to judge it, and asking would make it.
            return Unknown
        try:
            return _known(Templar(loader=self._loader, variables=variables), raw)
        except AnsibleError as error:
            secret = self.documented.specs[name].get("no_log")
            why = "its expression fails" if secret else " ".join(str(error).split())
            problems.add("CC904", name, f"cannot be computed ({why})", "mend the expression", host or "")
            return Unknown

    def _checked(self, name: str, value: Any, problems: Problems) -> Any:
        """The value in the type the role documents; one of another type is told and counts as unknown."""
        if value is Unknown or name in JUDGED:
            return value
        spec = {key: item for key, item in self.documented.specs[name].items() if key in SPEC_KEYS}
        result = ArgumentSpecValidator({name: spec}).validate({name: value})
        if not result.error_messages:
            return result.validated_parameters[name]
        what = "does not fit its documentation"
        if not spec.get("no_log"):
            what += f" ({'; '.join(result.error_messages)})"
        role = self.documented.role_of[name]
        problems.add("CC903", name, what, f"see `ansible-doc -t role taskfleet.celery_cluster.{role}`")
        return Unknown

    def _host(self, host: str, problems: Problems) -> dict[str, Any]:
        variables = self._variables(host)
        templar = Templar(loader=self._loader, variables=variables)
        found = {}
        for name in HOST_VARIABLES:
            if name in variables:
                try:
                    value = _known(templar, variables[name])
                except AnsibleError as error:
                    why = " ".join(str(error).split())
                    problems.add("CC904", name, f"cannot be computed ({why})", "mend the expression", host)
                    continue
                if value is not Unknown:
                    found[name] = value
        return found


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return None


def _known(templar: Templar, raw: Any) -> Any:
    """The value of what is written, without the parts that cannot be known yet."""
    if isinstance(raw, Mapping):
        items = {_plain(key): _known(templar, value) for key, value in raw.items()}
        return {key: value for key, value in items.items() if value is not Unknown}
    if isinstance(raw, (list, tuple)):
        values = [_known(templar, value) for value in raw]
        return [value for value in values if value is not Unknown]
    try:
        return _plain(templar.template(raw))
    except AnsibleUndefinedVariable:
        return Unknown


def _plain(value: Any) -> Any:
    """A copy of nothing but the types of JSON; everything else becomes its text."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


def same(one: Any, other: Any) -> bool:
    """Whether two variables are written alike."""
    return bool(one is other or _plain(one) == _plain(other))
