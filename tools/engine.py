"""Find a working Docker engine, or install and start one; `stop` ends the one that this checkout started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from common import CACHE, UserError, apt_install, exclusively, main, must, run, say

PACKAGES = ("docker.io", "iptables", "mmdebstrap")
PID_FILE = CACHE / "dockerd.pid"
LOG_FILE = CACHE / "logs" / "dockerd.log"


def version() -> str:
    """The version of the daemon that answers, or an empty string."""
    done = run(["docker", "info", "--format", "{{.ServerVersion}}"], timeout=20)
    return done.stdout.strip() if done.returncode == 0 else ""


def wait_for(seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := version():
            return found
        time.sleep(0.5)
    return ""


def refuse_without_root() -> None:
    """Only root may install or start a daemon; say what the user's own next step is."""
    if os.geteuid() == 0:
        return
    if shutil.which("dockerd"):
        raise UserError(
            "no Docker daemon answers: start it (`sudo systemctl start docker`) and join the group `docker`, "
            "or run this as root"
        )
    raise UserError("there is no Docker engine and this is not root: install docker (Debian: docker.io) or run as root")


def start() -> None:
    if Path("/run/systemd/system").is_dir():
        must(["systemctl", "start", "docker"], hint="see `journalctl -u docker`")
        return
    LOG_FILE.parent.mkdir(parents=True, exist_ok=True)
    with LOG_FILE.open("ab") as log:
        # Its own session: the daemon must outlive this command and must not get its Ctrl-C.
        daemon = subprocess.Popen(
            ["dockerd"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    PID_FILE.write_text(f"{daemon.pid}\n", encoding="ascii")


def ensure() -> str:
    if found := version():
        return found
    refuse_without_root()
    with exclusively("engine"):
        if found := version():
            return found
        if shutil.which("dockerd") is None:
            apt_install(PACKAGES, purpose="there is no Docker engine")
        if not (found := wait_for(2)):
            start()
            found = wait_for(60)
        if not found:
            raise UserError(f"dockerd was started but does not answer: read {LOG_FILE} or `journalctl -u docker`")
        return found


def ours() -> int:
    """The process id of the daemon that `start` made, 0 when there is none (or the id is somebody else's by now)."""
    try:
        pid = int(PID_FILE.read_text(encoding="ascii"))
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return 0
    return pid if name == "dockerd" else 0


def stop() -> None:
    with exclusively("engine"):
        if pid := ours():
            if run(["docker", "ps", "-q"], timeout=20).stdout.strip():
                say("the Docker engine keeps running: containers that are not the demo's use it")
                return
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 30
            while ours() and time.monotonic() < deadline:
                time.sleep(0.2)
            if ours():
                raise UserError(f"dockerd (process {pid}) does not stop: read {LOG_FILE}")
            say("stopped the Docker engine that was started for the demo")
        PID_FILE.unlink(missing_ok=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["stop"]:
        main(stop)
    else:
        main(lambda: say(f"docker engine {ensure()}"))
