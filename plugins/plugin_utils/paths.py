# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths: what a role would make, own or copy, and what that would destroy."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..module_utils.manifest import ManifestError, Rule, compile_rule
from ..module_utils.manifest import excluded as left_out
from .databases import ACCESS, mode
from .groups import NAME
from .model import Inventory
from .problems import Problems, shown
from .text import environment_problems

#: Unit files, a shell script, PYTHONPATH and configuration files hold these paths without quotes.
PLAIN = re.compile(r"[A-Za-z0-9/._+@=,~-]*")
#: A command without a path is looked up in PATH.
COMMAND = re.compile(r"[A-Za-z][A-Za-z0-9._+-]*")
#: Directories of the distribution: owner and mode of each are not ours to change. What lies below may be.
_SYSTEM = """
    / /bin /boot /dev /etc /home /lib /lib32 /lib64 /libx32 /lost+found /media /mnt /opt /proc /root /run /sbin /srv
    /sys /tmp /usr /usr/local /usr/local/bin /usr/local/lib /usr/local/sbin /usr/local/share /usr/local/src
    /usr/local/etc /var /var/backups /var/cache /var/lib /var/local /var/lock /var/log /var/mail /var/opt /var/run
    /var/spool /var/tmp /var/lib/postgresql /var/lib/rabbitmq /var/www /etc/default /etc/postgresql
    /etc/postgresql-common /etc/ssh /etc/ssl /etc/ssl/certs /etc/ssl/private /etc/systemd /etc/systemd/system
"""
SYSTEM = frozenset(_SYSTEM.split())
#: Trees in which nothing of ours belongs; below /usr/local it does.
PACKAGED = ("/bin", "/boot", "/dev", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/sys", "/usr")
LOCAL = "/usr/local"
#: Emptied at a reboot, or after some days.
VOLATILE = ("/tmp", "/run", "/var/tmp", "/var/run", "/var/lock", "/dev/shm")  # noqa: S108
#: The units are hardened with ProtectHome and PrivateTmp.
HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108
#: What the roles keep below celery_root, and replace.
MANAGED = ("agent", "bin", "cache", "config", "current", "previous", "releases", "ssh", "tools")
#: What the collection itself places into the config directory.
RESERVED = frozenset(
    {
        "worker.env",
        "producer.env",
        "flower.env",
        "flower-options.env",
        "setup.env",
        "application.env",
        "application-setup.env",
        "credentials",
        "settings.json",
        "ca.pem",
        "trust.pem",
        "database-ca.pem",
        "pg_service.conf",
        "next",
        "current",
        "releases",
        "tls",
    }
)
OWN_ENVIRONMENT = re.compile(r"worker-.*\.env")
MODE = re.compile(r"0?[0-7]{3,4}|[ugoa]*[-+=][rwxXst]*(,[ugoa]*[-+=][rwxXst]*)*")


class Place(NamedTuple):
    """A directory with the place it is written at."""

    name: str
    path: str


def check_paths(inventory: Inventory, problems: Problems) -> None:
    reader = _Reader(inventory, problems)
    root = reader.directory("celery_root")
    state = reader.directory("celery_state_directory")
    directories = list(reader.directories())
    tls = [reader.of_service("rabbitmq_tls_directory", "rabbitmq"), reader.database_tls()]
    backups = reader.backups()
    source = reader.source()
    secrets = reader.secrets()
    reader.interpreter()
    reader.environment()
    reader.socket()
    reader.git_cache()
    _check_backups(inventory, problems)
    _check_config_files(inventory.settings.get("celery_config_files"), problems)
    writable = [place for place in [state, *directories] if place]
    _check_equal(root, tls, backups, inventory, problems)
    _check_writable(root, writable, problems)
    rules = _rules(inventory.settings.get("code_exclude"), problems)
    if source is not None:
        _check_source(source, root, writable, secrets, backups, rules, inventory, problems)


def inside(path: str, parent: str) -> bool:
    """Whether path is parent or lies below it; both normal."""
    return path == parent or path.startswith(parent.rstrip("/") + "/")


def _below(path: str, parents: Sequence[str]) -> str:
    return next((parent for parent in parents if inside(path, parent)), "")


def _normal(path: str) -> str:
    # Two slashes at the beginning are one, which normpath alone does not say.
    return posixpath.normpath("/" + path.lstrip("/"))


class _Reader:
    """Judges each path alone; a wrong one is told and has no part in what follows."""

    def __init__(self, inventory: Inventory, problems: Problems) -> None:
        self._inventory = inventory
        self._settings = inventory.settings
        self._problems = problems
        name = self._settings.get("celery_name")
        self._has_name = isinstance(name, str) and NAME.fullmatch(name) is not None

    def _is_judged(self, name: str) -> bool:
        # What is derived from a wrong name of the cluster is wrong as well, and told with the name.
        return name in self._settings and (name in self._inventory.own or self._has_name)

    def _absolute(self, name: str, value: Any, strict: bool = True) -> str | None:
        """A normal absolute path, or None after the problem was told. strict: no character that needs quotes."""
        if not isinstance(value, str) or not value:
            self._problems.add("CC701", name, f"is {value!r}", "write an absolute path")
            return None
        if not value.startswith("/"):
            self._problems.add("CC702", name, f"is {value!r}, which is relative", "write an absolute path")
            return None
        if ".." in value.split("/"):
            self._problems.add("CC704", name, f"is {value!r}", f"write {_normal(value)!r}, without ..")
            return None
        if environment_problems({"PATH": value}) or (strict and not PLAIN.fullmatch(value)):
            allowed = "ASCII letters, digits and . _ - + @ = , ~ only" if strict else "no control characters"
            self._problems.add("CC705", name, f"is {value!r}", f"write a path with {allowed}")
            return None
        return _normal(value)

    def _not_the_systems(self, name: str, path: str) -> bool:
        packaged = _below(path, PACKAGED)
        if path not in SYSTEM and (not packaged or inside(path, LOCAL)):
            return True
        what = f"is {path}, a directory of the system" if path in SYSTEM else f"is {path}, below {packaged}"
        self._problems.add("CC703", name, what, "write a directory of its own, for example one below /opt or /srv")
        return False

    def _lasts(self, name: str, path: str, code: str = "CC706") -> bool:
        volatile = _below(path, VOLATILE)
        if volatile:
            what = f"is {path}, and {volatile} is emptied at a reboot or before"
            self._problems.add(code, name, what, "write a directory that lasts, for example one below /opt or /var/lib")
        return not volatile

    def _is_seen(self, name: str, path: str, code: str = "CC708") -> bool:
        hidden = _below(path, HIDDEN)
        if hidden:
            what = f"is {path}, and the services see nothing of {hidden}"
            self._problems.add(
                code, name, what, "write a path that is nobody's own, for example one below /opt or /srv"
            )
        return not hidden

    def _own_directory(self, name: str, value: Any) -> Place | None:
        """A directory that a role makes on the hosts, and that the services use."""
        path = self._absolute(name, value)
        if path is None or not self._not_the_systems(name, path):
            return None
        return Place(name, path) if self._lasts(name, path) and self._is_seen(name, path) else None

    def directory(self, name: str) -> Place | None:
        return self._own_directory(name, self._settings[name]) if self._is_judged(name) else None

    def directories(self) -> Iterator[Place]:
        value = self._settings.get("celery_directories")
        if value is None:
            return
        if not isinstance(value, (list, tuple)):
            self._problems.add("CC701", "celery_directories", f"is {value!r}", "write a list of absolute paths")
            return
        for number, item in enumerate(value):
            place = self._own_directory(f"celery_directories[{number}]", item)
            if place:
                yield place

    def of_service(self, name: str, group: str) -> Place | None:
        """A directory that only a service of the group's hosts enters."""
        if not self._is_judged(name) or not self._inventory.groups.get(group):
            return None
        path = self._absolute(name, self._settings[name])
        if path is None or not self._not_the_systems(name, path) or not self._lasts(name, path):
            return None
        if inside(path, "/root"):
            what = f"is {path}, and nobody but root enters /root"
            self._problems.add(
                "CC708", name, what, "write a directory that the service can enter, for example below /etc"
            )
            return None
        return Place(name, path)

    def database_tls(self) -> Place | None:
        """Nobody makes it on the server of somebody else."""
        if mode(self._settings) == ACCESS:
            return None
        return self.of_service("postgresql_tls_directory", "postgresql")

    def backups(self) -> Place | None:
        return self.of_service("postgresql_backup_directory", "postgresql")

    def socket(self) -> None:
        """The directory of the database's socket: it is there, and below /run it belongs."""
        name = "postgresql_socket_directory"
        if name in self._settings and self._inventory.groups.get("postgresql"):
            self._absolute(name, self._settings[name])

    def source(self) -> Place | None:
        name = "code_source_path"
        value = self._settings.get(name)
        if value is None or value == "":
            return None
        # A source host serves the tree by a command in authorized_keys, which a shell reads.
        path = self._absolute(name, value, strict=bool(self._inventory.groups.get("celery_source")))
        return Place(name, path) if path is not None and self._not_the_systems(name, path) else None

    def secrets(self) -> Place | None:
        """On the controller. Where the inventory lies, and with it the default, is the operator's business."""
        name = "celery_secrets_directory"
        if name not in self._settings:
            return None
        value = self._settings[name]
        if name not in self._inventory.own:
            is_path = isinstance(value, str) and value.startswith("/")
            return Place(name, _normal(value)) if is_path else None
        path = self._absolute(name, value, strict=False)
        if path is None or not self._not_the_systems(name, path):
            return None
        self._lasts(name, path, "CC707")
        return Place(name, path)

    def git_cache(self) -> None:
        """On the controller, where it may be lost at any time."""
        name = "code_git_cache"
        if name in self._settings and name in self._inventory.own:
            path = self._absolute(name, self._settings[name], strict=False)
            if path is not None:
                self._not_the_systems(name, path)

    def interpreter(self) -> None:
        name = "code_python"
        value = self._settings.get(name)
        if name not in self._settings or (isinstance(value, str) and COMMAND.fullmatch(value)):
            return
        path = self._absolute(name, value, strict=False)
        if path is not None:
            self._is_seen(name, path, "CC709")

    def environment(self) -> None:
        name = "code_environment_path"
        if self._settings.get("code_environment") != "sync" or name not in self._settings:
            return
        value = self._settings[name]
        if isinstance(value, str) and value and not value.startswith("/") and ".." not in value.split("/"):
            if environment_problems({"PATH": value}):
                self._problems.add("CC705", name, f"is {value!r}", "write a path with no control characters")
            return
        self._problems.add(
            "CC715", name, f"is {value!r}", "write a path relative to the tree, without .., such as .venv"
        )


# --------------------------------------------------------------------------------------------------
# Paths that disturb each other


def _check_equal(
    root: Place | None, tls: Sequence[Place | None], backups: Place | None, inventory: Inventory, problems: Problems
) -> None:
    rabbitmq, postgresql = tls
    shared = set(inventory.groups.get("rabbitmq", ())) & set(inventory.groups.get("postgresql", ()))
    if rabbitmq and postgresql and shared and rabbitmq.path == postgresql.path:
        problems.add(
            "CC710",
            postgresql.name,
            f"is {postgresql.path}, and so is {rabbitmq.name}",
            "write another directory: each service must own its key",
        )
    for place in (*tls, backups):
        if place and root and inside(root.path, place.path):
            problems.add(
                "CC710",
                place.name,
                f"is {place.path}, and {root.name} is or lies in it",
                "write a directory of its own: only its service may enter it",
            )


def _check_writable(root: Place | None, writable: Sequence[Place], problems: Problems) -> None:
    """What the tasks may write must not be what they run, nor a directory above it."""
    if root is None:
        return
    for place in writable:
        managed = _below(place.path, [f"{root.path}/{name}" for name in MANAGED])
        if inside(root.path, place.path):
            what = f"is {place.path}, which is celery_root or holds it: tasks could replace the code"
        elif managed:
            what = f"is {place.path}, and the roles keep {managed} themselves"
        else:
            continue
        problems.add("CC711", place.name, what, "write a directory beside celery_root")


def _check_source(
    source: Place,
    root: Place | None,
    writable: Sequence[Place],
    secrets: Place | None,
    backups: Place | None,
    rules: Sequence[Rule],
    inventory: Inventory,
    problems: Problems,
) -> None:
    excluded = _Excluded(source.path, rules)
    # The tree lies on the source host, or on the controller; the directories of the other hosts lie elsewhere.
    owners = inventory.groups.get("celery_source", ())
    for place in (secrets if not owners else None, backups if set(owners) & _databases(inventory) else None):
        if place and inside(place.path, source.path) and not excluded(place.path):
            problems.add(
                "CC713",
                place.name,
                f"is {place.path}, a part of the tree {source.path} that every host receives",
                "write a directory outside the tree, or add it to code_exclude",
            )
    if not owners:
        return
    if root:
        managed = _below(source.path, [f"{root.path}/{name}" for name in MANAGED])
        if managed or source.path == root.path:
            problems.add(
                "CC712",
                source.name,
                f"is {source.path}, and the roles keep {managed or root.path} themselves",
                "write a directory outside celery_root",
            )
        elif inside(root.path, source.path) and not excluded(root.path):
            problems.add(
                "CC712",
                root.name,
                f"is {root.path}, a part of the tree {source.path}: each release would hold all others",
                "write a directory outside the tree, or add it to code_exclude",
            )
    for place in writable:
        if place.path == source.path:
            problems.add(
                "CC712",
                place.name,
                f"is {place.path}, the tree of {source.name}, which would change its owner",
                "write a directory of its own",
            )
        elif inside(place.path, source.path) and not excluded(place.path):
            problems.add(
                "CC714",
                place.name,
                f"is {place.path}, a part of the tree {source.path}",
                "add it to code_exclude: each file that a task writes there makes a new release",
            )


def _check_backups(inventory: Inventory, problems: Problems) -> None:
    name = "postgresql_backup_keep"
    if name not in inventory.settings or not inventory.groups.get("postgresql"):
        return
    keep = inventory.settings[name]
    if not isinstance(keep, int) or isinstance(keep, bool) or keep < 1:
        problems.add("CC717", name, f"is {shown(keep)}", "write the number of dumps to keep, 1 or more")


def _databases(inventory: Inventory) -> set[str]:
    return set(inventory.groups.get("postgresql", ()))


class _Excluded:
    """Whether a release leaves out a path below the tree."""

    def __init__(self, tree: str, rules: Sequence[Rule]) -> None:
        self._tree = tree
        self._rules = rules

    def __call__(self, path: str) -> bool:
        parts = tuple(os.fsencode(part) for part in posixpath.relpath(path, self._tree).split("/"))
        return any(left_out(self._rules, parts[: count + 1], True) for count in range(len(parts)))


def _rules(value: Any, problems: Problems) -> list[Rule]:
    rules = []
    for pattern in value if isinstance(value, (list, tuple)) else ():
        try:
            rules.append(compile_rule(str(pattern)))
        except (ManifestError, ValueError):
            problems.add(
                "CC716",
                "code_exclude",
                f"has {pattern!r}, which is no plain pattern",
                "write a name (cache), a path in the tree (/static/cache) or a directory (cache/)",
            )
    return rules


# --------------------------------------------------------------------------------------------------
# The application's configuration files


def _check_config_files(value: Any, problems: Problems) -> None:
    if value is None:
        return
    if not isinstance(value, (list, tuple)):
        problems.add("CC720", "celery_config_files", "is no list", "write a list of mappings with src and dest")
        return
    first: dict[str, int] = {}
    for number, item in enumerate(value):
        place = f"celery_config_files[{number}]"
        if not isinstance(item, Mapping):
            problems.add("CC720", place, "is no mapping", "write a mapping with src and dest")
            continue
        _check_mode(place, item.get("mode"), problems)
        dest = item.get("dest")
        if not isinstance(dest, str) or dest in ("", ".", "..") or "/" in dest or environment_problems({"NAME": dest}):
            problems.add(
                "CC720",
                f"{place}.dest",
                f"is {dest!r}",
                "write the name of a file in the config directory, without a directory",
            )
        elif dest in RESERVED or OWN_ENVIRONMENT.fullmatch(dest):
            problems.add(
                "CC721", f"{place}.dest", f"is {dest!r}, which the collection places there itself", "write another name"
            )
        elif first.setdefault(dest, number) != number:
            problems.add(
                "CC722", f"{place}.dest", f"is {dest!r}, as in celery_config_files[{first[dest]}]", "write another name"
            )


def _check_mode(place: str, mode: Any, problems: Problems) -> None:
    if mode is None:
        return
    # YAML reads an unquoted 0640 as the number 416, which as octal digits is another mode.
    if not isinstance(mode, str) or not MODE.fullmatch(mode) or (mode[0].isdigit() and mode[0] != "0"):
        problems.add("CC723", f"{place}.mode", f"is {mode!r}", "write it in quotes with a leading 0, such as '0640'")
