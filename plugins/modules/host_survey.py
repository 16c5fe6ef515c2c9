#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: host_survey
short_description: Ask a host what must be known before it is changed
version_added: 0.1.0
author:
  - The taskfleet developers (@taskfleet)
description:
  - Reads, in one round trip, what decides whether a deployment can work on a host. It changes nothing.
  - It judges nothing. The filter P(taskfleet.celery_cluster.survey_problems#filter) does, for all hosts together.
  - Names are resolved and ports are tried from the host it runs on, all of them at the same time.
  - An action plugin on the controller adds when the host was asked and when it had answered.
options:
  names:
    description: Host names that this host will connect to.
    type: list
    elements: str
    default: []
  ports:
    description: Ports that this host will connect to. A connection is made and closed, nothing is sent.
    type: list
    elements: dict
    default: []
    suboptions:
      host:
        description: Name or address to connect to.
        type: str
        required: true
      port:
        description: Port to connect to.
        type: int
        required: true
      to:
        description: Inventory name of the server, empty for one outside the inventory. It is only returned.
        type: str
        default: ""
      name:
        description: What the port is for. It is only returned.
        type: str
        default: ""
  timeout:
    description: Seconds that each connection may take.
    type: float
    default: 3
  listening:
    description: Ports of this host whose listeners are returned.
    type: list
    elements: int
    default: []
  paths:
    description: Directories whose free space is returned. They need not exist.
    type: list
    elements: path
    default: []
  interpreter:
    description: Path of the Python interpreter to look at. Empty looks at none.
    type: path
    default: ""
  packages:
    description: Names of Debian packages whose versions are returned.
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: The module never changes anything and runs in check mode as well.
    support: full
  diff_mode:
    description: Nothing is changed.
    support: none
"""

EXAMPLES = r"""
- name: Ask a worker about the broker and its own disk
  taskfleet.celery_cluster.host_survey:
    names: [mq.example.org]
    ports:
      - {host: mq.example.org, port: 5671, to: mq1, name: broker}
    paths: [/opt/shop]
    interpreter: /usr/bin/python3
  register: surveyed

- name: Ask a broker what it runs
  taskfleet.celery_cluster.host_survey:
    listening: [5671]
    packages: [rabbitmq-server]
"""

RETURN = r"""
asked:
  description: Time on the controller before the host was asked, in seconds since the epoch.
  returned: success
  type: float
  sample: 1795230000.25
answered:
  description: Time on the controller when the answer had arrived, in seconds since the epoch.
  returned: success
  type: float
  sample: 1795230000.75
time:
  description: Time on the host, in seconds since the epoch.
  returned: success
  type: float
  sample: 1795230000.5
resolved:
  description: The addresses of each name in O(names). Without any, the name does not resolve.
  returned: success
  type: dict
  sample: {mq.example.org: [192.0.2.10], mq.invalid: []}
ports:
  description:
    - The entries of O(ports) in their order, with RV(ignore:state) and RV(ignore:detail).
    - The state is V(open), V(refused), V(timeout), V(unreachable) (no route, or a firewall that says so),
      V(unresolved) or V(failed).
  returned: success
  type: list
  elements: dict
  sample: [{host: mq.example.org, port: 5671, to: mq1, name: broker, state: open, detail: ""}]
listening:
  description: The local addresses on which somebody listens, for each port in O(listening).
  returned: success
  type: dict
  sample: {"5671": ["::"]}
paths:
  description:
    - One entry for each of O(paths) in their order.
    - All values are those of C(nearest), which is the path or the nearest parent that exists.
    - C(inodes_free) is null where the file system has no fixed number of them.
  returned: success
  type: list
  elements: dict
  sample:
    - path: /opt/shop
      nearest: /opt
      directory: true
      read_only: false
      bytes_free: 21474836480
      inodes_free: 1310720
memory_bytes:
  description: RAM of the host.
  returned: success
  type: int
  sample: 8360157184
interpreter:
  description:
    - What O(interpreter) is. Empty when none was asked for.
    - C(version) is empty where it does not run, and C(detail) says why.
    - C(closed) is the first directory on the way to it, or to its library, that other accounts may not enter.
  returned: success
  type: dict
  sample:
    path: /usr/local/bin/python3
    exists: true
    real_path: /root/python/bin/python3.13
    version: 3.13.5
    prefix: /root/python
    closed: {path: /root, mode: "0700"}
    detail: ""
packages:
  description: The installed version of each package in O(packages), and the one that apt would install.
  returned: success
  type: dict
  sample: {rabbitmq-server: {installed: "", candidate: 3.10.8-1.1+deb12u1}}
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import survey

ARGUMENTS = {
    "names": {"type": "list", "elements": "str", "default": []},
    "ports": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "to": {"type": "str", "default": ""},
            "name": {"type": "str", "default": ""},
        },
    },
    "timeout": {"type": "float", "default": 3},
    "listening": {"type": "list", "elements": "int", "default": []},
    "paths": {"type": "list", "elements": "path", "default": []},
    "interpreter": {"type": "path", "default": ""},
    "packages": {"type": "list", "elements": "str", "default": []},
}


def main() -> None:
    # First of all: the more happens before, the less the controller knows about the clock.
    now = time.time()
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wanted = module.params
    module.exit_json(
        changed=False,
        time=now,
        resolved=survey.resolve(wanted["names"]),
        ports=survey.try_ports(wanted["ports"], wanted["timeout"]),
        listening=survey.listening(wanted["listening"]),
        paths=[survey.place(path) for path in wanted["paths"]],
        memory_bytes=survey.memory(),
        interpreter=survey.interpreter(wanted["interpreter"]) if wanted["interpreter"] else {},
        packages=survey.packages(wanted["packages"]),
    )


if __name__ == "__main__":
    main()
