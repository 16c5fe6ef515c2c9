"""The pictures of the documentation: docs/plan.png, docs/status.png and docs/flower.png.

They are taken by the tests of the scenario `operations`, of its own cluster, and kept here. `pictures.py` runs these
tests: on the cluster of the scenario if there is one, else on one that it makes and removes again.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import browser
import containers
from common import CACHE, CHECKOUT, UserError, main, say
from devtools import Page
from process import logged, tail, termination_as_exit, tools_environment

SCENARIO = "operations"
TESTS = "test_pictures"
NAMES = ("plan", "status", "flower")
SHELF = CACHE / "pictures"
DOCS = CHECKOUT / "docs"
LOG = CACHE / "logs" / "pictures.log"
# As wide as a page of the documentation is read, and no longer than one looks at it.
WIDTH, HEIGHT, LEAST_HEIGHT = 1280, 1340, 320
# What a repository is willing to carry (bytes).
LIMIT = 200_000
STEP = 100


def of_page(page: Page, target: Path) -> None:
    """What the page shows now, from its top, as long as it is and as long as the file stays small."""
    page.size(WIDTH, LEAST_HEIGHT)
    # A page that is fitted to its window is measured in a small one.
    height = max(LEAST_HEIGHT, min(page.height(), HEIGHT))
    while True:
        page.size(WIDTH, height)
        page.rest(0.5)
        page.picture(target)
        if target.stat().st_size < LIMIT:
            return
        if height - STEP < LEAST_HEIGHT:
            raise UserError(f"{target.name} has {target.stat().st_size} bytes, and {LIMIT} are the limit")
        height -= STEP


def molecule(*arguments: str, extra: dict[str, str] | None = None) -> None:
    argv = ["molecule", arguments[0], "-s", SCENARIO, *arguments[1:]]
    if logged(argv, LOG, env=tools_environment({"NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", **(extra or {})})) != 0:
        raise UserError(f"{' '.join(argv)} failed; full output: {LOG}\n{tail(LOG, 25)}")


def photograph() -> None:
    for name in NAMES:
        (SHELF / f"{name}.png").unlink(missing_ok=True)
    molecule("verify", extra={"PYTEST_ADDOPTS": f"-k {TESTS}"})


def keep(names: tuple[str, ...] = NAMES) -> None:
    """All of them, or none: pictures of different days would contradict each other."""
    if missing := [name for name in names if not (SHELF / f"{name}.png").is_file()]:
        raise UserError(f"there is no picture of {', '.join(missing)} in {SHELF}")
    for name in names:
        target = DOCS / f"{name}.png"
        shutil.copyfile(SHELF / f"{name}.png", target)
        say(f"{target.relative_to(CHECKOUT)}: {target.stat().st_size // 1024} KiB")


def take() -> None:
    if sys.argv[1:]:
        raise UserError("usage: pictures.py")
    browser.ensure()
    LOG.unlink(missing_ok=True)
    is_mine = not containers.labelled("container", SCENARIO)
    with termination_as_exit():
        try:
            if is_mine:
                say(f"making the cluster of the scenario {SCENARIO}")
                molecule("destroy")
                molecule("create")
                molecule("converge")
            photograph()
        finally:
            if is_mine:
                molecule("destroy")
    keep()


if __name__ == "__main__":
    main(take)
