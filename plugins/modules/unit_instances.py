#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: unit_instances
short_description: Make exactly the wanted instances of systemd services run on a host
version_added: 0.1.0
description:
  - Starts and enables the wanted services, and retires every other instance that the call owns. One call per host.
  - Nothing is retired before everything wanted runs, so that a failure leaves running what ran before.
  - A process that is older than the files it depends on, than its unit file or than a drop-in is restarted. A play
    that failed between writing a file and restarting therefore heals with the next run; no handler is needed.
  - An instance that is stopping finishes what it does and is left alone. Running the module again meanwhile
    changes nothing.
author:
  - The taskfleet developers (@taskfleet)
requirements:
  - systemd 248 or newer on the managed host
options:
  units:
    description:
      - The services that shall run on this host. Their unit files, usually templates, are there already.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Full name of the service.
        type: str
        required: true
      strategy:
        description:
          - How an instance takes the place of another instance of the same template.
          - V(overlap) starts the new one and tells the old ones to stop when it is active. They stop in the
            background and finish the tasks they have.
          - V(restart) stops the old ones and waits for their end, then starts the new one; for hosts where memory
            does not allow two at once. When the new one fails, the old ones are started again.
        type: str
        choices: [overlap, restart]
        default: overlap
      depends_on:
        description:
          - Absolute paths that the process reads when it starts. When one of them is newer than the process, it
            is restarted. For a directory only its own time counts; for a symbolic link, the link and its target.
          - A path that is missing is an error, except in check mode.
        type: list
        elements: str
        default: []
      timeout:
        description:
          - Seconds the service may take to become active. With C(Type=notify) active means ready.
          - The time an old process of the same instance takes to stop is not part of it.
        type: int
        default: 120
  owned:
    description:
      - Patterns of the services this call may retire, V(celery-worker-*@*.service). What matches and is not in
        O(units) is disabled and stopped.
      - A pattern begins with a literal name of at least three characters and ends with V(.service).
    type: list
    elements: str
    default: []
  retire:
    description:
      - Whether the others of O(owned) are retired. Without it only the wanted ones are started, beside those that run;
        with O(units[].strategy=restart) the one whose place is taken is stopped all the same.
    type: bool
    default: true
  keep_running:
    description:
      - Whether a wanted service that runs is left alone, though what it depends on has changed. For the way back to
        services that were never stopped.
    type: bool
    default: false
  target:
    description:
      - A target that the services belong to. It is enabled and started, after the services, when it is not.
    type: str
attributes:
  check_mode:
    description:
      - Reports the same actions and changes nothing. Units that do not exist yet count as services to start.
      - A file that an earlier task of the same check would have changed still has its old time, so the restart that
        follows from it is not reported.
    support: full
  diff_mode:
    description: Shows one line per service before and after.
    support: full
notes:
  - When a service fails to start, the message holds its status and the last 30 lines of its journal, capped. User
    names and passwords in URLs are masked; what else the application logs is shown as it is.
"""

EXAMPLES = r"""
- name: Run the workers of this release
  taskfleet.celery_cluster.unit_instances:
    units:
      - name: celery-worker-default@4f2c.service
        depends_on: [/opt/celery/config/worker.env, /opt/celery/config/settings.json]
      - name: celery-worker-video@4f2c.service
        strategy: restart
        depends_on: [/opt/celery/config/worker.env]
        timeout: 300
    owned: [celery-worker-*@*.service]
    target: celery.target

- name: Retire all workers of this host
  taskfleet.celery_cluster.unit_instances:
    units: []
    owned: [celery-worker-*@*.service]
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be done, in this order.
  returned: success
  type: list
  elements: dict
  contains:
    verb:
      description:
        - One of V(reload), V(start), V(restart), V(stop), V(enable), V(disable), V(retire), V(reset), V(target).
      type: str
    units:
      description: The units it was done to.
      type: list
      elements: str
    why:
      description: The reason.
      type: str
  sample:
    - verb: restart
      units: [celery-worker-default@4f2c.service]
      why: older than /opt/celery/config/worker.env
started:
  description: The services that were started or restarted.
  returned: success
  type: list
  elements: str
  sample: [celery-worker-default@4f2c.service]
retired:
  description: The services that were told to stop.
  returned: success
  type: list
  elements: str
  sample: [celery-worker-default@1b9e.service]
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.units import (
    Outcome,
    Systemctl,
    UnitsError,
    Wanted,
    problems,
    settle,
    unknown_host,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "units": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "strategy": {"type": "str", "choices": ["overlap", "restart"], "default": "overlap"},
                    "depends_on": {"type": "list", "elements": "str", "default": []},
                    "timeout": {"type": "int", "default": 120},
                },
            },
            "owned": {"type": "list", "elements": "str", "default": []},
            "retire": {"type": "bool", "default": True},
            "keep_running": {"type": "bool", "default": False},
            "target": {"type": "str"},
        },
        supports_check_mode=True,
    )
    wanted = [
        Wanted(unit["name"], unit["strategy"], tuple(unit["depends_on"]), unit["timeout"])
        for unit in module.params["units"]
    ]
    owned = module.params["owned"]
    found = problems(wanted, owned)
    if found:
        module.fail_json(msg="; ".join(found))

    # Fixed formats: what is read here must not depend on the locale or on a pager of the host.
    environment = {"LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "SYSTEMD_URLIFY": "0"}

    def run(arguments: list[str]) -> Outcome:
        return Outcome(*module.run_command(arguments, environ_update=environment, errors="backslashreplace"))

    binary = module.get_bin_path("systemctl")
    booted = binary is not None and run([binary, "show", "--property=Version"]).rc == 0
    if not booted and not module.check_mode:
        module.fail_json(msg="systemd does not run on this host (systemctl does not answer): it is needed for services")
    systemctl = Systemctl(run if booted else unknown_host, sleep=time.sleep)
    try:
        actions, diff = settle(
            systemctl,
            wanted,
            owned,
            module.params["target"],
            module.check_mode,
            retire=module.params["retire"],
            keep=module.params["keep_running"],
        )
    except UnitsError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(actions),
        actions=[action._asdict() for action in actions],
        started=[name for action in actions if action.verb in ("start", "restart") for name in action.units],
        retired=[name for action in actions if action.verb == "retire" for name in action.units],
        diff={side: "".join(line + "\n" for line in lines) for side, lines in diff.items()},
    )


if __name__ == "__main__":
    main()
