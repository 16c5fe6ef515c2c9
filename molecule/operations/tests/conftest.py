"""The order of the tests: each file leaves the cluster as it found it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "resources"))

# What only looks comes first, while everything is as it was deployed.
ORDER = ("test_verify", "test_browser", "test_pictures", "test_status", "test_flower", "test_beat", "test_guide")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # A file that is not named here runs last.
    items.sort(key=lambda item: ORDER.index(item.path.stem) if item.path.stem in ORDER else len(ORDER))
