#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The releases and environments that nobody needs any more go."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_prune
short_description: Remove releases and environments that nobody needs
version_added: 0.1.0
description:
  - Removes all releases but the newest ones, those in O(kept) and those that have services, with what they ran with.
  - Removes environments that no release has. While another run makes one, they stay for the next time.
author:
  - The taskfleet developers (@taskfleet)
options:
  root:
    description: The C(celery_root) of the cluster.
    type: path
    required: true
  config:
    description: Where the settings of the releases are.
    type: path
    required: true
  kept:
    description: Releases that stay, whatever their age.
    type: list
    elements: str
    required: true
  keep:
    description: How many releases stay in all.
    type: int
    required: true
  services:
    description: Pattern of the services whose instances are releases.
    type: str
    required: true
  known_files:
    description: Where digests of files are kept, see M(taskfleet.celery_cluster.tree_manifest).
    type: path
    required: true
attributes:
  check_mode:
    description: Removes nothing, and says what it would remove.
    support: full
"""

EXAMPLES = r"""
- name: Remove the releases nobody needs
  taskfleet.celery_cluster.release_prune:
    root: /opt/shop
    config: /opt/shop/config
    kept: [4f2c0d1e9a7b, 1b9e77d04c21]
    keep: 3
    services: shop-*@*.service
    known_files: /var/cache/shop-cluster
"""

RETURN = r"""
releases:
  description: The releases that went.
  returned: success
  type: list
  elements: str
links:
  description: Names of such releases that went.
  returned: success
  type: list
  elements: str
environments:
  description: The environments that went.
  returned: success
  type: list
  elements: str
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.releases import prune


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "config": {"type": "path", "required": True},
            "kept": {"type": "list", "elements": "str", "required": True},
            "keep": {"type": "int", "required": True},
            "services": {"type": "str", "required": True},
            "known_files": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    listed = ["list-units", "--plain", "--no-legend", "--full", given["services"]]
    rc, out, err = module.run_command(["systemctl", *listed], environ_update={"LC_ALL": "C"})
    if rc:
        module.fail_json(msg=f"systemctl does not list services: {(err or out).strip()}")
    try:
        removed = prune(
            given["root"],
            given["config"],
            given["kept"],
            given["keep"],
            [line.split()[0] for line in out.splitlines() if line.strip()],
            given["known_files"],
            module.check_mode,
        )
    except OSError as error:
        module.fail_json(msg=f"{error}: it is removed by the next run")
    module.exit_json(changed=any(removed), **removed._asdict())


if __name__ == "__main__":
    main()
