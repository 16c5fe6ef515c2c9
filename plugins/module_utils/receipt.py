# Copyright: (c) 2026, The taskfleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The receipt of a run on one host: what it was made of, and what was there when it ended."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .owned import Run, differences, observe

#: Another form of the file counts as none.
FORM = 1
HOUR = 3600
REASONS_MAX = 100


class UnusableError(Exception):
    """A receipt that says nothing, and why."""


def write(path: Path, inputs: Mapping[str, str], owned: Mapping[str, Any], seen: Mapping[str, str]) -> None:
    """It appears complete or not at all, and only its owner reads it."""
    content = {"form": FORM, "written": time.time(), "inputs": inputs, "owned": owned, "seen": seen}
    if not path.parent.is_dir():
        path.parent.mkdir()
        path.parent.chmod(0o755)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(content, file, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def read(path: Path, max_age_hours: float, now: float | None = None) -> dict[str, Any]:
    """The receipt, when it counts."""
    text = _text(path)
    try:
        content = json.loads(text)
        written = float(content["written"])
        parts = [content.get(name) for name in ("inputs", "owned", "seen")]
        is_whole = content["form"] == FORM and all(isinstance(part, dict) for part in parts)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnusableError(f"the receipt {path} cannot be read") from None
    if not is_whole:
        raise UnusableError(f"the receipt {path} is of another form")
    age = (time.time() if now is None else now) - written
    # One from the future: the clock was set back, and nobody knows how old it is.
    if not 0 <= age <= max_age_hours * HOUR:
        raise UnusableError("the last full run is too long ago")
    return dict(content)


def _text(path: Path) -> str:
    try:
        # No link: it must be the file that a run has written.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UnusableError("no full run has ended here yet") from None
    except OSError as error:
        raise UnusableError(f"the receipt {path} cannot be read ({error.strerror})") from None
    there = os.fstat(handle)
    if there.st_uid != os.geteuid() or not stat.S_ISREG(there.st_mode) or there.st_mode & 0o077:
        os.close(handle)
        raise UnusableError(f"the receipt {path} is not as a run has written it")
    with os.fdopen(handle, encoding="utf-8", errors="surrogateescape") as file:
        try:
            return file.read()
        except OSError as error:
            raise UnusableError(f"the receipt {path} cannot be read ({error.strerror})") from None


def compare(path: Path, max_age_hours: float, run: Run) -> dict[str, Any]:
    """Whether it counts and everything is as it was. What cannot be looked at is a reason as any other."""
    found = os.path.lexists(path)
    try:
        receipt = read(path, max_age_hours)
        reasons = judge(receipt, observe(receipt["owned"], run))
    except UnusableError as error:
        return {"found": found, "same": False, "reasons": [str(error)], "inputs": {}}
    except (OSError, RuntimeError, ValueError) as error:
        return {"found": found, "same": False, "reasons": [f"could not be looked at ({error})"], "inputs": {}}
    return {"found": found, "same": not reasons, "reasons": reasons[:REASONS_MAX], "inputs": receipt["inputs"]}


def judge(receipt: Mapping[str, Any], seen: Mapping[str, str]) -> list[str]:
    """What is not as it was at the end of the run."""
    return differences(receipt["seen"], seen)
