# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The run_inputs action: Ansible's variables as the digests of plugin_utils/inputs.py."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.release import __version__ as ansible_version
from ansible.template import Templar, trust_as_template

from ..lookup.secret import read_or_create
from ..plugin_utils import inputs
from ..plugin_utils.reader import ROLES, Documented, same

KEY = "release"
KEY_LENGTH = 40
TEMPLATE = trust_as_template("{{ lookup('ansible.builtin.template', __run_inputs_source) }}")
ARGUMENTS = {
    "tree": {"type": "str", "required": True},
    "found": {"type": "dict", "default": {}},
    "receipts": {"type": "str", "default": ""},
    "looks": {"type": "list", "elements": "dict", "default": []},
    "began": {"type": "dict", "default": {}},
    "owned": {"type": "bool", "default": False},
}


class UnknownValueError(Exception):
    """A value that cannot be told here. Nothing is guessed."""


class ActionModule(ActionBase):
    """Computes on the controller, for all hosts of the play at once; no host is contacted."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)
        result.update(changed=False, same=False, reasons=[], settled=[])
        hosts = list(variables["ansible_play_hosts"])
        raw = {host: dict(variables["hostvars"].raw_get(host)) for host in hosts}
        unlike = _unlike(raw, arguments["receipts"], arguments["looks"]) if arguments["receipts"] else []
        if unlike and not arguments["tree"]:
            result["reasons"] = unlike
            return result
        try:
            found = Run(self._loader, variables, raw).made_of(arguments["tree"], arguments["found"])
            if not unlike:
                result.update(found)
            if arguments["owned"]:
                result["owned"] = Run(self._loader, variables, raw).owned()
        except (UnknownValueError, OSError) as error:
            result["reasons"] = unlike or [str(error)]
            return result
        if arguments["receipts"]:
            reasons = unlike or _differences(raw, arguments["receipts"], found)
            result.update(same=not reasons, reasons=reasons, settled=_settled(raw, arguments["receipts"], found))
        if arguments["began"]:
            result["moved"] = _moved(arguments["began"], found, hosts)
        return result


def _differences(raw: Mapping[str, Mapping[str, Any]], receipts: str, found: Mapping[str, Any]) -> list[str]:
    """What the receipts of the hosts were made of, and this run is not."""
    model = next(iter(raw.values()))["ansible_facts"]["celery_cluster"]
    per_host = {}
    for host, variables in raw.items():
        # The others have no receipt: an existing server alone on its host, which was asked itself.
        if host in model["prepared_hosts"]:
            now = inputs.expand(found["common"], found["hosts"], host)
            per_host[host] = inputs.differences(variables[receipts]["inputs"], now)
    return inputs.told_once(per_host)


def _settled(raw: Mapping[str, Mapping[str, Any]], receipts: str, found: Mapping[str, Any]) -> list[str]:
    """The hosts that are as their receipts say, and that nothing of what has changed concerns."""
    model = next(iter(raw.values()))["ansible_facts"]["celery_cluster"]
    true = {host: (variables.get(receipts) or {}) for host, variables in raw.items()}
    true = {host: receipt for host, receipt in true.items() if receipt.get("same") is True}
    # What that host has switched on decides under which name the release runs everywhere.
    if model["submitter"] not in true:
        return []
    return [
        host
        for host in inputs.workers_alone(model)
        if host in true
        and not inputs.concerns(true[host]["inputs"], inputs.expand(found["common"], found["hosts"], host))
    ]


def _moved(began: Mapping[str, Any], ended: Mapping[str, Any], hosts: list[str]) -> list[str]:
    names = set()
    for host in hosts:
        before = inputs.expand(began["common"], began["hosts"], host)
        names.update(inputs.moved(before, inputs.expand(ended["common"], ended["hosts"], host)))
    # --step: tasks may have been left out.
    return sorted(names) + (["the choice of tasks (--step)"] if context.CLIARGS.get("step") else [])


def _unlike(raw: Mapping[str, Mapping[str, Any]], receipts: str, looks: list[dict[str, Any]]) -> list[str]:
    """What the hosts themselves said against it."""
    per_host: dict[str, list[str]] = {}
    model = next(iter(raw.values()))["ansible_facts"]["celery_cluster"]
    for host in model["prepared_hosts"]:
        if host in raw:
            receipt = raw[host].get(receipts) or {}
            if receipt.get("same") is not True:
                per_host[host] = receipt.get("reasons") or ["could not be looked at"]
            else:
                per_host[host] = []
    reasons = inputs.told_once(per_host)
    if reasons:
        # Then nobody else was asked.
        return reasons
    for look in looks:
        for host in look["on"]:
            seen = raw.get(host, {}).get(look["result"]) or {}
            if seen.get("failed") or seen.get("unreachable") or seen.get("skipped") or "changed" not in seen:
                reasons.append(f"{host}: {look['what']} could not be looked at")
            elif seen["changed"]:
                reasons.append(f"{host}: {look['what']} would change")
    return reasons


class Run:
    """The values of one run."""

    def __init__(self, loader: Any, variables: Mapping[str, Any], raw: Mapping[str, Mapping[str, Any]]) -> None:
        self._loader = loader
        self._raw = raw
        self._hostvars = variables["hostvars"]
        self._groups = variables["groups"]
        self._documented = Documented(loader)
        current = raw[str(variables["inventory_hostname"])]
        # Of the play, and no host's own: ansible_play_hosts, for example.
        self._play = {name: value for name, value in variables.items() if name not in current}
        # What the play sets wins over the inventory, as it does for the roles.
        known = {**self._documented.defaults, **current}
        self._overrides = {
            name: variables[name]
            for name in self._documented.specs
            if name in variables and not same(variables[name], known.get(name))
        }
        self._is_check = bool(variables.get("ansible_check_mode"))
        self._options = sorted(filter(inputs.counts, {*option_names(loader), *self._documented.defaults}))

    def _variables(self, host: str) -> dict[str, Any]:
        return {
            **self._play,
            **self._documented.defaults,
            **self._raw[host],
            **self._overrides,
            **self._documented.computed,
            "hostvars": self._hostvars,
            # As a task of the role that renders the application's files.
            "role_path": str(ROLES / "code"),
            "ansible_search_path": self._places("code"),
        }

    def made_of(self, tree: str, found: Mapping[str, Any]) -> dict[str, Any]:
        first = next(iter(self._raw))
        secrets = Path(self._value(first, "celery_secrets_directory")).expanduser()
        digests = inputs.Digests(read_or_create(secrets, KEY, KEY_LENGTH, create=not self._is_check))
        common = {
            "the collection": inputs.collection_digest(ROLES.parent, digests),
            "Ansible": digests.of([ansible_version, platform.python_version()]),
            "the code": digests.of(tree),
            inputs.CLUSTER: digests.of(self._raw[first]["ansible_facts"]["celery_cluster"]),
            inputs.ALL_GROUPS: digests.of({name: sorted(hosts) for name, hosts in self._groups.items()}),
            **{f"{inputs.FOUND}{name}": digests.of(value) for name, value in found.items()},
        }
        per_host = {host: dict(self._host(host, digests)) for host in self._raw}
        # Last: a password that an option generates is among them.
        common.update(inputs.secret_parts(secrets, digests))
        shared, rest = inputs.compress(per_host)
        return {"common": {**common, **shared}, "hosts": rest}

    def _host(self, host: str, digests: inputs.Digests) -> Iterator[tuple[str, str]]:
        variables = self._variables(host)
        templar = Templar(loader=self._loader, variables=variables)
        facts = self._raw[host].get("ansible_facts", {})
        yield "what the host is", digests.of({name: facts.get(name) for name in inputs.FACTS})
        yield inputs.CONCERNS, digests.of(inputs.concerning(facts["celery_cluster"], self._groups, host))
        for name in self._options:
            if name not in variables:
                yield name, "not set"
                continue
            value = self._template(templar, host, name, variables[name])
            yield name, digests.of(value)
            if name in inputs.FILE_OPTIONS:
                yield f"what {name} names", digests.of(self._contents(name, value, digests))
            if name == "celery_config_files" and host in facts["celery_cluster"]["release_hosts"]:
                for file in value:
                    text = self._rendered(variables, host, file["src"])
                    yield f"the text of {file['src']}", digests.of(text)

    def _value(self, host: str, name: str) -> Any:
        variables = self._variables(host)
        return self._template(Templar(loader=self._loader, variables=variables), host, name, variables[name])

    @staticmethod
    def _template(templar: Templar, host: str, name: str, raw: Any) -> Any:
        try:
            return templar.template(raw)
        except AnsibleError:
            # The message may show a part of a secret.
            raise UnknownValueError(f"{host}: {name} cannot be computed") from None

    def _rendered(self, variables: Mapping[str, Any], host: str, source: str) -> Any:
        templar = Templar(loader=self._loader, variables={**variables, "__run_inputs_source": source})
        return self._template(templar, host, f"the text of {source}", TEMPLATE)

    def _contents(self, name: str, value: Any, digests: inputs.Digests) -> list[Any]:
        contents: list[Any] = []
        for path in [value] if isinstance(value, str) else value or []:
            if not path:
                continue
            found = Path(self._find(inputs.FILE_OPTIONS[name], str(path)))
            if found.is_dir():
                contents.append([path, digests.of_directory(found)])
            else:
                contents.append([path, digests.of_file(found) if found.exists() else "missing"])
        return contents

    def _find(self, folder: str, path: str) -> str:
        if not folder:
            return str(Path(path).expanduser())
        # In 2.19 the loader raises when there is no such file.
        try:
            return str(self._loader.path_dwim_relative_stack(self._places("celery"), folder, path) or path)
        except AnsibleError:
            return path

    def _places(self, role: str) -> list[str]:
        """Where a task of the role looks for a file."""
        return [str(ROLES / role), str(ROLES / role / "tasks"), str(self._play.get("playbook_dir", "."))]

    def owned(self) -> dict[str, dict[str, list[Any]]]:
        owned = {}
        for host in self._raw:
            variables = self._variables(host)
            templar = Templar(loader=self._loader, variables=variables)
            claims = []
            for name in owned_names(self._documented.computed):
                for claim in variables[name]:
                    hosts = self._template(templar, host, name, claim["hosts"])
                    if host in hosts:
                        claims.append({**self._template(templar, host, name, claim), "hosts": hosts})
            owned[host] = inputs.merge(claims, host)
        return owned


def owned_names(computed: Mapping[str, Any]) -> list[str]:
    """``__<role>_owned``, in vars/main.yml of the roles."""
    return sorted(name for name in computed if name.startswith("__") and name.endswith("_owned"))


def option_names(loader: Any) -> set[str]:
    """The options of all entry points of all roles."""
    names: set[str] = set()
    for specs in ROLES.glob("*/meta/argument_specs.yml"):
        for spec in loader.load_from_file(str(specs))["argument_specs"].values():
            names.update(spec.get("options") or {})
    return names
