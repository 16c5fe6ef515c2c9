#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A revision of a git repository as a directory."""

from __future__ import annotations

DOCUMENTATION = r"""
module: git_tree
short_description: Get the tree of a git revision as a directory
version_added: 0.1.0
description:
  - Fetches a repository into a cache, finds the commit that a branch, a tag or a commit's name means now, and writes
    its files, without C(.git), into a directory of this commit.
  - Runs on the controller (C(delegate_to)), as the operator, whose keys, C(known_hosts), credential helpers and
    C(git) configuration it uses. It never asks a question.
  - Files are what a checkout would write, C(export-ignore) has no effect. They are read-only, and their times follow
    from their content, so that C(rsync) knows an unchanged file of another commit.
  - A repository with submodules is refused, and so is a file of git LFS that came as its pointer.
  - A working copy whose checked out commit is the wanted one must have no changes that are in no commit.
  - P(ansible.builtin.git#module) is not used, because it keeps one checkout per directory, which two runs with two
    revisions would disturb, and gives each file the time of the run.
author:
  - The taskfleet developers (@taskfleet)
options:
  repository:
    description: URL, or absolute path, of the repository.
    type: str
    required: true
  revision:
    description:
      - Branch, tag or commit. V(refs/heads/NAME) and V(refs/tags/NAME) tell a branch and a tag of one name apart.
      - A whole name of a commit that is in the cache is not looked for on the network.
    type: str
    required: true
  cache:
    description: Directory for repositories and trees.
    type: path
    required: true
  keep:
    description: Number of trees kept. Younger ones, read within a day, are kept too.
    type: int
    default: 3
  timeout:
    description: Seconds for all of it.
    type: int
    default: 600
attributes:
  check_mode:
    description: Does the same as otherwise, and never reports a change. Nothing but the cache is written.
    support: full
"""

EXAMPLES = r"""
- name: Get the code of the release
  taskfleet.celery_cluster.git_tree:
    repository: git@git.example.com:shop/shop.git
    revision: v4.2.0
    cache: /var/cache/shop
  delegate_to: localhost
  become: false
  run_once: true
  register: __code_git
"""

RETURN = r"""
commit:
  description: Whole name of the commit.
  returned: success
  type: str
  sample: 1f7d0c3a9ac0d4f1a8cb8fd8b0c3c5f5a0f6b7c8
path:
  description: The directory with its files.
  returned: success
  type: str
  sample: /var/cache/shop/0f343b0931126a20/1f7d0c3a9ac0d4f1a8cb8fd8b0c3c5f5a0f6b7c8/tree
made:
  description: Whether the directory was written by this call.
  returned: success
  type: bool
  sample: true
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.git_tree import GitError, tree


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "repository": {"type": "str", "required": True},
            "revision": {"type": "str", "required": True},
            "cache": {"type": "path", "required": True},
            "keep": {"type": "int", "default": 3},
            "timeout": {"type": "int", "default": 600},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        result = tree(
            wanted["repository"],
            wanted["revision"],
            wanted["cache"],
            keep=wanted["keep"],
            timeout=wanted["timeout"],
        )
    except GitError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename}: {error.strerror}: the controller must be able to write its cache there"
        )
    module.exit_json(changed=False, **result._asdict())


if __name__ == "__main__":
    main()
