"""The containers of a scenario or of the demo, found by their label.

`wait NAME`       until systemd in the container is up
`put NAME FROM TO` a directory into the container, owned by root
`collect LABEL`   journals and logs of every container into one folder, whose path is printed
`remove LABEL`    containers and networks
"""

from __future__ import annotations

import re
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from common import CACHE, LABEL, UserError, main, must, run, say

# Anything else would change what the filter means, or leave the folder that the logs belong in.
LABEL_VALUE = re.compile(r"[a-z0-9][a-z0-9_-]*")

REPORTS = {
    "journal.log": ["journalctl", "--boot", "--no-pager"],
    "failed-units.txt": ["systemctl", "--failed", "--no-pager", "--full"],
    "units.txt": ["systemctl", "list-units", "--all", "--no-pager", "--full"],
    "processes.txt": ["systemd-cgls", "--no-pager", "--full"],
    "sockets.txt": ["ss", "-tlnp"],
}
LOG_DIRECTORIES = ("/var/log/rabbitmq", "/var/log/postgresql")


def labelled(kind: str, label: str) -> list[str]:
    """Names of the containers (`ps --all`) or networks that carry the label; none when there is no engine."""
    command = {"container": ["ps", "--all"], "network": ["network", "ls"]}[kind]
    field = {"container": "{{.Names}}", "network": "{{.Name}}"}[kind]
    done = run(["docker", *command, "--filter", f"label={LABEL}={label}", "--format", field], timeout=60)
    return done.stdout.split() if done.returncode == 0 else []


def wait(name: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    state = ""
    while time.monotonic() < deadline:
        # Right after the start there is no bus yet: the command fails without a word about the state.
        done = run(["docker", "exec", name, "systemctl", "is-system-running", "--wait"], timeout=seconds)
        state = done.stdout.strip() or done.stderr.strip()
        if state in ("running", "degraded"):
            return
        if run(["docker", "inspect", "--format", "{{.State.Status}}", name], timeout=20).stdout.strip() == "exited":
            said = run(["docker", "logs", "--tail", "5", name], timeout=20)
            raise UserError(f"{name}: systemd has ended: {(said.stdout + said.stderr).strip()!r}")
        time.sleep(0.3)
    units = run(["docker", "exec", name, "systemctl", "--failed", "--no-legend", "--plain"], timeout=20).stdout
    jobs = run(["docker", "exec", name, "systemctl", "list-jobs", "--no-legend"], timeout=20).stdout
    raise UserError(f"{name}: systemd is not up after {seconds:.0f} s ({state}); failed: {units!r}; waiting: {jobs!r}")


def put(name: str, source: str, target: str) -> None:
    """The files as a checkout on that host would have them: no caches, and nobody's user id of this machine."""
    must(["docker", "exec", name, "mkdir", "-p", target])
    with tempfile.TemporaryFile() as archive:
        with tarfile.open(fileobj=archive, mode="w") as tree:
            tree.add(source, arcname=".", filter=of_root)
        archive.seek(0)
        must(["docker", "cp", "-", f"{name}:{target}"], stdin=archive)


def of_root(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if Path(member.name).name in ("__pycache__", ".venv"):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


def collect_one(name: str, folder: Path) -> None:
    folder.mkdir(mode=0o700)
    for file, command in REPORTS.items():
        done = run(["docker", "exec", name, *command], timeout=60)
        (folder / file).write_text(done.stdout + done.stderr, encoding="utf-8")
    for directory in LOG_DIRECTORIES:
        # Most hosts have neither broker nor database: a directory that is missing is not worth a word.
        run(["docker", "cp", f"{name}:{directory}", str(folder / Path(directory).name)], timeout=60)
    (folder / "console.log").write_text(run(["docker", "logs", name], timeout=60).stdout, encoding="utf-8")


def collect(label: str) -> Path | None:
    """The folder, or None when there is no container to collect from."""
    names = labelled("container", label)
    if not names:
        return None
    folder = CACHE / "failures" / f"{label}-{datetime.now():%Y%m%d-%H%M%S}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: collect_one(name, folder / name), names))
    return folder


def remove(label: str) -> list[str]:
    """What was removed."""
    containers, networks = labelled("container", label), labelled("network", label)
    if containers:
        # Killed, not stopped: nobody waits for the services of a container that is thrown away.
        must(["docker", "rm", "--force", "--volumes", *containers], attempts=3)
    if networks:
        must(["docker", "network", "rm", *networks], attempts=3)
    return containers + networks


def command() -> None:
    match sys.argv[1:]:
        case ["wait", name]:
            wait(name)
        case ["put", name, source, target]:
            put(name, source, target)
        case ["collect", label] if LABEL_VALUE.fullmatch(label):
            say(str(collect(label) or f"no container is labelled {label}"))
        case ["remove", label] if LABEL_VALUE.fullmatch(label):
            for line in remove(label):
                say(line)
        case _:
            raise UserError("usage: containers.py wait NAME | put NAME FROM TO | collect LABEL | remove LABEL")


if __name__ == "__main__":
    main(command)
