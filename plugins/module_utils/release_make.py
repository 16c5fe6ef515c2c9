# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A release on its host: the tree beside the one that runs, compared with what was sent, and sharing its files.

Everything happens in a directory that nothing uses yet: a step that fails leaves the running release alone, and the
next run takes up the same directory.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.environments import Runner
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.known_files import KnownFiles, Store
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.manifest import Manifest, ManifestError, build
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.releases import STORE

ATTEMPTS, PAUSE = 3, 2.0
DIFFERED = ".differed"


class ReleaseError(Exception):
    """What is wrong, and what to do about it."""


class Tree(NamedTuple):
    """What is expected, and how it comes."""

    digest: str
    files: int
    source: str  #: for messages, as is the host
    host: str = "this host"
    #: rsync with everything but the options that depend on the host's state, and its source; none when it is there.
    rsync: Sequence[str] = ()
    rsync_source: str = ""


class Releases:
    def __init__(self, root: str, known_files: str, run: Runner, sleep: Callable[[float], None] = time.sleep) -> None:
        self.root = Path(root)
        self._run = run
        self._sleep = sleep
        self._store = Store(known_files, STORE)
        self._noted = Store(known_files, f"{STORE}-noted")

    def begin(self, directory: Path) -> tuple[str, bool]:
        """For a tree that comes by other means: notes what is known, returns what to share files with, and whether
        that is still what was deployed. If not, equal size and time say nothing."""
        before = self._before(directory)
        files = KnownFiles(self._store.load())
        # An attempt that got something else than was sent: equal size and time had been taken for the same file.
        intact = not (directory / DIFFERED).exists()
        if before and intact:
            try:
                wanted = json.loads((Path(before).parent / "complete").read_text(encoding="utf-8"))["manifest"]
                intact = build(before, (), files).digest == wanted
            except (OSError, ValueError, KeyError, TypeError, ManifestError):
                intact = False
            files = KnownFiles({**files.known, **files.used})
        self._noted.save(files.before_linking(before) if before else {})
        return before, intact

    def fetch(self, directory: Path, tree: Tree) -> Manifest:
        """The tree as it was sent."""
        files = KnownFiles(self._store.load())
        if not tree.rsync:
            files.linked(self._noted.load())
            self._noted.remove()
        else:
            self._copy(directory, tree, files)
        manifest = build(str(directory / "code"), (), files)
        if manifest.digest != tree.digest and tree.rsync:
            # A file of the release before that has other content under the same size and time was taken for the same.
            self._copy(directory, tree, files, ["--checksum"])
            manifest = build(str(directory / "code"), (), files)
        if manifest.digest != tree.digest:
            (directory / DIFFERED).touch()
            raise ReleaseError(
                f"The tree on {tree.host} ({manifest.files} files) differs from its source ({tree.files} files): it "
                f"changed while it was copied. Run the playbook again when nobody writes into {tree.source}; the "
                "running release was not touched."
            )
        (directory / DIFFERED).unlink(missing_ok=True)
        self._store.save(files.used)
        return manifest

    def _before(self, directory: Path) -> str:
        """The release that is switched on, to share unchanged files with."""
        code = self.root / "current" / "code"
        if not code.is_dir() or code.resolve() == (directory / "code").resolve():
            return ""
        return str(code.resolve())

    def _copy(self, directory: Path, tree: Tree, files: KnownFiles, more: Sequence[str] = ()) -> None:
        before = self._before(directory)
        if before:
            files.before_linking(before)
        # And what an earlier attempt has fetched already.
        if (directory / "code").is_dir():
            files.before_linking(str(directory / "code"))
        link = [f"--link-dest={before}"] if before else []
        argv = [*tree.rsync, *link, *more, tree.rsync_source, f"{directory}/code/"]
        for attempt in range(1, ATTEMPTS + 1):
            rc, out, err = self._run(argv)
            if rc == 0:
                return
            if attempt < ATTEMPTS:
                self._sleep(PAUSE)
        raise ReleaseError(f"rsync cannot fetch {tree.source} (exit code {rc}): {' '.join((err or out).split())}")


def directory_of(root: str, release: str, ids: tuple[int, int]) -> Path:
    """The directory of a release, which the build account owns."""
    directory = Path(root) / "releases" / release
    directory.mkdir(exist_ok=True)
    os.chown(directory, *ids)
    directory.chmod(0o750)
    return directory
