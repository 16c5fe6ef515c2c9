#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cluster's authority signs what hosts ask for, on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_sign
short_description: Sign the certificates that hosts ask for
version_added: 0.1.0
author:
  - The taskfleet developers (@taskfleet)
description:
  - Signs all requests of a host in one call, with an authority whose key is a file. Run it where that file is.
  - Nothing but the public key is taken from a request. Names, purposes and lifetime come from O(certificates), so a
    host that asks for the name of another does not get it.
  - Nothing is written.
extends_documentation_fragment:
  - taskfleet.celery_cluster.certificates
options:
  requests:
    description: What M(taskfleet.celery_cluster.host_certificates) returned.
    type: list
    elements: dict
    required: true
    suboptions:
      certificate:
        description: Which of O(certificates) it is.
        type: path
        required: true
      csr:
        description: The request, in PEM format.
        type: str
        required: true
      why:
        description: Why it was asked for. Not used here.
        type: str
  ca_file:
    description: File with the authority's certificate.
    type: path
    required: true
  key_file:
    description: File with the authority's private key.
    type: path
    required: true
  days:
    description: Days the certificates are valid. They are valid a day earlier too, for clocks that are behind.
    type: int
    required: true
requirements:
  - cryptography 38 or newer on the host it runs on
attributes:
  check_mode:
    description: The module only computes.
    support: full
  diff_mode:
    description: Nothing is changed.
    support: none
"""

EXAMPLES = r"""
- name: Sign what the host asks for
  taskfleet.celery_cluster.certificate_sign:
    certificates: "{{ wanted }}"
    requests: "{{ asked.requests }}"
    ca_file: secrets/ca/ca.pem
    key_file: secrets/ca/key.pem
    days: 365
  delegate_to: localhost
  register: answered
"""

RETURN = r"""
signed:
  description: One certificate for each request.
  returned: success
  type: list
  elements: dict
  contains:
    certificate:
      description: Which of O(certificates) it is.
      type: str
    text:
      description: The certificate, in PEM format.
      type: str
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.certificate_work import (
    WANTED,
    by_certificate,
    read,
    sign,
    signing_pair,
)
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.certificates import (
    HAS_CRYPTOGRAPHY,
    CertificateError,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "certificates": WANTED,
            "requests": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "certificate": {"type": "path", "required": True},
                    "csr": {"type": "str", "required": True},
                    "why": {"type": "str"},
                },
            },
            "ca_file": {"type": "path", "required": True},
            "key_file": {"type": "path", "required": True, "no_log": False},
            "days": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    if not HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography"))
    wanted = by_certificate(module.params["certificates"])
    signed = []
    try:
        authority, key = signing_pair(read(module.params["ca_file"]), read(module.params["key_file"]))
        for asked in module.params["requests"]:
            path = asked["certificate"]
            if path not in wanted:
                module.fail_json(msg=f"{path} was asked for, and the inventory wants no such certificate on this host")
            text = sign(asked["csr"], wanted[path], authority, key, module.params["days"])
            signed.append({"certificate": path, "text": text})
    except (CertificateError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, signed=signed)


if __name__ == "__main__":
    main()
