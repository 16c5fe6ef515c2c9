"""What is owned on a host is seen, and every kind of drift of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import owned
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.owned import differences, observe


def nothing(command: Sequence[str]) -> tuple[int, str, str]:
    raise AssertionError(f"{command} was called for nothing")


def answers(**outputs: tuple[int, str]) -> owned.Run:
    """Program -> exit code and output."""

    def run(command: Sequence[str]) -> tuple[int, str, str]:
        code, output = outputs[command[0].replace("-", "_")]
        return code, output, "its complaint"

    return run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for folder in ("config/tls", "releases/1a/code", "releases/1a/venv", "state", "units"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("config/trust.pem", "config/tls/key.pem", "releases/1a/code/app.py", "releases/1a/venv/lib.py"):
        (tmp_path / name).write_text("before")
    (tmp_path / "units/shop-worker-a@.service").write_text("[Service]")
    (tmp_path / "current").symlink_to("releases/1a")
    (tmp_path / "releases/1a.2").symlink_to("1a")
    (tmp_path / "state/schedule").write_text("not ours")
    return tmp_path


def wanted(place: Path) -> dict[str, list[str]]:
    return {
        "files": [f"{place}/current", f"{place}/nothing", f"{place}/units/shop-worker-a@.service"],
        "below": [f"{place}/config"],
        "directories": [f"{place}/state", f"{place}"],
        "globs": [f"{place}/units/shop-worker-*"],
        "forests": [f"{place}/releases"],
        "trees": [f"{place}/releases/1a/venv"],
    }


def same_size_and_time(path: Path) -> None:
    before = path.stat()
    path.write_text("beforE")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap(place: Path) -> None:
    """Another file of the same name, size and time."""
    path = place / "config/trust.pem"
    there = path.stat()
    other = place / "config/other"
    other.write_text("before")
    os.utime(other, ns=(there.st_atime_ns, there.st_mtime_ns))
    other.replace(path)


def relink(place: Path) -> None:
    (place / "current").unlink()
    (place / "current").symlink_to("releases/1a.2")


def new_unit(place: Path) -> None:
    folder = place / "units/shop-worker-a@1.service.d"
    folder.mkdir()
    (folder / "override.conf").write_text("[Service]\nCPUQuota=1%\n")


DRIFTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "content": (
        lambda place: (place / "config/trust.pem").write_text("longer than it was"),
        "config/trust.pem differs",
    ),
    "content behind size and time": (
        lambda place: same_size_and_time(place / "config/trust.pem"),
        "config/trust.pem differs (time of change)",
    ),
    "another file": (swap, "inode"),
    "mode": (lambda place: (place / "config/tls/key.pem").chmod(0o777), "config/tls/key.pem differs (mode"),
    "mode of a directory": (lambda place: (place / "config/tls").chmod(0o777), "config/tls differs (mode)"),
    "mode of a directory of others": (lambda place: (place / "state").chmod(0o777), "state differs (mode)"),
    "deleted": (lambda place: (place / "config/trust.pem").unlink(), "config/trust.pem is gone"),
    "added": (lambda place: (place / "config/more").write_text(""), "config/more is new"),
    "came": (lambda place: (place / "nothing").mkdir(), "nothing is new"),
    "link": (relink, "current differs ("),
    "link for a file": (
        lambda place: ((place / "config/trust.pem").unlink(), (place / "config/trust.pem").symlink_to("/dev/null")),
        "config/trust.pem differs (kind",
    ),
    "drop-in": (new_unit, "override.conf is new"),
    "unit": (lambda place: (place / "units/shop-worker-b@.service").write_text(""), "shop-worker-b@.service is new"),
    "file of a release": (
        lambda place: same_size_and_time(place / "releases/1a/code/app.py"),
        "the tree {place}/releases/1a differs",
    ),
    "file of an environment": (
        lambda place: (place / "releases/1a/venv/more.py").write_text(""),
        "the tree {place}/releases/1a/venv differs",
    ),
    "mode in a release": (lambda place: (place / "releases/1a/code/app.py").chmod(0o777), "releases/1a differs"),
    "owner of a release": (lambda place: (place / "releases/1a").chmod(0o700), "releases/1a differs"),
    "directory in a release": (lambda place: (place / "releases/1a/code/empty").mkdir(), "releases/1a differs"),
    "release": (lambda place: (place / "releases/2b").mkdir(), "the tree {place}/releases/2b is new"),
    "name of a release": (lambda place: (place / "releases/1a.2").unlink(), "releases/1a.2 is gone"),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_every_kind_of_drift_is_seen(place: Path, drift: str) -> None:
    before = observe(wanted(place), nothing)
    assert differences(before, observe(wanted(place), nothing)) == []
    breaks, said = DRIFTS[drift]
    breaks(place)
    found = differences(before, observe(wanted(place), nothing))
    assert said.format(place=place) in "\n".join(found)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
@pytest.mark.parametrize("name", ["config/tls/key.pem", "state", "releases/1a/venv/lib.py"])
def test_another_owner_is_seen(place: Path, name: str) -> None:
    before = observe(wanted(place), nothing)
    os.chown(place / name, 65534, 65534)
    assert differences(before, observe(wanted(place), nothing))


def test_what_is_not_ours_may_change(place: Path) -> None:
    before = observe(wanted(place), nothing)
    (place / "state/schedule").write_text("changed")
    (place / "state/more").write_text("new")
    # It came and went: only the times of the directory tell of it.
    (place / "config/.temporary").write_text("")
    (place / "config/.temporary").unlink()
    assert differences(before, observe(wanted(place), nothing)) == []


def test_a_name_that_is_no_text_is_told(place: Path) -> None:
    before = observe(wanted(place), nothing)
    (place / os.fsdecode(b"config/\xff")).write_text("")
    (place / os.fsdecode(b"releases/1a/\xff")).write_text("")
    found = differences(before, observe(wanted(place), nothing))
    assert found[0].endswith("config/\\udcff is new") or "\\udcff" in found[0]
    "\n".join(found).encode("utf-8")


def test_many_files_are_quick(tmp_path: Path) -> None:
    for folder in range(50):
        (tmp_path / str(folder)).mkdir()
        for file in range(200):
            (tmp_path / str(folder) / str(file)).touch()
    began = time.monotonic()
    observe({"trees": [str(tmp_path)]}, nothing)
    # 10,000 files; a tenth of this on an idle machine.
    assert time.monotonic() - began < 3


UNITS = """Id=shop-worker-a@1.service
LoadState=loaded
ActiveState={active}
UnitFileState={file}
FragmentPath=/etc/systemd/system/shop-worker-a@.service
DropInPaths={dropins}
NeedDaemonReload={reload}
"""
LEFT = """
Id=shop-worker-a@0.service
LoadState=loaded
ActiveState={active}
UnitFileState={file}
FragmentPath=/etc/systemd/system/shop-worker-a@.service
DropInPaths=
NeedDaemonReload=no
"""
RUNS = {"active": "active", "file": "enabled", "dropins": "", "reload": "no"}


def units(text: str) -> dict[str, str]:
    return observe({"units": ["shop-worker-*@*.service"]}, answers(systemctl=(0, text)))


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"active": "inactive"}, "the unit shop-worker-a@1.service differs (ActiveState)"),
        ({"active": "failed"}, "the unit shop-worker-a@1.service differs (ActiveState)"),
        ({"file": "disabled"}, "the unit shop-worker-a@1.service differs (UnitFileState)"),
        ({"file": "masked-runtime"}, "the unit shop-worker-a@1.service differs (UnitFileState)"),
        ({"dropins": "/run/systemd/system.control/x.conf"}, "the unit shop-worker-a@1.service differs (DropInPaths)"),
        ({"reload": "yes"}, "the unit shop-worker-a@1.service differs (NeedDaemonReload)"),
        ({"active": "inactive", "file": "disabled"}, "the unit shop-worker-a@1.service is gone"),
    ],
)
def test_a_unit_that_is_not_as_it_was_is_seen(state: dict[str, str], said: str) -> None:
    assert differences(units(UNITS.format(**RUNS)), units(UNITS.format(**{**RUNS, **state}))) == [said]


def test_an_instance_too_many_is_seen_and_one_that_systemd_remembers_is_not() -> None:
    before = units(UNITS.format(**RUNS))
    gone = units(UNITS.format(**RUNS) + LEFT.format(active="inactive", file="disabled"))
    assert differences(before, gone) == []
    for active, file in (("active", "disabled"), ("deactivating", "disabled"), ("inactive", "enabled")):
        more = units(UNITS.format(**RUNS) + LEFT.format(active=active, file=file))
        assert differences(before, more) == ["the unit shop-worker-a@0.service is new"]


def test_a_unit_that_is_named_counts_in_any_state() -> None:
    text = "Id=nginx.service\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n"
    seen = observe({"units": ["nginx.service"]}, answers(systemctl=(0, text)))
    assert list(seen) == ["unit:nginx.service"]


def test_a_systemd_that_does_not_answer_is_no_answer() -> None:
    with pytest.raises(RuntimeError, match=r"systemctl show failed .*its complaint"):
        observe({"units": ["a.service"]}, answers(systemctl=(1, "")))


def packages(text: str, code: int = 0) -> dict[str, str]:
    return observe({"packages": ["rsync", "nginx=1.22", "gone"]}, answers(dpkg_query=(code, text)))


def test_packages_are_seen() -> None:
    before = packages("rsync\tii \t3.2\nnginx\tii \t1.22\n", code=1)
    assert differences(before, packages("nginx\tii \t1.22\nrsync\tii \t3.2\n", code=1)) == []
    after = packages("rsync\tii \t3.3\nnginx\trc \t1.22\ngone\tii \t1\n")
    assert differences(before, after) == [
        "the package gone is new",
        "the package nginx differs (status)",
        "the package rsync differs (version)",
    ]
    assert differences(before, packages("nginx\tii \t1.22\n", code=1)) == ["the package rsync is gone"]
    with pytest.raises(RuntimeError, match="dpkg-query failed"):
        packages("", code=2)


def test_accounts_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"accounts": ["root", "nobody-of-this-name"]}
    before = observe(names, nothing)
    assert before["account:nobody-of-this-name"] == "absent"
    assert differences(before, observe(names, nothing)) == []
    monkeypatch.setattr(owned.os, "getgrouplist", lambda _name, _group: [0, 65534])
    assert differences(before, observe(names, nothing)) == ["the account root differs (groups)"]


def test_a_password_is_told_from_none(tmp_path: Path) -> None:
    shadow = tmp_path / "shadow"
    shadow.write_text("a:!:1::::::\nb:*:1::::::\nc:$y$hash:1::::::\nd::1::::::\n")
    assert [owned._password(name, str(shadow)) for name in "abcde"] == ["!", "*", "set", "set", "none"]
    assert owned._password("a", str(tmp_path / "none")) == "unknown"


def test_who_listens_is_seen(tmp_path: Path) -> None:
    table = tmp_path / "tcp"
    head = "  sl  local_address rem_address   st\n"
    table.write_text(f"{head}   0: 0100007F:1111 00000000:0000 0A\n   1: 00000000:1111 0100007F:9999 01\n")
    tables = [str(table), str(tmp_path / "none")]
    assert owned._listening(0x1111, tables) == "0100007F"
    assert owned._listening(0x2222, tables) == "absent"
    assert observe({"ports": [1]}, nothing)["port:1"] == "absent"


def test_the_home_of_an_account_is_the_hosts_word() -> None:
    home = Path("~root").expanduser()
    assert list(observe({"files": ["~root/.no-such-file", "~no-such-account/.ssh"]}, nothing)) == [
        f"path:{home}/.no-such-file",
        "path:~no-such-account/.ssh",
    ]
