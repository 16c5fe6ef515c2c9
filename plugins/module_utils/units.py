# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instances of systemd units must start, restart or retire: a pure decision and a thin runner.

plan() looks at the wanted units and the state of the host and returns ordered actions. Systemctl reads the state
and carries the actions out; everything it does goes through one injected function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

RUNNING = ("active", "reloading", "refreshing")
STARTING = ("activating",)
ENABLED = ("enabled", "enabled-runtime")
# Units without [Install] section cannot be enabled; something else starts them.
NOT_ENABLEABLE = ("static", "generated", "transient", "alias")
# What systemd may say of a file that it missed, or could not read, before this run placed it.
OUTDATED = ("not-found", "bad-setting", "error")
PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NeedDaemonReload",
    "FragmentPath",
    "DropInPaths",
    "ExecMainStartTimestamp",
    "ExecMainStatus",
    "Result",
    "Type",
    "TimeoutStopUSec",
    "NRestarts",
)
UNIT_NAME = re.compile(r"[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\-]+)?\.service")
TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{1,6}))? UTC$")
SECONDS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1,
    "min": 60,
    "h": 3600,
    "d": 86400,
    "w": 604800,
    "month": 2629800,
    "y": 31557600,
}
JOURNAL_LINES = 30
JOURNAL_LINE_LENGTH = 400
JOURNAL_LENGTH = 8000
# How long a service that does not tell when it is ready must survive to count as started.
SETTLE = 2.0


class UnitsError(Exception):
    """Something that cannot be done; the message says what is wrong and what to do."""


class Wanted(NamedTuple):
    name: str
    strategy: str = "overlap"
    depends_on: tuple[str, ...] = ()
    timeout: int = 120


class Unit(NamedTuple):
    """What systemd says about one unit."""

    name: str
    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    enabled: str = ""
    reload: bool = False
    started: float | None = None
    files: tuple[str, ...] = ()
    notifies: bool = True
    stop_timeout: float | None = None
    restarts: int = 0
    result: str = ""
    status: str = ""

    @property
    def is_running(self) -> bool:
        return self.active in RUNNING

    @property
    def is_enabled(self) -> bool:
        return self.enabled in ENABLED


class Action(NamedTuple):
    """One step: a verb, the units it is for, and why."""

    verb: str  # reload | start | restart | stop | enable | disable | retire | reset | target
    units: tuple[str, ...]
    why: str


class Outcome(NamedTuple):
    rc: int
    stdout: str = ""
    stderr: str = ""


def unknown_host(arguments: list[str]) -> Outcome:
    """Stands in for systemctl where systemd is not there yet, for example in a check of an empty machine."""
    if "show" not in arguments:
        return Outcome(0)
    names = arguments[arguments.index("--") + 1 :]
    return Outcome(0, "\n\n".join(f"Id={name}\nLoadState=not-found\nActiveState=inactive" for name in names))


def template(name: str) -> str:
    """celery-beat@ of celery-beat@4f2c.service; the whole name for a unit that is no instance."""
    return name.split("@", 1)[0] + "@" if "@" in name else name


def problems(wanted: Iterable[Wanted], owned: Iterable[str]) -> list[str]:
    """What is wrong with the request itself, all of it."""
    found: list[str] = []
    seen: set[str] = set()
    for unit in wanted:
        if not UNIT_NAME.fullmatch(unit.name):
            found.append(
                f"{unit.name!r} is not the name of a service: write one like celery-worker-default@4f2c.service"
            )
        if unit.name in seen:
            found.append(f"{unit.name} is wanted twice: list it once")
        seen.add(unit.name)
        if unit.timeout < 1:
            found.append(f"{unit.name}: timeout {unit.timeout} must be at least 1 second")
        found.extend(
            f"{unit.name}: depends_on {path!r} must be an absolute path" for path in unit.depends_on if path[:1] != "/"
        )
    for pattern in owned:
        literal = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
        if len(literal) < 3 or not pattern.endswith(".service"):
            found.append(
                f"owned {pattern!r} could match units of others: "
                "begin with the literal name and end with .service, like celery-worker-*@*.service"
            )
    return found


def matches(name: str, owned: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in owned)


def stale(unit: Unit, wanted: Wanted, mtimes: Mapping[str, float]) -> str:
    """Why the running process does not know the present files; empty when it does."""
    if unit.reload:
        return "its unit file changed"
    if unit.started is None:
        return ""
    newer = [path for path in (*wanted.depends_on, *unit.files) if mtimes.get(path, 0) > unit.started]
    return f"older than {newer[0]}" if newer else ""


def predecessors(
    wanted: Wanted, everything: Iterable[Wanted], units: Mapping[str, Unit], owned: Iterable[str]
) -> list[Unit]:
    """The other owned instances of the same template, which a wanted unit replaces."""
    keep = {other.name for other in everything}
    return [
        unit
        for name, unit in sorted(units.items())
        if name not in keep and "@" in name and template(name) == template(wanted.name) and matches(name, owned)
    ]


def plan(
    wanted: list[Wanted],
    units: Mapping[str, Unit],
    owned: list[str],
    mtimes: Mapping[str, float] | None = None,
    target: str | None = None,
    *,
    retire: bool = True,
    keep: bool = False,
) -> list[Action]:
    """The actions, in order, after which exactly the wanted units run. Pure.

    Nothing is retired before everything wanted runs: a failure half-way leaves the previous units running.
    retire: whether the others are; keep: whether a wanted unit that runs is left alone, though its files changed.
    """
    mtimes = mtimes or {}
    actions: list[Action] = []
    names_wanted = {unit.name for unit in wanted}
    changed = sorted(
        name
        for name, unit in units.items()
        if unit.reload and (name in names_wanted or name == target or matches(name, owned))
    )
    if changed:
        actions.append(Action("reload", tuple(changed), "unit files changed"))

    begin: list[Action] = []
    for want in wanted:
        unit = units.get(want.name, Unit(want.name))
        reason = stale(unit, want, mtimes)
        if unit.is_running:
            if not reason or keep:
                continue
            step = Action("restart", (want.name,), reason)
        elif unit.active in STARTING and (reason or unit.sub == "auto-restart"):
            # A plain start would wait for systemd's restart delay, or for a process that read the old files.
            step = Action("restart", (want.name,), reason or "it keeps failing")
        else:
            step = Action("start", (want.name,), unit.active)
        waits_for = [
            old.name
            for old in predecessors(want, wanted, units, owned)
            if want.strategy == "restart" and (old.is_running or old.active in (*STARTING, "deactivating"))
        ]
        if waits_for:
            begin.append(Action("stop", tuple(waits_for), f"{want.name} takes its place"))
            begin.append(step)
        else:
            # In front of all that stop something first; together, because each start may take long.
            position = next((i for i, other in enumerate(begin) if other.verb == "stop"), len(begin))
            same = next((i for i, other in enumerate(begin[:position]) if other.verb == step.verb), None)
            if same is None:
                begin.insert(position, step)
            else:
                begin[same] = Action(
                    step.verb,
                    begin[same].units + step.units,
                    begin[same].why if begin[same].why == step.why else f"{begin[same].why}; {step.why}",
                )
    actions += begin

    to_enable = [
        want.name
        for want in wanted
        for unit in (units.get(want.name, Unit(want.name)),)
        if not unit.is_enabled and unit.enabled not in NOT_ENABLEABLE
    ]
    if to_enable:
        actions.append(Action("enable", tuple(to_enable), "start at boot"))

    others = [unit for name, unit in sorted(units.items()) if name not in names_wanted and matches(name, owned)]
    gone = others if retire else []
    why = "not wanted any more"
    disable = tuple(unit.name for unit in gone if unit.is_enabled)
    stopped = {name for action in begin if action.verb == "stop" for name in action.units}
    retired = tuple(
        unit.name for unit in gone if unit.name not in stopped and (unit.is_running or unit.active in STARTING)
    )
    reset = tuple(unit.name for unit in gone if unit.active == "failed")
    for verb, names in (("disable", disable), ("retire", retired), ("reset", reset)):
        if names:
            actions.append(Action(verb, names, why))

    if target:
        unit = units.get(target, Unit(target))
        if not (unit.is_running and (unit.is_enabled or unit.enabled in NOT_ENABLEABLE)):
            actions.append(Action("target", (target,), f"{unit.active} {unit.enabled or 'disabled'}"))
    return actions


def describe(
    wanted: list[Wanted], units: Mapping[str, Unit], owned: list[str], mtimes: Mapping[str, float], target: str | None
) -> list[str]:
    """One line per unit that matters, for a diff: "unit: active enabled"."""
    by_name = {want.name: want for want in wanted}
    lines = []
    for name, unit in sorted(units.items()):
        if name not in by_name and name != target and not matches(name, owned):
            continue
        if name not in by_name and name != target and unit.active == "inactive" and not unit.is_enabled:
            continue
        line = f"{name}: {unit.active} {unit.enabled or 'disabled'}"
        reason = stale(unit, by_name[name], mtimes) if name in by_name and unit.is_running else ""
        lines.append(f"{line} ({reason})" if reason else line)
    return lines


def predict(units: Mapping[str, Unit], actions: Iterable[Action]) -> dict[str, Unit]:
    """The state after the actions, as far as it shows in a diff."""
    after = dict(units)
    changes: dict[str, dict[str, Any]] = {
        "reload": {"reload": False},
        "start": {"active": "active", "started": None, "reload": False},
        "restart": {"active": "active", "started": None, "reload": False},
        "stop": {"active": "inactive"},
        "enable": {"enabled": "enabled"},
        "disable": {"enabled": "disabled"},
        "retire": {"active": "deactivating"},
        "reset": {"active": "inactive"},
        "target": {"active": "active", "enabled": "enabled"},
    }
    for action in actions:
        for name in action.units:
            after[name] = after.get(name, Unit(name))._replace(**changes[action.verb])
    return after


def parse_timestamp(value: str) -> float | None:
    """Seconds since the epoch of what `systemctl show --timestamp=us+utc` prints; None when it never happened."""
    value = value.strip()
    if value in ("", "n/a", "0"):
        return None
    found = TIMESTAMP.search(value)
    if not found:
        raise UnitsError(
            f"systemctl printed the time {value!r}, which is not understood: systemd 248 or newer is needed"
        )
    moment = datetime.strptime(found.group(1), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    return moment.timestamp() + int((found.group(2) or "0").ljust(6, "0")) / 1e6


def parse_timespan(value: str) -> float | None:
    """Seconds of a time span like "1min 30s"; None for infinity and for what is not understood."""
    total = 0.0
    for part in value.split():
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", part)
        if not found or found.group(2) not in SECONDS:
            return None
        total += float(found.group(1)) * SECONDS[found.group(2)]
    return total if value.strip() else None


def unread(name: str, files: list[str], directory: str = "/etc/systemd/system") -> bool:
    """Whether there is a drop-in that the manager has not read: systemd 252 does not report the first one of a unit."""
    return any(str(path) not in files for path in Path(directory, f"{name}.d").glob("*.conf"))


def shown(output: str, names: list[str]) -> dict[str, dict[str, str]]:
    """Unit -> its properties: the blocks of `systemctl show`, which come in the order of the names."""
    blocks = [block for block in re.split(r"\n[ \t]*\n", output.strip("\n")) if block.strip()]
    if len(blocks) != len(names):
        raise UnitsError(f"systemctl show answered for {len(blocks)} of {len(names)} units: {', '.join(names)}")
    return {
        name: dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for name, block in zip(names, blocks, strict=True)
    }


def parse_show(output: str, names: list[str]) -> dict[str, Unit]:
    """What `systemctl show` tells of these units."""
    units = {}
    for name, value in shown(output, names).items():
        files = [value.get("FragmentPath", ""), *value.get("DropInPaths", "").split()]
        units[name] = Unit(
            name,
            load=value.get("LoadState", ""),
            active=value.get("ActiveState", "inactive"),
            sub=value.get("SubState", ""),
            enabled=value.get("UnitFileState", ""),
            reload=value.get("NeedDaemonReload") == "yes" or unread(name, files),
            started=parse_timestamp(value.get("ExecMainStartTimestamp", "")),
            files=tuple(path for path in files if path),
            notifies=value.get("Type", "notify") in ("notify", "notify-reload", "dbus", "oneshot"),
            stop_timeout=parse_timespan(value.get("TimeoutStopUSec", "")),
            restarts=int(value.get("NRestarts") or 0),
            result=value.get("Result", ""),
            status=value.get("ExecMainStatus", ""),
        )
    return units


def modification_times(paths: Iterable[str], must_exist: Iterable[str] = ()) -> dict[str, float]:
    """When each path last changed. A link counts itself and what it points to, so switching it counts."""
    times: dict[str, float] = {}
    missing = []
    required = set(must_exist)
    for path in paths:
        try:
            looks = [Path(path).lstat(), Path(path).stat()]
        except (FileNotFoundError, NotADirectoryError):
            if path in required:
                missing.append(path)
            continue
        # A copy may carry a time in the future from another clock; the change time is always of this host.
        times[path] = max(min(look.st_mtime, look.st_ctime) for look in looks)
    if missing:
        raise UnitsError(
            f"depends_on names what is not there: {', '.join(missing)}. Write it before starting the units"
        )
    return times


def links(directory: str) -> set[str]:
    """Units enabled by a link in DIRECTORY/*.wants or *.requires. list-unit-files does not list instances."""
    found: set[str] = set()
    root = Path(directory)
    for folder in (*root.glob("*.wants"), *root.glob("*.requires")):
        found.update(entry.name for entry in folder.iterdir())
    return found


def trim(text: str) -> str:
    """Log lines, capped, without the credentials that a library may have logged inside a URL."""
    text = re.sub(r"(://[^/\s:@]*):[^/\s@]*@", r"\1:***@", text)
    lines = [
        line if len(line) <= JOURNAL_LINE_LENGTH else line[:JOURNAL_LINE_LENGTH] + " ..."
        for line in text.strip().splitlines()
    ]
    # The end says why it failed; the beginning is what can go.
    return "\n".join(lines)[-JOURNAL_LENGTH:]


class Systemctl:
    """Reads the units of this host and carries a plan out."""

    def __init__(
        self,
        run: Callable[[list[str]], Outcome],
        command: Iterable[str] = ("systemctl",),
        journal: Iterable[str] = ("journalctl",),
        directory: str = "/etc/systemd/system",
        sleep: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._run = run
        self._command = list(command)
        self._journal = list(journal)
        self._directory = directory
        self._sleep = sleep

    def call(self, *arguments: str, timeout: float | None = None) -> Outcome:
        limit = ["timeout", f"{timeout:.0f}"] if timeout else []
        return self._run([*limit, *self._command, *arguments])

    def must(self, *arguments: str) -> Outcome:
        outcome = self.call(*arguments)
        if outcome.rc:
            raise UnitsError(f"systemctl {' '.join(arguments)} failed: {trim(outcome.stderr or outcome.stdout)}")
        return outcome

    def show(self, names: Iterable[str]) -> dict[str, Unit]:
        ordered = sorted(set(names))
        if not ordered:
            return {}
        outcome = self.must("show", "--timestamp=us+utc", f"--property={','.join(PROPERTIES)}", "--", *ordered)
        units = parse_show(outcome.stdout, ordered)
        linked = links(self._directory)
        return {
            # systemd does not know the state of an instance whose unit file is gone, the link tells it.
            name: unit._replace(enabled="enabled") if name in linked and not unit.enabled else unit
            for name, unit in units.items()
        }

    def read(self, wanted: Iterable[Wanted], owned: list[str], target: str | None = None) -> dict[str, Unit]:
        """The state of everything the call is about, in at most two commands."""
        names = {want.name for want in wanted} | ({target} if target else set())
        if owned:
            options = ("--all", "--full", "--plain", "--no-legend", "--no-pager")
            listing = self.must("list-units", *options, "--", *owned)
            # The name is the first word, or the second where a mark stands before a failed unit.
            found = {word for line in listing.stdout.splitlines() for word in line.split()[:2]}
            names |= {name for name in found | links(self._directory) if matches(name, owned)}
        return self.show(names)

    def reload(self) -> None:
        self.must("daemon-reload")

    def _begin(self, action: Action, before: Mapping[str, Unit], limits: Mapping[str, int]) -> list[Unit]:
        """Starts or restarts units together and returns those that do not run as they should."""
        failed = [name for name in action.units if before[name].active == "failed"]
        if failed:
            self.call("reset-failed", "--", *failed)  # lifts a start limit, else nothing starts
        limit: float | None = max(limits[name] for name in action.units)
        if limit and action.verb == "restart":
            # The old process may finish its task first; that does not count as time to become active.
            stops = [before[name].stop_timeout for name in action.units]
            known = [stop for stop in stops if stop is not None]
            limit = limit + max(known) if len(known) == len(stops) else None
        self.call(action.verb, "--", *action.units, timeout=limit)
        after = self.show(action.units)
        if any(unit.is_running and not unit.notifies for unit in after.values()):
            self._sleep(SETTLE)
            after = self.show(action.units)
        return [
            after[name]
            for name in action.units
            if not after[name].is_running
            or (before[name].is_running and after[name].started == before[name].started)
            or (not after[name].notifies and after[name].restarts > 0)
        ]

    def _explain(self, unit: Unit, timeout: int) -> str:
        if unit.active == "deactivating":
            return (
                f"{unit.name} is still stopping: it finishes the tasks it had, and starts again by itself after "
                f"that. Wait and run again, or end it now with: systemctl kill --signal=SIGKILL {unit.name}"
            )
        if unit.is_running:
            state = "does not stay up" if unit.restarts else "was not restarted and still runs with the old files"
        elif unit.active == "activating" and unit.sub != "auto-restart" and not unit.restarts:
            state = f"did not become active within {timeout} s"
        else:
            state = f"failed to start (result {unit.result or 'unknown'}, exit status {unit.status or 'unknown'})"
        status = self.call("status", "--no-pager", "--full", "--lines=0", "--", unit.name)
        # A service may log into a journal of its own.
        options = ("--namespace=*", "--no-pager", "--output=cat", f"--lines={JOURNAL_LINES}")
        lines = self._run([*self._journal, *options, "-u", unit.name])
        return (
            f"{unit.name} {state}.\n{trim(status.stdout or status.stderr)}\n"
            f"Last lines of its journal:\n{trim(lines.stdout) or '(empty)'}"
        )

    def _abandon(self, unit: Unit, was: Unit, replaces: bool) -> None:
        """Takes a unit that failed to start away again."""
        if unit.active == "deactivating" or (was.is_enabled and not replaces):
            # It was to run before this call and nothing else does its work: systemd shall go on trying.
            return
        self.call("stop", "--", unit.name, timeout=30)
        self.call("disable", "--", unit.name)
        self.call("reset-failed", "--", unit.name)

    def apply(self, actions: list[Action], wanted: list[Wanted], before: Mapping[str, Unit], owned: list[str]) -> None:
        """Carries out the actions; a unit that fails to start undoes the replacements of this call."""
        limits = {want.name: want.timeout for want in wanted}
        replaced = {want.name: predecessors(want, wanted, before, owned) for want in wanted}
        started: list[str] = []
        stopped: list[str] = []
        for action in actions:
            names = action.units
            if action.verb in ("start", "restart"):
                failed = self._begin(action, before, limits)
                started += [name for name in names if name not in {unit.name for unit in failed}]
                if failed:
                    self._fail(failed, started, stopped, before, replaced, limits)
            elif action.verb == "stop":
                self.must("stop", "--", *names)
                stopped += names
            elif action.verb == "enable":
                self.must("enable", "--quiet", "--", *names)
            elif action.verb == "disable":
                outcome = self.call("disable", "--quiet", "--", *names)
                left = sorted(links(self._directory) & set(names))
                if left:
                    raise UnitsError(
                        f"{', '.join(left)} could not be disabled: {trim(outcome.stderr)}. "
                        f"Remove their links below {self._directory}"
                    )
            elif action.verb == "retire":
                self.must("stop", "--no-block", "--", *names)
            elif action.verb == "reset":
                self.call("reset-failed", "--", *names)
            elif action.verb == "target":
                self.must("enable", "--quiet", "--now", "--", *names)

    def _fail(
        self,
        failed: list[Unit],
        started: list[str],
        stopped: list[str],
        before: Mapping[str, Unit],
        replaced: Mapping[str, list[Unit]],
        limits: Mapping[str, int],
    ) -> None:
        """Restores what ran before, then raises with everything the operator needs."""
        reports = [self._explain(unit, limits[unit.name]) for unit in failed]

        def running(name: str) -> list[str]:
            return [old.name for old in replaced[name] if old.is_running]

        for unit in failed:
            self._abandon(unit, before[unit.name], bool(running(unit.name)))
        undone = [name for name in started if running(name) and not before[name].is_running]
        if undone:
            self.call("stop", "--no-block", "--", *undone)
            self.call("disable", "--quiet", "--", *undone)
        back = [name for name in stopped if before[name].is_running]
        if back:
            self.call("start", "--", *back, timeout=max(limits.values()))
        keep = sorted({old for name in (*undone, *(unit.name for unit in failed)) for old in running(name)} | set(back))
        after = self.show(keep)
        lost = [name for name in keep if not after[name].is_running]
        survivors = [name for name in keep if name not in lost]
        if survivors:
            reports.append(f"What ran before still runs: {', '.join(survivors)}.")
        if lost:
            reports.append(f"What ran before could not be started again: {', '.join(lost)}.")
        if undone:
            reports.append(f"Stopped again, so that all kinds of this host stay on one release: {', '.join(undone)}.")
        reports.append("Correct the cause shown above and run again.")
        raise UnitsError("\n".join(reports))


def settle(
    systemctl: Systemctl,
    wanted: list[Wanted],
    owned: list[str],
    target: str | None,
    check: bool,
    *,
    retire: bool = True,
    keep: bool = False,
) -> tuple[list[Action], dict[str, list[str]]]:
    """Reads, decides and, unless it is a check, acts. Returns the actions and the diff."""
    before = systemctl.read(wanted, owned, target)
    fresh = before
    needs_reload = any(unit.reload for unit in before.values()) or any(
        before[want.name].load in OUTDATED for want in wanted
    )
    if needs_reload and not check:
        systemctl.reload()
        fresh = systemctl.read(wanted, owned, target)
        # systemd forgets with the reload that a running process still has the old unit file: remember it.
        fresh = {
            name: unit._replace(reload=unit.reload or (name in before and before[name].reload))
            for name, unit in fresh.items()
        }
    if not check:
        _refuse_unusable(fresh, wanted)
    paths = [path for want in wanted for path in (*want.depends_on, *fresh[want.name].files)]
    mtimes = modification_times(paths, () if check else (path for want in wanted for path in want.depends_on))
    actions = plan(wanted, fresh, owned, mtimes, target, retire=retire, keep=keep)
    diff = {
        "before": describe(wanted, fresh, owned, mtimes, target),
        "after": describe(wanted, predict(fresh, actions), owned, mtimes, target),
    }
    if not check:
        systemctl.apply([action for action in actions if action.verb != "reload"], wanted, fresh, owned)
    return actions, diff


def _refuse_unusable(units: Mapping[str, Unit], wanted: list[Wanted]) -> None:
    remedies = {
        "not-found": "has no unit file: write its template to /etc/systemd/system first",
        "masked": "is masked: systemctl unmask it, or do not want it on this host",
        "bad-setting": "has a unit file that systemd refuses: see systemd-analyze verify",
        "error": "has a unit file that cannot be loaded: see systemctl status",
    }
    found = [f"{want.name} {remedies[units[want.name].load]}" for want in wanted if units[want.name].load in remedies]
    if found:
        raise UnitsError("; ".join(found) + ". Nothing was changed.")
