"""The reference cluster in containers.

`demo.py up`    makes it, with the phases on the terminal and the full output in a log
`demo.py down`  leaves no container, network or process
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import containers
import engine
import images
from common import CACHE, CHECKOUT, UserError, main, run, say
from process import clock, logged, tail, termination_as_exit, tools_environment

LABEL = "demo"
INVENTORY = CHECKOUT / "inventories" / "demo"
FLOWER_CONTAINER = "taskfleet-demo-app1"
LOG = CACHE / "logs" / "demo.log"
PROGRESS = CACHE / "demo-progress"
REPORT = CACHE / "demo-verify.txt"


class Progress:
    """The lines that the callback `phases` writes, shown as they come, with the demo's own clock."""

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.shown = 0
        self.failed = False

    def phase(self, text: str) -> None:
        say(f"{clock(time.monotonic() - self.begun)}  {text}")

    def follow(self) -> None:
        text = PROGRESS.read_text(encoding="utf-8") if PROGRESS.exists() else ""
        # A line that is still being written is shown the next time.
        complete = text[: text.rfind("\n") + 1]
        for line in complete[self.shown :].splitlines():
            if line.startswith(" "):
                say(line)
            else:
                _their_clock, _gap, event = line.partition("  ")
                self.failed = self.failed or event.startswith("FAILED")
                self.phase(event)
        self.shown = len(complete)


def play(playbook: Path, progress: Progress, *arguments: str, watch: bool) -> bool:
    env = tools_environment({"CELERY_CLUSTER_PROGRESS": str(PROGRESS)} if watch else None)
    argv = ["ansible-playbook", "-i", str(INVENTORY), *arguments, str(playbook)]
    return logged(argv, LOG, env=env, meanwhile=progress.follow) == 0


def fail(progress: Progress) -> None:
    """What the user needs to go on: the message, the hosts' own logs, the full output."""
    if not progress.failed:
        say(tail(LOG, 25))
    if folder := containers.collect(LABEL):
        say(f"logs of all hosts: {folder}")
    raise UserError(f"the demo failed; full output: {LOG}")


def flower_hint() -> str:
    """How to open Flower in a browser of this machine."""
    field = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    address = run(["docker", "inspect", "--format", field, FLOWER_CONTAINER]).stdout.strip()
    secrets = (INVENTORY / ".secrets").relative_to(CHECKOUT)
    return (
        f"Flower: https://{address}:5555  user admin, password in {secrets}/flower\n"
        f"        (its certificate is signed by {secrets}/ca/ca.pem)"
    )


def up() -> None:
    progress = Progress(time.monotonic())
    for file in (LOG, PROGRESS, REPORT):
        file.unlink(missing_ok=True)
    progress.phase("Engine")
    engine.ensure()
    progress.phase("Images")
    images.ensure(["debian12"])
    progress.phase("Containers")
    with termination_as_exit():
        if not play(CHECKOUT / "molecule" / "resources" / "create.yml", progress, watch=False):
            fail(progress)
        if not play(CHECKOUT / "site.yml", progress, "-e", f"verify_report={REPORT}", watch=True):
            fail(progress)
    progress.phase("Done")
    say("")
    if REPORT.exists():
        say(REPORT.read_text(encoding="utf-8"))
    say(flower_hint())
    say(f"Full output: {LOG}    Remove everything: make demo-down")


def down() -> None:
    for name in containers.remove(LABEL):
        say(f"removed {name}")
    engine.stop()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["up"]:
            main(up)
        case ["down"]:
            main(down)
        case _:
            sys.exit("usage: demo.py up | down")
