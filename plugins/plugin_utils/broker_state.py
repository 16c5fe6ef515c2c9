# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state the broker shall have: vhost, identities and permissions, derived from the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..module_utils.rabbitmq import broker_user

ROLES = ("worker", "producer", "flower", "admin")


def rabbitmq_desired(
    model: Mapping[str, Any], vhost: str, prefix: str, producers_declare: bool, passwords: Mapping[str, str]
) -> dict[str, Any]:
    """``{"vhosts": [...], "users": [...]}`` as the rabbitmq_definitions module takes it.

    Celery names the exchange of a queue like the queue, so one set of names serves both.
    """
    names = sorted(model["queues"])
    users = [
        broker_user(role, f"{prefix}{role}", passwords[role], vhost, names, names, producers_declare) for role in ROLES
    ]
    return {"vhosts": [{"name": vhost}], "users": users}
