#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One site of nginx, which nginx accepts or which is not there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nginx_site
short_description: Have nginx serve one file of configuration
description:
  - Writes the file, has nginx test it, and puts back what was there when nginx refuses it. The service goes
    on meanwhile.
  - Starts and enables nginx, or has it load the file and what else it reads when one of them changed since it last did.
    It is never restarted.
  - A reload that nginx did not follow fails the task.
author:
  - The taskfleet developers (@taskfleet)
version_added: 0.1.0
options:
  path:
    description: The file, in a directory that nginx's configuration includes.
    type: path
    required: true
  content:
    description: Its text. Needed unless O(state=absent).
    type: str
  state:
    description: Whether the site is there.
    type: str
    choices: [present, absent]
    default: present
  depends_on:
    description: Files that the site reads, such as its certificate. A change of one of them is loaded as well.
    type: list
    elements: path
    default: []
  unit:
    description: The unit of nginx.
    type: str
    default: nginx.service
attributes:
  check_mode:
    description: Reports what would change, also before nginx is installed. Nothing is tested by nginx then.
    support: full
  diff_mode:
    description: Shows the content of the file.
    support: full
"""

EXAMPLES = r"""
- name: Serve Flower
  taskfleet.celery_cluster.nginx_site:
    path: /etc/nginx/conf.d/shop-flower.conf
    content: "{{ lookup('ansible.builtin.template', 'nginx.conf.j2') }}"
    depends_on: [/etc/shop-cluster/tls/cert.pem, /etc/shop-cluster/tls/key.pem]
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.nginx_site import (
    Nginx,
    Ran,
    SiteError,
    absent,
    present,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "content": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "depends_on": {"type": "list", "elements": "path", "default": []},
            "unit": {"type": "str", "default": "nginx.service"},
        },
        required_if=[["state", "present", ["content"]]],
        supports_check_mode=True,
    )

    def run(command: list[str]) -> Ran:
        code, out, err = module.run_command(command)
        return int(code), str(out), str(err)

    options = module.params
    binary = module.get_bin_path("nginx", opt_dirs=["/usr/sbin", "/usr/local/sbin"]) or ""
    nginx, path = Nginx(run, binary, options["unit"]), Path(options["path"])
    wanted = options["content"] if options["state"] == "present" else ""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    os.umask(0o022)
    try:
        if options["state"] == "present":
            changed = present(nginx, path, wanted, options["depends_on"], module.check_mode)
        else:
            changed = absent(nginx, path, module.check_mode)
    except (SiteError, OSError) as error:
        module.fail_json(msg=f"{path}: {error}")
    diff = {"before": before, "after": wanted, "before_header": str(path), "after_header": str(path)}
    module.exit_json(changed=changed, path=str(path), diff=diff)


if __name__ == "__main__":
    main()
