#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_definitions
short_description: Bring RabbitMQ's vhosts, users and permissions to a stated condition
version_added: 0.1.0
author:
  - The taskfleet developers (@taskfleet)
description:
  - Reads the definitions of a broker once over its management API and changes only what differs.
  - Compares passwords with the stored hash, so that an unchanged password is no change and needs no login.
  - Users and vhosts that are not named are never touched. Of a named user, permissions that are not listed are removed.
  - The certificate of the broker is always verified. Proxies of the environment are not used.
options:
  url:
    description: Address of the management API.
    type: str
    required: true
  ca_file:
    description: File with the certificate authorities that the broker's certificate is verified against.
    type: path
    required: true
  username:
    description: User to log in as. It needs the tag C(administrator).
    type: str
    required: true
  password:
    description: Password of O(username).
    type: str
    required: true
  vhosts:
    description: Vhosts that must exist.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the vhost.
        type: str
        required: true
  users:
    description: Users that must exist, exactly as stated here.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      password:
        description: Password of the user. Only its hash is sent.
        type: str
        required: true
      tags:
        description: Tags of the user, for example V(monitoring).
        type: list
        elements: str
        default: []
      permissions:
        description: The complete permissions of the user, at most one entry for each vhost.
        type: list
        elements: dict
        default: []
        suboptions:
          vhost:
            description: Vhost the permissions apply to.
            type: str
            required: true
          configure:
            description: Regular expression of the names the user may declare and delete.
            type: str
            required: true
          write:
            description: Regular expression of the names the user may write to.
            type: str
            required: true
          read:
            description: Regular expression of the names the user may read from.
            type: str
            required: true
  absent_users:
    description: Users that must not exist.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait for the answer to one request.
    type: float
    default: 10
  ready_timeout:
    description: Seconds to wait until the API answers at all, for example after a start of the broker.
    type: float
    default: 0
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns what changes, of passwords only that they change.
    support: full
"""

EXAMPLES = r"""
- name: Give the cluster its vhost and identities
  taskfleet.celery_cluster.rabbitmq_definitions:
    url: https://192.0.2.10:15671
    ca_file: /opt/celery/config/ca.pem
    username: celery-admin
    password: "{{ rabbitmq_admin_password }}"
    ready_timeout: 60
    vhosts:
      - name: celery
    users:
      - name: celery-worker
        password: "{{ rabbitmq_worker_password }}"
        permissions:
          - vhost: celery
            configure: ^(video)$
            write: ^(video|amq\.default)$
            read: ^(video)$
    absent_users: [guest]
"""

RETURN = r"""
operations:
  description: What was changed, or would be in check mode, in this order.
  returned: success
  type: list
  elements: str
  sample: [delete user guest, create vhost celery]
rabbitmq_version:
  description: Version of the broker.
  returned: success
  type: str
  sample: 3.10.8
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq import (
    ApiError,
    Desired,
    ManagementApi,
    Operation,
    diff,
    plan,
    problems,
)

ARGUMENTS = {
    "url": {"type": "str", "required": True},
    "ca_file": {"type": "path", "required": True},
    "username": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "vhosts": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"name": {"type": "str", "required": True}},
    },
    "users": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "tags": {"type": "list", "elements": "str", "default": []},
            "permissions": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "vhost": {"type": "str", "required": True},
                    "configure": {"type": "str", "required": True},
                    "write": {"type": "str", "required": True},
                    "read": {"type": "str", "required": True},
                },
            },
        },
    },
    "absent_users": {"type": "list", "elements": "str", "default": []},
    "timeout": {"type": "float", "default": 10},
    "ready_timeout": {"type": "float", "default": 0},
}


def run(module: AnsibleModule, done: list[Operation]) -> dict[str, object]:
    """Read, compare, apply. What was applied is added to done at once: a failure must be able to tell it."""
    options = module.params
    desired = Desired([vhost["name"] for vhost in options["vhosts"]], options["users"], options["absent_users"])
    wrong = problems(desired, options["username"])
    if wrong:
        raise ApiError("\n".join(wrong))
    api = ManagementApi(
        options["url"],
        options["ca_file"],
        options["username"],
        options["password"],
        options["timeout"],
        options["ready_timeout"],
    )
    try:
        current = api.definitions()
        wrong = problems(desired, options["username"], current.vhosts)
        if wrong:
            raise ApiError("\n".join(wrong))
        operations = plan(current, desired, options["username"])
        if not module.check_mode:
            for operation in operations:
                api.apply(operation)
                done.append(operation)
    finally:
        api.close()
    return {
        "changed": bool(operations),
        "operations": [operation.text for operation in operations],
        "rabbitmq_version": current.version,
        "diff": diff(current, desired),
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    done: list[Operation] = []
    try:
        result = run(module, done)
    except ApiError as error:
        module.fail_json(msg=str(error), changed=bool(done), operations=[operation.text for operation in done])
    else:
        module.exit_json(**result)


if __name__ == "__main__":
    main()
