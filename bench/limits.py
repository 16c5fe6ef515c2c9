"""What the kernel lets one user have, raised for as long as many containers with systemd run on one machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common import UserError, say

#: For all containers together, because root is the same user in each. Debian allows 128.
INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
#: systemd takes five and its message bus one, and a systemd that gets none ends at once; the rest is for services.
EACH = 8
#: What else runs on the machine.
REST = 128


@contextmanager
def room_for(hosts: int) -> Iterator[None]:
    before, needed = int(INSTANCES.read_text(encoding="ascii")), REST + hosts * EACH
    if before >= needed:
        yield
        return
    say(f"fs.inotify.max_user_instances: {needed} for {hosts} hosts, and {before} again at the end")
    allow(needed, hosts)
    try:
        yield
    finally:
        INSTANCES.write_text(f"{before}\n", encoding="ascii")


def allow(needed: int, hosts: int) -> None:
    try:
        INSTANCES.write_text(f"{needed}\n", encoding="ascii")
    except OSError as error:
        raise UserError(
            f"{hosts} hosts need fs.inotify.max_user_instances={needed}, and it cannot be set here ({error.strerror}): "
            "run `sysctl fs.inotify.max_user_instances=...` on the machine, or name fewer hosts (--sizes 2,10)"
        ) from error
