#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Code and environment of a release, and the application imported from it, in one run."""

from __future__ import annotations

DOCUMENTATION = r"""
module: release_make
short_description: Make a release of an application on a host
version_added: 0.1.0
description:
  - Fetches the tree beside the release that runs, compares it with its manifest, gives it an environment and tries it.
    Nothing is switched on, and what runs is not touched.
  - Files that did not change are shared with the release that runs, and are not read again.
  - An environment is made once per list of packages, interpreter and index, below C(environments), and is shared by all
    releases that have these. One with a part of the tree in it, such as a local package, belongs to its release.
author:
  - The taskfleet developers (@taskfleet)
options:
  state:
    description: V(begun) only prepares for a tree that is copied by other means, which V(made) takes as it is.
    type: str
    choices: [made, begun]
    default: made
  root:
    description: The C(celery_root) of the cluster.
    type: path
    required: true
  release:
    description: Identifier of the release.
    type: str
    required: true
  account:
    description: The account that builds packages.
    type: str
    required: true
  known_files:
    description: Where digests of files are kept, see M(taskfleet.celery_cluster.tree_manifest).
    type: path
    required: true
  manifest:
    description: The digest of the tree.
    type: str
    default: ""
  files:
    description: How many files the tree has, for messages.
    type: int
    default: 0
  source:
    description: Where the tree comes from, for messages.
    type: str
    default: ""
  host:
    description: The name of the host, for messages.
    type: str
    default: this host
  rsync:
    description: The command that copies the tree, without source and target. Empty when it is there already.
    type: list
    elements: str
    default: []
  rsync_source:
    description: The source for O(rsync).
    type: str
    default: ""
  environment:
    description: V(build) makes the environment. V(sync) takes the one in the tree at O(environment_path).
    type: str
    choices: [build, sync]
    default: build
  environment_path:
    description: Where in the tree the environment is.
    type: str
    default: .venv
  packages:
    description: What the environment is made of.
    type: dict
    suboptions:
      python:
        description: The interpreter.
        type: path
        required: true
      way:
        description: How packages are named, by C(uv.lock), by a requirements file, or not at all.
        type: str
        choices: [lock, requirements, none]
        required: true
      requirements:
        description: The file that names them, relative to the tree.
        type: str
        default: ""
      extra:
        description: Requirements installed after them.
        type: list
        elements: str
        default: []
      constraints:
        description: What builds of packages without a wheel are bound to.
        type: list
        elements: str
        default: []
      index_url:
        description: URL of the package index. It must hold no login.
        type: str
        default: ""
      edition:
        description: Another text makes another environment of the same packages.
        type: str
        default: ""
  uv:
    description: The program C(uv).
    type: path
    default: uv
  variables:
    description: Environment variables for O(uv). No secrets.
    type: dict
    default: {}
  try_command:
    description: A command that imports the application and prints the versions of Celery and kombu as its last line.
    type: list
    elements: str
    default: []
  application:
    description: What O(try_command) imports, for messages.
    type: str
    default: ""
attributes:
  check_mode:
    description: Makes nothing, and says that it would.
    support: full
"""

EXAMPLES = r"""
- name: Make the release
  taskfleet.celery_cluster.release_make:
    root: /opt/shop
    release: 4f2c0d1e9a7b
    account: shop-build
    known_files: /var/cache/shop-cluster
    manifest: 6c1f4f8b0b6b7b0f0a9f3f0c5d3f9a1c2e4d5b6a798897a6b5c4d3e2f1009f8e
    rsync: [rsync, --recursive, --links, --perms, --times, --delete]
    rsync_source: /srv/shop/
    packages: {python: /usr/bin/python3, way: lock, requirements: uv.lock}
"""

RETURN = r"""
directory:
  description: The directory of the release.
  returned: success
  type: str
share:
  description: The tree whose files the release can share. Empty when there is none.
  returned: success
  type: str
intact:
  description: Whether that tree is what was deployed. If not, its files are compared by content, not by size and time.
  returned: when begun
  type: bool
environment:
  description: The environment of the release.
  returned: when made
  type: str
environment_made:
  description: Whether it had to be made.
  returned: when made
  type: bool
environment_local:
  description: Why no other release can have it. Empty when others can.
  returned: when made
  type: str
versions:
  description: The last line of O(try_command).
  returned: when made
  type: str
"""

import grp
import pwd
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.environments import (
    Environments,
    Found,
    Packages,
    PackagesError,
    Tools,
    synchronised,
)
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.manifest import ManifestError
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.release_make import (
    ReleaseError,
    Releases,
    Tree,
    directory_of,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["made", "begun"], "default": "made"},
            "root": {"type": "path", "required": True},
            "release": {"type": "str", "required": True},
            "account": {"type": "str", "required": True},
            "known_files": {"type": "path", "required": True},
            "manifest": {"type": "str", "default": ""},
            "files": {"type": "int", "default": 0},
            "source": {"type": "str", "default": ""},
            "host": {"type": "str", "default": "this host"},
            "rsync": {"type": "list", "elements": "str", "default": []},
            "rsync_source": {"type": "str", "default": ""},
            "environment": {"type": "str", "choices": ["build", "sync"], "default": "build"},
            "environment_path": {"type": "str", "default": ".venv"},
            "packages": {
                "type": "dict",
                "options": {
                    "python": {"type": "path", "required": True},
                    "way": {"type": "str", "choices": ["lock", "requirements", "none"], "required": True},
                    "requirements": {"type": "str", "default": ""},
                    "extra": {"type": "list", "elements": "str", "default": []},
                    "constraints": {"type": "list", "elements": "str", "default": []},
                    "index_url": {"type": "str", "default": ""},
                    "edition": {"type": "str", "default": ""},
                },
            },
            "uv": {"type": "path", "default": "uv"},
            "variables": {"type": "dict", "default": {}},
            "try_command": {"type": "list", "elements": "str", "default": []},
            "application": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    if module.check_mode:
        module.exit_json(changed=True, directory=f"{given['root']}/releases/{given['release']}", share="")

    def run(
        argv: Sequence[str],
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> tuple[int, str, str]:
        options: dict[str, Any] = {"cwd": cwd, "environ_update": dict(env or {}), "errors": "backslashreplace"}
        # Words mean what they say: a pattern may begin with ~ or have a $.
        options["expand_user_and_vars"] = False
        try:
            rc, out, err = module.run_command(
                list(argv), handle_exceptions=False, pass_fds=list(pass_fds) or None, **options
            )
        except OSError as error:
            return 127, "", str(error)
        return rc, out, err

    account = pwd.getpwnam(given["account"])
    ids = account.pw_uid, grp.getgrnam(given["account"]).gr_gid
    releases = Releases(given["root"], given["known_files"], run)
    try:
        directory = directory_of(given["root"], given["release"], ids)
        if given["state"] == "begun":
            share, intact = releases.begin(directory)
            module.exit_json(changed=True, directory=str(directory), share=share, intact=intact)
        made = _make(given, directory, ids, releases, run)
        versions = _tried(given, run)
    except (ReleaseError, ManifestError, PackagesError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=True,
        directory=str(directory),
        share="",
        environment=made.path,
        environment_made=made.made,
        environment_local=made.local,
        versions=versions,
    )


def _make(given: dict[str, Any], directory: Path, ids: tuple[int, int], releases: Releases, run: Any) -> Found:
    tree = Tree(
        given["manifest"], given["files"], given["source"], given["host"], given["rsync"], given["rsync_source"]
    )
    releases.fetch(directory, tree)
    if given["environment"] == "sync":
        return synchronised(directory, given["environment_path"], run)
    tools = Tools(given["uv"], given["account"], ids, given["variables"])
    packages = Packages(**given["packages"])
    try:
        return Environments(given["root"], tools, run, given["known_files"]).provide(given["release"], packages)
    except PackagesError as error:
        named = [name for name in (packages.requirements, "code_extra_packages" if packages.extra else "") if name]
        raise ReleaseError(
            f"The packages of release {given['release']} cannot be installed on {given['host']}: {error}. Mend "
            f"{' or '.join(named) or 'code_extra_packages'}, or say where the packages are (code_index_url, "
            "celery_extra_trust_anchors) and who may read them (code_index_username). What ran before keeps running."
        ) from error


def _tried(given: dict[str, Any], run: Any) -> str:
    if not given["try_command"]:
        return ""
    rc, out, err = run(given["try_command"])
    if rc == 1:
        raise ReleaseError(
            f"celery_app is {given['application']}, and release {given['release']} cannot import it on "
            f"{given['host']}: {''.join(err.splitlines()[-1:])}. Mend the code, its requirements or celery_app; "
            f'`celery-run --next --release {given["release"]} python -c "import celery_agent"` shows the whole '
            "traceback. What ran before keeps running."
        )
    if rc:
        raise ReleaseError(f"{given['try_command'][0]} ended with {rc}: {(err or out).strip()}")
    return str(out.splitlines()[-1]) if out.strip() else ""


if __name__ == "__main__":
    main()
