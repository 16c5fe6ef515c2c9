#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write down what a full run left on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_receipt
short_description: Keep the receipt of a run on a host
version_added: 0.1.0
description:
  - At the end of a run it writes down, in one file that only root reads, what the run was made of and the state of
    everything on the host that belongs to the collection. M(taskfleet.celery_cluster.host_facts) says later whether all
    of this is still as it was.
  - Of a path it keeps type, mode, owner, group, size, times, inode and link target.
author:
  - The taskfleet developers (@taskfleet)
options:
  path:
    description: Where the receipt is.
    type: path
    required: true
  state:
    description:
      - V(present) writes the receipt anew.
      - V(absent) takes it away.
    type: str
    choices: [present, absent]
    default: present
  inputs:
    description: What the run was made of, name to digest. Kept as it is, for O(state=present).
    type: dict
    default: {}
  owned:
    description:
      - What belongs to the collection on this host, for O(state=present). A receipt is compared by its own list.
      - C(files), C(directories), C(below), C(globs), C(trees) and C(forests) are paths; see the source of
        C(module_utils/owned.py) for how deep each is looked at. C(units), C(packages), C(accounts) are names and
        patterns, C(ports) are numbers.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Writes and removes nothing.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Write down what there is
  taskfleet.celery_cluster.host_receipt:
    path: /etc/shop-cluster/receipt.json
    state: present
    inputs: {celery_workers: 5f2c}
    owned: {files: [/etc/shop.conf], units: [shop.target, "shop-worker-*@*.service"], packages: [rsync]}
"""

RETURN = r"""# """

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.owned import observe, runner
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.receipt import write


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "inputs": {"type": "dict", "default": {}},
            "owned": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    options = module.params
    path = Path(options["path"])
    try:
        if options["state"] == "present" and not module.check_mode:
            write(path, options["inputs"], options["owned"], observe(options["owned"], runner(module)))
        # What is no file never counts.
        if options["state"] == "absent" and not module.check_mode and (path.is_file() or path.is_symlink()):
            path.unlink()
    except (OSError, RuntimeError, ValueError) as error:
        module.fail_json(msg=f"{path}: {error}")
    # It is a note about the run, and no part of what the run is for: it counts as no change.
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
