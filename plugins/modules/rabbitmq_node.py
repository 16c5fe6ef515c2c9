#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rabbitmq_node
short_description: Run a RabbitMQ node as a member of its cluster
version_added: 0.1.0
author:
  - The taskfleet developers (@taskfleet)
description:
  - Starts or restarts the node of this host, lets it join the cluster, lets it leave, and says how the cluster is.
  - A node is never reset to make it fit. One that belongs to another cluster, has another cookie, or is known to the
    others and knows nothing of them itself, is told with the command that mends it.
  - A restart waits until all other members run, no alarm stands and no quorum queue needs this node. Run it for one
    host after another (C(serial) 1).
  - An unchanged node is looked at through its files, systemd and the management API; no Erlang machine is started.
requirements:
  - rabbitmq-server as Debian packages it, on the managed host
options:
  node:
    description: Name of the node of this host, for example V(rabbit@mq1).
    type: str
    required: true
  nodes:
    description:
      - All nodes of the cluster, this one among them. The first is the one the others join when there is no cluster
        yet.
    type: list
    elements: dict
    required: true
    suboptions:
      node:
        description: Name of the node.
        type: str
        required: true
      url:
        description: Address of its management API as this host reaches it.
        type: str
        required: true
  state:
    description:
      - V(accepted) changes nothing and fails when the node cannot become, or stay, a member of this cluster.
      - V(started) starts it when it does not run, and never restarts it. One that is alone joins the others when these
        are a cluster already.
      - V(running) starts it, restarts it when its process is older than a file of O(depends_on), joins the cluster and
        gives quorum queues with too few members one here.
      - V(healthy) fails when a node is missing, does not run or is cut off, or when an alarm blocks publishers.
      - V(stopped) stops it as soon as the others can do without it.
      - V(absent) moves its queues to the other nodes, takes it out of the cluster and disables its service.
      - V(forgotten) takes the nodes of O(forget), whose hosts are gone for good, out of the cluster of this node.
      - V(certificates) makes the running node serve the certificates that lie on its disk now, without a restart.
    type: str
    choices: [accepted, started, running, healthy, stopped, absent, forgotten, certificates]
    default: running
  forget:
    description: Names of nodes, used with O(state=forgotten). Each must be down.
    type: list
    elements: str
    default: []
  cookie:
    description: The Erlang cookie of the cluster; it is compared with the one on the host, never written.
    type: str
    required: true
  ca_file:
    description: File with the authorities that the certificates of the management API are verified against.
    type: path
    required: true
  server_name:
    description: The name in every broker's certificate.
    type: str
    required: true
  username:
    description: User of the management API with the tag C(administrator).
    type: str
    required: true
  password:
    description: Password of O(username).
    type: str
    required: true
  depends_on:
    description: Absolute paths the broker reads at its start. When one is newer than the process, it is restarted.
    type: list
    elements: str
    default: []
  data_directory:
    description: Home of the broker's account.
    type: path
    default: /var/lib/rabbitmq
  timeout:
    description: Seconds each wait may take, for a start, for the others, and for the cluster to be whole.
    type: int
    default: 180
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: none
"""

EXAMPLES = r"""
- name: Run the brokers one after the other
  taskfleet.celery_cluster.rabbitmq_node:
    node: rabbit@mq1
    nodes:
      - {node: rabbit@mq1, url: "https://192.0.2.11:15671"}
      - {node: rabbit@mq2, url: "https://192.0.2.12:15671"}
      - {node: rabbit@mq3, url: "https://192.0.2.13:15671"}
    cookie: "{{ erlang_cookie }}"
    ca_file: /etc/rabbitmq/tls/ca.pem
    server_name: celery-broker
    username: celery-admin
    password: "{{ rabbitmq_admin_password }}"
    depends_on: [/etc/rabbitmq/rabbitmq.conf]
"""

RETURN = r"""
steps:
  description: What was done, or would be in check mode, in this order.
  returned: success
  type: list
  elements: str
  sample: [restart rabbitmq-server.service (older than /etc/rabbitmq/rabbitmq.conf)]
members:
  description: The nodes of the cluster as this node sees it; empty when it does not answer.
  returned: success
  type: list
  elements: str
  sample: [rabbit@mq1, rabbit@mq2, rabbit@mq3]
running:
  description: Those that run.
  returned: success
  type: list
  elements: str
  sample: [rabbit@mq1, rabbit@mq2, rabbit@mq3]
"""

import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_api import ApiError, ManagementApi
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.rabbitmq_control import (
    Control,
    NodeError,
    Options,
)
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.units import (
    Outcome,
    Systemctl,
    UnitsError,
    unknown_host,
)

ARGUMENTS = {
    "node": {"type": "str", "required": True},
    "nodes": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {"node": {"type": "str", "required": True}, "url": {"type": "str", "required": True}},
    },
    "state": {
        "type": "str",
        "choices": ["accepted", "started", "running", "healthy", "stopped", "absent", "forgotten", "certificates"],
        "default": "running",
    },
    "forget": {"type": "list", "elements": "str", "default": []},
    "cookie": {"type": "str", "required": True, "no_log": True},
    "ca_file": {"type": "path", "required": True},
    "server_name": {"type": "str", "required": True},
    "username": {"type": "str", "required": True},
    "password": {"type": "str", "required": True, "no_log": True},
    "depends_on": {"type": "list", "elements": "str", "default": []},
    "data_directory": {"type": "path", "default": "/var/lib/rabbitmq"},
    "timeout": {"type": "int", "default": 180},
}


class Reader:
    """The management APIs of the cluster. What does not answer, or not to this user, has nothing to say."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        self._apis: dict[str, ManagementApi] = {}
        self._reasons: dict[str, str] = {}

    def why(self, url: str) -> str:
        return self._reasons.get(url, "")

    def __call__(self, url: str, path: str) -> Any:
        options = self._options
        if not Path(options["ca_file"]).exists():
            return None
        try:
            if url not in self._apis:
                self._apis[url] = ManagementApi(
                    url,
                    options["ca_file"],
                    options["username"],
                    options["password"],
                    server_name=options["server_name"],
                )
            return self._apis[url].read(path)
        except ApiError as error:
            self._reasons[url] = str(error)
            return None


def control(module: AnsibleModule) -> Control:
    options = module.params
    environment = {"LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "SYSTEMD_URLIFY": "0"}

    def run(arguments: list[str]) -> Outcome:
        try:
            return Outcome(*module.run_command(arguments, environ_update=environment, errors="backslashreplace"))
        except OSError as error:
            return Outcome(127, "", str(error))

    reader = Reader(options)
    booted = run(["systemctl", "show", "--property=Version"]).rc == 0
    return Control(
        Options(
            options["node"],
            {entry["node"]: entry["url"] for entry in options["nodes"]},
            options["cookie"],
            Path(options["data_directory"]),
            tuple(options["depends_on"]),
            options["timeout"],
        ),
        run,
        reader,
        Systemctl(run if booted else unknown_host, sleep=time.sleep),
        time.sleep,
        time.monotonic,
        reader.why,
    )


def act(node: Control, options: dict[str, Any], check: bool) -> None:
    state = options["state"]
    if state == "accepted":
        node.accept(node.known())
    elif state == "started":
        node.start(check)
    elif state == "running":
        node.settle(check)
    elif state == "stopped":
        node.stop(check)
    elif state == "absent":
        node.leave(check)
    elif state == "certificates":
        node.load_certificates(check)
    elif state == "forgotten":
        for name in options["forget"]:
            node.forget(name, check)
    elif not check:
        node.check_health()


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    if module.params["node"] not in [entry["node"] for entry in module.params["nodes"]]:
        module.fail_json(msg=f"node: {module.params['node']} is not among nodes; list it there")
    node = control(module)
    try:
        act(node, module.params, module.check_mode)
        view = node.own_view()
    except (NodeError, UnitsError) as error:
        module.fail_json(msg=str(error), steps=node.steps, changed=bool(node.steps) and not module.check_mode)
    else:
        module.exit_json(
            changed=bool(node.steps),
            steps=node.steps,
            members=list(view.members) if view else [],
            running=list(view.running) if view else [],
        )


if __name__ == "__main__":
    main()
