# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of variables: which of them nobody reads, and which differ where they must not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .problems import Problems, did_you_mean

#: Variables without a default: read by the model, or set by it.
EXTRA = frozenset({"celery_address", "celery_cluster"})
#: Variables of the base role that a host may have for itself: they describe the host, not the cluster.
PER_HOST = frozenset(
    {
        "celery_address",
        "celery_apt_packages",
        "celery_cluster",
        "celery_config_files",
        "celery_credentials",
        "celery_directories",
        "celery_environment",
        "celery_extra_trust_anchors",
    }
)
#: The prefix that belongs to this collection alone.
OWN_PREFIX = "celery_"


def ours(name: str, prefixes: Iterable[str]) -> bool:
    """Whether a variable has the name of one that a role of this collection could read."""
    return name.startswith(tuple(prefixes))


def check_names(
    names: Mapping[str, Iterable[str]], known: Iterable[str], prefixes: Iterable[str], problems: Problems
) -> None:
    """names: variable of the inventory -> the hosts that have it. known: every documented variable.

    A name with another role's prefix may be another role's: a wrong one is an error only below ``celery_``.
    """
    documented = {*known, *EXTRA}
    for name in sorted(names):
        if not ours(name, prefixes) or name in documented:
            continue
        hosts = sorted(names[name])
        nearest = did_you_mean(name, documented)
        instead = f"write {nearest}" if nearest else "remove it, or rename it if it is your own"
        code = "CC901" if name.startswith(OWN_PREFIX) else "CC902"
        where = hosts[0] if len(hosts) == 1 else ""
        problems.add(code, name, "is a variable that no role of this collection reads", instead, where)


def check_equal(values: Mapping[str, Mapping[str, object]], problems: Problems) -> None:
    """values: cluster variable -> host -> what the inventory says there, as written. Hosts without it are missing."""
    for name in sorted(values):
        if name in PER_HOST or not name.startswith(OWN_PREFIX):
            continue
        by_host = values[name]
        first = next(iter(by_host.items()), None)
        other = next((item for item in by_host.items() if first and item[1] != first[1]), None)
        if first and other:
            problems.add(
                "CC111",
                name,
                f"is one thing on {first[0]} and another on {other[0]}",
                "write it once, into group_vars/all",
            )
