"""Install the pinned tools into .venv. The second call is instant; a changed tools.lock installs again."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
from pathlib import Path

from common import CACHE, CHECKOUT, UserError, apt_install, exclusively, main, must, run, say

UV = "uv==0.13.8"
VENV = CHECKOUT / ".venv"
PROGRAMS = {"rsync": "rsync", "ssh": "openssh-client"}
STAMP = VENV / "installed-from"
# In an activated .venv, `python3` is the interpreter that is about to be removed.
PYTHON = getattr(sys, "_base_executable", sys.executable)


def stamp() -> str:
    lock = (CHECKOUT / "tools.lock").read_bytes()
    return f"{hashlib.sha256(lock).hexdigest()} {UV} {platform.python_version()}\n"


def installer_environment() -> dict[str, str]:
    """What pip was told about the network, in the words that uv understands."""
    env = dict(os.environ)
    for theirs, ours in (("SSL_CERT_FILE", "PIP_CERT"), ("UV_DEFAULT_INDEX", "PIP_INDEX_URL")):
        if not env.get(theirs) and env.get(ours):
            env[theirs] = env[ours]
    # Another environment that happens to be active must not be the one that is written to.
    env.pop("VIRTUAL_ENV", None)
    return env


def make_venv() -> None:
    # Debian splits venv's half (ensurepip) into a package of its own; without it `venv` fails after half its work.
    if run([PYTHON, "-c", "import ensurepip, venv"]).returncode != 0:
        apt_install(["python3-venv"], purpose="this Python cannot make virtual environments")
    shutil.rmtree(VENV, ignore_errors=True)
    must([PYTHON, "-m", "venv", str(VENV)])


def ensure_programs() -> None:
    """What Ansible calls on this machine to move files and to reach hosts."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        apt_install(missing, purpose="the controller needs more programs")


def ensure() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - the user's own Python runs this file
        raise UserError(
            f"Python 3.11 or newer is needed, this is {platform.python_version()}: make PYTHON=python3.12 …"
        )
    with exclusively("setup"):
        (CACHE / "logs").mkdir(exist_ok=True)
        if STAMP.exists() and STAMP.read_text(encoding="ascii") == stamp():
            return
        ensure_programs()
        say("installing the tools into .venv")
        make_venv()
        env, python = installer_environment(), str(VENV / "bin" / "python")
        hint = "is the package index reachable? PIP_INDEX_URL and PIP_CERT are obeyed"
        must([python, "-m", "pip", "install", "--quiet", UV], attempts=3, env=env, hint=hint)
        install = [str(VENV / "bin" / "uv"), "pip", "install", "--quiet", "--python", python]
        must([*install, "--requirement", str(CHECKOUT / "tools.lock")], attempts=3, env=env, hint=hint)
        STAMP.write_text(stamp(), encoding="ascii")


if __name__ == "__main__":
    if Path.cwd() != CHECKOUT:
        os.chdir(CHECKOUT)
    main(ensure)
