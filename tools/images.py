"""Make sure that the images of the test bed are present: `images.py [debian12] [debian13]`."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import engine
from common import CHECKOUT, LABEL, UserError, apt_install, exclusively, main, must, run, say

RECIPE = CHECKOUT / "molecule" / "resources" / "image"
SUITES = {"debian12": "bookworm", "debian13": "trixie"}
# What a minimal installation of a server has; the roles install the rest.
PACKAGES = ["systemd", "systemd-sysv", "dbus", "python3", "python3-apt", "ca-certificates", "iproute2", "sudo"]
PACKAGES += ["openssh-server"]
REPOSITORY = "taskfleet/celery-cluster-testbed"


def recipe_hash(suite: str) -> str:
    """Changes when anything that goes into the image changes; then the image is built again."""
    parts = [suite, *PACKAGES, *(path.read_text(encoding="utf-8") for path in sorted(RECIPE.iterdir()))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def label_of(image: str) -> str | None:
    """The recipe hash in an image, '' when it has none, None when there is no such image."""
    done = run(["docker", "image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}.recipe"}}}}', image])
    return done.stdout.strip() if done.returncode == 0 else None


def pull(image: str) -> bool:
    """Pull a base image, but only from a registry that answers at once: bootstrapping takes 20 seconds."""
    if run(["docker", "manifest", "inspect", image], timeout=8).returncode != 0:
        return False
    say(f"pulling {image}")
    return run(["docker", "pull", "--quiet", image], timeout=300).returncode == 0


def bootstrap(name: str, suite: str) -> str:
    """A base image from the distribution's mirror, for machines that reach no container registry."""
    image = f"{REPOSITORY}-base:{name}"
    recipe = hashlib.sha256(" ".join([suite, *PACKAGES]).encode()).hexdigest()[:16]
    if label_of(image) == recipe:
        return image
    say(f"bootstrapping {image} from {suite}")
    with tempfile.TemporaryDirectory(prefix="celery-cluster-") as directory:
        archive = str(Path(directory) / "base.tar")
        must(
            ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, archive],
            attempts=3,
            hint="is the package mirror reachable?",
        )
        must(["docker", "import", "--change", f"LABEL {LABEL}.recipe={recipe}", archive, image])
    return image


def base_for(name: str, suite: str) -> str:
    debian = f"debian:{suite}"
    if label_of(debian) is not None or pull(debian):
        return debian
    return bootstrap(name, suite)


def build(name: str) -> None:
    suite, recipe, image = SUITES[name], recipe_hash(SUITES[name]), f"{REPOSITORY}:{name}"
    base = base_for(name, suite)
    say(f"building {image}")
    arguments = [f"BASE={base}", f"PACKAGES={' '.join(PACKAGES)}"]
    flags = [part for argument in arguments for part in ("--build-arg", argument)]
    must(
        ["docker", "build", "--quiet", *flags, "--label", f"{LABEL}.recipe={recipe}", "--tag", image, str(RECIPE)],
        attempts=2,
    )


def needs_bootstrap(names: list[str]) -> bool:
    return not all(label_of(f"debian:{SUITES[name]}") is not None or pull(f"debian:{SUITES[name]}") for name in names)


def ensure(names: list[str]) -> None:
    with exclusively("images"):
        missing = [name for name in names if label_of(f"{REPOSITORY}:{name}") != recipe_hash(SUITES[name])]
        if not missing:
            return
        # Before the builds run side by side: two of them must not install packages at the same time.
        if needs_bootstrap(missing) and shutil.which("mmdebstrap") is None:
            apt_install(["mmdebstrap"], purpose="no container registry answers, so the test images are bootstrapped")
        if os.geteuid() != 0 and shutil.which("newuidmap") is None and needs_bootstrap(missing):
            raise UserError("bootstrapping an image without root needs uidmap: `sudo apt-get install uidmap`")
        with ThreadPoolExecutor() as pool:
            list(pool.map(build, missing))
        # The images of an older recipe have lost their name by now.
        run(["docker", "image", "prune", "--force", "--filter", f"label={LABEL}.recipe"])


def command() -> None:
    names = sys.argv[1:] or list(SUITES)
    if unknown := sorted(set(names) - set(SUITES)):
        raise UserError(f"no image is called {', '.join(unknown)}: choose from {', '.join(SUITES)}")
    engine.ensure()
    ensure(names)
    for name in names:
        say(f"image {REPOSITORY}:{name} is present")


if __name__ == "__main__":
    main(command)
