"""The environment of `make docs` and `make galaxy`: tools/publish.lock in .venv-publish, with the Python they need.

It is made when it is first used, so that `make setup` stays quick.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from bootstrap import installer_environment
from common import CHECKOUT, UserError, exclusively, must, say

VENV = CHECKOUT / ".venv-publish"
LOCK = CHECKOUT / "tools" / "publish.lock"
STAMP = VENV / "installed-from"
BIN = VENV / "bin"
#: galaxy-importer and ansible-core of the lock run on these.
PYTHONS = ("3.12", "3.13", "3.14")


def interpreters() -> Iterator[str]:
    """What uv is told to use, best first; the last one it may download."""
    if given := os.environ.get("PUBLISH_PYTHON"):
        yield given
        return
    if f"{sys.version_info.major}.{sys.version_info.minor}" in PYTHONS:
        yield sys.executable
    for version in PYTHONS:
        yield from map(str, sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python")))
    yield "3.13"


def ensure() -> None:
    uv = CHECKOUT / ".venv" / "bin" / "uv"
    if not uv.exists():
        raise UserError("the tools are not installed: run `make setup` first")
    with exclusively("publish"):
        python = next(interpreters())
        stamp = f"{hashlib.sha256(LOCK.read_bytes()).hexdigest()} {python}\n"
        if STAMP.exists() and STAMP.read_text(encoding="utf-8") == stamp:
            return
        say("installing the tools for publishing into .venv-publish")
        shutil.rmtree(VENV, ignore_errors=True)
        env = installer_environment()
        hint = "Python 3.12 to 3.14 is needed: name one with PUBLISH_PYTHON=/path/to/python3.13"
        must([str(uv), "venv", "--quiet", "--python", python, str(VENV)], attempts=2, env=env, hint=hint)
        install = [str(uv), "pip", "install", "--quiet", "--python", str(BIN / "python")]
        must([*install, "--requirement", str(LOCK)], attempts=3, env=env, hint="is the package index reachable?")
        STAMP.write_text(stamp, encoding="utf-8")


def dependencies() -> Path:
    """Where the collections are that ours needs: the ansible package of the tools brings them."""
    (found,) = (CHECKOUT / ".venv" / "lib").glob("python*/site-packages/ansible_collections")
    return found.parent


def environment(home: Path, *collections: Path) -> dict[str, str]:
    """Nothing of the user's own: the result is the same for everyone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON", "GALAXY_"))}
    collections_of_home = home / ".ansible" / "collections"
    collections_of_home.mkdir(parents=True, exist_ok=True)
    # For programs that look nowhere else.
    (collections_of_home / "ansible_collections").symlink_to(dependencies() / "ansible_collections")
    return {
        **kept,
        "HOME": str(home),
        "ANSIBLE_HOME": str(home / ".ansible"),
        "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(map(str, [*collections, dependencies()])),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
