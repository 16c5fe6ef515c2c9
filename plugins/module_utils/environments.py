# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Python environments of a host: made once per list of packages, shared by all releases that have this list.

<root>/environments/<name>/venv       made by the build account, and root's when it is made
<root>/environments/<name>/complete   written last: what has none is made anew by whoever needs it
<root>/releases/<id>/venv             a link to the former
<root>/environments/lock              held by whoever makes or removes one

An environment with a part of the tree in it is a directory of its release, as it was in releases before.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.known_files import KnownFiles, Store
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.manifest import ManifestError, build
from ansible_collections.taskfleet.celery_cluster.plugins.module_utils.package_lists import (
    environment_name,
    interpreter,
    read_lists,
)

ATTEMPTS, PAUSE = 3, 5.0
#: Another run makes an environment; builds from source may take that long.
PATIENCE = 3600.0


class PackagesError(Exception):
    """What is wrong, and what to do about it."""


class Runner(Protocol):
    """Runs a command; returns exit code, output and what it complained about."""

    def __call__(
        self,
        argv: Sequence[str],
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> tuple[int, str, str]: ...


class Packages(NamedTuple):
    """What an environment is made of."""

    python: str
    way: str  #: lock, requirements or none
    requirements: str  #: the file that names the packages, relative to the tree
    extra: Sequence[str] = ()
    constraints: Sequence[str] = ()
    index_url: str = ""
    edition: str = ""  #: another one: the same packages, resolved anew


class Tools(NamedTuple):
    """With what, and as whom, it is made."""

    uv: str
    account: str
    ids: tuple[int, int]
    variables: Mapping[str, str]


class Found(NamedTuple):
    path: str
    made: bool
    #: Why it cannot be shared with other releases; empty when it can.
    local: str = ""


class Environments:
    def __init__(
        self, root: str, tools: Tools, run: Runner, known_files: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.root = Path(root)
        self.place = self.root / "environments"
        self._tools = tools
        self._run = run
        self._known_files = known_files
        self._sleep = sleep

    def provide(self, release: str, packages: Packages) -> Found:
        """The environment of a release, made where it is not there yet, and linked."""
        directory = self.root / "releases" / release
        lists = read_lists(directory / "code", packages.way, packages.requirements, packages.extra)
        made_for = self._interpreter(packages.python)
        _directory(self.place, (0, self._tools.ids[1]), 0o750)
        with self._lock() as lock:
            if lists.local:
                return self._own(directory, packages, lists.local, lock)
            given = {**packages._asdict(), "python": packages.python, "interpreter": made_for}
            place = self._choose(environment_name(lists, given))
            is_there = (place / "complete").exists()
            if not is_there:
                _directory(place, (0, self._tools.ids[1]), 0o750)
                self._make(place / "venv", directory / "code", packages, lock)
                self._complete(place, {"files": lists.files, **given})
            link_environment(directory / "venv", place / "venv")
            return Found(str(place), made=not is_there)

    def _own(self, directory: Path, packages: Packages, why: str, lock: int) -> Found:
        """One that no other release can have. That of a complete release is in use, and nobody knows what it held."""
        target = directory / "venv"
        is_kept = (directory / "complete").exists() and target.is_dir() and not target.is_symlink()
        if not is_kept:
            if target.is_symlink():
                target.unlink()
            self._make(target, directory / "code", packages, lock)
        return Found(str(target), made=not is_kept, local=why)

    def _interpreter(self, python: str) -> list[Any]:
        try:
            return interpreter(self._run, python)
        except ValueError as error:
            raise PackagesError(str(error)) from error

    def _choose(self, name: str) -> Path:
        """The environment of this name that is as it was made, or the place for one. What somebody changed by hand is
        left to the processes that run with it."""
        there = sorted(self.place.glob(f"{name}*"), key=lambda path: path.name)
        complete = [path for path in there if (path / "complete").exists()]
        for path in complete:
            if is_intact(path, self._known_files):
                return path
        names = (name if number == 1 else f"{name}-{number}" for number in count(1))
        return next(self.place / one for one in names if self.place / one not in complete)

    def _make(self, target: Path, code: Path, packages: Packages, lock: int) -> None:
        """From nothing: what an earlier attempt left may be of other versions."""
        uv, python = self._tools.uv, str(target / "bin" / "python")
        if target.exists():
            shutil.rmtree(target)
        # The account may write into the environment, and not beside it.
        _directory(target, self._tools.ids, 0o755)
        self._build([uv, "venv", "--quiet", "--allow-existing", "--python", packages.python, str(target)], code, lock)
        with self._constraints(packages.constraints) as bound:
            if packages.way == "lock":
                words = ["sync", "--quiet", "--frozen", "--no-dev", "--no-editable", "--no-install-project"]
                self._build([uv, *words], code, lock, {"UV_PROJECT_ENVIRONMENT": str(target)})
            elif packages.way == "requirements":
                words = ["pip", "install", "--quiet", f"--python={python}", f"--requirements={packages.requirements}"]
                self._build([uv, *words, *bound], code, lock)
            if packages.extra:
                words = ["pip", "install", "--quiet", f"--python={python}", *bound]
                self._build([uv, *words, *packages.extra], code, lock)
        hand_over(target, (0, self._tools.ids[1]))

    @contextlib.contextmanager
    def _constraints(self, constraints: Sequence[str]) -> Iterator[list[str]]:
        if not constraints:
            yield []
            return
        with tempfile.NamedTemporaryFile("w", prefix="build-constraints-", suffix=".txt") as file:
            file.write("".join(f"{line}\n" for line in constraints))
            file.flush()
            os.chown(file.name, 0, self._tools.ids[1])
            Path(file.name).chmod(0o640)
            yield [f"--build-constraints={file.name}"]

    def _build(self, argv: list[str], code: Path, lock: int, more: Mapping[str, str] | None = None) -> None:
        """As the build account: the build script of a package never sees the cluster's secrets."""
        account = self._tools.account
        whole = ["setpriv", f"--reuid={account}", f"--regid={account}", "--init-groups", "--", *argv]
        for attempt in range(1, ATTEMPTS + 1):
            rc, out, err = self._run(whole, str(code), {**self._tools.variables, **(more or {})}, (lock,))
            if rc == 0:
                return
            if attempt < ATTEMPTS:
                self._sleep(PAUSE)
        raise PackagesError(" ".join((err or out).splitlines()[-6:]))

    def _complete(self, place: Path, given: Mapping[str, Any]) -> None:
        files = KnownFiles()
        manifest = build(str(place / "venv"), (), files)
        Store(self._known_files, f"environment-{place.name}").save(files.used)
        write_mark(place / "complete", {"manifest": manifest.digest, **given}, (0, self._tools.ids[1]))

    @contextlib.contextmanager
    def _lock(self) -> Iterator[int]:
        """Of this host, and of the commands that are started under it: a run that dies leaves it to them."""
        with (self.place / "lock").open("a") as file:
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise PackagesError(
                            f"another run has been making an environment for {PATIENCE:.0f} s: end it, or wait for it "
                            f"({file.name} is its lock)"
                        ) from None
                    self._sleep(0.5)
            yield file.fileno()


def is_intact(place: Path, known_files: str, keep: bool = True) -> bool:
    """Whether a complete environment holds what it held when it was made."""
    try:
        wanted = json.loads((place / "complete").read_text(encoding="utf-8"))["manifest"]
        store = Store(known_files, f"environment-{place.name}")
        files = KnownFiles(store.load())
        found = build(str(place / "venv"), (), files).digest
    except (OSError, ValueError, KeyError, TypeError, ManifestError):
        return False
    if keep and files.used != files.known:
        store.save(files.used)
    return bool(found == wanted)


def hand_over(place: Path, ids: tuple[int, int]) -> None:
    """What is built later, with whatever a package runs then, cannot change this any more; its group can read it."""
    for directory, _directories, files in os.walk(place):
        for path in (directory, *(f"{directory}/{name}" for name in files)):
            os.chown(path, *ids, follow_symlinks=False)
            if not Path(path).is_symlink():
                mode = Path(path).stat().st_mode & 0o777
                Path(path).chmod((mode & ~0o022) | ((mode & 0o500) >> 3))


def link_environment(link: Path, target: Path) -> None:
    """In one step: whatever runs finds the one or the other."""
    wanted = os.path.relpath(target, link.parent)
    if link.is_symlink() and str(link.readlink()) == wanted:
        return
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.symlink_to(wanted)
    if link.is_dir() and not link.is_symlink():
        # The release's own, as releases had them before environments were shared.
        aside = link.with_name(f".{link.name}.{os.getpid()}.old")
        link.rename(aside)
        temporary.replace(link)
        shutil.rmtree(aside)
    else:
        temporary.replace(link)


def write_mark(path: Path, content: Mapping[str, Any], ids: tuple[int, int]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=4, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.chown(name, *ids)
    Path(name).chmod(0o640)
    Path(name).replace(path)


def _directory(path: Path, ids: tuple[int, int], mode: int) -> None:
    path.mkdir(exist_ok=True)
    os.chown(path, *ids)
    path.chmod(mode)


def synchronised(directory: Path, path: str, run: Runner) -> Found:
    """The environment that came with the tree. It works here when the interpreter it was made for is here too."""
    link = directory / "venv"
    link_environment(link, directory / "code" / path)
    try:
        settings = (link / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise PackagesError(
            f"{path} of the tree is no Python environment ({error.strerror}): write where it is "
            "(code_environment_path), and leave it out of code_exclude"
        ) from error
    made_for = ["", ""]
    for line in settings.splitlines():
        key, _equals, value = line.partition("=")
        if key.strip() in ("version", "version_info"):
            made_for = value.strip().split(".")[:2]
    rc, out, err = run([str(link / "bin" / "python"), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
    if rc or out.strip() != ".".join(made_for):
        found = (err or out).strip() if rc else out.strip()
        raise PackagesError(
            f"the environment {path} of the tree was made for Python {'.'.join(made_for)}, and its interpreter here "
            f"says '{found}': install that Python on this host (celery_apt_packages), or make the environment with "
            "one that all hosts have"
        )
    return Found(str(link), made=False)
