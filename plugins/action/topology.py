# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The topology action: a thin skin on plugin_utils/topology.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

from ..plugin_utils.budget import database_budget
from ..plugin_utils.problems import Problems, report
from ..plugin_utils.reader import Reader
from ..plugin_utils.topology import build

#: What is returned of the settings: enough to describe the cluster, and no secret.
SETTINGS = (
    "celery_app",
    "celery_broker_management_port",
    "celery_broker_port",
    "celery_broker_user_prefix",
    "celery_database_name",
    "celery_database_owner",
    "celery_database_port",
    "celery_database_user",
    "celery_name",
    "celery_vhost",
    "code_source_path",
    "code_source_ssh_port",
    "code_source_user",
    "flower_auth",
    "flower_listen_address",
    "flower_port",
    "flower_proxy",
)


class ActionModule(ActionBase):
    """Builds the model on the controller; no host is contacted."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "complete": {"type": "bool", "default": True},
                "without": {"type": "list", "elements": "str", "default": []},
            }
        )

        def match(pattern: str) -> list[str]:
            lookup = lookup_loader.get(
                "ansible.builtin.inventory_hostnames", loader=self._loader, templar=self._templar
            )
            try:
                return [str(host) for host in lookup.run([pattern], variables=variables)]
            except (AnsibleError, re.error, IndexError):
                # No pattern at all, or a subscript beyond its group: it matches nobody, and the model says so.
                return []

        problems = Problems()
        reader = Reader(self._loader, variables, match, arguments["without"])
        inventory = reader.read(problems, complete=arguments["complete"])
        cluster = build(inventory, problems)
        result.update(
            changed=False,
            problems=[problem.as_dict() for problem in problems],
            warnings=[f"{problem}." for problem in problems.warnings],
        )
        if cluster is None:
            count = len(problems.errors)
            result.update(
                failed=True,
                msg=f"The inventory does not describe a cluster that can work ({count} "
                f"{'error' if count == 1 else 'errors'}). No host was changed.\n{report(problems)}",
            )
            return result
        model = cluster.as_dict()
        budget = database_budget(cluster, inventory)
        result.update(
            model=model,
            settings={name: inventory.settings[name] for name in SETTINGS if name in inventory.settings},
            budget=_budget(asdict(budget)) if budget else None,
        )
        if arguments["complete"]:
            result["ansible_facts"] = {"celery_cluster": model}
        return result


def _budget(budget: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in budget.items()}
