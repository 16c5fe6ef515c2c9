#!/usr/bin/python
# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The certificates of a host: what it lacks, and putting it in place."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_certificates
short_description: Ask for the certificates a host lacks, and install what was issued
version_added: 0.1.0
author:
  - The taskfleet developers (@taskfleet)
description:
  - Without O(install), judges the certificates that are there and makes a request for each that is missing, ends soon,
    or is for other names, another authority or another key. Keys are made on the host and stay there; they are
    elliptic (P-256). A new key waits beside the one in use until its certificate is there.
  - With O(install), puts certificate and key in place, one right after the other. Each file appears complete, with its
    final owner and mode.
  - A certificate whose key does not fit is refused, and what was there stays.
extends_documentation_fragment:
  - taskfleet.celery_cluster.certificates
options:
  authority:
    description:
      - Certificate of the authority that is to sign, in PEM format. A certificate by another one is asked for anew.
      - Empty stands for one that does not exist yet.
    type: str
  authority_file:
    description:
      - File with the certificates of the authorities. On the host, unless O(authority) is given; then it is only what
        messages call it.
    type: path
  renew_before_days:
    description: A certificate that ends within this number of days is asked for anew.
    type: int
    default: 0
  new_keys:
    description: Whether everything is asked for anew, with new keys.
    type: bool
    default: false
  install:
    description: What was issued. Entries that are in place already change nothing.
    type: list
    elements: dict
    suboptions:
      certificate:
        description: Which of O(certificates) it is.
        type: path
        required: true
      text:
        description: The certificate, and those between it and the authority, in PEM format.
        type: str
      file:
        description: File of the host that holds them.
        type: path
      key_text:
        description: Its private key in PEM format. Without it, a key that was made on the host has to fit.
        type: str
      key_file:
        description: File of the host that holds the key.
        type: path
requirements:
  - cryptography 38 or newer on the managed host
attributes:
  check_mode:
    description: Reports what would be asked for or installed. No key is made, so the requests hold no text.
    support: full
  diff_mode:
    description: Not shown.
    support: none
"""

EXAMPLES = r"""
- name: Ask for what is missing
  taskfleet.celery_cluster.host_certificates:
    certificates: "{{ wanted }}"
    authority: "{{ lookup('ansible.builtin.file', 'secrets/ca/ca.pem') }}"
    authority_file: secrets/ca/ca.pem
    renew_before_days: 30
  register: asked

- name: Install what was signed
  taskfleet.celery_cluster.host_certificates:
    certificates: "{{ wanted }}"
    install: "{{ answered.signed }}"
"""

RETURN = r"""
requests:
  description: What was asked for, in the order of O(certificates).
  returned: success
  type: list
  elements: dict
  contains:
    certificate:
      description: Which of O(certificates) it is.
      type: str
    csr:
      description: The request in PEM format, empty in check mode.
      type: str
    why:
      description: Why it is asked for.
      type: str
installed:
  description: The certificates that were put in place, or would be.
  returned: success
  type: list
  elements: str
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.certificate_work import (
    WANTED,
    by_certificate,
    install,
    read,
    request,
    shortcomings,
    umask,
)
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.certificates import (
    HAS_CRYPTOGRAPHY,
    CertificateError,
    File,
)


def requests(parameters: Mapping[str, Any], check: bool) -> list[dict[str, str]]:
    found = []
    file = parameters["authority_file"] or "the authority"
    if parameters["authority"] is None:
        authority = read(file)
    else:
        authority = File(file, parameters["authority"].encode("utf-8") or None)
    for wanted in parameters["certificates"]:
        lacks = shortcomings(wanted, authority, parameters["renew_before_days"])
        if not lacks and not parameters["new_keys"]:
            continue
        why = "; ".join(str(finding) for finding in lacks) or "a new key is wanted"
        csr = "" if check else request(wanted, parameters["new_keys"])
        found.append({"certificate": wanted["certificate"], "csr": csr, "why": why})
    return found


def installed(parameters: Mapping[str, Any], check: bool) -> list[str]:
    wanted = by_certificate(parameters["certificates"])
    changed = []
    for issued in parameters["install"]:
        path = issued["certificate"]
        if path not in wanted:
            raise CertificateError(f"{path} shall be installed, and is none of the host's certificates")
        text = issued["text"].encode("utf-8") if issued["text"] else Path(issued["file"]).read_bytes()
        key = issued["key_text"].encode("utf-8") if issued["key_text"] else None
        if issued["key_file"]:
            key = Path(issued["key_file"]).read_bytes()
        if install(wanted[path], text, key, check):
            changed.append(path)
    return changed


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "certificates": WANTED,
            "authority": {"type": "str"},
            "authority_file": {"type": "path"},
            "renew_before_days": {"type": "int", "default": 0},
            "new_keys": {"type": "bool", "default": False, "no_log": False},
            "install": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "certificate": {"type": "path", "required": True},
                    "text": {"type": "str"},
                    "file": {"type": "path"},
                    "key_text": {"type": "str", "no_log": True},
                    "key_file": {"type": "path", "no_log": False},
                },
                "mutually_exclusive": [["text", "file"], ["key_text", "key_file"]],
                "required_one_of": [["text", "file"]],
            },
        },
        required_one_of=[["install", "authority", "authority_file"]],
        supports_check_mode=True,
    )
    if not HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography"))
    umask()
    asked: list[dict[str, str]] = []
    placed: list[str] = []
    try:
        if module.params["install"] is None:
            asked = requests(module.params, module.check_mode)
        else:
            placed = installed(module.params, module.check_mode)
    except (CertificateError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(asked or placed), requests=asked, installed=placed)


if __name__ == "__main__":
    main()
