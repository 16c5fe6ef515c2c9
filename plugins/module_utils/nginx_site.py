# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One file of nginx's configuration: it takes effect when nginx accepts it, and what nginx serves goes on when not."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

#: Exit code, output and error output of a command.
Ran = tuple[int, str, str]
Run = Callable[[list[str]], Ran]
# Seconds in which nginx has new processes after a reload; reading a large configuration takes one or two.
PATIENCE = 15.0


class SiteError(Exception):
    """What keeps the configuration from taking effect, with what was left."""


class Service(NamedTuple):
    active: bool
    enabled: bool
    pid: int


class Nginx:
    """nginx of this host. run: how a command is run. binary: empty where nginx is not installed."""

    def __init__(
        self, run: Run, binary: str, unit: str, proc: Path = Path("/proc"), patience: float = PATIENCE
    ) -> None:
        self.run = run
        self.binary = binary
        self.unit = unit
        self.proc = proc
        self.patience = patience

    def fault(self) -> str:
        """Why nginx would not take its configuration as it is on disk; empty when it would."""
        code, out, err = self.run([self.binary, "-t", "-q"])
        return "" if code == 0 else (err or out).strip() or f"nginx -t ended with {code}"

    def service(self) -> Service:
        command = ["systemctl", "show", "--property=ActiveState,UnitFileState,MainPID", self.unit]
        _code, out, _err = self.run(command)
        found = dict(line.partition("=")[::2] for line in out.splitlines())
        pid = found.get("MainPID", "0")
        active = found.get("ActiveState") in ("active", "reloading")
        return Service(active, found.get("UnitFileState") == "enabled", int(pid) if pid.isdigit() else 0)

    def control(self, verb: str) -> None:
        code, out, err = self.run(["systemctl", verb, self.unit])
        if code != 0:
            raise SiteError(f"systemctl {verb} {self.unit} failed: {(err or out).strip()}")

    def workers(self, pid: int) -> dict[int, float]:
        """The processes that serve, and when each began, in seconds since 1970."""
        now = time.time() - float((self.proc / "uptime").read_text().split()[0])
        ticks = os.sysconf("SC_CLK_TCK")
        found = {}
        for entry in self.proc.iterdir():
            if not entry.name.isdigit():
                continue
            try:
                # The name stands in parentheses, and may hold spaces and more of them.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                # It has just ended.
                continue
            if int(fields[1]) == pid:
                found[int(entry.name)] = now + int(fields[19]) / ticks
        return found

    def reload(self, pid: int) -> None:
        """nginx answers at once, and goes on as before when it cannot: only new processes prove that it could."""
        before = self.workers(pid)
        self.control("reload")
        deadline = time.monotonic() + self.patience
        while not set(self.workers(pid)) - set(before):
            if time.monotonic() > deadline:
                raise SiteError(
                    "nginx did not take its configuration and goes on as before; /var/log/nginx/error.log says why "
                    "(often a port that another service has)"
                )
            time.sleep(0.1)


def present(nginx: Nginx, path: Path, content: str, files: Sequence[str], check: bool) -> bool:
    """Have nginx serve the file as content says. files: what it reads besides. Returns whether anything changed."""
    before = _read(path)
    if not nginx.binary:
        if check:
            return True
        raise SiteError("nginx is not installed")
    changed = before != content
    if changed and not check:
        _replace(nginx, path, before, content)
    service = nginx.service()
    stale = changed or (service.active and _is_newer([str(path), *files], nginx.workers(service.pid)))
    if check:
        return stale or not service.active or not service.enabled
    if not service.enabled:
        nginx.control("enable")
    try:
        if not service.active:
            nginx.control("start")
        elif stale:
            if not changed:
                _refuse_fault(nginx, "nothing was changed")
            nginx.reload(service.pid)
    except SiteError:
        # A port that another service has shows now only. With this file the next start of nginx would fail.
        if changed:
            _put_back(path, before)
        raise
    return stale or not service.active or not service.enabled


def absent(nginx: Nginx, path: Path, check: bool) -> bool:
    before = _read(path)
    if before is None:
        return False
    if check:
        return True
    path.unlink()
    if nginx.binary and nginx.service().active:
        try:
            _refuse_fault(nginx, f"{path} was put back")
            nginx.reload(nginx.service().pid)
        except SiteError:
            # So that the next run tries again.
            _write(path, before)
            raise
    return True


def _refuse_fault(nginx: Nginx, left: str) -> None:
    fault = nginx.fault()
    if fault:
        raise SiteError(f"nginx refuses its configuration, so it goes on with the one before and {left}: {fault}")


def _replace(nginx: Nginx, path: Path, before: str | None, content: str) -> None:
    # A fault that was there already is somebody else's, and named as such.
    _refuse_fault(nginx, f"{path} was not changed")
    _write(path, content)
    fault = nginx.fault()
    if fault:
        _put_back(path, before)
        raise SiteError(f"nginx refuses the new {path}, so the one before is there again: {fault}")


def _put_back(path: Path, before: str | None) -> None:
    if before is None:
        path.unlink()
    else:
        _write(path, before)


def _is_newer(files: Sequence[str], workers: dict[int, float]) -> bool:
    """Whether a file was changed after the newest process began, which has therefore never read it."""
    began = max(workers.values(), default=0.0)
    return any(Path(file).stat().st_ctime > began for file in files if Path(file).exists())


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _write(path: Path, content: str) -> None:
    # nginx reads *.conf only: a half-written file is none.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise
