# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines that the operator adds to the units: what systemd can read, and what is not the operator's to say there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .model import Inventory
from .problems import Problems, shown
from .text import environment_problems

DIRECTIVE = re.compile(r"[A-Za-z]+")

#: Directives that every unit of the collection sets for a reason -> what to write instead.
DECIDED = {
    "Type": "remove it: a service counts as started when its agent says so",
    "NotifyAccess": "remove it: only the main process says that a service is ready",
    "ExecStart": "remove it: the command is made from the options of the service",
    "User": "write celery_user instead",
    "Group": "write celery_user instead",
    "DynamicUser": "remove it: celery_user says whose the service is, and owns its directories",
    "WorkingDirectory": "write celery_state_directory instead",
    "Environment": "write celery_environment instead, which other accounts cannot read",
    "EnvironmentFile": "write celery_environment instead",
    "Restart": "remove it: a service that ends by itself must come back",
    "LogNamespace": "write celery_log_retention instead",
}
#: Those of the workers alone: they keep a stop from killing tasks, or the model counts with them.
DECIDED_FOR_WORKERS = {
    **DECIDED,
    "KillMode": "remove it: only the main process is told to stop, and its children finish their tasks",
    "KillSignal": "remove it: Celery finishes its tasks after SIGTERM only",
    "FinalKillSignal": "remove it: it would reach the children that still run a task",
    "SendSIGKILL": "remove it: a worker that hangs must not stay for ever",
    "RestartKillSignal": "remove it: Celery finishes its tasks after SIGTERM only",
    "TimeoutStopSec": "write stop_timeout into the kind instead, which the broker is told as well",
    "TimeoutStartSec": "write worker_start_timeout instead",
    "TimeoutSec": "write stop_timeout into the kind, and worker_start_timeout, instead",
    "RestartSec": "write worker_restart_seconds instead",
    "WatchdogSec": "write worker_watchdog_seconds instead",
}
DECIDED_FOR_BEAT = {
    **DECIDED,
    "KillMode": "remove it: the process that holds the lock of beat ends after beat",
    "WatchdogSec": "write beat_watchdog_seconds instead",
}
#: Directives that a kind has an option for -> that option. For all kinds together there is worker_unit_options.
AS_OPTION = {
    "CPUQuota": "cpu_quota",
    "Environment": "environment",
    "MemoryHigh": "memory_high",
    "MemoryLimit": "memory_max",
    "MemoryMax": "memory_max",
    "TasksMax": "tasks_max",
    "TimeoutStopSec": "stop_timeout",
}
DECIDED_FOR_KINDS = {
    **DECIDED_FOR_WORKERS,
    **{name: f"write the option {option} of this kind instead" for name, option in AS_OPTION.items()},
}
#: Variable of a role -> what is decided for its units.
VARIABLES: dict[str, Mapping[str, str]] = {
    "worker_unit_options": DECIDED_FOR_WORKERS,
    "beat_unit_options": DECIDED_FOR_BEAT,
    "flower_unit_options": DECIDED,
}

#: Tells a problem: code, key below the option, what is wrong, what to write instead.
Wrong = Callable[[str, str, str, str], None]


def read_unit_options(given: Mapping[Any, Any], decided: Mapping[str, str], wrong: Wrong) -> dict[str, str]:
    """Directive -> its value as it stands in the unit. A wrong one is told and left out."""
    options = {}
    for key, value in given.items():
        name = key if isinstance(key, str) else shown(key)
        if not DIRECTIVE.fullmatch(name):
            wrong("CC222", "", f"has {shown(key)}", "write the name of a directive of systemd, such as ProtectHome")
        elif name in decided:
            wrong("CC223", name, "is decided by the collection", decided[name])
        else:
            text = _text(value)
            if text is None:
                wrong("CC222", name, "is no text", "write one text or number, quoted if in doubt")
            elif environment_problems({"VALUE": text}):
                wrong("CC222", name, "holds a line break or another control character", "write it on one line")
            elif text.endswith("\\"):
                wrong("CC222", name, "ends with a backslash, which would join the next line to it", "remove it")
            else:
                options[name] = text
    return options


def _text(value: Any) -> str | None:
    # YAML reads yes and no as true and false, and systemd reads them as the same again.
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (str, int, float)):
        return None
    try:
        return str(value)
    except ValueError:
        # Python writes no number of thousands of digits.
        return None


def check_unit_options(inventory: Inventory, problems: Problems) -> None:
    """The variables that are for all units of a role; those of one kind of worker are read with the kind."""
    for variable, decided in VARIABLES.items():
        given = inventory.settings.get(variable)
        if isinstance(given, Mapping):
            read_unit_options(given, decided, _teller(variable, problems))


def _teller(place: str, problems: Problems) -> Wrong:
    def wrong(code: str, key: str, what: str, instead: str) -> None:
        problems.add(code, f"{place}.{key}" if key else place, what, instead)

    return wrong
