"""ansible-test sanity on a copy of the collection; arguments go on to it: `sanity.py --test pep8 plugins/`.

ansible-test insists on a path .../ansible_collections/NAMESPACE/NAME and resolves symbolic links, so it gets a copy.
Its virtual environments are made once, in .cache/sanity, and used again by the next run.
"""

from __future__ import annotations

import configparser
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from common import CACHE, CHECKOUT, UserError, exclusively, main, must, say
from process import tail, termination_as_exit

COLLECTION = Path("ansible_collections/taskfleet/celery_cluster")
HOME = CACHE / "sanity"
LOG = CACHE / "logs" / "sanity.log"
TAIL_LINES = 40
INDEX_HINT = "is the package index reachable? PIP_INDEX_URL and PIP_CERT are obeyed"
BIN = Path(sys.executable).parent
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
TEST_STARTED = re.compile(r'^Running sanity test "([\w-]+)"', re.MULTILINE)
TEST_SKIPPED = re.compile(r"^WARNING: (Skipping sanity test .*|Required program .*)$", re.MULTILINE)

# ansible-test knows which release of pip it wants in its environments.
WANTED_PIP = f"""
from types import SimpleNamespace
from ansible_test._internal.python_requirements import get_venv_packages
print(get_venv_packages(SimpleNamespace(version="{PYTHON}"))["pip"])
"""

# Stands in for the get-pip.py that ansible-test downloads, from a server of its own, for each new environment.
GET_PIP = """\
import shutil
import sysconfig

shutil.copytree({pip!r}, sysconfig.get_path("purelib"), dirs_exist_ok=True)
"""


def pip_configuration(env: Mapping[str, str], home: Path) -> configparser.RawConfigParser:
    """What pip is told about the network by the user's files and environment.

    ansible-test passes neither on: it clears the environment, and we give it a home directory of its own.
    """
    configuration = configparser.RawConfigParser()
    configuration.read([home / ".pip" / "pip.conf", home / ".config" / "pip" / "pip.conf"], encoding="utf-8")
    if not configuration.has_section("global"):
        configuration.add_section("global")
    given = {name: value for name, value in env.items() if name.startswith("PIP_") and name != "PIP_CONFIG_FILE"}
    if env.get("SSL_CERT_FILE"):
        given.setdefault("PIP_CERT", env["SSL_CERT_FILE"])
    for name, value in given.items():
        configuration.set("global", name.removeprefix("PIP_").lower().replace("_", "-"), value)
    return configuration


def prepare_home() -> None:
    (HOME / ".config" / "pip").mkdir(parents=True, exist_ok=True)
    # An index URL may hold a password.
    HOME.chmod(0o700)
    with (HOME / ".config" / "pip" / "pip.conf").open("w", encoding="utf-8") as file:
        pip_configuration(os.environ, Path.home()).write(file)
    release = must([sys.executable, "-c", WANTED_PIP]).strip()
    shim = HOME / ".ansible" / "test" / "cache" / f"get_pip_{release.replace('.', '_')}.py"
    shim.parent.mkdir(parents=True, exist_ok=True)
    shim.write_text(GET_PIP.format(pip=str(installed_pip(release))), encoding="utf-8")


def installed_pip(release: str) -> Path:
    """A directory that holds this release of pip, from the user's package index."""
    target = HOME / f"pip-{release}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=HOME) as scratch:
            venv, fresh = Path(scratch) / "venv", Path(scratch) / "pip"
            must([sys.executable, "-m", "venv", str(venv)])
            pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--target", str(fresh)]
            must([*pip, f"pip=={release}"], attempts=3, hint=INDEX_HINT)
            shutil.rmtree(fresh / "bin", ignore_errors=True)
            fresh.rename(target)
    return target


def collection_files() -> Iterator[Path]:
    """Every file of the collection, committed or not; hidden top-level entries belong to the checkout only."""
    listed = must(["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    for name in sorted(set(listed.split("\0")) - {""}):
        # A file that git still lists may have been deleted.
        if not name.startswith(".") and (CHECKOUT / name).is_file():
            yield Path(name)


def copy_collection(destination: Path) -> None:
    for name in collection_files():
        target = destination / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(CHECKOUT / name, target, follow_symlinks=False)


def test_environment() -> dict[str, str]:
    """Nothing of the user's or the checkout's Ansible configuration: the result is the same for everyone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PIP_", "PYTHON"))}
    return {**kept, "HOME": str(HOME), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


def sanity() -> None:
    if not (BIN / "ansible-test").exists():
        raise UserError("ansible-test is not installed beside this Python: run `make sanity`, or .venv/bin/python")
    with exclusively("sanity"), termination_as_exit(), tempfile.TemporaryDirectory(prefix="sanity-") as scratch:
        prepare_home()
        root = Path(scratch) / COLLECTION
        copy_collection(root)
        # --lint: findings, one per line, on standard output; everything else on standard error.
        argv = [str(BIN / "ansible-test"), "sanity", "--color", "no", "--lint", "--python", PYTHON, *sys.argv[1:]]
        done = subprocess.run(
            argv,
            cwd=root,
            env=test_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    LOG.parent.mkdir(parents=True, exist_ok=True)
    LOG.write_text(f"{done.stderr}\n{done.stdout}", encoding="utf-8")
    for reason in TEST_SKIPPED.findall(done.stderr):
        say(f"note: {reason}")
    findings = done.stdout.splitlines()
    for finding in findings:
        say(finding)
    tests = set(TEST_STARTED.findall(done.stderr))
    say(f"ansible-test sanity, Python {platform.python_version()}: {len(tests)} tests, {len(findings)} findings")
    if done.returncode != 0:
        if not findings:
            say(tail(LOG, TAIL_LINES))
        sys.exit(f"ansible-test sanity failed; full output: {LOG}")


if __name__ == "__main__":
    main(sanity)
