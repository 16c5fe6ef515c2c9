# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that the modules about certificates share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  certificates:
    description: The certificates that the host shall have; the filter C(wanted_certificates) makes the list.
    type: list
    elements: dict
    required: true
    suboptions:
      certificate:
        description: Path of the certificate on the host. It identifies the entry.
        type: path
        required: true
      key:
        description: Path of its private key.
        type: path
        required: true
      common_name:
        description: Common name of the certificate. It is checked where the certificate is for a client only.
        type: str
        required: true
      names:
        description: DNS names and addresses that the certificate has to be valid for.
        type: list
        elements: str
        default: []
      usages:
        description: What it is for.
        type: list
        elements: str
        choices: [server, client]
        default: [server]
      owner:
        description: Owner of both files.
        type: str
        default: root
      group:
        description: Group of both files. The default is the name of the owner.
        type: str
      key_mode:
        description: Mode of the key.
        type: str
        default: "0600"
      certificate_mode:
        description: Mode of the certificate.
        type: str
        default: "0644"
"""
