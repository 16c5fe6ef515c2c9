"""A headless Chromium with a private home: its own authorities, its own names, and nothing of it left afterwards.

`browser.py` finds Chromium and certutil, or installs them where that is possible.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from common import UserError, apt_install, exclusively, main, must, say
from devtools import BrowserError, Login, Page, Wire

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Without fonts of its own, a machine would draw no text.
PACKAGES = ("chromium", "libnss3-tools", "fonts-dejavu-core")
CERTUTIL = "certutil"
# Time for a machine that has other work.
START_SECONDS, END_SECONDS = 60.0, 10.0
# Nothing that a profile begins with, and no connection that no page asked for.
QUIET = (
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--metrics-recording-only",
    "--password-store=basic",
    "--use-mock-keychain",
)
# The same picture on every machine.
LOOK = ("--hide-scrollbars", "--force-device-scale-factor=1", "--font-render-hinting=none", "--disable-lcd-text")


def program() -> str:
    """Chromium, or an empty text."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), "")


def ensure() -> str:
    """Chromium, installed with what belongs to it where it is missing."""
    with exclusively("browser"):
        if not (program() and shutil.which(CERTUTIL)):
            apt_install(PACKAGES, purpose="there is no Chromium, or no certutil, to look at the pages with")
    if not (found := program()):
        raise UserError(f"chromium was installed but is not found: put one of {', '.join(BROWSERS)} on the PATH")
    if not shutil.which(CERTUTIL):
        raise UserError(f"{CERTUTIL} was installed but is not found: put it on the PATH (Debian: libnss3-tools)")
    return found


def resolver_rules(addresses: Mapping[str, str]) -> str:
    """The value of --host-resolver-rules that makes the browser find names which no name server knows."""
    return ",".join(
        f"MAP {name} [{address}]" if ":" in address else f"MAP {name} {address}"
        for name, address in sorted(addresses.items())
    )


def arguments(found: str, home: Path, addresses: Mapping[str, str]) -> list[str]:
    argv = [found, "--headless", "--remote-debugging-pipe", f"--user-data-dir={home / 'profile'}"]
    # The containers' memory for sharing is small, and a proxy does not know the containers.
    argv += ["--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server", "--lang=en-US", *QUIET, *LOOK]
    argv += [f"--host-resolver-rules={resolver_rules(addresses)}"] if addresses else []
    # Chromium's sandbox does not work for root.
    argv += ["--no-sandbox"] if os.geteuid() == 0 else []
    return [*argv, "about:blank"]


def environment(home: Path) -> dict[str, str]:
    """Nothing of the user's own desktop, settings or authorities."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "DBUS_"))}
    return {**kept, "HOME": str(home), "TMPDIR": str(home / "tmp"), "LANGUAGE": "en", "TZ": "UTC"}


def trust(home: Path, authorities: Sequence[Path]) -> None:
    """Chromium's own authorities, and these: it reads them from the NSS database of its home."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True, mode=0o700)
    for argv in (
        ["-N", "--empty-password"],
        *(["-A", "-t", "C,,", "-n", str(one), "-i", str(one)] for one in authorities),
    ):
        must([CERTUTIL, "-d", f"sql:{database}", *argv], hint="is the authority a certificate in PEM?")


def processes(home: Path, session: int) -> list[int]:
    """All that runs with this home, or in this session: some of Chromium overwrite what the kernel tells of them."""
    sign = f"HOME={home}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
                # After the name in parentheses: state, parent, group, session.
                state, _parent, _group, its_session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except OSError:
                # Another user's, or gone by now.
                continue
            if state != "Z" and (sign in variables or int(its_session) == session):
                found.append(int(entry.name))
    return found


class Browser:
    """A Chromium that runs; every page is a stranger to the others."""

    def __init__(self, wire: Wire, home: Path, session: int) -> None:
        self.wire = wire
        self.home = home
        self.session = session

    def page(self, login: Login | None = None) -> Page:
        return Page(self.wire, login)


def end(process: subprocess.Popen[bytes], home: Path) -> None:
    """Wait until the browser, whose pipe is closed, has ended with its helpers; kill those that do not."""

    def wait() -> None:
        deadline = time.monotonic() + END_SECONDS
        while (process.poll() is None or processes(home, process.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)

    wait()
    for pid in processes(home, process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # Who is killed is not gone at once.
    wait()
    process.wait()


@contextmanager
def opened(*, authorities: Sequence[Path] = (), addresses: Mapping[str, str] | None = None) -> Iterator[Browser]:
    """A browser that trusts these authorities and finds these names; afterwards neither process nor file remains."""
    found = ensure()
    with tempfile.TemporaryDirectory(prefix="celery-cluster-browser-") as name:
        home = Path(name)
        (home / "tmp").mkdir()
        trust(home, authorities)
        log = home / "chromium.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                # Chromium reads commands from descriptor 3 and writes its answers to descriptor 4.
                ["sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >&2', "sh", *arguments(found, home, addresses or {})],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment(home),
                start_new_session=True,
            )
        assert process.stdin and process.stdout  # noqa: S101
        wire = Wire(process.stdin, process.stdout)
        try:
            try:
                wire.call("Browser.getVersion", seconds=START_SECONDS)
            except BrowserError as problem:
                said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
                raise BrowserError(f"{found} does not start ({problem}): {' / '.join(said)}") from problem
            yield Browser(wire, home, process.pid)
        finally:
            wire.close()
            end(process, home)


if __name__ == "__main__":
    main(lambda: say(f"browser {ensure()}"))
