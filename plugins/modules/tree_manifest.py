#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: tree_manifest
short_description: Compute one digest for a directory tree
version_added: 0.1.0
description:
  - Reads a directory tree and returns one digest for it, so that the same code on several hosts can be compared.
  - The digest covers every relative path, its type, whether anybody may execute a file, the content of files and
    the target of symbolic links. Times, owners, other permissions, extended attributes and which names are hard links
    of one file are left out.
  - With O(exclude) it covers exactly what C(rsync -rlpt --exclude=PATTERN ... SRC/ DEST/) copies. The digest of
    that copy, computed without O(exclude), is the same.
  - Empty directories count. Sockets, FIFOs and devices do not, as rsync skips them.
  - Names are bytes. They need not be UTF-8.
author:
  - The taskfleet developers (@taskfleet)
options:
  path:
    description:
      - The directory to read. It may be a symbolic link to a directory; links below it are not followed.
    type: path
    required: true
  exclude:
    description:
      - Patterns of what is left out, with the meaning rsync gives them.
      - A pattern without slash matches a name at any depth, V(__pycache__) or V(*.pyc).
      - A leading slash anchors the pattern at O(path), V(/static/cache).
      - A slash in the middle without a leading one matches these components in a row at any depth,
        V(node_modules/.cache).
      - A trailing slash matches directories only, V(build/). A symbolic link to a directory is not a directory.
      - An excluded directory is left out with everything below it.
      - V(*), V(?) and sets such as V([abc]), V([a-z]) or V([!a-z]) match within one component, never a slash,
        and byte by byte.
      - Refused, because they would mean something else to rsync or are not supported, are V(**), a backslash,
        character classes such as V([[:alpha:]]), and the prefixes V(+ ) and V(- ).
    type: list
    elements: str
    default: []
  known_files:
    description:
      - A directory in which the digests of files are kept for the next time. A file is read again
        when its inode, size, modification time or change time is another one. Nobody can put back the change time.
      - It is made where it is missing, for its owner alone. One that others can write to, or that lies in the tree, is
        not used. Without it all files are read each time.
    type: path
attributes:
  check_mode:
    description: The module never changes anything. Without check mode, it writes O(known_files).
    support: full
"""

EXAMPLES = r"""
- name: Read the code on the source host
  taskfleet.celery_cluster.tree_manifest:
    path: /srv/shop
    exclude: [.git/, __pycache__/, "*.pyc", /media]
  register: __code_source

- name: Refuse a release that differs from its source
  taskfleet.celery_cluster.tree_manifest:
    path: /opt/celery/releases/4f2c/code
  register: __code_release
  failed_when: __code_release.digest != __code_source.digest
"""

RETURN = r"""
digest:
  description: SHA-256 of the tree, in hexadecimal.
  returned: success
  type: str
  sample: 6c1f4f8b0b6b7b0f0a9f3f0c5d3f9a1c2e4d5b6a798897a6b5c4d3e2f1009f8e
files:
  description: Number of regular files.
  returned: success
  type: int
  sample: 1204
directories:
  description: Number of directories below O(path).
  returned: success
  type: int
  sample: 88
symlinks:
  description: Number of symbolic links.
  returned: success
  type: int
  sample: 3
skipped:
  description: Number of sockets, FIFOs and devices, which are not part of the digest.
  returned: success
  type: int
  sample: 0
bytes:
  description: Sum of the sizes of the regular files.
  returned: success
  type: int
  sample: 7340032
newest:
  description: Modification time of the newest regular file in seconds since the epoch, V(0) when there is none.
  returned: success
  type: float
  sample: 1795230000.25
newest_path:
  description: Path of the newest file relative to O(path). Bytes that are not UTF-8 are written like V(\\xff).
  returned: success
  type: str
  sample: shop/settings.py
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.manifest import (
    ManifestError,
    build,
    build_with_store,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "exclude": {"type": "list", "elements": "str", "default": []},
            "known_files": {"type": "path"},
        },
        supports_check_mode=True,
    )
    try:
        path, exclude, known_files = (module.params[name] for name in ("path", "exclude", "known_files"))
        manifest = (
            build_with_store(path, exclude, known_files, not module.check_mode) if known_files else build(path, exclude)
        )
    except ManifestError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **manifest._asdict())


if __name__ == "__main__":
    main()
