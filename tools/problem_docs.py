"""docs/problems.md, made from the catalogue of problems; tools/docs.py writes it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

HEADER = "<!-- Made by tools/docs.py from plugin_utils/catalogue.py: change that file, then run tools/docs.py. -->"
INTRODUCTION = """\
Before the first host is touched, the whole inventory is checked, and everything that is wrong is told at once. Every
problem has a code, which never changes its meaning. An error stops the playbook; a warning does not.

`ansible-playbook taskfleet.celery_cluster.preflight` does nothing but check."""


def catalogue(checkout: Path) -> ModuleType:
    """The module itself, without what a collection needs around it: it imports nothing."""
    path = checkout / "plugins" / "plugin_utils" / "catalogue.py"
    spec = importlib.util.spec_from_file_location("catalogue", path)
    assert spec and spec.loader, path  # noqa: S101 - a file with the suffix .py always has a loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(checkout: Path) -> str:
    table = catalogue(checkout)
    lines = [HEADER, "", "# Problems", "", INTRODUCTION, ""]
    for digit, chapter in table.CHAPTERS.items():
        lines += [f"## {chapter}", ""]
        for code, kind in sorted(table.CATALOGUE.items()):
            if code[2] == digit:
                lines += [f"### {code}: {kind.title} ({kind.severity})", "", kind.why, ""]
    return "\n".join(lines).rstrip() + "\n"
