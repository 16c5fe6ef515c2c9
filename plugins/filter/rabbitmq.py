# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters for RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq import boot_definitions


def rabbitmq_boot_definitions(value: dict[str, Any]) -> dict[str, Any]:
    """The definitions a broker loads at its first start, from the vhosts and users it shall have."""
    if not isinstance(value, dict) or set(value) != {"vhosts", "users"}:
        raise AnsibleFilterError('rabbitmq_boot_definitions: give a dictionary {"vhosts": [...], "users": [...]}')
    try:
        return boot_definitions(value["vhosts"], value["users"])
    except KeyError as error:
        raise AnsibleFilterError(f"rabbitmq_boot_definitions: an entry of vhosts or users lacks {error}") from error
    except ValueError as error:
        raise AnsibleFilterError(f"rabbitmq_boot_definitions: {error}") from error


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rabbitmq_boot_definitions": rabbitmq_boot_definitions}
