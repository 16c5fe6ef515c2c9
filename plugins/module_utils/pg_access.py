# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run: read, judge everything, then change what differs, or only tell it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import pg_apply
from .pg_file import FileError, Swap, write_secret
from .pg_hba import HbaError, without_block
from .pg_hba_rules import notes
from .pg_lines import Lines, foreign_rules, lines
from .pg_names import Names, resolve
from .pg_plan import Plan, plan
from .pg_problems import problems
from .pg_psql import Psql
from .pg_read import everything, identifier_of
from .pg_sessions import closed_out
from .pg_state import RefusedError, State, state_from
from .pg_wanted import Wanted


@dataclass
class Access:
    """`changes` grows with every change, so that a failure can tell what was done before."""

    wanted: Wanted
    psql: Psql
    login_user: str
    check: bool
    changes: list[str] = field(default_factory=list)

    def run(self) -> dict[str, Any]:
        state = self._read()
        on_disk = state.hba.text
        state, before = self._without_left_over(state)
        names = self._names()
        wanted_lines = replace(lines(self.wanted, state), before=before)
        stale, unreadable = self._stale(state)
        file = self._file_problems(state, wanted_lines)
        reasons = [*problems(self.wanted, state), *names.problems, *wanted_lines.problems, *unreadable, *file]
        if reasons:
            raise RefusedError(reasons)
        planned = plan(self.wanted, state)
        told_before = len(self.changes)
        result = self._change(state, planned, wanted_lines, names, stale)
        return {
            "changed": bool(self.changes),
            "changes": self.changes,
            "diff": _diff(state.hba.file, on_disk, wanted_lines.after, self.changes[told_before:]),
            **result,
        }

    def _read(self) -> State:
        return state_from(self.psql.run(everything(self.wanted)), self.wanted, self.login_user)

    def _without_left_over(self, state: State) -> tuple[State, str]:
        """What the file is when an earlier run has not ended between replacing it and the judgement."""
        swap = Swap(state.hba.file)
        left_over = swap.left_over()
        if left_over is None:
            return state, state.hba.text
        text = left_over.decode("utf-8", "surrogateescape")
        if left_over == state.hba.content:
            self.changes.append(f"remove {swap.before}, left by a run that ended early")
            if not self.check:
                swap.settle()
            return state, text
        if not _same_but_for_our_lines(text, state.hba.text, self.wanted.cluster):
            raise RefusedError(
                [
                    f"{swap.before} is what {state.hba.file} was before a run that ended early, and the file was edited"
                    f" since: see that it is as you want it, remove {swap.before} and run again"
                ]
            )
        self.changes.append(f"put {state.hba.file} back as it was before a run that ended early")
        if self.check:
            return state, text
        pg_apply.put_back(self.psql, state.hba)
        return self._read(), text

    def _names(self) -> Names:
        # Behind a pooler, the server sees no clients of the user but those that go past it.
        clients = self.wanted.clients
        return resolve(client for client in clients if client.owner or client.direct or not self.wanted.pooler)

    def _stale(self, state: State) -> tuple[list[str], list[str]]:
        """The files that are newer than the server's last look at them, and those that nobody can judge."""
        newer, wrong = [], []
        for name in (state.hba.file, *self.wanted.loaded_files):
            try:
                if Path(name).stat().st_mtime > state.hba.loaded:
                    newer.append(name)
            except FileNotFoundError:
                continue
            except OSError as error:
                wrong.append(f"loaded_files: {name} cannot be looked at by this account: {error.strerror}")
        return newer, wrong

    def _file_problems(self, state: State, wanted_lines: Lines) -> list[str]:
        return Swap(state.hba.file).problems() if wanted_lines.change else []

    def _change(
        self, state: State, planned: Plan, wanted_lines: Lines, names: Names, stale: list[str]
    ) -> dict[str, Any]:
        wanted, rules = self.wanted, list(wanted_lines.foreign)
        if self.check:
            self.changes += [step.text for step in planned.steps]
        else:
            pg_apply.run_steps(self.psql, planned.steps, wanted.database, self.changes)
        userlist_changed = self._write_userlist(planned)
        if wanted_lines.change:
            if not self.check:
                after = pg_apply.replace_lines(self.psql, state, wanted_lines)
                rules = foreign_rules(after, wanted.cluster)
            self.changes.append(f"write the lines of the cluster into {state.hba.file}")
        newer = [state.hba.file] if wanted_lines.change else []
        newer += [name for name in stale if name not in newer]
        if newer:
            if not self.check:
                pg_apply.reload(self.psql, state.hba.file)
            self.changes.append(f"have the server read {', '.join(newer)} anew")
        ended = self._end_sessions(state, wanted_lines, names)
        return {
            "notes": [*planned.notes, *notes(rules, wanted_lines.entries)],
            "reloaded": bool(newer),
            "ended": ended,
            "userlist_changed": userlist_changed,
            "server": self._server(state),
        }

    def _write_userlist(self, planned: Plan) -> bool:
        if not self.wanted.userlist:
            return False
        path = Path(self.wanted.userlist)
        quoted = [text.replace('"', '""') for text in (self.wanted.user, planned.verifier)]
        content = '"{}" "{}"\n'.format(*quoted).encode("utf-8", "surrogateescape")
        try:
            if path.exists() and path.read_bytes() == content and not path.stat().st_mode & 0o077:
                return False
            if not self.check:
                write_secret(path, content)
        except OSError as error:
            if not self.check:
                raise FileError(
                    f"{path} cannot be written by this account ({error.strerror}): make its directory, and make it the"
                    " property of this account"
                ) from None
        self.changes.append(f"write {path}")
        return True

    def _end_sessions(self, state: State, wanted_lines: Lines, names: Names) -> int:
        seen = closed_out(self.wanted, state, wanted_lines, names.addresses, state.sessions)
        ended = len(seen)
        if not self.check and (seen or (self.wanted.end_sessions and wanted_lines.change)):
            ended = pg_apply.end_sessions(self.psql, self.wanted, state, wanted_lines, names.addresses)
        if ended:
            self.changes.append(f"end {ended} session{'' if ended == 1 else 's'} that could not be opened any more")
        return ended

    def _server(self, state: State) -> dict[str, Any]:
        oid = state.database.oid if state.database else ""
        if not oid and not self.check:
            oid = self.psql.run(identifier_of(self.wanted.database))[0]
        return {
            "version": state.version,
            "identifier": f"{state.system}/{oid}" if oid else "",
            "hba_file": state.hba.file,
            "max_connections": int(state.settings["max_connections"]),
            "available": state.available,
            "others": state.others,
            "foreign_roles": [
                role
                for role in self.wanted.roles
                if not (self.wanted.reject_others and state.is_ours(role, self.wanted))
            ],
        }


def _same_but_for_our_lines(one: str, other: str, cluster: str) -> bool:
    try:
        return without_block(one, cluster) == without_block(other, cluster)
    except HbaError:
        return False


def _diff(file: str, before: str, after: str, changes: list[str]) -> list[dict[str, str]]:
    """The file byte for byte, where bytes can be shown, and the other changes."""
    shown = [_shown(text) for text in (before, after)]
    told = (
        [{"before_header": file, "after_header": file, "before": shown[0], "after": shown[1]}]
        if before != after
        else []
    )
    steps = "".join(f"{change}\n" for change in changes)
    if steps:
        told.append({"before_header": "server", "after_header": "server", "before": "", "after": steps})
    return told


def _shown(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
