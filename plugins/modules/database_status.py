#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: database_status
short_description: Connections of the cluster's database
version_added: 0.1.0
author:
  - The taskfleet developers (@taskfleet)
description:
  - Counts the connections of a PostgreSQL server and looks for access rules that do not ask for TLS. One script of
    C(psql) over the socket, which only reads. It judges nothing.
  - A server that does not answer does not fail the task, see RV(answered).
options:
  port:
    description: Port of the server.
    type: int
    default: 5432
  socket_directory:
    description: Directory of its socket.
    type: path
    default: /var/run/postgresql
  login_user:
    description: Role that may read statistics and access rules. The task has to run as the account of that name.
    type: str
    default: postgres
  database:
    description: The cluster's database.
    type: str
    required: true
  roles:
    description: The cluster's roles.
    type: list
    elements: str
    required: true
  ours_only:
    description: Whether only rules about O(roles) or everybody count, for a server of somebody else.
    type: bool
    default: false
attributes:
  check_mode:
    description: The module never changes anything and runs in check mode as well.
    support: full
  diff_mode:
    description: Nothing is changed.
    support: none
"""

EXAMPLES = r"""
- name: Count the connections
  taskfleet.celery_cluster.database_status:
    database: shop
    roles: [shop, shop_owner]
  become: true
  become_user: postgres
  register: seen
"""

RETURN = r"""
answered:
  description: Whether the server answered.
  returned: always
  type: bool
  sample: true
why:
  description: Why not. Empty when it did.
  returned: always
  type: str
  sample: ""
limit:
  description: The most connections the server allows.
  returned: when it answered
  type: int
  sample: 100
reserved:
  description: Those of them that are kept for administrators.
  returned: when it answered
  type: int
  sample: 3
used:
  description: Connections of all clients.
  returned: when it answered
  type: int
  sample: 24
roles:
  description: Connections of each of the cluster's roles that has any.
  returned: when it answered
  type: dict
  sample: {shop: 21}
clients:
  description: Address and number of the roles' connections, the most first.
  returned: when it answered
  type: list
  elements: list
  sample: [[192.0.2.11, 12], [192.0.2.12, 9]]
ssl:
  description: Whether the server offers TLS.
  returned: when it answered
  type: bool
  sample: true
plaintext:
  description: Connections of the roles from other hosts without TLS.
  returned: when it answered
  type: int
  sample: 0
open_rules:
  description: Access rules that let another host in without TLS.
  returned: when it answered
  type: list
  elements: dict
  sample: [{line: 97, type: host, address: 0.0.0.0, method: scram-sha-256}]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import status_database
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_psql import Psql, PsqlError


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "port": {"type": "int", "default": 5432},
            "socket_directory": {"type": "path", "default": "/var/run/postgresql"},
            "login_user": {"type": "str", "default": "postgres"},
            "database": {"type": "str", "required": True},
            "roles": {"type": "list", "elements": "str", "required": True},
            "ours_only": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    script = status_database.script(given["database"], given["roles"], given["ours_only"])
    psql = Psql(given["socket_directory"], given["port"], given["login_user"])
    try:
        seen = status_database.parse(psql.run(script, seconds=10))
    except PsqlError as error:
        module.exit_json(changed=False, answered=False, why=str(error))
    module.exit_json(changed=False, answered=True, why="", **seen)


if __name__ == "__main__":
    main()
