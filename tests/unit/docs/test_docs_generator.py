"""tools/docs.py: what it writes, and which differences it finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import docs
from common import UserError


@pytest.mark.parametrize(
    ("markup", "expected"),
    [
        ("C(a.yml) and V(1\\)2)", "`a.yml` and `1)2`"),
        ("O(code_environment=sync), O(celery_root)", "`code_environment: sync`, `celery_root`"),
        ("B(Never) E(PATH)", "**Never** `PATH`"),
        ("P(taskfleet.celery_cluster.beat#role) runs", "[`beat`](../beat/README.md) runs"),
        ("P(ansible.builtin.file#lookup)", "`ansible.builtin.file#lookup`"),
        # Neither a call in prose nor a word that ends in one of the letters is markup.
        ("open(2), ABC(x)", "open(2), ABC(x)"),
    ],
)
def test_markup_becomes_markdown(markup: str, expected: str) -> None:
    assert docs.markdown(markup) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", '""'),
        ("psycopg", "psycopg"),
        (True, "true"),
        (0.4, "0.4"),
        ("0640", "'0640'"),
        ([], "[]"),
        ({"default": {"queues": ["celery"], "concurrency": 2}}, "{default: {queues: [celery], concurrency: 2}}"),
    ],
)
def test_a_value_is_shown_as_it_is_written(value: object, expected: str) -> None:
    assert docs.value_text(value) == expected


def test_a_table_survives_bars_and_line_breaks() -> None:
    assert docs.table(["A"], [["x | y\n  z"]]) == ["| A |", "| --- |", "| x \\| y z |", ""]


@pytest.mark.parametrize(
    ("defaults", "option", "expected"),
    [
        ({"a": 1}, {"default": 1, "description": "x"}, None),
        ({"a": 1}, {"default": 2, "description": "x"}, "has the default 1, its argument spec says 2"),
        # Equal to Python, different in YAML.
        ({"a": 1}, {"default": True, "description": "x"}, "has the default 1, its argument spec says True"),
        ({"a": {"b": [0]}}, {"default": {"b": [False]}, "description": "x"}, "has the default"),
        ({"a": [1, 2]}, {"default": [1], "description": "x"}, "has the default [1, 2]"),
        ({"a": ""}, {"description": "x"}, "has the default '', which its argument spec does not name"),
        ({}, {"description": "x"}, "has an argument spec and no default"),
        ({}, {"description": "Host variable, not set by default."}, None),
        ({"a": "{{ b }}"}, {"description": ["x", "Computed, b."]}, None),
        ({"a": "{{ b }}"}, {"description": ["x"]}, "is computed: add a paragraph"),
        (
            {"a": ["{{ b }}"]},
            {"default": [], "description": ["x", "Computed, b."]},
            "is computed: leave its default out",
        ),
    ],
)
def test_drift_is_found(defaults: dict[str, object], option: dict[str, Any], expected: str | None) -> None:
    found = docs.drift(defaults, {"a": option})
    if expected is None:
        assert found == []
    else:
        assert len(found) == 1
        assert expected in found[0]


def test_a_default_without_spec_is_found() -> None:
    assert docs.drift({"a": 1}, {}) == ["a has a default and no argument spec"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one role."""
    role = tmp_path / "roles" / "mill"
    for name, text in {
        "defaults/main.yml": "mill_port: 80\nmill_root: '/opt/{{ x }}'\nmill_items: []\n",
        "tasks/main.yml": "- {name: Grind, tags: [mill, mill_run], debug: {}}\n- {name: Stop, tags: mill, debug: {}}\n",
        "meta/argument_specs.yml": """
argument_specs:
  main:
    short_description: A mill
    description:
      - It grinds.
      - B(Requirements:) Water.
      - B(Second run:) Changes nothing.
    examples: |
      - hosts: all
    options:
      mill_port: {type: int, default: 80, choices: [80, 81], description: [The port., Never a low one.]}
      mill_root: {type: path, description: [The place., "Computed, from C(x)."]}
      mill_items:
        type: list
        elements: dict
        default: []
        description: Things.
        options: {name: {type: str, required: true, no_log: true, description: Its name.}}
  drain: {short_description: Let the water off, description: Slowly., options: {mill_port: {type: int}}}
""",
    }.items():
        path = role / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_a_readme_says_what_the_specs_say(checkout: Path) -> None:
    lines = docs.readme(checkout / "roles" / "mill").splitlines()
    for line in (
        "# taskfleet.celery_cluster.mill",
        "It grinds.",
        "- Water.",
        "- Changes nothing.",
        "| `mill_port` | int | `80` | The port. One of `80`, `81`. |",
        "- Never a low one.",
        "| `mill_root` | path | computed: from `x` | The place. |",
        "| `mill_items` | list of dict | `[]` | Things. |",
        "| `name` | str, secret | required | Its name. |",
        "- hosts: all",
        "| `drain` | Let the water off. Slowly. | `mill_port` |",
        "| `mill` | Grind. Stop. |",
        "| `mill_run` | Grind. |",
    ):
        assert line in lines


def test_what_was_written_is_up_to_date_until_a_source_changes(checkout: Path) -> None:
    readme = Path("roles/mill/README.md")
    assert docs.problems(checkout) == [f"{readme} is not what it is made from: run tools/docs.py"]
    assert docs.write(checkout) == [readme]
    assert docs.problems(checkout) == []
    assert docs.write(checkout) == []

    specs = checkout / "roles" / "mill" / "meta" / "argument_specs.yml"
    specs.write_text(specs.read_text(encoding="utf-8").replace("It grinds.", "It saws."), encoding="utf-8")
    assert [text for text in docs.problems(checkout) if "README.md is not" in text]


def test_a_role_without_specs_is_refused(checkout: Path) -> None:
    (checkout / "roles" / "mill" / "meta" / "argument_specs.yml").unlink()
    with pytest.raises(UserError, match=r"argument_specs\.yml is missing"):
        docs.problems(checkout)


@pytest.mark.parametrize(("change", "status"), [(False, 0), (True, 1)])
def test_check_tells_by_its_exit_status_and_writes_nothing(
    checkout: Path, change: bool, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    docs.write(checkout)
    readme = checkout / "roles" / "mill" / "README.md"
    if change:
        readme.write_text("by hand\n", encoding="utf-8")
    before = readme.read_text(encoding="utf-8")
    monkeypatch.setattr(docs, "CHECKOUT", checkout)
    monkeypatch.setattr("sys.argv", ["docs.py", "--check"])
    with pytest.raises(SystemExit) as ended:
        docs.command()
    assert ended.value.code == status
    assert ("run tools/docs.py" in capsys.readouterr().out) is change
    assert readme.read_text(encoding="utf-8") == before


def test_an_unknown_argument_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["docs.py", "--chek"])
    with pytest.raises(UserError, match="usage"):
        docs.command()
