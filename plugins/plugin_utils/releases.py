# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Under which name a release runs.

The services of a release are instances of template units, and an instance is one process: while the old one of a
release finishes its tasks, which may take hours, the same release can only come back under another name. So a release
`4f2c` runs as `4f2c`, or as `4f2c.2`, which is a link to the same directory.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count


def release_of(instance: str) -> str:
    """4f2c of 4f2c.2 and of 4f2c."""
    return instance.split(".", 1)[0]


def release_instance(release: str, current: str, stopping: Iterable[str]) -> str:
    """The name under which a release is to run.

    release: its identifier; current: the instance that is switched on, or empty; stopping: the services, on all hosts,
    that still finish their tasks, for example `shop-worker-default@4f2c.service`.
    """
    if release_of(current) == release:
        return current
    busy = {unit.rsplit(".service", 1)[0].split("@", 1)[-1] for unit in stopping}
    names = (release if number == 1 else f"{release}.{number}" for number in count(1))
    return next(name for name in names if name not in busy)
