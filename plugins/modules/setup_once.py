#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands that run once per release, whoever asks at the same moment."""

from __future__ import annotations

DOCUMENTATION = r"""
module: setup_once
short_description: Run commands once, against several controllers at once
version_added: 0.1.0
description:
  - Takes a lock on the host, looks whether the mark is there, runs all steps in order if not, and writes the mark as
    its last act under the lock.
  - The lock is that of the running processes, as C(flock) makes it. It ends with them, whatever happens to the
    controller. A run whose controller dies goes on to the mark.
  - A step that fails ends the run without a mark. The next run repeats all steps, so they must bear that.
  - A step must not leave a process in the background, which would keep the lock.
author:
  - The taskfleet developers (@taskfleet)
options:
  steps:
    description:
      - The commands for C(sh -eu), as the JSON of a list of texts.
      - They are in no log and in no list of processes. What they print is returned.
    type: str
    required: true
  prefix:
    description: Words of the command that runs the shell, with the wanted account and environment.
    type: list
    elements: str
    default: []
  directory:
    description: Where the steps run.
    type: path
    required: true
  lock:
    description: File of the lock. It is made when missing, and never removed.
    type: path
    required: true
  mark:
    description: File that says that the steps ran.
    type: path
    required: true
  label:
    description: What is set up, for the message of whoever waits.
    type: str
    default: ""
  timeout:
    description: How many seconds to wait for another process. V(0) does not wait and returns RV(busy).
    type: float
    default: 0
attributes:
  check_mode:
    description: Runs nothing, and reports a change when the mark is missing.
    support: full
"""

EXAMPLES = r"""
- name: Set the release up
  taskfleet.celery_cluster.setup_once:
    steps: "{{ ['./manage.py migrate', './manage.py createcachetable'] | to_json }}"
    prefix: [/opt/celery/bin/celery-run, --identity, setup]
    directory: /opt/celery/current/code
    lock: /opt/celery/setup.lock
    mark: /opt/celery/current/setup-done
    timeout: 3600
"""

RETURN = r"""
busy:
  description: Whether another process has the lock and nothing was done.
  returned: success
  type: bool
  sample: false
holder:
  description: What the other process sets up, and since when.
  returned: success
  type: str
  sample: release 4f2c09aa17be since 2026-11-21 18:00:00 +0000
output:
  description: The end of what each step printed.
  returned: success
  type: list
  elements: str
  sample: [Applying shop.0007... OK]
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.setup_once import (
    SetupError,
    ignore_hangup,
    once,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "steps": {"type": "str", "required": True, "no_log": True},
            "prefix": {"type": "list", "elements": "str", "default": []},
            "directory": {"type": "path", "required": True},
            "lock": {"type": "path", "required": True},
            "mark": {"type": "path", "required": True},
            "label": {"type": "str", "default": ""},
            "timeout": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        steps = json.loads(wanted["steps"])
    except ValueError:
        steps = None
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        module.fail_json(msg="steps is not the JSON of a list of texts: write them with the filter to_json")
    if module.check_mode:
        module.exit_json(changed=not os.path.lexists(wanted["mark"]), busy=False, holder="", output=[])
    ignore_hangup()
    try:
        result = once(
            steps,
            prefix=wanted["prefix"],
            directory=wanted["directory"],
            lock=wanted["lock"],
            mark=wanted["mark"],
            timeout=wanted["timeout"],
            label=wanted["label"],
        )
    except SetupError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}: lock and mark need a directory that is there")
    holder = " since ".join(part for part in result.busy or () if part)
    module.exit_json(changed=result.ran, busy=result.busy is not None, holder=holder, output=list(result.output))


if __name__ == "__main__":
    main()
