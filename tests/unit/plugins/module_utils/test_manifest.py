"""The digest of a tree, compared with what the real rsync copies."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.manifest import (
    ManifestError,
    build,
    compile_rule,
)
from hypothesis import given, settings
from hypothesis import strategies as st

ODD_NAME = b"caf\xe9 \xff\n.txt"


def write(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name in (
        "app.py",
        "a.pyc",
        "sub/b.pyc",
        "sub/deep/c.txt",
        "build/out.o",
        "sub/build/out.o",
        "static/cache/one",
        "sub/static/cache/two",
        "cache",
        "with space/file name.txt",
        ".env",
        "sub/.env",
        "file1",
        "file2",
        "fileA",
        "sub/file1",
        "tests/build",
        "xcache/one",
    ):
        write(root / name, name.encode())
    write(root / "run.sh", b"#!/bin/sh\n").chmod(0o755)
    (root / "empty/nested").mkdir(parents=True)
    (root / "link").symlink_to("app.py")
    (root / "dangling").symlink_to("nowhere/at all")
    (root / "sub/dirlink").symlink_to("../build")
    (root / "buildlink").symlink_to("build")
    os.link(root / "app.py", root / "hard.py")
    Path(os.fsdecode(os.fsencode(root) + b"/" + ODD_NAME)).write_bytes(b"odd")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(root / "s"))
    return root


def rsync(source: Path, target: Path, exclude: list[str]) -> None:
    binary = shutil.which("rsync")
    assert binary, "rsync is not on PATH: install it (apt-get install rsync); this test compares with the real one"
    command = [binary, "-rlpt", *(f"--exclude={pattern}" for pattern in exclude), f"{source}/", f"{target}/"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize(
    "exclude",
    [
        [],
        ["*.pyc"],
        ["build/"],
        ["build"],
        ["/build/"],
        ["/build"],
        ["static/cache"],
        ["/static/cache"],
        ["/sub/*/cache"],
        ["cache"],
        ["/cache/"],
        ["*"],
        ["/*"],
        ["/*/"],
        ["sub/*"],
        ["/sub/d*"],
        [".env"],
        [".*"],
        ["?ile1"],
        ["file[12]"],
        ["file[!0-9]"],
        ["file[^0-9]"],
        ["file[-1]"],
        ["/with space"],
        ["file name.txt"],
        ["caf?*"],
        ["caf??????.txt"],
        ["link", "dirlink/"],
        ["buildlink/"],
        ["empty/nested/"],
        ["deep/c.txt", "sub/build/", "*.sh", ".env"],
        ["*/build"],
        ["static/cache/one", "/tests/"],
        ["-app.py", "+app.py"],
        ["app.py "],
    ],
    ids=str,
)
def test_the_copy_of_rsync_has_the_same_digest(tree: Path, tmp_path: Path, exclude: list[str]) -> None:
    copy = tmp_path / "copy"
    rsync(tree, copy, exclude)
    expected = build(str(tree), exclude)
    actual = build(str(copy))
    assert actual._replace(skipped=0) == expected._replace(skipped=0)
    assert actual.skipped == 0


VARS = Path(__file__).resolve().parents[4] / "roles/code/vars/main.yml"
#: As the role copies, but for the owner, which takes root and an account.
OPTIONS = [
    option
    for option in re.findall(r"'(--[^']+)'", VARS.read_text().partition("__code_rsync_options")[2].partition("\n__")[0])
    if not option.startswith(("--chown", "--exclude"))
]


def copied(source: Path, target: Path, exclude: list[str], *more: str) -> None:
    patterns = [f"--exclude={pattern}" for pattern in exclude]
    subprocess.run(["rsync", *OPTIONS, *more, *patterns, f"{source}/", f"{target}/"], check=True, capture_output=True)


def test_the_options_of_the_role_were_found() -> None:
    assert {"--recursive", "--links", "--perms", "--times", "--hard-links", "--delete"} < set(OPTIONS)
    assert [option for option in OPTIONS if option.startswith("--chmod=")]


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o755, 0o640, 0o610, 0o601, 0o700, 0o444, 0o4755, 0o666])
def test_what_the_role_copies_has_the_same_digest_whatever_the_mode(tree: Path, tmp_path: Path, mode: int) -> None:
    (tree / "file1").chmod(mode)
    (tree / "hard.py").chmod(mode)
    (tree / "sub").chmod(0o700)
    copied(tree, tmp_path / "copy", ["*.pyc"])
    assert build(str(tmp_path / "copy")).digest == build(str(tree), ["*.pyc"]).digest
    copy = tmp_path / "copy"
    assert (copy / "hard.py").stat().st_ino == (copy / "app.py").stat().st_ino
    assert not any(p.stat().st_mode & 0o027 for p in copy.rglob("*") if not p.is_symlink())


def test_links_of_every_kind_and_empty_directories_arrive_as_they_are(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    (source / "to/empty").mkdir(parents=True)
    write(source / "to/file")
    targets = {
        "relative": "to/file",
        "absolute": "/usr/bin/python3",
        "dangling": "to/nothing",
        "directory": "to",
        "outside": "../../x",
        "itself": "itself",
        "spaced": "to/a name \n\u00e4",
    }
    for name, target in targets.items():
        (source / name).symlink_to(target)
    copied(source, copy, [])
    assert {name: str((copy / name).readlink()) for name in targets} == targets
    assert list((copy / "to/empty").iterdir()) == []
    assert build(str(copy)) == build(str(source))
    assert build(str(copy)).symlinks == len(targets)


def test_an_unchanged_file_is_shared_with_the_release_before(tree: Path, tmp_path: Path) -> None:
    (tree / "run.sh").chmod(0o751)
    copied(tree, tmp_path / "one", [])
    write(tree / "file1", b"changed")
    copied(tree, tmp_path / "two", [], f"--link-dest={tmp_path / 'one'}")
    one, two = ({p.name: p.stat().st_ino for p in (tmp_path / n).glob("*") if p.is_file()} for n in ("one", "two"))
    assert {name for name in one if one[name] != two[name]} == {"file1"}
    assert build(str(tmp_path / "two")).digest == build(str(tree)).digest


NAMES = st.sampled_from([b"a", b"b", b"ab", b"a.b", b".a", b"a b", b"-a", b"a]", b"\xff", b"\xc3\xa4", b"[a]"])
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=4).map(b"/".join), min_size=1, max_size=12)
PIECES = st.sampled_from(["a", "b", "*", "?", "[ab]", "[!a]", "[^b]", ".", " ", "\u00e4", "]", "-"])
PATTERNS = st.builds(
    lambda first, parts, last: first + "/".join("".join(part) for part in parts) + last,
    st.sampled_from(["", "/"]),
    st.lists(st.lists(PIECES, min_size=1, max_size=3), min_size=1, max_size=3),
    st.sampled_from(["", "/"]),
)


def _accepted(pattern: str) -> bool:
    try:
        compile_rule(pattern)
    except ManifestError:
        return False
    return True


@settings(max_examples=150, deadline=None)
@given(paths=PATHS, exclude=st.lists(PATTERNS.filter(_accepted), max_size=3))
def test_any_pattern_that_is_accepted_means_the_same_to_rsync(paths: list[bytes], exclude: list[str]) -> None:
    with tempfile.TemporaryDirectory() as root:
        source, copy = Path(root) / "source", Path(root) / "copy"
        source.mkdir()
        for number, path in enumerate(paths):
            with contextlib.suppress(OSError):
                # A name may be taken: by a file where a directory is wanted, or by a link to itself.
                file = source / os.fsdecode(path)
                file.parent.mkdir(parents=True, exist_ok=True)
                if number % 4 == 3:
                    file.symlink_to("a")
                elif number % 4 == 2:
                    file.mkdir()
                else:
                    file.write_bytes(path)
        copied(source, copy, exclude)
        assert build(str(copy))[:4] == build(str(source), exclude)[:4], exclude


def test_every_parametrised_exclude_removes_something_it_names(tree: Path) -> None:
    everything = build(str(tree))
    assert build(str(tree), ["*.pyc"]).files == everything.files - 2
    assert build(str(tree), ["*"]).files == 0
    assert build(str(tree), ["/static/cache"]).files == everything.files - 1
    assert build(str(tree), ["static/cache"]).files == everything.files - 2
    assert build(str(tree), ["buildlink/"]) == everything


def test_counts(tree: Path) -> None:
    manifest = build(str(tree))
    assert (manifest.files, manifest.symlinks, manifest.skipped) == (21, 4, 2)
    assert manifest.directories == 13
    assert manifest.bytes == sum(p.stat().st_size for p in tree.rglob("*") if p.is_file() and not p.is_symlink())


CHANGES = {
    "content": lambda root: (root / "app.py").write_bytes(b"APP.PY"),
    "name": lambda root: (root / "file1").rename(root / "file3"),
    "executable": lambda root: (root / "run.sh").chmod(0o644),
    "empty directory": lambda root: (root / "empty/nested").rmdir(),
    "link target": lambda root: ((root / "link").unlink(), (root / "link").symlink_to("run.sh")),
    "file instead of link": lambda root: ((root / "link").unlink(), (root / "link").write_bytes(b"app.py")),
    "directory instead of file": lambda root: ((root / "file1").unlink(), (root / "file1").mkdir()),
    "content moved between names": lambda root: (
        (root / "file1").write_bytes(b"file2"),
        (root / "file2").write_bytes(b"file1"),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_changes_with(tree: Path, change: str) -> None:
    before = build(str(tree)).digest
    CHANGES[change](tree)
    assert build(str(tree)).digest != before


def test_the_digest_ignores_times_owners_group_bits_and_hard_links(tree: Path) -> None:
    before = build(str(tree)).digest
    os.utime(tree / "app.py", (1, 1))
    (tree / "file1").chmod(0o600)
    (tree / "hard.py").unlink()
    write(tree / "hard.py", b"app.py")
    assert build(str(tree)).digest == before


def test_names_cannot_be_shifted_into_each_other(tmp_path: Path) -> None:
    write(tmp_path / "one/a", b"")
    write(tmp_path / "one/b", b"")
    write(tmp_path / "two/ab", b"")
    assert build(str(tmp_path / "one")).digest != build(str(tmp_path / "two")).digest


def test_newest_is_the_newest_file_and_no_directory_or_link(tree: Path) -> None:
    for path in tree.rglob("*"):
        os.utime(path, (1000, 1000), follow_symlinks=False)
    os.utime(tree / "sub/deep/c.txt", ns=(2_000_500_000_000, 2_000_500_000_000))
    os.utime(tree / "sub", (9000, 9000))
    os.utime(tree / "link", (9000, 9000), follow_symlinks=False)
    manifest = build(str(tree))
    assert (manifest.newest, manifest.newest_path) == (2000.5, "sub/deep/c.txt")
    assert build(str(tree), ["deep"]).newest == 1000


def test_an_empty_tree(tmp_path: Path) -> None:
    assert build(str(tmp_path))[1:] == (0, 0, 0, 0, 0, 0.0, "")


def test_the_root_may_be_a_link(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("tree")
    assert build(str(tmp_path / "current")) == build(str(tree))


def test_a_name_that_is_not_utf8_is_shown_escaped(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_bytes(b"")
    assert build(str(tmp_path)).newest_path == "\\xff"


@pytest.mark.parametrize("missing", ["nothing", "tree/app.py"])
def test_a_root_that_is_no_directory_is_named(tree: Path, missing: str) -> None:
    with pytest.raises(ManifestError, match=rf"{missing} is not a directory"):
        build(str(tree.parent / missing))


@pytest.mark.parametrize("operation", ["open", "scandir", "readlink"])
def test_an_unreadable_entry_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    # Tests may run as root, who can read everything: the refusal is injected at the system call.
    real = getattr(os, operation)
    victim = {"open": b"file1", "scandir": b"deep", "readlink": b"dangling"}[operation]

    def refuse(path, *args, **kwargs):
        if os.fsencode(path).endswith(victim):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, operation, refuse)
    with pytest.raises(ManifestError, match=rf"{victim.decode()} cannot be read \(Permission denied\).*exclude it"):
        build(str(tree))
    if operation != "readlink":
        build(str(tree), [victim.decode()])


def test_a_file_that_goes_away_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def vanish(path, *args, **kwargs):
        if os.fsencode(path).endswith(b"/file2"):
            (tree / "file2").unlink()
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", vanish)
    with pytest.raises(ManifestError, match="file2 went away while the tree was read"):
        build(str(tree))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a/**/b", r"'\*\*' is not supported"),
        ("+ keep", "filter rule"),
        ("- drop", "filter rule"),
        ("!", "filter rule"),
        ("a\\*b", "backslash"),
        ("a\nb", "line break"),
        ("", "empty"),
        ("/", "empty"),
        ("//a", "empty"),
        ("a//b", "empty"),
        ("./a", "empty"),
        ("/../a", "empty"),
        ("file[12", "bracket"),
        ("file[]", "bracket"),
        ("file[!]", "bracket"),
        ("file[[:alpha:]]", "bracket"),
        ("[a/b]", "bracket"),
        ("file[z-a]", "low to high"),
    ],
)
def test_what_would_mean_something_else_to_rsync_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        compile_rule(pattern)


def test_many_files_are_read_quickly(tmp_path: Path) -> None:
    for number in range(200):
        directory = tmp_path / f"d{number:03}"
        directory.mkdir()
        for inner in range(50):
            (directory / f"f{inner}.py").write_bytes(b"%d/%d" % (number, inner))
    started = time.monotonic()
    manifest = build(str(tmp_path), ["*.pyc", "__pycache__/", ".git/", "/media"])
    assert manifest.files == 10_000
    # About 0.4 s on a slow machine; a quadratic walk or a process per file takes far longer than the limit.
    assert time.monotonic() - started < 6
