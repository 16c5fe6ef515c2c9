# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A revision of a git repository as a plain directory, with the configuration and the login of whoever runs it.

Below the cache each repository has a bare copy, a lock, and one directory per commit, which no later run changes:
two runs read different commits, or the same one, without disturbing each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
SHORT = re.compile(r"[0-9a-f]{7,64}")
#: No part of a name: git would compute another commit from it.
COMPUTED = re.compile(r"[~^:?*\[\\\s]|@\{|\.\.")
#: What git reads out of its environment would be another repository than the named one.
FOREIGN = re.compile(r"GIT_(DIR|WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|ALTERNATE_.*|COMMON_DIR|NAMESPACE|PREFIX)")
#: A tree that nobody read for so long is read by no run that still works.
UNUSED = 24 * 3600
LFS = b"version https://git-lfs.github.com/spec/"
#: The times of files lie between 1980 and 2014: no archive format refuses them, and none lies in the future.
FIRST, SPAN = 315_619_200, 1 << 30


class GitError(Exception):
    """What is wrong with the repository or the revision; the message says what to do."""


class Tree(NamedTuple):
    commit: str
    path: str
    made: bool


class _Entry(NamedTuple):
    mode: bytes
    blob: bytes
    path: bytes


def tree(repository: str, revision: str, cache: str, *, keep: int = 3, timeout: float = 600) -> Tree:
    """The directory of a revision, fetched and written when it is not there yet."""
    if shutil.which("git") is None:
        raise GitError("git is not installed on the controller: install it, or deploy a directory by code_source_path")
    folder = Path(cache) / hashlib.sha256(repository.encode()).hexdigest()[:16]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The cache often lies in a checkout of the inventory, where nobody shall add it.
    ignore = Path(cache) / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    work = _Work(repository, folder / "repository.git", time.monotonic() + timeout)
    with _locked(folder / "lock", repository, work.left):
        commit = revision if COMMIT.fullmatch(revision) and (folder / revision / "used").exists() else ""
        if not commit:
            work.fetch(revision)
            commit = work.resolve(revision)
            work.refuse_unsaved(commit)
        target = folder / commit
        made = not (target / "used").exists()
        if made:
            work.write(commit, target)
        (target / "used").touch()
        _prune(folder, target, keep)
    return Tree(commit, str(target / "tree"), made)


@contextlib.contextmanager
def _locked(path: Path, repository: str, left: float) -> Iterator[None]:
    deadline = time.monotonic() + left
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"another run has been reading {repository} for long: wait for it ({path} is its lock)"
                    raise GitError(message) from None
                time.sleep(0.2)
        yield


def _prune(folder: Path, current: Path, keep: int) -> None:
    """Removes what a killed run left, and old trees that nobody reads any more."""
    trees = []
    for path in folder.iterdir():
        if path.name.startswith("new-"):
            _remove(path)
        elif path != current and (path / "used").exists():
            trees.append((path, (path / "used").stat().st_mtime))
    trees.sort(key=lambda item: item[1], reverse=True)
    for path, used in trees[max(0, keep - 1) :]:
        if time.time() - used > UNUSED:
            # Without its mark it is no tree, whatever happens to the removal.
            (path / "used").unlink()
            _remove(path)


def _remove(path: Path) -> None:
    shutil.rmtree(path)


class _Work:
    """git, as often as it takes, until a deadline."""

    def __init__(self, repository: str, mirror: Path, deadline: float) -> None:
        self._repository = repository
        self._mirror = mirror
        self._deadline = deadline

    @property
    def left(self) -> float:
        return max(1.0, self._deadline - time.monotonic())

    def git(self, *words: str, **more: str) -> tuple[int, bytes, str]:
        """Exit code, output and what git complained about. It asks nobody, and never loosens what the operator set."""
        environment = {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}
        environment.pop("SSH_ASKPASS", None)
        environment.update(LC_ALL="C", GIT_TERMINAL_PROMPT="0", SSH_ASKPASS_REQUIRE="never", GIT_LFS_SKIP_SMUDGE="0")
        environment.update(GIT_OPTIONAL_LOCKS="0", **more)
        process = subprocess.Popen(  # noqa: S603 - a list; what the operator wrote stands behind an option's end
            ["git", "-c", "core.hooksPath=/dev/null", *words],  # noqa: S607 - the operator's git
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Without a terminal neither git nor ssh can ask, and a timeout ends both.
            start_new_session=True,
        )
        try:
            output, complaint = process.communicate(timeout=self.left)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise GitError(
                f"code_git_repository {self._repository} did not answer in time (git {words[0]}): see whether this "
                "command works by hand on the controller, or allow more by code_git_timeout"
            ) from None
        return process.returncode, output, complaint.decode("utf-8", "replace").strip()

    def _mirrored(self, *words: str, **more: str) -> tuple[int, bytes, str]:
        return self.git(f"--git-dir={self._mirror}", *words, **more)

    def fetch(self, revision: str) -> None:
        if not (self._mirror / "HEAD").exists():
            self._must(self.git("init", "--quiet", "--bare", "--template=", str(self._mirror)), "cannot be copied")
            # Filters such as LFS ask the repository for what it keeps elsewhere.
            self._must(self._mirrored("config", "remote.origin.url", self._repository), "cannot be copied")
        common = ["fetch", "--quiet", "--force", "--no-tags", "--update-shallow", "--no-write-fetch-head"]
        refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
        done = self._mirrored(*common, "--prune", "--", self._repository, *refs)
        self._must(done, "cannot be read by the controller", "see that `git ls-remote` works there without a question")
        if COMMIT.fullmatch(revision) and not self._commit(revision):
            # On no branch and no tag; many servers give it all the same. Who does not is told by resolve().
            self._mirrored(*common, "--", self._repository, f"{revision}:refs/kept/{revision}")

    def _must(self, done: tuple[int, bytes, str], what: str, instead: str = "see what git says") -> bytes:
        code, output, complaint = done
        if code:
            why = " ".join(complaint.split())[-600:] or f"exit code {code}"
            raise GitError(f"code_git_repository {self._repository} {what} ({why}): {instead}")
        return output

    def _commit(self, name: str) -> str:
        code, output, _complaint = self._mirrored(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
        )
        return output.decode().strip() if code == 0 else ""

    def resolve(self, revision: str) -> str:
        """The one commit that a branch, a tag or a commit's name means."""
        names = [f"refs/heads/{revision}", f"refs/tags/{revision}"]
        if revision.startswith(("refs/heads/", "refs/tags/")):
            names.append(revision)
        if SHORT.fullmatch(revision):
            names.append(revision)
        if COMPUTED.search(revision):
            names = []
        found = {name: commit for name in names if (commit := self._commit(name))}
        if len(set(found.values())) > 1:
            means = " and ".join(f"{name} ({commit[:12]})" for name, commit in found.items())
            raise GitError(f"code_git_revision {revision} means {means}: write the whole name or the commit")
        if found:
            return next(iter(found.values()))
        raise GitError(
            f"code_git_revision {revision} is no branch, tag or commit of {self._repository}: {self._instead(revision)}"
        )

    def _instead(self, revision: str) -> str:
        listed = self._must(
            self._mirrored("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads", "refs/tags"), ""
        )
        near = get_close_matches(revision, listed.decode("utf-8", "replace").split(), n=1, cutoff=0.6)
        hints = [f"write {near[0]}" if near else "write one that is there, and push it first"]
        if self._mirrored("rev-parse", "--is-shallow-repository")[1].strip() == b"true":
            hints.append("the repository is shallow, `git fetch --unshallow` gets the rest of its history")
        return "; ".join(hints)

    def refuse_unsaved(self, commit: str) -> None:
        """In a working copy on the controller: who edits what he deploys expects to see it deployed."""
        path = Path(self._repository)
        if not path.is_absolute() or not (path / ".git").exists():
            return
        code, head, _complaint = self.git("-C", str(path), "rev-parse", "--verify", "--quiet", "HEAD")
        if code or head.decode().strip() != commit:
            return
        code, changed, _complaint = self.git(
            "-C", str(path), "status", "--porcelain", "-z", "--untracked-files=no", "--ignore-submodules=all"
        )
        files = [item for item in changed.decode("utf-8", "replace").split("\0") if item]
        if code == 0 and files:
            raise GitError(
                f"{path} has changes that are in no commit ({files[0][3:]}{', ...' if len(files) > 1 else ''}), and "
                f"{commit[:12]}, which would be deployed, is what is checked out there: commit or stash them, or "
                "deploy the directory as it is by code_source_path"
            )

    def write(self, commit: str, target: Path) -> None:
        """The files of the commit, complete or not at all."""
        entries = self._entries(commit)
        new = Path(tempfile.mkdtemp(prefix="new-", dir=target.parent))
        try:
            root = new / "tree"
            root.mkdir(mode=0o755)
            # As a checkout writes them: with the operator's filters, and nothing left out.
            done = self._mirrored(
                f"--work-tree={root}", "read-tree", "--reset", "-u", commit, GIT_INDEX_FILE=str(new / "index")
            )
            self._must(done, f"cannot be checked out at {commit[:12]}")
            (new / "index").unlink(missing_ok=True)
            self._finish(os.fsencode(root), entries)
            if target.exists():
                _remove(target)
            (new / "used").touch()
            new.rename(target)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise

    def _entries(self, commit: str) -> list[_Entry]:
        listed = self._must(self._mirrored("ls-tree", "-r", "-z", "--full-tree", commit), f"has no whole {commit[:12]}")
        entries = []
        for line in listed.split(b"\0")[:-1]:
            about, _tab, path = line.partition(b"\t")
            mode, _kind, blob = about.split()
            entries.append(_Entry(mode, blob, path))
        modules = sorted(entry.path.decode("utf-8", "replace") for entry in entries if entry.mode == b"160000")
        if modules:
            raise GitError(
                f"{commit[:12]} of {self._repository} has submodules ({', '.join(modules[:3])}), which are not "
                "fetched: check it out with them on the controller and deploy that directory by code_source_path"
            )
        return entries

    def _finish(self, root: bytes, entries: list[_Entry]) -> None:
        """Times out of the content, so that rsync knows an unchanged file of another commit; read-only."""
        uses_lfs = False
        for entry in entries:
            path = root + b"/" + entry.path
            moment = FIRST + int(entry.blob[:16], 16) % SPAN
            os.utime(path, (moment, moment), follow_symlinks=False)
            if entry.mode != b"120000":
                os.chmod(path, 0o555 if entry.mode == b"100755" else 0o444)  # noqa: PTH101 - pathlib takes no bytes
                if entry.path.rpartition(b"/")[2] == b".gitattributes":
                    uses_lfs = uses_lfs or b"filter=lfs" in _head(path, 1 << 20)
        for entry in entries if uses_lfs else ():
            path = root + b"/" + entry.path
            if entry.mode != b"120000" and _head(path, len(LFS)) == LFS:
                name = entry.path.decode("utf-8", "replace")
                raise GitError(
                    f"{name} of {self._repository} is kept by git LFS and only its pointer came: run `git lfs install` "
                    "on the controller"
                )


def _head(path: bytes, size: int) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib takes no bytes
        return file.read(size)
