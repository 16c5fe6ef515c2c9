#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host has of the cluster's releases, in one look."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_state
short_description: Look at the releases of a host
version_added: 0.1.0
description:
  - Says whether a release is there and is what it was when it was made, which releases are switched on, which services
    still stop, and whether an interpreter runs.
  - The code of a complete release is compared with its manifest, and its environment with what was installed.
author:
  - The taskfleet developers (@taskfleet)
options:
  root:
    description: The C(celery_root) of the cluster.
    type: path
    required: true
  release:
    description: Identifier of the release. Empty asks about none.
    type: str
    default: ""
  known_files:
    description: Where digests of files are kept, see M(taskfleet.celery_cluster.tree_manifest).
    type: path
    required: true
  python:
    description: An interpreter to run. Empty runs none.
    type: str
    default: ""
  account:
    description: The account that must be able to run the interpreter of a complete release.
    type: str
    default: ""
  stopping:
    description: Pattern of the services to look for that still finish their tasks. Empty looks for none.
    type: str
    default: ""
  paths:
    description: Files or directories to look for.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: The module never changes anything. Without check mode, it writes O(known_files).
    support: full
"""

EXAMPLES = r"""
- name: Look at the release
  taskfleet.celery_cluster.release_state:
    root: /opt/shop
    release: 4f2c0d1e9a7b
    known_files: /var/cache/shop-cluster
  register: __code_state
"""

RETURN = r"""
release:
  description: The release that was asked for.
  returned: success
  type: str
complete:
  description: Whether the release is there, made to its end.
  returned: success
  type: bool
altered:
  description: What of a complete release is not what it was when it was made.
  returned: success
  type: str
links:
  description: The links to releases, by name.
  returned: success
  type: dict
  sample: {current: 4f2c0d1e9a7b, previous: 1b9e77d04c21}
current_code:
  description: The code of the release that is switched on. Empty when none is.
  returned: success
  type: str
interpreter_problem:
  description: Why O(python) does not run.
  returned: success
  type: str
account_problem:
  description: Why O(account) cannot run the interpreter of the release.
  returned: success
  type: str
stopping:
  description: The services that still stop.
  returned: success
  type: list
  elements: str
there:
  description: Those of O(paths) that exist.
  returned: success
  type: list
  elements: str
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.releases import look


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "root": {"type": "path", "required": True},
            "release": {"type": "str", "default": ""},
            "known_files": {"type": "path", "required": True},
            "python": {"type": "str", "default": ""},
            "account": {"type": "str", "default": ""},
            "stopping": {"type": "str", "default": ""},
            "paths": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    state = look(given["root"], given["release"], given["known_files"], keep=not module.check_mode)

    def problem(argv: list[str]) -> str:
        try:
            rc, out, err = module.run_command(argv, handle_exceptions=False)
        except OSError as error:
            return str(error)
        return (err or out).strip() or f"exit code {rc}" if rc else ""

    account_problem = ""
    if state.complete and given["account"]:
        account, python = given["account"], f"{given['root']}/releases/{given['release']}/venv/bin/python"
        argv = ["setpriv", f"--reuid={account}", f"--regid={account}", "--init-groups", "--", "test", "-x", python]
        account_problem = problem(argv)
    stopping: list[str] = []
    if given["stopping"]:
        listed = ["list-units", "--plain", "--no-legend", "--full", "--state=deactivating", given["stopping"]]
        rc, out, err = module.run_command(["systemctl", *listed], environ_update={"LC_ALL": "C"})
        if rc:
            module.fail_json(msg=f"systemctl does not list services: {(err or out).strip()}")
        stopping = [line.split()[0] for line in out.splitlines() if line.strip()]
    module.exit_json(
        changed=False,
        release=given["release"],
        complete=state.complete,
        altered=state.changed,
        links=state.links,
        current_code=state.current_code,
        interpreter_problem=problem([given["python"], "-c", "pass"]) if given["python"] else "",
        account_problem=account_problem,
        stopping=stopping,
        there=[path for path in given["paths"] if os.path.lexists(path)],
    )


if __name__ == "__main__":
    main()
