# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carrying out what was planned: the steps on the server, the access rules, the reload, the end of sessions."""

from __future__ import annotations

import json
from collections.abc import Sequence

from .pg_file import FileError, Swap
from .pg_hba_rules import differences, faults, read_rules
from .pg_lines import Lines
from .pg_plan import Step
from .pg_psql import Psql, PsqlError, clean
from .pg_read import access_rules, sessions
from .pg_sessions import Addresses, closed_out, ending
from .pg_state import Hba, State, hba_from, sessions_from
from .pg_wanted import Wanted

RELOAD_PATIENCE = 15.0
_RELOAD_PAUSE = 0.05
_DONE = "done"

# Neither a log nor a view of the server shall hold a verifier. What else is done stays as visible as it was.
_SILENT = {
    "log_statement": "'none'",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_min_error_statement": "'panic'",
    "track_activities": "off",
    "pg_stat_statements.track": "'none'",
}


class ApplyError(Exception):
    """A step that failed; those before it are done, and the next run does the rest."""


def run_steps(psql: Psql, steps: Sequence[Step], database: str, done: list[str]) -> None:
    """The steps in their order, one psql for those outside the database and one for those in it."""
    for inside in (False, True):
        chosen = [step for step in steps if step.inside is inside]
        if not chosen:
            continue
        secrets = [secret for step in chosen for secret in step.secrets]
        count = 0
        try:
            printed = psql.run(script(chosen), database if inside else "postgres")
            count = printed.count(_DONE)
        except PsqlError as error:
            count = error.output.count(_DONE)
            failed = chosen[min(count, len(chosen) - 1)]
            raise ApplyError(
                f"{failed.text} failed: {clean(str(error), secrets)}. What was done before it stays, and the next run"
                " does the rest"
            ) from None
        finally:
            done += [step.text for step in chosen[:count]]


def script(steps: Sequence[Step]) -> str:
    """The statements for psql, which says after each step that it is done, and repeats no statement that fails."""
    lines = ["\\set VERBOSITY terse"]
    for step in steps:
        statements = [f"{statement};" for statement in step.statements]
        if len(statements) > 1:
            statements = ["BEGIN;", *statements, "COMMIT;"]
        if step.secrets:
            silence = [f"SET {name} = {value};" for name, value in _SILENT.items()]
            statements = [*silence, *statements, *(f"RESET {name};" for name in _SILENT)]
        lines += [*statements, f"\\echo {_DONE}"]
    return "\n".join(lines)


def read_hba(psql: Psql) -> Hba:
    return hba_from(json.loads(psql.run(access_rules())[0]))


def replace_lines(psql: Psql, state: State, lines: Lines) -> Hba:
    """The file with the lines in it, as the server reads it; or an error, and the file as it was."""
    swap = Swap(state.hba.file)
    with swap.locked():
        swap.replace(lines.before.encode("utf-8", "surrogateescape"), lines.after.encode("utf-8", "surrogateescape"))
        try:
            after = read_hba(psql)
            wrong = judged(after, lines)
        except BaseException:
            swap.restore(touch=True)
            raise
        if wrong:
            # Whoever made the server reload in between had it load the faulty file.
            swap.restore(touch=after.loaded != state.hba.loaded)
            told = "\n".join(f"- {text}" for text in wrong)
            raise ApplyError(
                f"the server does not read {state.hba.file} as it was meant, so the file is again what it was, and the"
                f" rules in force have not changed:\n{told}"
            )
        swap.settle()
    return after


def judged(after: Hba, lines: Lines) -> list[str]:
    if after.text != lines.after:
        return ["somebody else changed the file at the same moment: run again"]
    rules = read_rules(after.rows, after.file)
    # A line with an error is no rule, and so differs as well.
    return faults(rules) or differences(lines.foreign, rules, lines.entries)


def put_back(psql: Psql, hba: Hba) -> None:
    """The file as it was before a run that ended between replacing and judging it."""
    swap = Swap(hba.file)
    with swap.locked():
        if swap.path.read_bytes() != hba.content:
            raise FileError(f"{hba.file} was changed by somebody else while this ran: run again")
        swap.restore(touch=True)


def reload(psql: Psql, file: str) -> None:
    """Returns when the server has read its files anew."""
    attempts = int(RELOAD_PATIENCE / _RELOAD_PAUSE)
    # A session takes the new time over between two statements.
    look = (
        f"SELECT pg_sleep({_RELOAD_PAUSE}) \\gset ignored_\n"
        "SELECT pg_conf_load_time() > :'before'::timestamptz AS loaded \\gset\n"
        "\\if :loaded\n\\echo loaded\n\\q\n\\endif\n"
    )
    told = psql.run(
        "SELECT pg_conf_load_time() AS before \\gset\nSELECT pg_reload_conf() \\gset ignored_\n" + look * attempts
    )
    if "loaded" not in told:
        raise ApplyError(
            f"the server was told to read {file} anew and has not done so within {RELOAD_PATIENCE:.0f} s: its log says"
            " why; until then the old rules are in force. The next run tells it again"
        )


def end_sessions(psql: Psql, wanted: Wanted, state: State, lines: Lines, addresses: Addresses) -> int:
    """Ends those that are open now, which may be others than those that were seen at first."""
    there = sessions_from(psql.run(sessions(wanted))[0])
    chosen = closed_out(wanted, state, lines, addresses, there)
    return int(psql.run(ending(chosen))[0]) if chosen else 0
