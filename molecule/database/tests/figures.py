"""The numbers that this scenario is about. They are printed at the end, and kept in a file."""

from __future__ import annotations

from testing import PROJECT

FILE = PROJECT / ".cache" / "logs" / "database.figures"
# Server -> what -> number.
FOUND: dict[str, dict[str, float]] = {}


def add(server: str, what: str, number: float) -> None:
    FOUND.setdefault(server, {})[what] = number


def table() -> str:
    """One line for each number, one column for each server."""
    names = list(dict.fromkeys(what for numbers in FOUND.values() for what in numbers))
    width = max(len(name) for name in names)
    lines = [" ".join([" " * width, *(f"{server:>8}" for server in FOUND)])]
    for name in names:
        cells = [f"{numbers[name]:>8g}" if name in numbers else " " * 8 for numbers in FOUND.values()]
        lines.append(" ".join([f"{name:<{width}}", *cells]))
    return "\n".join(lines) + "\n"
