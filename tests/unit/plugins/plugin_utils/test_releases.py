"""Under which name a release runs."""

from __future__ import annotations

import pytest
from ansible_collections.taskfleet.celery_cluster.plugins.plugin_utils.releases import release_instance, release_of


def unit(instance: str, kind: str = "default") -> str:
    return f"shop-worker-{kind}@{instance}.service"


@pytest.mark.parametrize(
    ("current", "stopping", "expected"),
    [
        ("", [], "4f2c"),
        ("4f2c", [], "4f2c"),
        # It runs under another name already: a second run changes nothing, whatever else has stopped meanwhile.
        ("4f2c.2", [], "4f2c.2"),
        ("4f2c.2", [unit("4f2c")], "4f2c.2"),
        ("1b9e", [], "4f2c"),
        ("1b9e", [unit("4f2c")], "4f2c.2"),
        ("1b9e", [unit("4f2c", "video"), unit("4f2c.2"), unit("77aa.3")], "4f2c.3"),
        # The first one has ended, the second has not.
        ("1b9e", [unit("4f2c.2")], "4f2c"),
    ],
)
def test_the_name_of_a_release(current: str, stopping: list[str], expected: str) -> None:
    assert release_instance("4f2c", current, stopping) == expected


def test_the_release_of_a_name() -> None:
    assert [release_of(name) for name in ("4f2c", "4f2c.2", "")] == ["4f2c", "4f2c", ""]
