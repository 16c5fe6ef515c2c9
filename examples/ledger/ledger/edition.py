"""Which edition of the code this is: a release differs from the one before it by one letter."""

from __future__ import annotations

import re
from pathlib import Path

EDITION = "A"


def in_tree() -> str:
    """What the file says now. As long as nobody writes into a running release, it is what was imported."""
    try:
        text = Path(__file__).read_text(encoding="utf-8")
    except OSError as error:
        return f"{__file__}: {error.strerror}"
    found = re.search(r'^EDITION = "([^"\n]*)"$', text, re.MULTILINE)
    return found.group(1) if found else f"{__file__} names no edition"
