# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The topology action: a thin skin on plugin_utils/topology.py."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

from ..plugin_utils.topology import GROUPS, TopologyError, build

HOST_VARIABLES = ("celery_address", "ansible_host", "ansible_facts")


class ActionModule(ActionBase):
    """Builds the model on the controller; no host is contacted."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "name": {"type": "str", "required": True},
                "app": {"type": "str", "required": True},
                # Their types are the model's to judge: it reports them together with everything else.
                "workers": {"type": "raw", "required": True},
                "allowed_clients": {"type": "raw", "default": []},
                "result_backend_url": {"type": "str", "default": ""},
            },
        )

        def match(pattern: str) -> list[str]:
            lookup = lookup_loader.get(
                "ansible.builtin.inventory_hostnames", loader=self._loader, templar=self._templar
            )
            return list(lookup.run([pattern], variables=variables))

        hostvars = variables["hostvars"]
        hosts = {name: _host(hostvars[name]) for name in match("all")}
        try:
            model = build(variables["groups"], hosts, arguments, match)
        except TopologyError as error:
            raise AnsibleActionFail(f"The inventory does not describe a cluster that can work:\n{error}") from error
        result.update(changed=False, ansible_facts={"celery_cluster": model}, groups=GROUPS)
        return result


def _host(variables: Any) -> dict[str, Any]:
    return {name: variables[name] for name in HOST_VARIABLES if name in variables}
