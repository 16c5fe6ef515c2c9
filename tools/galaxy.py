"""Builds the collection, has Galaxy's importer look at it, and tries the changelog and the execution environment.

Nothing is published. The artifact is in .cache/galaxy.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import publishing
from common import CACHE, CHECKOUT, UserError, main, must, say
from sanity import copy_collection

OUTPUT = CACHE / "galaxy"
RELEASE = "1.0.0"
LARGEST = 3_000_000
#: Paths that only a checkout has, or that nobody else may have.
FOREIGN = re.compile(r"(^|/)(\.secrets|\.venv[^/]*|\.cache|\.ansible|\.collections|__pycache__|molecule|tools)(/|$)")
SECRET = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=]{40}")
WARNING = re.compile(r"^(?:WARNING|ERROR).*", re.MULTILINE)


def build(source: Path, env: Mapping[str, str]) -> Path:
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    program = str(publishing.BIN / "ansible-galaxy")
    must([program, "collection", "build", str(source), "--output-path", str(OUTPUT)], env=env)
    (artifact,) = OUTPUT.glob("*.tar.gz")
    return artifact


def refuse_foreign(artifact: Path) -> None:
    """What must not be published is told by name."""
    with tarfile.open(artifact) as archive:
        members = archive.getmembers()
        found = [member.name for member in members if FOREIGN.search(member.name)]
        for member in members:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None and SECRET.search(file.read()):
                found.append(f"{member.name} (a private key)")
    if found:
        raise UserError(f"{artifact.name} must not hold {', '.join(found[:5])}: see build_ignore in galaxy.yml")
    size = artifact.stat().st_size
    if size > LARGEST:
        raise UserError(f"{artifact.name} has {size} bytes, more than {LARGEST}: see build_ignore in galaxy.yml")
    say(f"{artifact.name}: {size / 1000:.0f} kB, {len(members)} files and directories")


def check_import(artifact: Path, env: Mapping[str, str]) -> None:
    argv = [str(publishing.BIN / "python"), "-m", "galaxy_importer.main", str(artifact)]
    # It writes its result into the current directory.
    done = subprocess.run(argv, cwd=OUTPUT, env=env, capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    (OUTPUT / "importer.log").write_text(text, encoding="utf-8")
    findings = WARNING.findall(text)
    for finding in findings:
        say(finding)
    if done.returncode != 0 or "Importer processing completed successfully" not in text:
        raise UserError(f"galaxy-importer refuses it: {OUTPUT / 'importer.log'}")
    say(f"galaxy-importer: accepted, {len(findings)} warnings")


def check_changelog(source: Path, env: Mapping[str, str]) -> None:
    """The fragments make a changelog, as they will when it is released."""
    for words in (["lint"], ["release", "--version", RELEASE, "--date", "2026-01-01"]):
        done = subprocess.run(
            [str(publishing.BIN / "antsibull-changelog"), *words],
            cwd=source,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise UserError(f"antsibull-changelog {words[0]}: {(done.stdout + done.stderr).strip()[-1000:]}")
    text = (source / "CHANGELOG.md").read_text(encoding="utf-8")
    # Markdown escapes its dots.
    if RELEASE not in text.replace("\\", ""):
        raise UserError(f"the changelog of {RELEASE} does not name it")
    say(f"changelog of {RELEASE}: {len(text.splitlines())} lines")


def check_execution_environment(scratch: Path, env: Mapping[str, str]) -> None:
    """ansible-builder takes the definition; the image is not built."""
    argv = [str(publishing.BIN / "ansible-builder"), "create", "--context", str(scratch / "context")]
    must([*argv, "--file", str(CHECKOUT / "execution-environment.yml")], env=env)
    say("execution environment: ansible-builder accepts the definition")


def galaxy() -> None:
    publishing.ensure()
    with tempfile.TemporaryDirectory(prefix="galaxy-") as directory:
        scratch = Path(directory)
        env = publishing.environment(scratch / "home")
        source = scratch / "source"
        copy_collection(source)
        artifact = build(source, env)
        refuse_foreign(artifact)
        check_import(artifact, env)
        must(["git", "init", "--quiet", str(source)], env=env)
        check_changelog(source, env)
        check_execution_environment(scratch, env)
    say(f"{artifact.relative_to(CHECKOUT)} can be published")


if __name__ == "__main__":
    main(galaxy)
