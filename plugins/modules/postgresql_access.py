#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_access
short_description: Give a cluster its roles, database and pg_hba lines on a PostgreSQL server
version_added: 0.1.0
author:
  - The taskfleet developers (@taskfleet)
description:
  - Two roles, a database, exactly the grants that are needed, and the lines of C(pg_hba.conf) that let the clients in.
  - Reads everything once, through one C(psql), judges it, and changes only what differs. With nothing to change that
    one C(psql) is all. When something cannot be, nothing is changed, and all reasons are told at once.
  - What it makes it marks by a comment on the server, C(taskfleet.celery_cluster <cluster>), and mends later. Roles and
    databases without this mark are used as they are and never altered; a database then gets only the grants that
    the user needs.
  - The lines in C(pg_hba.conf) stand in a block of their own, above the first line that would catch the same
    connections. Other lines stay byte for byte. The server itself parses the new file before it counts; the old one
    is put back when a line has an error or another rule than ours would change. Then the server reloads.
  - Of passwords only SCRAM verifiers reach the server, and neither reaches its log.
  - Run it as the account of the operating system that the server lets in as a superuser, by default C(postgres).
requirements:
  - PostgreSQL 13 or newer, and C(psql), on the managed host
options:
  port:
    description: Port of the server.
    type: int
    default: 5432
  socket_directory:
    description: Directory of the server's socket.
    type: path
    default: /var/run/postgresql
  login_user:
    description: Role to log in as, a superuser. It is let in without a password, usually by C(local all postgres peer).
    type: str
    default: postgres
  cluster:
    description: Name of the cluster, which marks what belongs to it.
    type: str
    required: true
  database:
    description: Name of the database. It is made, in UTF-8, when it is not there.
    type: str
    required: true
  schemas:
    description:
      - Schemas in which the user may read and write the tables of the owner.
      - A missing one is made in a database of ours, and refused in another.
    type: list
    elements: str
    default: [public]
  owner:
    description: Role that owns the database and the tables in it.
    type: dict
    required: true
    suboptions:
      name:
        description: Name of the role.
        type: str
        required: true
      password:
        description:
          - Password of the role.
          - Needed, except when owner and user are the same role.
        type: str
  user:
    description:
      - Role that reads and writes the tables, and makes none. It has no C(CREATE) and, in a database of ours,
        no C(TEMPORARY).
      - With the name of O(owner) there is one role, which needs no grants.
    type: dict
    required: true
    suboptions:
      name:
        description: Name of the role.
        type: str
        required: true
      password:
        description: Password of the role. Needed unless it logs in by certificate only.
        type: str
      login:
        description:
          - How the role logs in. With V(certificate) a role of ours has no password.
          - Behind a pooler, the pooler logs in by password.
        type: str
        choices: [password, certificate]
        default: password
  clients:
    description: Who is let in, all over TLS.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name for people, a comment above the line.
        type: str
        required: true
      address:
        description:
          - A network such as V(192.0.2.5/32), or the name of a host. The addresses of a name must lead back to it,
            because PostgreSQL asks for both.
        type: str
        required: true
      role:
        description:
          - The role the client logs in as. V(direct) is the user, too, let in to the server itself also where O(pooler)
            is set.
        type: str
        choices: [user, owner, direct]
        default: user
  reject_others:
    description:
      - Whether the last line of the block rejects every other connection of the roles over the network, to whichever
        database, whatever the lines below say.
      - It names only roles that carry the mark of this cluster.
    type: bool
    default: true
  end_sessions:
    description:
      - Whether open sessions are ended that the lines would no longer let in. Only sessions over the network, of roles
        that carry the mark of this cluster, in O(database).
    type: bool
    default: false
  pooler:
    description:
      - Whether the clients of the user come through a pooler on the same host. It is let in over the socket, by
        password, and the clients themselves are not.
    type: bool
    default: false
  pooler_userlist:
    description:
      - File that gets the user and its SCRAM verifier, as PgBouncer's C(auth_file) wants them. Its directory must be
        there.
      - Empty, none is written.
    type: path
    default: ""
  connections:
    description:
      - How many connections the cluster needs at most. When the server has not so many for roles that are no
        superusers, beside those that others use now, it is refused.
      - V(0), it is not judged.
    type: int
    default: 0
  certificate_authority:
    description:
      - The authority, as PEM, that signed the certificates of the clients. With O(user.login=certificate) the server
        must know it from its C(ssl_ca_file).
      - Without it, that is not judged. For a server whose C(ssl_ca_file) is written and loaded by whoever calls this.
    type: str
  loaded_files:
    description:
      - Files that the server reads at a reload, such as its certificate. When one is newer than the last reload, it
        reloads.
    type: list
    elements: path
    default: []
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
  diff_mode:
    description: Returns C(pg_hba.conf) before and after, and the other changes, of passwords only that they change.
    support: full
"""

EXAMPLES = r"""
- name: Let the cluster in
  taskfleet.celery_cluster.postgresql_access:
    cluster: shop
    database: shop
    owner:
      name: shop_owner
      password: "{{ celery_database_owner_password }}"
    user:
      name: shop
      password: "{{ celery_database_password }}"
    clients:
      - {name: worker1, address: 192.0.2.5/32}
      - {name: worker2, address: "2001:db8::6/128"}
      - {name: web, address: 192.0.2.3/32}
      - {name: web, address: 192.0.2.3/32, role: owner}
    connections: 24
  become: true
  become_user: postgres
- name: The role of an application that is there already does everything
  taskfleet.celery_cluster.postgresql_access:
    cluster: shop
    database: shop
    owner: {name: shop}
    user:
      name: shop
      password: "{{ celery_database_password }}"
    clients:
      - {name: worker1, address: 192.0.2.5/32}
  become: true
  become_user: postgres
"""

RETURN = r"""
changes:
  description: What was changed, or would be in check mode, in this order.
  returned: always
  type: list
  elements: str
  sample: [make the role shop_owner, make the role shop, make the database shop]
notes:
  description: What is as it may be, and should be known.
  returned: success
  type: list
  elements: str
  sample: []
problems:
  description: Why nothing was changed, one text for each reason.
  returned: failure
  type: list
  elements: str
  sample: [the database 'shop' belongs to the role 'app']
server:
  description: The server.
  returned: success
  type: dict
  contains:
    version:
      description: Version as a number, C(server_version_num).
      type: int
      sample: 150014
    identifier:
      description: The server and the database, by numbers they keep for life. Empty while the database is missing.
      type: str
      sample: 7380000000000000001/16385
    hba_file:
      description: The file with the lines.
      type: str
      sample: /etc/postgresql/15/main/pg_hba.conf
    max_connections:
      description: The setting of this name.
      type: int
      sample: 100
    available:
      description: Those of them for roles that are no superusers.
      type: int
      sample: 97
    others:
      description: Connections that others have now.
      type: int
      sample: 12
    foreign_roles:
      description:
        - Roles of the cluster that no line of ours rejects from elsewhere, because they were there before or
          O(reject_others) is off. Whom else the server lets in as one of them, its other lines say.
      type: list
      elements: str
      sample: []
reloaded:
  description: Whether the server was told to read its files again, or would be in check mode.
  returned: success
  type: bool
ended:
  description: Number of sessions that were ended, or would be in check mode.
  returned: success
  type: int
userlist_changed:
  description: Whether O(pooler_userlist) was written, or would be in check mode.
  returned: success
  type: bool
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_access import Access
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_apply import ApplyError
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_file import FileError
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_psql import Psql, PsqlError
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_state import RefusedError
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.pg_wanted import option_problems, wanted_from

NAME = {"type": "str", "required": True}
ARGUMENTS: dict[str, Any] = {
    "port": {"type": "int", "default": 5432},
    "socket_directory": {"type": "path", "default": "/var/run/postgresql"},
    "login_user": {"type": "str", "default": "postgres"},
    "cluster": NAME,
    "database": NAME,
    "schemas": {"type": "list", "elements": "str", "default": ["public"]},
    "owner": {
        "type": "dict",
        "required": True,
        "options": {"name": NAME, "password": {"type": "str", "no_log": True}},
    },
    "user": {
        "type": "dict",
        "required": True,
        "options": {
            "name": NAME,
            "password": {"type": "str", "no_log": True},
            "login": {"type": "str", "choices": ["password", "certificate"], "default": "password"},
        },
    },
    "clients": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": NAME,
            "address": NAME,
            "role": {"type": "str", "choices": ["user", "owner", "direct"], "default": "user"},
        },
    },
    "reject_others": {"type": "bool", "default": True},
    "end_sessions": {"type": "bool", "default": False},
    "pooler": {"type": "bool", "default": False},
    "pooler_userlist": {"type": "path", "default": ""},
    "connections": {"type": "int", "default": 0},
    "certificate_authority": {"type": "str"},
    "loaded_files": {"type": "list", "elements": "path", "default": []},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    options = module.params
    if wrong := option_problems(options):
        module.fail_json(msg="\n".join(wrong), problems=wrong, changes=[])
    psql = Psql(options["socket_directory"], options["port"], options["login_user"])
    access = Access(wanted_from(options), psql, options["login_user"], module.check_mode)
    try:
        result = access.run()
    except (RefusedError, PsqlError, FileError, ApplyError) as error:
        changed = bool(access.changes) and not module.check_mode
        module.fail_json(msg=str(error), problems=reasons(error), changes=access.changes, changed=changed)
    else:
        module.exit_json(**result)


def reasons(error: Exception) -> list[str]:
    return error.reasons if isinstance(error, RefusedError) else [str(error)]


if __name__ == "__main__":
    main()
