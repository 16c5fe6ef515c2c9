"""One release after the other, under long tasks: switched, refused, taken back by itself, and rolled back by name."""

from __future__ import annotations

from collections.abc import Iterator

import guide
import pytest
from deployment import CORE, KINDS, NAME, ROLLBACK, ROOT, WORKERS, on, variables
from testing import message, wait_for


@pytest.fixture(scope="module")
def gates(stream) -> Iterator[list[str]]:
    """The long tasks that wait to be let go; they are at the latest when the tests of this file are over."""
    waiting: list[str] = []
    yield waiting
    for where in waiting:
        stream.let_go(where)


@pytest.fixture(scope="module")
def releases(services) -> dict[str, str]:
    """Edition -> its release."""
    return {"A": services.release()}


def test_a_release_is_switched_without_waiting_for_long_tasks(
    traffic, services, ledger, tree, watch, succeed, releases, gates
):
    beat = services.running(CORE, "beat@*")
    where = traffic.send_long(4)
    tree.edition("B")
    with watch.over("release B"):
        name, arguments = guide.playbook("deploy")
        succeed(*arguments, name=name, what="release B")
    releases["B"] = services.release()
    assert releases["B"] != releases["A"]
    assert services.is_run_by(releases["B"]), [services.instances(name) for name in WORKERS]
    assert services.running(CORE, "beat@*").keys() == {f"{NAME}-beat@{releases['B']}.service"} != beat.keys()
    for name in WORKERS:
        shared = {services.environment(name, release) for release in releases.values()}
        assert len(shared) == 1 and shared.pop().startswith(f"{ROOT}/environments/"), "the list of packages is the same"
        old = services.instance(name, "steady", releases["A"])
        assert old.state == "deactivating", (name, old)
        assert services.instance(name, "quick", releases["A"]).state in ("inactive", "deactivating")
    unfinished = ledger.running(where)
    assert {start.host for start in unfinished} == set(WORKERS), "the playbook waited for the long tasks"
    assert {start.release for start in unfinished} == {releases["A"]}
    gates[:] = [where]


def test_a_release_that_cannot_be_imported_is_refused_before_anything_stops(traffic, tree, playbook, watch, untouched):
    with tree.with_file("celery.py", "import a_module_that_nobody_has", append=True), watch.over("release C"):
        told = message(playbook(what="release C, refused"))
    assert "cannot import it" in told and "a_module_that_nobody_has" in told


def test_a_release_that_is_never_ready_is_taken_back(traffic, services, tree, playbook, watch, releases, untouched):
    with tree.with_file("never_ready", "hang"), watch.over("release D"):
        told = message(playbook(*variables(worker_start_timeout=30), what="release D, taken back"))
    # Which unit, and on which host.
    assert f"{NAME}-worker-" in told and any(f"{name}: " in told for name in WORKERS)
    states = {unit: found.state for name in WORKERS for unit, found in services.instances(name).items()}
    # What is left of A finishes its tasks.
    others = {unit: state for unit, state in states.items() if not any(known in unit for known in releases.values())}
    assert set(others.values()) <= {"inactive", "failed"}, others
    enabled = on(WORKERS[0], f"ls /etc/systemd/system/{NAME}.target.wants")
    assert sorted(enabled.split()) == sorted(f"{NAME}-worker-{kind}@{releases['B']}.service" for kind in KINDS)


def test_what_ran_on_the_old_release_ends_on_it(traffic, services, ledger, releases, gates):
    for gate in gates:
        traffic.let_go(gate)
    where = f"kind = 'long' AND release = '{releases['A']}'"
    assert wait_for(lambda: not ledger.running(where), 200), ledger.running(where)
    ends = {(start.ended_release, start.ended_edition) for start in ledger.starts(where)}
    assert ends == {(releases["A"], "A")}

    def left() -> list[str]:
        found = [services.instance(name, kind, releases["A"]).state for name in WORKERS for kind in KINDS]
        return [state for state in found if state != "inactive"]

    assert wait_for(lambda: not left(), 60), left()


def test_it_is_rolled_back_to_the_previous_release_and_to_one_by_name(
    traffic, services, watch, succeed, releases, ledger
):
    with watch.over("rollback"):
        name, arguments = guide.playbook("roll back")
        succeed(*arguments, name=name, what="rollback to A by default")
        assert services.is_run_by(releases["A"]), [services.instances(name) for name in WORKERS]
        name, arguments = guide.playbook("roll back to a release", RELEASE=releases["B"])
        succeed(*arguments, name=name, what="rollback to B by name")
    # Under a name of its own, as long as processes of its first time have tasks to finish.
    again = services.release()
    assert again.partition(".")[0] == releases["B"]
    assert services.is_run_by(again), [services.instances(name) for name in WORKERS]
    assert services.running(CORE, "beat@*").keys() == {f"{NAME}-beat@{again}.service"}

    def editions() -> set[str]:
        return {start.edition for start in ledger.starts("started > now() - interval '5 seconds'")}

    assert wait_for(lambda: editions() == {"B"}, 30), editions()


def test_another_list_of_packages_is_rolled_back_with_its_release(traffic, services, tree, watch, succeed):
    before = {name: services.environment(name) for name in WORKERS}
    with tree.with_file("../requirements.lock", "# another list, with the same packages", append=True):
        with watch.over("another list"):
            succeed(what="release with another list")
        release = services.release()
        assert services.is_run_by(release), [services.instances(name) for name in WORKERS]
        assert all(services.environment(name) != before[name] for name in WORKERS)
        with watch.over("rollback of the list"):
            succeed(name=ROLLBACK, what="rollback of the list")
    assert {name: services.environment(name) for name in WORKERS} == before
    assert services.is_run_by(services.release()) and services.release() != release


# Size and time stay what they were: only who looks at the content, or at what the kernel notes, finds the change.
BY_HAND = """
import os, sys
path = sys.argv[1]
before = os.stat(path)
with open(path, "r+b") as file:
    first = file.read(1)
    file.seek(0)
    file.write(b"#" if first != b"#" else b"!")
os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
"""


def test_what_was_altered_is_mended_while_everything_runs(traffic, services, playbook, untouched):
    packages = services.environment(WORKERS[1])
    code = on(WORKERS[0], f"readlink -e {ROOT}/current/code/ledger/edition.py").strip()
    module = on(WORKERS[1], f"readlink -e {packages}/lib/python3*/site-packages/celery/beat.py").strip()
    sums = on(WORKERS[0], f"sha256sum < {code}"), on(WORKERS[1], f"sha256sum < {module}")
    on(WORKERS[0], "python3 -c %s %s", BY_HAND, code)
    on(WORKERS[1], "python3 -c %s %s", BY_HAND, module)
    assert on(WORKERS[0], f"sha256sum < {code}") != sums[0]
    done = playbook(what="mended")
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    assert "is not what was deployed" in done.stdout and "is not what was installed" in done.stdout
    assert on(WORKERS[0], f"sha256sum < {code}") == sums[0]
    anew = module.replace(packages, services.environment(WORKERS[1]))
    assert anew != module and on(WORKERS[1], f"sha256sum < {anew}") == sums[1]


def test_a_release_that_is_not_there_is_refused(traffic, playbook, releases, untouched):
    told = message(playbook("-e", "release=0123456789ab", name=ROLLBACK, what="rollback, refused"))
    assert "0123456789ab" in told
    assert releases["A"] in told and releases["B"] in told, "the releases that are there are not listed"
