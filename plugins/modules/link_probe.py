#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: link_probe
short_description: Try links to broker and database that must be refused, or must work
version_added: 0.1.0
author:
  - The taskfleet developers (@taskfleet)
description:
  - Runs probes from the host it runs on and returns one row for each, in the order they are given.
  - A probe that fails never fails the task. Whoever calls the module looks at RV(rows).
  - A refusal counts only for the right reason. A wrong password that ends in a broken connection is not a refusal.
options:
  probes:
    description: What to try.
    type: list
    elements: dict
    required: true
    suboptions:
      check:
        description:
          - V(amqp_plaintext), nobody speaks AMQP without TLS on the port.
          - V(port_closed), nobody listens on the port.
          - V(tls_unknown_ca), the certificate is accepted with O(probes[].ca_file) and for the name or address in
            O(probes[].host), and refused by a client that knows no certificate authority.
          - V(tls_certificate), the certificate is accepted with O(probes[].ca_file) and for O(probes[].server_name),
            and lasts O(probes[].min_days).
          - V(amqp_no_client_certificate), a client that shows no certificate is refused for that reason.
          - V(amqp_password_refused), the broker offers a login by certificate and no other.
          - V(amqp_wrong_password), the broker answers a wrong password with 403 ACCESS_REFUSED.
          - V(amqp_login), the broker accepts the password and opens the vhost.
          - V(https_refused), O(probes[].path) answers with one of O(probes[].statuses) to a client without a login.
          - V(postgres_certificate), the same as V(tls_certificate) for a database.
          - V(postgres_refused), the database refuses this address because of its C(pg_hba.conf), before it asks for
            a password.
          - V(postgres_plaintext_refused), the same for a connection without TLS.
        type: str
        required: true
        choices:
          - amqp_plaintext
          - port_closed
          - tls_unknown_ca
          - tls_certificate
          - amqp_no_client_certificate
          - amqp_password_refused
          - amqp_wrong_password
          - amqp_login
          - https_refused
          - postgres_certificate
          - postgres_refused
          - postgres_plaintext_refused
      name:
        description: What the row is called. Without it, the row has the name of the check.
        type: str
      from:
        description: What the row says about where the probe comes from.
        type: str
      to:
        description: What the row says about where the probe goes. Without it, host and port.
        type: str
      host:
        description: Name or address to connect to. Certificates are checked against it, unless
          O(probes[].server_name) is given.
        type: str
        required: true
      port:
        description: Port to connect to.
        type: int
        required: true
      ca_file:
        description: File with the certificate authorities to trust. Needed by every check that uses TLS.
        type: path
      server_name:
        description: Name or address that the server's certificate has to be valid for.
        type: str
      min_days:
        description: Days that V(tls_certificate) and V(postgres_certificate) want the certificate to last.
        type: int
        default: 0
      client_certificate:
        description: File with the certificate that the client shows, where the server wants one.
        type: path
      client_key:
        description: File with its private key. Without it, the key is in O(probes[].client_certificate).
        type: path
      username:
        description: User to log in as.
        type: str
      password:
        description:
          - Password for V(amqp_login).
          - For V(amqp_wrong_password) the wrong password; without it, a random one.
        type: str
      vhost:
        description: Vhost that V(amqp_login) opens.
        type: str
      database:
        description: Database that the PostgreSQL checks ask for.
        type: str
      path:
        description: Path that V(https_refused) asks for.
        type: str
      statuses:
        description: Statuses of HTTP by which V(https_refused) is refused.
        type: list
        elements: int
      source_address:
        description: Address of this host to connect from. Without it, the system chooses.
        type: str
      timeout:
        description: Seconds each connection of the probe may take.
        type: float
        default: 5
attributes:
  check_mode:
    description: The module never changes anything and runs in check mode as well.
    support: full
"""

EXAMPLES = r"""
- name: Try what must be refused
  taskfleet.celery_cluster.link_probe:
    probes:
      - check: port_closed
        name: plaintext listener
        from: worker1
        to: broker1
        host: 192.0.2.10
        port: 5672
      - check: postgres_refused
        name: database login from outside
        from: worker1
        to: db1
        host: 192.0.2.20
        port: 5432
        ca_file: /opt/celery/config/ca.pem
        username: celery
        database: celery
  register: probed
  failed_when: probed.rows | rejectattr('ok') | list | length > 0
"""

RETURN = r"""
rows:
  description: One row for each probe, in the order of the probes.
  returned: success
  type: list
  elements: dict
  contains:
    check:
      description: The kind of probe.
      type: str
    name:
      description: Label of the row.
      type: str
    from:
      description: Where the probe came from.
      type: str
    to:
      description: Where the probe went.
      type: str
    expected:
      description: V(refused) or V(accepted).
      type: str
    ok:
      description: Whether the expectation was met, for the right reason.
      type: bool
    detail:
      description: What happened.
      type: str
    seconds:
      description: How long it took.
      type: float
  sample:
    - check: port_closed
      name: plaintext listener
      from: worker1
      to: broker1
      expected: refused
      ok: true
      detail: connection refused
      seconds: 0.001
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.probes import KINDS, run_probes

ARGUMENTS = {
    "probes": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "check": {"type": "str", "required": True, "choices": list(KINDS)},
            "name": {"type": "str"},
            "from": {"type": "str"},
            "to": {"type": "str"},
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "ca_file": {"type": "path"},
            "server_name": {"type": "str"},
            "min_days": {"type": "int", "default": 0},
            "client_certificate": {"type": "path"},
            "client_key": {"type": "path", "no_log": False},
            "username": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "vhost": {"type": "str"},
            "database": {"type": "str"},
            "path": {"type": "str"},
            "statuses": {"type": "list", "elements": "int"},
            "source_address": {"type": "str"},
            "timeout": {"type": "float", "default": 5},
        },
        "required_if": [("check", check, kind.needs) for check, kind in KINDS.items() if kind.needs],
    },
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    module.exit_json(changed=False, rows=run_probes(module.params["probes"]))


if __name__ == "__main__":
    main()
