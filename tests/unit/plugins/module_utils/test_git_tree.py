"""Trees of git revisions, from real repositories."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils import git_tree
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.git_tree import GitError, tree
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.manifest import build

Git = Callable[..., str]


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (tmp_path / "gitconfig").write_text("[user]\nname = T\nemail = t@example.com\n[init]\ndefaultBranch = main\n")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "my shop"
    (root / "shop").mkdir(parents=True)
    (root / "shop/tasks.py").write_text("one = 1\n")
    (root / "shop/other.py").write_text("two = 2\n")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / "link").symlink_to("shop/tasks.py")
    (root / ".gitattributes").write_text("shop/other.py export-ignore\n*.txt text eol=crlf\n")
    (root / "notes.txt").write_text("a\nb\n")
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9 \xc3\xa4.py")).write_text("odd = 3\n")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message=first")
    git(root, "tag", "--annotate", "--message=x", "v1")
    return root


def git(root: Path, *words: str) -> str:
    binary = shutil.which("git")
    assert binary, "git is not on PATH: install it; these tests read real repositories"
    done = subprocess.run([binary, "-C", str(root), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(root: Path, name: str, content: str) -> str:
    (root / name).write_text(content)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", f"--message={content}")
    return git(root, "rev-parse", "HEAD")


def test_the_tree_is_what_a_checkout_writes(repository: Path, tmp_path: Path) -> None:
    result = tree(str(repository), "main", str(tmp_path / "cache"))
    assert result.commit == git(repository, "rev-parse", "HEAD") and result.made
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(repository), str(clone))
    assert build(result.path).digest == build(str(clone), ["/.git"]).digest
    root = Path(result.path)
    # Not what `git archive` gives: export-ignore leaves nothing out, and attributes are obeyed.
    assert (root / "shop/other.py").exists() and (root / "notes.txt").read_bytes() == b"a\r\nb\r\n"
    assert not (root / ".git").exists() and (root / "link").is_symlink()
    assert (root / "run.sh").stat().st_mode & 0o777 == 0o555
    assert (tmp_path / "cache/.gitignore").read_text() == "*\n"
    assert (tmp_path / "cache").stat().st_mode & 0o777 in (0o700, 0o755)


@pytest.mark.parametrize("revision", ["main", "v1", "refs/heads/main", "refs/tags/v1", "HASH", "SHORT"])
def test_a_branch_a_tag_and_a_commit(repository: Path, tmp_path: Path, revision: str) -> None:
    head = git(repository, "rev-parse", "HEAD")
    revision = {"HASH": head, "SHORT": head[:9]}.get(revision, revision)
    result = tree(str(repository), revision, str(tmp_path / "cache"))
    assert result.commit == head
    assert tree(str(repository), revision, str(tmp_path / "cache")) == result._replace(made=False)


def test_a_branch_moves_and_unchanged_files_keep_their_time(repository: Path, tmp_path: Path) -> None:
    first = tree(str(repository), "main", str(tmp_path / "cache"))
    head = commit(repository, "shop/tasks.py", "one = 2\n")
    # Another controller, with a cache of its own.
    for cache in ("cache", "elsewhere"):
        second = tree(str(repository), "main", str(tmp_path / cache))
        assert second.commit == head and (Path(second.path) / "shop/tasks.py").read_text() == "one = 2\n"
        one, two = ({p.name: p.stat().st_mtime_ns for p in Path(t.path).rglob("*.py")} for t in (first, second))
        assert {name for name in one if one[name] != two[name]} == {"tasks.py"}
        assert all(1980 <= time.gmtime(moment / 1e9).tm_year <= 2014 for moment in two.values())
    assert (Path(first.path) / "shop/tasks.py").read_text() == "one = 1\n"


def test_a_branch_that_was_rewritten_or_became_a_directory(repository: Path, tmp_path: Path) -> None:
    git(repository, "branch", "feature")
    tree(str(repository), "feature", str(tmp_path / "cache"))
    git(repository, "branch", "--delete", "feature")
    git(repository, "checkout", "--quiet", "--orphan", "feature/new")
    head = commit(repository, "x.py", "x = 1\n")
    assert tree(str(repository), "feature/new", str(tmp_path / "cache")).commit == head
    with pytest.raises(GitError, match=r"code_git_revision feature is no branch.*write feature/new"):
        tree(str(repository), "feature", str(tmp_path / "cache"))


def test_a_commit_in_the_cache_needs_no_repository(repository: Path, tmp_path: Path) -> None:
    result = tree(str(repository), "main", str(tmp_path / "cache"))
    repository.rename(tmp_path / "away")
    assert tree(str(repository), result.commit, str(tmp_path / "cache")).path == result.path
    with pytest.raises(GitError, match=r"my shop cannot be read by the controller \(.*ls-remote"):
        tree(str(repository), "main", str(tmp_path / "cache"))


def test_a_commit_on_no_branch(repository: Path, tmp_path: Path) -> None:
    lost = commit(repository, "shop/tasks.py", "lost = 1\n")
    git(repository, "reset", "--quiet", "--hard", "HEAD~1")
    assert tree(str(repository), lost, str(tmp_path / "cache")).commit == lost


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("mian", r"mian is no branch, tag or commit of .*: write main"),
        ("f" * 40, "is no branch, tag or commit"),
        ("deadbeef", "is no branch, tag or commit"),
        ("HEAD", "is no branch, tag or commit"),
        ("main~1", "is no branch, tag or commit"),
        ("main:shop", "is no branch, tag or commit"),
        ("--all", "is no branch, tag or commit"),
        ("", "is no branch, tag or commit"),
    ],
)
def test_an_unknown_revision(repository: Path, tmp_path: Path, revision: str, message: str) -> None:
    commit(repository, "more.py", "x\n")
    with pytest.raises(GitError, match=message):
        tree(str(repository), revision, str(tmp_path / "cache"))


def test_a_branch_and_a_tag_of_one_name(repository: Path, tmp_path: Path) -> None:
    git(repository, "branch", "v2")
    git(repository, "tag", "v2")
    assert tree(str(repository), "v2", str(tmp_path / "cache")).commit
    head = commit(repository, "more.py", "x\n")
    git(repository, "tag", "--force", "v2")
    with pytest.raises(GitError, match=r"v2 means refs/heads/v2 \(\w{12}\) and refs/tags/v2 .*: write the whole name"):
        tree(str(repository), "v2", str(tmp_path / "cache"))
    assert tree(str(repository), "refs/tags/v2", str(tmp_path / "cache")).commit == head


def test_changes_that_are_in_no_commit(repository: Path, tmp_path: Path) -> None:
    (repository / "untracked.py").write_text("")
    tree(str(repository), "main", str(tmp_path / "cache"))
    (repository / "shop/tasks.py").write_text("one = 5\n")
    with pytest.raises(GitError, match=r"has changes that are in no commit \(shop/tasks.py\).*code_source_path"):
        tree(str(repository), "main", str(tmp_path / "cache"))
    git(repository, "stash", "--quiet")
    head = commit(repository, "more.py", "x\n")
    git(repository, "stash", "pop", "--quiet")
    # Not what is checked out: nobody expects his changes in it.
    assert tree(str(repository), "v1", str(tmp_path / "cache")).commit != head


def test_a_shallow_repository(repository: Path, tmp_path: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    head = commit(repository, "more.py", "x\n")
    git(repository, "tag", "--delete", "v1")
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository}", str(shallow))
    assert tree(str(shallow), "main", str(tmp_path / "cache")).commit == head
    with pytest.raises(GitError, match="is shallow, `git fetch --unshallow`"):
        tree(str(shallow), first, str(tmp_path / "cache"))


def test_submodules_are_refused(repository: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    git(tmp_path, "clone", "--quiet", str(repository), str(inner))
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "vendor/inner")
    git(repository, "commit", "--quiet", "--message=sub")
    with pytest.raises(GitError, match=r"has submodules \(vendor/inner\), which are not fetched.*code_source_path"):
        tree(str(repository), "main", str(tmp_path / "cache"))


def test_a_pointer_of_lfs_is_refused(repository: Path, tmp_path: Path) -> None:
    (repository / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    commit(repository, "model.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    with pytest.raises(GitError, match=r"model.bin of .* is kept by git LFS"):
        tree(str(repository), "main", str(tmp_path / "cache"))
    assert list((tmp_path / "cache").glob("*/new-*")) == []


def test_no_git(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError, match="git is not installed on the controller"):
        tree(str(repository), "main", str(tmp_path / "cache"))


def test_the_environment_of_a_hook_is_not_the_repository(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "nowhere/index"))
    assert tree(str(repository), "main", str(tmp_path / "cache")).made


def test_nobody_is_asked_and_a_host_that_does_not_answer_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    ssh = tmp_path / "ssh"
    ssh.write_text(f'#!/bin/sh\n(set +e; : </dev/tty; echo $? $GIT_TERMINAL_PROMPT "$@") >{said} 2>&1\nexec sleep 60\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(ssh))
    began = time.monotonic()
    with pytest.raises(GitError, match=r"git@192.0.2.1:shop.git did not answer in time.*code_git_timeout"):
        tree("git@192.0.2.1:shop.git", "main", str(tmp_path / "cache"), timeout=2)
    assert time.monotonic() - began < 20
    # No terminal to ask on; and who the host is was left to the operator's own configuration.
    assert "No such device" in said.read_text() or "cannot open /dev/tty" in said.read_text()
    assert "StrictHostKeyChecking" not in said.read_text()


def test_runs_at_once_get_whole_trees(repository: Path, tmp_path: Path) -> None:
    commit(repository, "more.py", "x\n")
    found: dict[int, str] = {}

    def run(number: int) -> None:
        found[number] = build(tree(str(repository), ("main", "v1")[number % 2], str(tmp_path / "cache")).path).digest

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and len(set(found.values())) == 2 and found[0] != found[1]


def test_old_trees_go_and_what_a_killed_run_left(repository: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    trees = [tree(str(repository), commit(repository, "more.py", f"{n}\n"), str(cache)) for n in range(5)]
    folders = [Path(result.path).parent for result in trees]
    assert all(folder.exists() for folder in folders)
    (folders[0].parent / "new-left").mkdir()
    old = time.time() - 2 * git_tree.UNUSED
    for number, folder in enumerate(folders):
        os.utime(folder / "used", (old + number, old + number))
    tree(str(repository), trees[1].commit, str(cache), keep=2)
    assert [folder.exists() for folder in folders] == [False, True, False, False, True]
    assert not (folders[0].parent / "new-left").exists()


def test_a_tree_whose_writing_failed_is_written_again(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(git_tree.os, "utime", Mock(side_effect=OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space"):
            tree(str(repository), "main", str(tmp_path / "cache"))
    assert not list((tmp_path / "cache").glob("*/*/tree"))
    assert tree(str(repository), "main", str(tmp_path / "cache")).made


def test_a_lock_that_is_kept_too_long(repository: Path, tmp_path: Path) -> None:
    tree(str(repository), "main", str(tmp_path / "cache"))
    (lock,) = (tmp_path / "cache").glob("*/lock")
    with git_tree._locked(lock, "x", 1), pytest.raises(GitError, match="another run has been reading"):
        tree(str(repository), "main", str(tmp_path / "cache"), timeout=0)
