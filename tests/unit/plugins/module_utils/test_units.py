"""What unit_instances decides, and what it does to a systemd that is acted by FakeSystemd."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.units import (
    Action,
    Outcome,
    Systemctl,
    Unit,
    UnitsError,
    Wanted,
    modification_times,
    parse_show,
    parse_timespan,
    parse_timestamp,
    plan,
    problems,
    settle,
    trim,
    unread,
)

OWNED = ["celery-worker-*@*.service"]
A1, A2, B1, B2 = (f"celery-worker-{kind}@{release}.service" for kind in "ab" for release in "12")
ENV = "/etc/worker.env"


def running(name: str, **changes) -> Unit:
    base = Unit(name, "loaded", "active", "running", "enabled", started=1000.0, files=("/unit",))
    return base._replace(**changes)


def idle(name: str, **changes) -> Unit:
    return Unit(name, "loaded", "inactive", "dead", "disabled", files=("/unit",))._replace(**changes)


def decide(wanted: list[Wanted], *units: Unit, mtimes: dict | None = None, target: str | None = None) -> list[tuple]:
    actions = plan(wanted, {unit.name: unit for unit in units}, OWNED, mtimes or {}, target)
    return [(action.verb, *action.units) for action in actions]


class TestPlan:
    def test_first_start_of_units_systemd_does_not_know(self) -> None:
        assert decide([Wanted(A1), Wanted(B1)]) == [("start", A1, B1), ("enable", A1, B1)]

    def test_nothing_to_do(self) -> None:
        wanted = Wanted(A1, depends_on=(ENV,))
        assert decide([wanted], running(A1), mtimes={ENV: 999.9, "/unit": 1000.0}) == []

    @pytest.mark.parametrize("path", [ENV, "/unit"])
    def test_a_process_older_than_a_file_restarts(self, path: str) -> None:
        wanted = Wanted(A1, depends_on=(ENV,))
        assert decide([wanted], running(A1), mtimes={path: 1000.000001}) == [("restart", A1)]

    def test_the_reason_names_the_file(self) -> None:
        actions = plan([Wanted(A1, depends_on=(ENV,))], {A1: running(A1)}, OWNED, {ENV: 2000})
        assert actions == [Action("restart", (A1,), f"older than {ENV}")]

    def test_a_changed_unit_file_reloads_and_restarts(self) -> None:
        assert decide([Wanted(A1)], running(A1, reload=True)) == [("reload", A1), ("restart", A1)]

    def test_a_changed_unit_file_of_a_stopped_unit_reloads_and_starts(self) -> None:
        assert decide([Wanted(A1)], idle(A1, reload=True, enabled="enabled")) == [("reload", A1), ("start", A1)]

    def test_a_changed_unit_file_of_others_is_not_our_business(self) -> None:
        assert decide([Wanted(A1)], running(A1), running("other.service", reload=True)) == []

    def test_release_switch_starts_first_and_retires_last(self) -> None:
        assert decide([Wanted(A2)], running(A1), idle(A2)) == [
            ("start", A2),
            ("enable", A2),
            ("disable", A1),
            ("retire", A1),
        ]

    def test_the_new_release_alone_is_started_and_the_old_one_retired_later(self) -> None:
        both = {unit.name: unit for unit in (running(A1), idle(A2))}
        first = plan([Wanted(A2)], both, OWNED, retire=False)
        assert [action.verb for action in first] == ["start", "enable"]
        both[A2] = running(A2)
        assert plan([Wanted(A2)], both, OWNED, retire=False) == []
        assert [(action.verb, action.units) for action in plan([Wanted(A2)], both, OWNED)] == [
            ("disable", (A1,)),
            ("retire", (A1,)),
        ]

    def test_on_the_way_back_nothing_that_runs_is_restarted(self) -> None:
        units = {unit.name: unit for unit in (running(A1, reload=True), running(A2))}
        back = plan([Wanted(A1, "restart")], units, OWNED, keep=True)
        assert [(action.verb, action.units) for action in back] == [
            ("reload", (A1,)),
            ("disable", (A2,)),
            ("retire", (A2,)),
        ]
        # One that was stopped for its successor is started again, after that one has stopped.
        units = {unit.name: unit for unit in (idle(A1), running(A2))}
        back = plan([Wanted(A1, "restart")], units, OWNED, keep=True)
        assert [(action.verb, action.units) for action in back][:2] == [("stop", (A2,)), ("start", (A1,))]

    def test_release_switch_by_restart_stops_first(self) -> None:
        assert decide([Wanted(A2, "restart")], running(A1), idle(A2)) == [
            ("stop", A1),
            ("start", A2),
            ("enable", A2),
            ("disable", A1),
        ]

    def test_restart_waits_for_an_instance_that_is_already_stopping(self) -> None:
        stopping = idle(A1, active="deactivating")
        assert decide([Wanted(A2, "restart")], stopping, idle(A2))[:2] == [("stop", A1), ("start", A2)]

    def test_restart_stops_nothing_when_the_new_one_already_runs(self) -> None:
        assert decide([Wanted(A2, "restart")], running(A1), running(A2)) == [("disable", A1), ("retire", A1)]

    def test_restart_of_one_kind_does_not_stop_another_kind(self) -> None:
        actions = decide([Wanted(A2, "restart"), Wanted(B1)], running(A1), idle(A2), running(B1))
        assert ("stop", A1) in actions
        assert not any(B1 in action for action in actions)

    def test_what_needs_no_stop_starts_together_and_before_anything_stops(self) -> None:
        wanted = [Wanted(A2, "restart"), Wanted(B2), Wanted("celery-worker-c@2.service")]
        assert decide(wanted, running(A1), running(B1))[:3] == [
            ("start", B2, "celery-worker-c@2.service"),
            ("stop", A1),
            ("start", A2),
        ]

    def test_starts_and_stale_restarts_are_separate_steps(self) -> None:
        wanted = [Wanted(A1, depends_on=(ENV,)), Wanted(B2)]
        assert decide(wanted, running(A1), running(B1), mtimes={ENV: 2000})[:2] == [("restart", A1), ("start", B2)]

    def test_an_interrupted_switch_is_finished(self) -> None:
        assert decide([Wanted(A2)], running(A1), running(A2, enabled="disabled")) == [
            ("enable", A2),
            ("disable", A1),
            ("retire", A1),
        ]

    def test_a_stopping_old_instance_is_no_change(self) -> None:
        assert decide([Wanted(A2)], idle(A1, active="deactivating"), running(A2)) == []

    def test_a_stopping_old_instance_that_is_still_enabled_is_disabled(self) -> None:
        stopping = idle(A1, active="deactivating", enabled="enabled")
        assert decide([Wanted(A2)], stopping, running(A2)) == [("disable", A1)]

    def test_a_kind_that_is_removed_is_retired(self) -> None:
        assert decide([Wanted(A1)], running(A1), running(B1)) == [("disable", B1), ("retire", B1)]

    def test_an_enabled_leftover_without_process_is_disabled(self) -> None:
        assert decide([], Unit(A1, enabled="enabled")) == [("disable", A1)]

    def test_a_failed_leftover_is_forgotten(self) -> None:
        assert decide([], idle(A1, active="failed")) == [("reset", A1)]

    def test_a_leftover_that_keeps_failing_is_stopped(self) -> None:
        assert decide([], idle(A1, active="activating", sub="auto-restart")) == [("retire", A1)]

    def test_an_inactive_leftover_is_no_change(self) -> None:
        assert decide([], idle(A1)) == []

    def test_units_of_others_are_never_retired(self) -> None:
        assert decide([], running("sshd.service"), running("celery-beat@1.service")) == []

    def test_a_failed_wanted_unit_starts(self) -> None:
        assert decide([Wanted(A1)], running(A1, active="failed")) == [("start", A1)]

    def test_a_wanted_unit_that_keeps_failing_restarts_at_once(self) -> None:
        assert decide([Wanted(A1)], running(A1, active="activating", sub="auto-restart")) == [("restart", A1)]

    def test_a_wanted_unit_that_is_just_starting_is_waited_for(self) -> None:
        assert decide([Wanted(A1)], running(A1, active="activating", sub="start")) == [("start", A1)]

    def test_a_wanted_unit_that_is_starting_with_old_files_restarts(self) -> None:
        starting = running(A1, active="activating", sub="start")
        assert decide([Wanted(A1, depends_on=(ENV,))], starting, mtimes={ENV: 2000}) == [("restart", A1)]

    def test_going_back_to_an_instance_that_is_stopping(self) -> None:
        assert decide([Wanted(A1)], idle(A1, active="deactivating"), running(A2))[0] == ("start", A1)

    def test_after_a_reboot_everything_is_newer_than_its_files(self) -> None:
        assert decide([Wanted(A1, depends_on=(ENV,))], running(A1, started=5000.0), mtimes={ENV: 4000}) == []

    def test_disabled_but_active_is_only_enabled(self) -> None:
        assert decide([Wanted(A1)], running(A1, enabled="disabled")) == [("enable", A1)]

    def test_a_unit_without_install_section_is_not_enabled(self) -> None:
        assert decide([Wanted(A1)], running(A1, enabled="static")) == []

    def test_two_wanted_instances_of_one_template_do_not_replace_each_other(self) -> None:
        assert decide([Wanted(A1, "restart"), Wanted(A2, "restart")], running(A1), idle(A2)) == [
            ("start", A2),
            ("enable", A2),
        ]

    def test_the_target_comes_last(self) -> None:
        assert decide([Wanted(A1)], target="celery.target")[-1] == ("target", "celery.target")
        assert decide([Wanted(A1)], running(A1), running("celery.target"), target="celery.target") == []
        disabled = running("celery.target", enabled="disabled")
        assert decide([Wanted(A1)], running(A1), disabled, target="celery.target") == [("target", "celery.target")]


class TestRequest:
    def test_a_good_request(self) -> None:
        assert problems([Wanted(A1), Wanted("flower.service", depends_on=("/a",))], OWNED) == []

    @pytest.mark.parametrize(
        "name", ["a", "a@1", "--all.service ", "a b@1.service", "a@.service", "x.timer", "*@1.service"]
    )
    def test_bad_names(self, name: str) -> None:
        assert problems([Wanted(name)], []) != []

    @pytest.mark.parametrize(
        "pattern", ["*", "*.service", "s*.service", "celery-*", "?elery@*.service", "[c]elery@*.service"]
    )
    def test_patterns_that_reach_too_far(self, pattern: str) -> None:
        assert "could match units of others" in problems([], [pattern])[0]

    def test_all_problems_at_once(self) -> None:
        found = problems([Wanted(A1, depends_on=("etc/x",)), Wanted(A1, timeout=0)], ["*"])
        assert len(found) == 4


class TestParsing:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("Sat 2026-11-21 03:31:18.250001 UTC", 1795231878.250001),
            ("Sat 2026-11-21 03:31:18.5 UTC", 1795231878.5),
            ("Sat 2026-11-21 03:31:18 UTC", 1795231878.0),
            ("Thu 1970-01-01 00:00:01.000000 UTC", 1.0),
            ("", None),
            ("n/a", None),
        ],
    )
    def test_timestamps(self, text: str, seconds: float | None) -> None:
        assert parse_timestamp(text) == seconds

    @pytest.mark.parametrize("text", ["Sat 2026-11-21 03:31:18 CET", "yesterday", "1795231878"])
    def test_a_timestamp_in_another_form_is_refused(self, text: str) -> None:
        with pytest.raises(UnitsError, match="systemd 248"):
            parse_timestamp(text)

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("1min 30s", 90), ("2h 1min", 7260), ("500ms", 0.5), ("1d", 86400), ("infinity", None), ("", None)],
    )
    def test_timespans(self, text: str, seconds: float | None) -> None:
        assert parse_timespan(text) == seconds

    def test_show(self) -> None:
        output = (
            f"Id={A1}\nLoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\n"
            "NeedDaemonReload=no\nFragmentPath=/u/a@.service\nDropInPaths=/u/x.conf /u/y.conf\nType=notify\n"
            "ExecMainStartTimestamp=Sat 2026-11-21 03:31:18.250001 UTC\nTimeoutStopUSec=2h\nNRestarts=0\n"
            "Result=success\nExecMainStatus=0\n\n"
            f"Id={A2}\nLoadState=not-found\nActiveState=inactive\nSubState=dead\nUnitFileState=\n"
            "NeedDaemonReload=no\nFragmentPath=\nDropInPaths=\nExecMainStartTimestamp=\n"
        )
        units = parse_show(output, [A1, A2])
        assert units[A1].files == ("/u/a@.service", "/u/x.conf", "/u/y.conf")
        assert (units[A1].started, units[A1].stop_timeout) == (1795231878.250001, 7200)
        assert units[A1].is_running and units[A1].is_enabled
        assert units[A2] == Unit(A2, stop_timeout=None)

    def test_show_that_leaves_a_unit_out_is_refused(self) -> None:
        with pytest.raises(UnitsError, match="answered for 1 of 2"):
            parse_show(f"Id={A1}\n", [A1, A2])

    def test_log_lines_are_capped_and_lose_credentials(self) -> None:
        assert trim("to amqp://u:s3cret@h:5671/v now") == "to amqp://u:***@h:5671/v now"
        assert trim("db+postgresql+psycopg://u:s3c:r%40et@h/d") == "db+postgresql+psycopg://u:***@h/d"
        assert len(trim("x" * 10_000)) < 500
        assert len(trim("\n".join(["y" * 390] * 100))) == 8000
        assert trim("first\n" + "\n".join(["y" * 390] * 100) + "\nlast").endswith("\nlast")


class TestModificationTimes:
    def test_a_switched_link_counts(self, tmp_path: Path) -> None:
        old = tmp_path / "old"
        old.write_text("")
        os.utime(old, (1, 1))
        link = tmp_path / "current"
        link.symlink_to("old")
        times = modification_times([str(link), str(old)])
        assert times[str(old)] == 1
        assert times[str(link)] > 1

    def test_a_time_in_the_future_is_replaced_by_the_change_time(self, tmp_path: Path) -> None:
        path = tmp_path / "f"
        path.write_text("")
        os.utime(path, (9e9, 9e9))
        assert modification_times([str(path)])[str(path)] == path.stat().st_ctime

    def test_what_is_missing_is_named(self, tmp_path: Path) -> None:
        missing = str(tmp_path / "no.env")
        assert modification_times([missing]) == {}
        with pytest.raises(UnitsError, match=r"no\.env.*Write it before"):
            modification_times([missing], [missing])


class FakeSystemd:
    """Acts systemctl and journalctl on units in memory; links of enabled units are real, in a directory."""

    def __init__(self, directory: Path, *templates: str) -> None:
        self.directory = directory
        self.units: dict[str, dict] = {}
        self.templates = set(templates)
        self.on_disk = set(templates)
        self.broken: set[str] = set()  # fail at start
        self.hanging: set[str] = set()  # never become active
        self.busy: set[str] = set()  # have a task that never ends
        self.changed: set[str] = set()  # NeedDaemonReload
        self.load: dict[str, str] = {}  # LoadState, until the next reload
        self.simple: set[str] = set()
        self.calls: list[str] = []
        self.clock = 1000.0
        (directory / "celery.target.wants").mkdir(parents=True, exist_ok=True)

    def link(self, name: str) -> Path:
        return self.directory / "celery.target.wants" / name

    def unit(self, name: str) -> dict:
        return self.units.setdefault(name, {"active": "inactive", "sub": "dead", "started": 0.0, "restarts": 0})

    def has_file(self, name: str) -> bool:
        return name.split("@")[0] in self.templates

    def boot(self, *names: str, enabled: bool = True) -> None:
        for name in names:
            self.start(name)
            if enabled:
                self.link(name).touch()

    def start(self, name: str) -> int:
        unit = self.unit(name)
        self.clock += 1
        if name in self.hanging:
            unit.update(active="activating", sub="start", started=self.clock)
            return 124
        if name in self.broken:
            unit.update(active="activating", sub="auto-restart", started=self.clock, result="exit-code", restarts=1)
            return 1
        unit.update(active="active", sub="running", started=self.clock, restarts=int(name in self.simple))
        return 0

    def __call__(self, arguments: list) -> Outcome:
        if arguments[0] == "timeout":
            assert float(arguments[1]) > 0
            arguments = arguments[2:]
        self.calls.append(" ".join(arguments))
        if arguments[0] == "journalctl":
            return Outcome(0, f"journal of {arguments[-1]}: cannot import shop\n")
        verb = arguments[1]
        names = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
        handler = getattr(self, "do_" + verb.replace("-", "_"))
        return handler(names, arguments)

    def do_daemon_reload(self, names, arguments) -> Outcome:
        self.changed.clear()
        self.load.clear()
        self.templates |= self.on_disk
        return Outcome(0)

    def do_list_units(self, patterns, arguments) -> Outcome:
        known = [n for n, u in self.units.items() if u["active"] != "inactive" or self.link(n).exists()]
        return Outcome(
            0, "".join(f"  {n} loaded x x text\n" for n in known if any(fnmatchcase(n, p) for p in patterns))
        )

    def do_show(self, names, arguments) -> Outcome:
        assert "--timestamp=us+utc" in arguments
        blocks = []
        for name in names:
            unit = self.unit(name)
            seconds = int(unit["started"])
            at = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
            enabled = "enabled" if self.link(name).exists() else "disabled"
            load = self.load.get(name, "loaded" if self.has_file(name) else "not-found")
            blocks.append(
                f"Id={name}\nLoadState={load}\n"
                f"ActiveState={unit['active']}\nSubState={unit['sub']}\n"
                f"UnitFileState={enabled if self.has_file(name) else ''}\n"
                f"NeedDaemonReload={'yes' if name in self.changed else 'no'}\nFragmentPath=\nDropInPaths=\n"
                f"ExecMainStartTimestamp=Thu 1970-01-01 {at} UTC\n"
                f"Type={'simple' if name in self.simple else 'notify'}\nTimeoutStopUSec=1min 30s\n"
                f"NRestarts={unit['restarts']}\nResult={unit.get('result', 'success')}\nExecMainStatus=3\n"
            )
        return Outcome(0, "\n".join(blocks))

    def do_start(self, names, arguments) -> Outcome:
        return Outcome(max(self.start(name) for name in names if self.unit(name)["active"] != "active"))

    def do_restart(self, names, arguments) -> Outcome:
        if self.busy & set(names):
            for name in names:
                self.unit(name)["active"] = "deactivating"
            return Outcome(124)
        return Outcome(max(self.start(name) for name in names))

    def do_stop(self, names, arguments) -> Outcome:
        for name in names:
            state = "deactivating" if name in self.busy else "inactive"
            self.unit(name).update(active=state, sub="dead")
        return Outcome(0)

    def do_enable(self, names, arguments) -> Outcome:
        for name in names:
            self.link(name).touch()
            if "--now" in arguments:
                self.start(name)
        return Outcome(0)

    def do_disable(self, names, arguments) -> Outcome:
        for name in names:
            self.link(name).unlink(missing_ok=True)
        return Outcome(0)

    def do_reset_failed(self, names, arguments) -> Outcome:
        for name in names:
            if self.unit(name)["active"] == "failed":
                self.unit(name)["active"] = "inactive"
        return Outcome(0)

    def do_status(self, names, arguments) -> Outcome:
        return Outcome(3, f"* {names[0]}\n   Active: {self.unit(names[0])['active']}\n")

    def states(self) -> dict[str, str]:
        return {
            name: unit["active"] + (" enabled" if self.link(name).exists() else "")
            for name, unit in sorted(self.units.items())
            if unit["active"] != "inactive" or self.link(name).exists()
        }

    def writes(self) -> list[str]:
        reading = ("show", "list-units", "status")
        return [call.split(" ", 1)[1] for call in self.calls if call.split()[1] not in reading]


@pytest.fixture
def host(tmp_path: Path) -> FakeSystemd:
    return FakeSystemd(tmp_path / "system", "celery-worker-a", "celery-worker-b")


def converge(host: FakeSystemd, *wanted: Wanted, check: bool = False, target: str | None = None):
    host.calls.clear()
    systemctl = Systemctl(host, directory=str(host.directory))
    return settle(systemctl, list(wanted), OWNED, target, check)


class TestRunner:
    def test_first_run_and_second_run(self, host: FakeSystemd) -> None:
        actions, diff = converge(host, Wanted(A1), Wanted(B1), target="celery.target")
        assert host.states() == {A1: "active enabled", B1: "active enabled", "celery.target": "active enabled"}
        assert [action.verb for action in actions] == ["start", "enable", "target"]
        assert diff["before"][0] == f"{A1}: inactive disabled"
        assert diff["after"][0] == f"{A1}: active enabled"
        host.templates.add("celery.target")
        assert converge(host, Wanted(A1), Wanted(B1), target="celery.target")[0] == []
        # A run that changes nothing costs two commands, however many units there are.
        assert len(host.calls) == 2

    def test_check_mode_before_the_unit_files_exist(self, tmp_path: Path) -> None:
        host = FakeSystemd(tmp_path)
        actions, _diff = converge(host, Wanted(A1, depends_on=("/nowhere/worker.env",)), check=True)
        assert [action.verb for action in actions] == ["start", "enable"]
        assert host.writes() == []

    @pytest.mark.parametrize("release", ["1", "2"])
    def test_check_mode_reports_what_the_run_then_does(self, host: FakeSystemd, release: str) -> None:
        host.boot(A1, B1)
        host.changed.add(B1)
        wanted = Wanted(f"celery-worker-a@{release}.service")
        checked = converge(host, wanted, check=True)
        assert host.writes() == []
        assert host.states() == {A1: "active enabled", B1: "active enabled"}
        done = converge(host, wanted)
        assert [a for a in done[0] if a.verb != "reload"] == [a for a in checked[0] if a.verb != "reload"]
        assert done[1] == checked[1]

    def test_a_template_that_was_just_written_is_loaded(self, tmp_path: Path) -> None:
        host = FakeSystemd(tmp_path)
        host.on_disk = {"celery-worker-a"}
        converge(host, Wanted(A1))
        assert host.writes()[0] == "daemon-reload"
        assert host.states() == {A1: "active enabled"}

    def test_a_missing_template_is_refused_before_anything_happens(self, host: FakeSystemd) -> None:
        host.boot(A1)
        with pytest.raises(UnitsError, match=r"celery-worker-c@2\.service has no unit file.*Nothing was changed"):
            converge(host, Wanted(A2), Wanted("celery-worker-c@2.service"))
        assert host.states() == {A1: "active enabled"}

    def test_a_changed_unit_file_restarts_after_the_reload(self, host: FakeSystemd) -> None:
        host.boot(A1)
        host.changed.add(A1)
        converge(host, Wanted(A1))
        assert host.writes() == ["daemon-reload", f"restart -- {A1}"]
        assert converge(host, Wanted(A1))[0] == []

    @pytest.mark.parametrize("load", ["error", "bad-setting"])
    def test_a_file_that_could_not_be_read_before_is_read_again(self, host: FakeSystemd, load: str) -> None:
        # Somebody removed it under a running service and reloaded; then the role placed it again.
        host.boot(A1)
        host.load[A1] = load
        converge(host, Wanted(A1))
        assert host.writes()[:1] == ["daemon-reload"]
        assert converge(host, Wanted(A1))[0] == []

    def test_a_stale_process_restarts_once(self, host: FakeSystemd, tmp_path: Path) -> None:
        env = tmp_path / "worker.env"
        env.write_text("")
        os.utime(env, (1005, 1005))
        host.boot(A1)
        wanted = Wanted(A1, depends_on=(str(env),))
        host.clock = 1010
        actions, diff = converge(host, wanted)
        assert [action.why for action in actions] == [f"older than {env}"]
        assert diff["before"] == [f"{A1}: active enabled (older than {env})"]
        assert diff["after"] == [f"{A1}: active enabled"]
        assert converge(host, wanted)[0] == []

    def test_release_switch_order(self, host: FakeSystemd) -> None:
        host.boot(A1, B1)
        host.busy = {A1}
        converge(host, Wanted(A2), Wanted(B2, "restart"))
        assert host.writes() == [
            f"start -- {A2}",
            f"stop -- {B1}",
            f"start -- {B2}",
            f"enable --quiet -- {A2} {B2}",
            f"disable --quiet -- {A1} {B1}",
            f"stop --no-block -- {A1}",
        ]
        assert host.states() == {A1: "deactivating", A2: "active enabled", B2: "active enabled"}
        assert converge(host, Wanted(A2), Wanted(B2, "restart"))[0] == []

    def test_a_kind_whose_template_is_gone_is_retired_by_its_link(self, host: FakeSystemd) -> None:
        host.boot(A1)
        host.link("celery-worker-old@9.service").touch()
        converge(host, Wanted(A1))
        assert host.states() == {A1: "active enabled"}

    def test_a_link_that_stays_is_an_error(self, host: FakeSystemd, monkeypatch: pytest.MonkeyPatch) -> None:
        host.boot(A1, B1)
        monkeypatch.setattr(host, "do_disable", lambda names, arguments: Outcome(1, "", "read-only file system"))
        with pytest.raises(UnitsError, match=rf"{B1} could not be disabled: read-only.*Remove their links"):
            converge(host, Wanted(A1))

    def test_a_failing_release_leaves_everything_as_it_was(self, host: FakeSystemd) -> None:
        host.boot(A1, B1)
        host.broken = {B2}
        with pytest.raises(UnitsError) as caught:
            converge(host, Wanted(A2), Wanted(B2))
        assert host.states() == {A1: "active enabled", B1: "active enabled"}
        message = str(caught.value)
        assert f"{B2} failed to start (result exit-code, exit status 3)" in message
        assert f"journal of {B2}: cannot import shop" in message
        # The services may log into a journal of the cluster's own.
        assert [call for call in host.calls if call.startswith("journalctl --namespace=* ")]
        assert f"What ran before still runs: {A1}, {B1}." in message
        assert f"Stopped again, so that all kinds of this host stay on one release: {A2}." in message
        assert message.endswith("Correct the cause shown above and run again.")
        host.broken = set()
        converge(host, Wanted(A2), Wanted(B2))
        assert host.states() == {A2: "active enabled", B2: "active enabled"}

    def test_a_release_that_is_never_ready(self, host: FakeSystemd) -> None:
        host.boot(A1)
        host.hanging = {A2}
        with pytest.raises(UnitsError, match=f"{A2} did not become active within 7 s"):
            converge(host, Wanted(A2, timeout=7))
        assert host.states() == {A1: "active enabled"}

    def test_restart_brings_the_old_instance_back(self, host: FakeSystemd) -> None:
        host.boot(A1, B1)
        host.broken = {A2}
        with pytest.raises(UnitsError, match=f"What ran before still runs: {A1}, {B1}"):
            converge(host, Wanted(A2, "restart"), Wanted(B2))
        assert host.states() == {A1: "active enabled", B1: "active enabled"}

    def test_an_old_instance_that_does_not_come_back_is_named(self, host: FakeSystemd) -> None:
        host.boot(A1)
        host.broken = {A1, A2}
        with pytest.raises(UnitsError, match=f"could not be started again: {A1}"):
            converge(host, Wanted(A2, "restart"))

    def test_a_first_start_that_fails_leaves_nothing(self, host: FakeSystemd) -> None:
        host.broken = {A1}
        with pytest.raises(UnitsError, match=f"{A1} failed to start"):
            converge(host, Wanted(A1))
        assert host.states() == {}

    def test_the_only_instance_is_left_to_systemd_when_its_restart_fails(self, host: FakeSystemd) -> None:
        host.boot(A1)
        host.changed = {A1}
        host.broken = {A1}
        with pytest.raises(UnitsError, match=f"{A1} failed to start"):
            converge(host, Wanted(A1))
        assert host.states() == {A1: "activating enabled"}

    def test_an_instance_that_still_stops_keeps_its_queued_start(self, host: FakeSystemd) -> None:
        host.boot(A1)
        host.changed = {A1}
        host.busy = {A1}
        with pytest.raises(UnitsError, match="is still stopping: it finishes the tasks it had"):
            converge(host, Wanted(A1))
        assert not any(call.startswith(("stop", "disable")) for call in host.writes())

    def test_a_restart_that_did_not_happen_is_a_failure(
        self, host: FakeSystemd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host.boot(A1)
        host.changed = {A1}
        monkeypatch.setattr(host, "do_restart", lambda names, arguments: Outcome(1, "", "bad unit"))
        with pytest.raises(UnitsError, match=f"{A1} was not restarted and still runs with the old files"):
            converge(host, Wanted(A1))

    def test_a_service_without_readiness_must_survive_a_moment(self, host: FakeSystemd) -> None:
        host.simple = {A1}
        with pytest.raises(UnitsError, match=f"{A1} does not stay up"):
            converge(host, Wanted(A1))

    def test_a_failed_unit_is_reset_before_its_start(self, host: FakeSystemd) -> None:
        host.boot(A1)
        host.unit(A1)["active"] = "failed"
        converge(host, Wanted(A1))
        assert host.writes() == [f"reset-failed -- {A1}", f"start -- {A1}"]

    def test_a_command_that_fails_says_which(self, host: FakeSystemd, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(host, "do_enable", lambda names, arguments: Outcome(1, "", "Access denied"))
        with pytest.raises(UnitsError, match=f"systemctl enable --quiet -- {A1} failed: Access denied"):
            converge(host, Wanted(A1))

    def test_a_missing_dependency_is_refused(self, host: FakeSystemd) -> None:
        with pytest.raises(UnitsError, match=r"/nowhere/worker\.env"):
            converge(host, Wanted(A1, depends_on=("/nowhere/worker.env",)))
        assert host.states() == {}


def test_a_drop_in_that_systemd_does_not_report(tmp_path):
    folder = tmp_path / "broker.service.d"
    folder.mkdir()
    assert not unread("broker.service", [], str(tmp_path))
    (folder / "limits.conf").write_text("[Service]\n")
    assert unread("broker.service", [], str(tmp_path))
    assert not unread("broker.service", [str(folder / "limits.conf")], str(tmp_path))
