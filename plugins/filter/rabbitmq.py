# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters for RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_boot import LOADED, boot_definitions

_REQUIRED = ("vhosts", "users")
#: What the module takes besides, and what has to wait until the whole broker is there.
_LATER = ("owner", "absent_users", "parameters", "global_parameters", "exchanges", "queues", "bindings")


def rabbitmq_boot_definitions(value: dict[str, Any]) -> dict[str, Any]:
    """The definitions a broker loads at its first start, from the state it shall have."""
    if not isinstance(value, dict) or not all(name in value for name in _REQUIRED):
        raise AnsibleFilterError('rabbitmq_boot_definitions: give a dictionary {"vhosts": [...], "users": [...]}')
    unknown = sorted(str(name) for name in value if name not in (*LOADED, *_LATER))
    if unknown:
        known = ", ".join((*LOADED, *_LATER))
        raise AnsibleFilterError(f"rabbitmq_boot_definitions: {', '.join(unknown)} is none of {known}")
    try:
        return boot_definitions(value)
    except KeyError as error:
        raise AnsibleFilterError(f"rabbitmq_boot_definitions: an entry of {', '.join(LOADED)} lacks {error}") from error
    except ValueError as error:
        raise AnsibleFilterError(f"rabbitmq_boot_definitions: {error}") from error


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rabbitmq_boot_definitions": rabbitmq_boot_definitions}
