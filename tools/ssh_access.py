"""Let this checkout into a container by SSH: `ssh_access.py CONTAINER USER ADDRESS PORT DIRECTORY`.

DIRECTORY then holds the key (id_ed25519) and known_hosts.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from common import UserError, exclusively, main, must

ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]*")

# The account and the public key are arguments of the shell, never part of its text.
GRANT = """
set -eu
id "$1" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$1"
home=$(getent passwd "$1" | cut -d: -f6)
install -d -m 0700 -o "$1" -g "$(id -g "$1")" "$home/.ssh"
printf '%s\\n' "$2" >"$home/.ssh/authorized_keys"
chown "$1:" "$home/.ssh/authorized_keys"
chmod 0600 "$home/.ssh/authorized_keys"
if [ "$1" != root ]; then
  printf '%s ALL=(ALL) NOPASSWD: ALL\\n' "$1" >"/etc/sudoers.d/$1"
  chmod 0440 "/etc/sudoers.d/$1"
fi
"""


def public_key(directory: Path) -> str:
    directory.mkdir(parents=True, mode=0o700, exist_ok=True)
    key = directory / "id_ed25519"
    if not key.exists():
        must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "celery_cluster test bed", "-f", str(key)])
    return key.with_suffix(".pub").read_text(encoding="utf-8").strip()


def known_hosts(lines: list[str], name: str, key: str) -> list[str]:
    """The file with one line for this host: an older container's key must not stay."""
    return [*(line for line in lines if line.split(" ")[0] != name), f"{name} {' '.join(key.split()[:2])}"]


def command() -> None:
    if len(sys.argv) != 6 or not ACCOUNT.fullmatch(sys.argv[2]):
        raise UserError("usage: ssh_access.py CONTAINER USER ADDRESS PORT DIRECTORY")
    container, user, address, port = sys.argv[1:5]
    directory = Path(sys.argv[5])
    with exclusively("ssh"):
        must(["docker", "exec", container, "sh", "-c", GRANT, "sh", user, public_key(directory)])
        host_key = must(["docker", "exec", container, "cat", "/etc/ssh/ssh_host_ed25519_key.pub"], attempts=3)
        file = directory / "known_hosts"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        name = address if port == "22" else f"[{address}]:{port}"
        file.write_text("\n".join(known_hosts(lines, name, host_key)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(command)
