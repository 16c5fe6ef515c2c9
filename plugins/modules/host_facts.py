#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run has to know of a host before it begins, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_facts
short_description: Gather facts, and compare the host with its receipt
version_added: 0.1.0
description:
  - Gathers facts as M(ansible.builtin.setup) does.
  - With O(receipt) it also says whether the host is as the last full run left it. One call per host for both, however
    much there is. A call is what a host costs a run in which nothing has changed.
  - A path counts as unchanged when its type, mode, owner, group, size, times, inode and link target are the same. The
    time of change cannot be set by hand, so that contents are not read.
  - Units are asked of systemd, packages of dpkg, both once for all of them.
author:
  - The taskfleet developers (@taskfleet)
options:
  gather_subset:
    description: Which facts, as M(ansible.builtin.setup) names them.
    type: list
    elements: str
    default: ["!all", "!min"]
  receipt:
    description:
      - The file that M(taskfleet.celery_cluster.host_receipt) has written.
      - When empty, nothing is compared.
    type: str
    default: ''
  max_age_hours:
    description: An older receipt does not count.
    type: float
    default: 24
attributes:
  check_mode:
    description: It only looks.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Gather what the roles need to know, and compare the host with its receipt
  taskfleet.celery_cluster.host_facts:
    gather_subset: ["!all", "!min", distribution, network]
    receipt: /etc/shop-cluster/receipt.json
  register: seen
"""

RETURN = r"""
ansible_facts:
  description: The facts.
  returned: success
  type: dict
found:
  description: Whether there is a file at all.
  returned: with O(receipt)
  type: bool
same:
  description: Whether the receipt counts and everything is as it was.
  returned: with O(receipt)
  type: bool
reasons:
  description: What is not as it was, what could not be looked at, or why the receipt does not count. The first hundred.
  returned: with O(receipt)
  type: list
  elements: str
inputs:
  description: What the run was made of. Empty when the receipt does not count.
  returned: with O(receipt)
  type: dict
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.facts import ansible_collector, default_collectors
from ansible.module_utils.facts.namespace import PrefixFactNamespace
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.owned import runner
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.receipt import compare


def facts(module: AnsibleModule, subset: list[str]) -> dict[str, Any]:
    collector = ansible_collector.get_ansible_collector(
        all_collector_classes=default_collectors.collectors,
        namespace=PrefixFactNamespace(namespace_name="ansible", prefix="ansible_"),
        gather_subset=subset,
    )
    return dict(collector.collect(module=module))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "gather_subset": {"type": "list", "elements": "str", "default": ["!all", "!min"]},
            "receipt": {"type": "str", "default": ""},
            "max_age_hours": {"type": "float", "default": 24},
        },
        supports_check_mode=True,
    )

    options = module.params
    found = facts(module, options["gather_subset"])
    seen = {}
    if options["receipt"]:
        seen = compare(Path(options["receipt"]), options["max_age_hours"], runner(module))
    module.exit_json(changed=False, ansible_facts=found, **seen)


if __name__ == "__main__":
    main()
