# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The secret lookup: a password that is made once and kept on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
name: secret
short_description: A generated secret, kept in one file of the controller
description:
  - Returns the secret of a name. It is generated at the first use and kept in a file of mode 0600, in a
    directory of mode 0700. Two processes that ask at the same moment get the same secret.
  - In check mode a missing secret is not generated; a placeholder is returned.
author:
  - The taskfleet developers (@taskfleet)
version_added: 0.1.0
options:
  _terms:
    description: Names of the secrets.
    type: list
    elements: str
    required: true
  directory:
    description: Where the files are kept. Created when missing.
    type: str
    required: true
  length:
    description: Number of characters of a new secret, letters and digits.
    type: int
    default: 40
"""

EXAMPLES = r"""
- name: Set the broker's password
  ansible.builtin.set_fact:
    password: "{{ lookup('taskfleet.celery_cluster.secret', 'broker_worker', directory=inventory_dir ~ '/secrets') }}"
  no_log: true
"""

RETURN = r"""
_raw:
  description: The secrets.
  type: list
  elements: str
"""

import contextlib
import os
import re
import secrets
import string
import tempfile
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

ALPHABET = string.ascii_letters + string.digits
PLACEHOLDER = "not-generated-in-check-mode"


class LookupModule(LookupBase):
    """Reads or creates secret files."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        self.set_options(var_options=variables, direct=kwargs)
        directory = Path(self.get_option("directory")).expanduser()
        check = bool((variables or {}).get("ansible_check_mode"))
        return [read_or_create(directory, str(term), self.get_option("length"), create=not check) for term in terms]


def read_or_create(directory: Path, name: str, length: int, create: bool = True) -> str:
    """The secret ``name`` of ``directory``, made when missing; atomic against other processes."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise AnsibleLookupError(f"{name!r} is no name of a secret: use letters, digits and _ . -, no dot first")
    if length < 1:
        raise AnsibleLookupError(f"length is {length}: a secret of no characters keeps nobody out, write 20 or more")
    path = directory / name
    try:
        if not path.exists():
            if not create:
                return PLACEHOLDER
            _create(path, "".join(secrets.choice(ALPHABET) for _index in range(length)))
        value = path.read_text(encoding="utf-8").rstrip("\n")
    except OSError as error:
        raise AnsibleLookupError(
            f"cannot keep secrets in {directory}: {error}; set celery_secrets_directory to a directory "
            "that the controller's user may write"
        ) from error
    except UnicodeDecodeError as error:
        raise AnsibleLookupError(f"{path} is not UTF-8 text: write the secret into it in letters") from error
    if not value.strip():
        raise AnsibleLookupError(f"{path} is empty: write the secret into it, or remove it to have a new one made")
    return value


def _create(path: Path, value: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.parent.chmod(0o700)
    # A complete file appears under the final name or none does: link() fails when another process was first.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(value + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink()
