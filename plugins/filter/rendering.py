# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that turn values into URLs, environment files, unit files and tables."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ..plugin_utils.broker_state import rabbitmq_desired
from ..plugin_utils.flower import oauth_environment
from ..plugin_utils.latencies import verify_text
from ..plugin_utils.links import canaries, deserted_queues, probes
from ..plugin_utils.releases import release_instance, release_of
from ..plugin_utils.text import (
    broker_url,
    database_url,
    env_file,
    management_url,
    own_files,
    service_file,
    systemd_quote,
    table,
)
from ..plugin_utils.workers import worker_arguments


def _reported(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except ValueError as error:
            raise AnsibleFilterError(str(error)) from error

    return call


class FilterModule:
    """Thin skins on plugin_utils."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "broker_url": _reported(broker_url),
            "canaries": canaries,
            "database_url": _reported(database_url),
            "deserted_queues": deserted_queues,
            "env_file": _reported(env_file),
            "management_url": _reported(management_url),
            "oauth_environment": _reported(oauth_environment),
            "own_files": own_files,
            "probes": probes,
            "rabbitmq_desired": _reported(rabbitmq_desired),
            "release_instance": release_instance,
            "release_of": release_of,
            "service_file": _reported(service_file),
            "systemd_quote": _reported(systemd_quote),
            "table": table,
            "verify_text": verify_text,
            "worker_arguments": worker_arguments,
        }
