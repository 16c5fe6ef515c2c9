#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates as they are in files: what is wrong with them, and how long they last."""

from __future__ import annotations

DOCUMENTATION = r"""
module: certificate_check
short_description: Judge certificates, their keys and their authority
version_added: 0.1.0
author:
  - The taskfleet developers (@taskfleet)
description:
  - Reads certificates, keys and the authority's certificates from files of the host it runs on, and says what is wrong
    with them. Expired, not yet valid, for other names, by another authority, with another key, for another purpose,
    in the wrong order, too weak.
  - What is wrong never fails the task. Whoever calls the module looks at RV(findings), which the filter
    P(taskfleet.celery_cluster.certificate_problems#filter) makes into lines.
options:
  certificates:
    description: What to judge.
    type: list
    elements: dict
    required: true
    suboptions:
      certificate:
        description: File with the certificate, and after it the certificates between it and the authority.
        type: path
        required: true
      key:
        description: File with its private key. Without it, the key is not looked at.
        type: path
      ca_file:
        description: File with the certificates of the authorities that are trusted.
        type: path
        required: true
      common_name:
        description: The common name it must have, where it is for a client only.
        type: str
        default: ""
      names:
        description: DNS names and addresses that it has to be valid for.
        type: list
        elements: str
        default: []
      usages:
        description: What it is for.
        type: list
        elements: str
        choices: [server, client]
        default: [server]
      host:
        description: Host of the inventory that the findings are about.
        type: str
        default: ""
  days:
    description: A certificate that ends within this number of days is a finding as well.
    type: int
    default: 0
requirements:
  - cryptography 38 or newer on the host it runs on
attributes:
  check_mode:
    description: The module never changes anything and runs in check mode as well.
    support: full
  diff_mode:
    description: Nothing is changed.
    support: none
"""

EXAMPLES = r"""
- name: Judge the certificate of a broker
  taskfleet.celery_cluster.certificate_check:
    certificates:
      - certificate: /etc/shop-cluster/tls/cert.pem
        key: /etc/shop-cluster/tls/key.pem
        ca_file: /etc/shop-cluster/tls/ca.pem
        names: [broker1.example.org, shop-broker]
    days: 14
  register: judged
  failed_when: judged.findings | length > 0
"""

RETURN = r"""
findings:
  description: What is wrong, in the order of the certificates.
  returned: success
  type: list
  elements: dict
  contains:
    code:
      description: Code of the problem.
      type: str
    place:
      description: The file.
      type: str
    what:
      description: What is wrong with it.
      type: str
    instead:
      description: What to do about it.
      type: str
    host:
      description: The host that was given.
      type: str
  sample:
    - code: CC627
      place: /etc/shop-cluster/tls/cert.pem
      what: (of broker1) expired on 2026-01-31 12:00 UTC
      instead: have a new one issued
      host: broker1
certificates:
  description: The certificates that could be read.
  returned: success
  type: list
  elements: dict
  contains:
    certificate:
      description: The file.
      type: str
    host:
      description: The host that was given.
      type: str
    common_name:
      description: Common name of the certificate.
      type: str
    issuer:
      description: Common name of who signed it.
      type: str
    names:
      description: DNS names and addresses it is valid for.
      type: list
      elements: str
    ends:
      description: When the first certificate of its way to the authority ends, in UTC.
      type: str
    days_left:
      description: Whole days until then.
      type: int
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.certificate_work import now, read, wish_of
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.certificates import (
    CLIENT,
    HAS_CRYPTOGRAPHY,
    SERVER,
    CertificateError,
    alternative_names,
    common_name,
    judge,
)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "certificates": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "certificate": {"type": "path", "required": True},
                    "key": {"type": "path", "no_log": False},
                    "ca_file": {"type": "path", "required": True},
                    "common_name": {"type": "str", "default": ""},
                    "names": {"type": "list", "elements": "str", "default": []},
                    "usages": {"type": "list", "elements": "str", "choices": [SERVER, CLIENT], "default": [SERVER]},
                    "host": {"type": "str", "default": ""},
                },
            },
            "days": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    if not HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography"))
    findings, certificates = [], []
    moment = now()
    for given in module.params["certificates"]:
        try:
            verdict = judge(
                read(given["certificate"]),
                read(given["key"]) if given["key"] else None,
                read(given["ca_file"]),
                wish_of(given, module.params["days"]),
                moment,
            )
        except CertificateError as error:
            module.fail_json(msg=str(error))
        findings += [{**found._asdict(), "host": given["host"]} for found in verdict.findings]
        if verdict.leaf is not None and verdict.last_day is not None:
            dns, addresses = alternative_names(verdict.leaf)
            certificates.append(
                {
                    "certificate": given["certificate"],
                    "host": given["host"],
                    "common_name": common_name(verdict.leaf.subject),
                    "issuer": common_name(verdict.leaf.issuer),
                    "names": [*dns, *addresses],
                    "ends": verdict.last_day.strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "days_left": (verdict.last_day - moment).days,
                }
            )
    module.exit_json(changed=False, findings=findings, certificates=certificates)


if __name__ == "__main__":
    main()
