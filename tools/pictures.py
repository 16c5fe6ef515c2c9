"""docs/plan.png: the page that playbooks/plan.yml makes of inventories/demo, as a headless browser shows it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from common import CHECKOUT, UserError, apt_install, main, must, say
from process import tools_environment

PICTURE = CHECKOUT / "docs" / "plan.png"
INVENTORY = CHECKOUT / "inventories" / "demo"
# The drawing and the table of hosts.
WINDOW = (1280, 1340)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Without fonts of its own, a machine would draw no text.
PACKAGES = ("chromium", "fonts-dejavu-core")


def browser() -> str:
    """The program that takes the picture."""
    for _attempt in range(2):
        for name in BROWSERS:
            if found := shutil.which(name):
                return found
        apt_install(PACKAGES, purpose="there is no Chromium to take the picture with")
    raise UserError("chromium was installed but is not found: put it on the PATH")


def page(target: Path) -> None:
    playbook = CHECKOUT / "playbooks" / "plan.yml"
    argv = ["ansible-playbook", "-i", str(INVENTORY), "-e", f"plan_page={target}", str(playbook)]
    must(argv, env=tools_environment())


def photograph(program: str, source: Path, target: Path, profile: Path) -> None:
    argv = [program, "--headless", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1"]
    argv += [f"--user-data-dir={profile}", f"--window-size={WINDOW[0]},{WINDOW[1]}", f"--screenshot={target}"]
    # Chromium's sandbox does not work for root.
    argv += ["--no-sandbox"] if os.geteuid() == 0 else []
    must([*argv, source.as_uri()])
    # Chromium ends well even when it could not write.
    if not target.is_file():
        raise UserError(f"{program} took no picture: run it with the file {source.name} yourself to see why")


def take() -> None:
    program = browser()
    with tempfile.TemporaryDirectory(prefix="celery-cluster-") as name:
        directory = Path(name)
        source, target = directory / "plan.html", directory / "plan.png"
        page(source)
        photograph(program, source, target, directory / "profile")
        PICTURE.parent.mkdir(exist_ok=True)
        shutil.copyfile(target, PICTURE)
    say(f"{PICTURE.relative_to(CHECKOUT)}: {PICTURE.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main(take)
