#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: broker_status
short_description: Queues, consumers and nodes as RabbitMQ sees them
version_added: 0.1.0
author:
  - The taskfleet developers (@taskfleet)
description:
  - Reads RabbitMQ's management API, five requests over one connection. It changes nothing and judges nothing.
  - An API that does not answer does not fail the task, see RV(answered).
options:
  url:
    description: Address of the management API, always https.
    type: str
    required: true
  ca_file:
    description: File on the host with the authorities that the API's certificate is verified against.
    type: path
    required: true
  server_name:
    description: The name that the API's certificate must have. Without it, the host of O(url).
    type: str
    default: ""
  username:
    description: User that may read the API.
    type: str
    required: true
  password:
    description: Its password.
    type: str
    required: true
  vhost:
    description: Virtual host of the cluster.
    type: str
    required: true
  queues:
    description: Names of the queues to tell of.
    type: list
    elements: str
    required: true
  timeout:
    description: Seconds that each answer may take.
    type: float
    default: 5
attributes:
  check_mode:
    description: The module never changes anything and runs in check mode as well.
    support: full
  diff_mode:
    description: Nothing is changed.
    support: none
"""

EXAMPLES = r"""
- name: See the queues as the broker does
  taskfleet.celery_cluster.broker_status:
    url: https://127.0.0.1:15671
    ca_file: /etc/rabbitmq/tls/ca.pem
    server_name: shop-broker
    username: shop-admin
    password: "{{ admin_password }}"
    vhost: shop
    queues: [celery, shop.dead]
  register: seen
"""

RETURN = r"""
answered:
  description: Whether the API answered.
  returned: always
  type: bool
  sample: true
why:
  description: Why not. Empty when it did.
  returned: always
  type: str
  sample: ""
vhost:
  description: Whether there is the virtual host.
  returned: when it answered
  type: bool
  sample: true
queues:
  description:
    - Queue to what is in it. C(age) is about how long its oldest message has waited, C(at_least) that it is longer.
    - C(before) is its length at the beginning of the last C(window) seconds, C(recent) that of two minutes ago.
  returned: when it answered
  type: dict
  sample: {celery: {ready: 3, unacknowledged: 4, in_rate: 1.5, out_rate: 1.5, age: 2.0, at_least: false}}
consumers:
  description: The queue of each consumer, and the address and port of the worker's end of its connection.
  returned: when it answered
  type: list
  elements: dict
  sample: [{queue: celery, host: 192.0.2.11, port: 40112}]
channels:
  description: Connections that hold messages, and how many.
  returned: when it answered
  type: list
  elements: dict
  sample: [{host: 192.0.2.11, port: 40112, unacknowledged: 4}]
plaintext:
  description: Connections without TLS.
  returned: when it answered
  type: list
  elements: dict
  sample: []
members:
  description: The nodes of the broker's cluster.
  returned: when it answered
  type: list
  elements: str
  sample: [rabbit@mq1]
running:
  description: Those that run.
  returned: when it answered
  type: list
  elements: str
  sample: [rabbit@mq1]
alarms:
  description: Alarms that block publishers.
  returned: when it answered
  type: list
  elements: str
  sample: ["rabbit@mq1: disk"]
partitions:
  description: Nodes that are cut off from each other.
  returned: when it answered
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import status_broker
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_api import ApiError, ManagementApi


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "ca_file": {"type": "path", "required": True},
            "server_name": {"type": "str", "default": ""},
            "username": {"type": "str", "required": True},
            "password": {"type": "str", "required": True, "no_log": True},
            "vhost": {"type": "str", "required": True},
            "queues": {"type": "list", "elements": "str", "required": True},
            "timeout": {"type": "float", "default": 5},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        api = ManagementApi(
            given["url"],
            given["ca_file"],
            given["username"],
            given["password"],
            timeout=given["timeout"],
            server_name=given["server_name"],
        )
        seen = status_broker.look(api, given["vhost"], given["queues"])
        api.close()
    except ApiError as error:
        module.exit_json(changed=False, answered=False, why=str(error))
    module.exit_json(changed=False, answered=True, why="", **seen)


if __name__ == "__main__":
    main()
