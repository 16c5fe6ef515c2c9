# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An action that runs the module of its name; a host that does not answer is an answer, too."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase


class AskingAction(ActionBase):
    """Never fails: ``answered`` says whether the module ran, and ``why`` not."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        try:
            answer = self._execute_module(task_vars=task_vars)
        except AnsibleError as error:
            result.update(changed=False, answered=False, why=_line(str(error)))
            return result
        if answer.get("failed") or answer.get("unreachable"):
            # Not what it was asked with: an invocation may hold a password.
            said = answer.get("module_stderr") or answer.get("msg") or answer.get("module_stdout") or "no answer"
            result.update(changed=False, answered=False, why=_line(str(said)))
            return result
        result.update(answer)
        return result


def _line(text: str) -> str:
    """The last words on one line: the beginning of a traceback says the least."""
    words = " ".join(text.split())
    return words if len(words) <= 300 else f"...{words[-297:]}"
