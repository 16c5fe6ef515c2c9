#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories, files and links of a role in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_files
short_description: Place directories, files and links in one round trip
description:
  - Makes the listed directories, files and links exist with content, owner, group and mode, in the given order.
  - One call costs one round trip, where a loop over C(copy), C(template) and C(file) costs one per item.
  - A file appears complete, with its final owner and mode, or not at all.
author:
  - The taskfleet developers (@taskfleet)
version_added: 0.1.0
options:
  entries:
    description: What shall exist.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      state:
        description: Kind of the entry, or C(absent).
        type: str
        choices: [file, directory, link, absent]
        default: file
      content:
        description: Text of a file.
        type: str
      parts:
        description: Files of this host whose contents, one after the other, are the content.
        type: list
        elements: path
      src:
        description: Target of a link.
        type: str
      owner:
        description: Name of the owner.
        type: str
        default: root
      group:
        description: Name of the group. The default is the name of the owner.
        type: str
      mode:
        description:
          - Permissions in octal, quoted and with a leading 0.
          - The default is V(0755) for a directory and V(0644) for a file.
        type: str
      secret:
        description: Whether the content stays out of the diff. Add C(no_log) to the task for secret content.
        type: bool
        default: false
attributes:
  check_mode:
    description: Reports what would change. A part, owner or group that does not exist yet counts as a change.
    support: full
  diff_mode:
    description: Shows the content of files that are not secret.
    support: full
"""

EXAMPLES = r"""
- name: Place the configuration
  taskfleet.celery_cluster.host_files:
    entries:
      - {path: /etc/shop, state: directory, group: shop, mode: "0750"}
      - {path: /etc/shop/shop.conf, content: "a = 1\n", group: shop, mode: "0640"}
      - {path: /etc/shop/trust.pem, parts: [/etc/ssl/certs/ca-certificates.crt, /etc/shop/ca.pem]}
"""

RETURN = r"""
paths:
  description: Paths that were changed, or would be in check mode.
  returned: always
  type: list
  elements: str
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.host_files import Entry, FileError, apply


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "entries": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "state": {"type": "str", "choices": ["file", "directory", "link", "absent"], "default": "file"},
                    "content": {"type": "str"},
                    "parts": {"type": "list", "elements": "path"},
                    "src": {"type": "str"},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str"},
                    "mode": {"type": "str"},
                    "secret": {"type": "bool", "default": False},
                },
                "mutually_exclusive": [["content", "parts"]],
                "required_if": [["state", "link", ["src"]], ["state", "file", ["content", "parts"], True]],
            },
        },
        supports_check_mode=True,
    )
    # Files that are created before their mode is set are nobody else's business.
    os.umask(0o077)
    paths: list[str] = []
    diffs: list[dict[str, str]] = []
    planned: dict[str, bytes | None] = {}
    for options in module.params["entries"]:
        try:
            entry = Entry(options)
            before_after = apply(entry, module.check_mode, planned)
        except (FileError, OSError, ValueError) as error:
            module.fail_json(msg=f"{options['path']}: {error}", changed=bool(paths), paths=paths)
        if before_after is not None:
            paths.append(str(entry.path))
            before, after = before_after
            header = f"{entry.path} ({entry.state})"
            diffs.append({"before": before, "after": after, "before_header": header, "after_header": header})
    module.exit_json(changed=bool(paths), paths=paths, diff=diffs)


if __name__ == "__main__":
    main()
