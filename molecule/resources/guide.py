"""The commands of the operator's guide, so that tests execute what it says and break when it says something else.

Every line of a block of `sh` in docs/guide.md is one command, with its name after the last `#`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^(?P<text>\S.*?)   # (?P<name>[^#]+)$")
INVENTORY = "inventory"


class Playbook(NamedTuple):
    """A playbook as run_playbook of testing.py takes it."""

    name: str
    arguments: tuple[str, ...]


def parse(text: str) -> dict[str, str]:
    """Name -> command. A command may stand in several places under the one name."""
    found: dict[str, str] = {}
    for language, block in BLOCK.findall(text):
        if language != "sh":
            raise ValueError(
                f"a block of {language or 'no language'}: commands are in blocks of sh, which the tests execute"
            )
        for line in block.splitlines():
            match = LINE.match(line)
            if match is None:
                raise ValueError(f"{line!r}: write one command per line, three blanks, # and its name")
            name, command = match["name"].strip(), match["text"].strip()
            if found.setdefault(name, command) != command:
                raise ValueError(f"{name!r} is the name of two commands")
    return found


def commands() -> dict[str, str]:
    return parse(GUIDE.read_text(encoding="utf-8"))


def command(name: str, **words: str) -> list[str]:
    """The words of a command; those in capitals that the guide leaves open are replaced."""
    found = shlex.split(commands()[name])
    return [_replaced(word, words) for word in found]


def _replaced(word: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        word = re.sub(rf"\b{name}\b", value, word)
    return word


def playbook(name: str, **words: str) -> Playbook:
    """A command that is a playbook, for a test that runs it its own way; the inventory is the test's business."""
    found = command(name, **words)
    if found[:3] != ["ansible-playbook", "-i", INVENTORY]:
        raise ValueError(f"{name!r} is not a playbook on the inventory: {shlex.join(found)}")
    return Playbook(found[3], tuple(found[4:]))


def local(name: str, inventory: str, containers: dict[str, str]) -> list[str]:
    """The command as it is executed beside a scenario: its inventory, and a way into its hosts."""
    found = command(name)
    if found[0] == "ssh":
        host, words = found[1], found[2:]
        # As ssh does: what is left is a line for the shell on the other side.
        return ["docker", "exec", containers[host], "sh", "-c", " ".join(words)]
    return [
        inventory if word == INVENTORY and _names_inventory(found, place) else word for place, word in enumerate(found)
    ]


def _names_inventory(words: Sequence[str], place: int) -> bool:
    return place > 0 and words[place - 1] == "-i"
