"""The pages that are made: roles/*/README.md from meta/argument_specs.yml and tasks/main.yml, and docs/problems.md.

`docs.py --check` only looks.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped,unused-ignore]

import problem_docs
from common import CHECKOUT, UserError, main, say

COLLECTION = "taskfleet.celery_cluster"
HEADER = "<!-- Made by tools/docs.py from meta/argument_specs.yml: change that file, then run tools/docs.py. -->"
#: A paragraph that begins with one of these belongs under that heading, and not into the introduction.
TOPICS = {"B(Requirements:)": "Requirements", "B(Second run:)": "A second run"}
#: Begins the paragraph that says, in words, how a default with Jinja in it is computed.
COMPUTED = "Computed, "
#: What the description of a variable says that has no default at all.
NEVER_SET = "not set by"

Options = Mapping[str, Mapping[str, Any]]


def role_directories(checkout: Path) -> list[Path]:
    return sorted(path for path in (checkout / "roles").iterdir() if (path / "tasks").is_dir())


def load(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        raise UserError(f"{path} is missing: every role has one") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {' '.join(str(error).split())}") from error


def entry_points(role: Path) -> Mapping[str, Mapping[str, Any]]:
    specs: Mapping[str, Mapping[str, Any]] = load(role / "meta" / "argument_specs.yml").get("argument_specs") or {}
    if "main" not in specs:
        raise UserError(f"{role}/meta/argument_specs.yml has no entry point main: describe what the role does there")
    return specs


# --- specs and defaults -----------------------------------------------------------------------------------------------


def is_computed(value: object) -> bool:
    """Whether Jinja is anywhere in a default: its value is known on the host only."""
    if isinstance(value, Mapping):
        return any(is_computed(item) for item in value.values())
    if isinstance(value, list):
        return any(is_computed(item) for item in value)
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def same(one: object, other: object) -> bool:
    """Equality that knows 1 from true and 1 from 1.0, at every depth."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return type(one) is type(other) and one == other


def drift(defaults: Mapping[str, object], options: Options) -> list[str]:
    """What a role's specs say and its defaults do not, and the other way round."""
    found = [f"{name} has a default and no argument spec" for name in defaults if name not in options]
    for name, option in options.items():
        text = " ".join(paragraphs(option))
        if name not in defaults:
            if NEVER_SET not in text:
                found.append(f"{name} has an argument spec and no default; if that is meant, say '{NEVER_SET} …'")
        elif is_computed(defaults[name]):
            if "default" in option:
                found.append(f"{name} is computed: leave its default out of the argument spec")
            if not any(paragraph.startswith(COMPUTED) for paragraph in paragraphs(option)):
                found.append(f"{name} is computed: add a paragraph '{COMPUTED}…' that says how")
        elif "default" not in option:
            found.append(f"{name} has the default {defaults[name]!r}, which its argument spec does not name")
        elif not same(defaults[name], option["default"]):
            found.append(f"{name} has the default {defaults[name]!r}, its argument spec says {option['default']!r}")
    return found


# --- text -------------------------------------------------------------------------------------------------------------


def paragraphs(documented: Mapping[str, Any]) -> list[str]:
    description = documented.get("description") or []
    return [description] if isinstance(description, str) else [str(item) for item in description]


def markdown(text: str) -> str:
    """Ansible's markup as Markdown."""

    def replaced(match: re.Match[str]) -> str:
        kind, inside = match[1], re.sub(r"\\(.)", r"\1", match[2])
        if kind == "B":
            return f"**{inside}**"
        if kind == "P" and inside.startswith(f"{COLLECTION}."):
            role = inside.removeprefix(f"{COLLECTION}.").removesuffix("#role")
            return f"[`{role}`](../{role}/README.md)"
        return f"`{inside.replace('=', ': ') if kind == 'O' else inside}`"

    return re.sub(r"\b([BCEMOPV])\(((?:\\.|[^\\)])*)\)", replaced, text)


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def value_text(value: object) -> str:
    if value == "":
        return '""'
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6)
    # A bare scalar is followed by an end-of-document mark.
    return str(text).removesuffix("...\n").strip()


def type_text(option: Mapping[str, Any]) -> str:
    kind = str(option.get("type", "str"))
    if option.get("elements"):
        kind += f" of {option['elements']}"
    return f"{kind}, secret" if option.get("no_log") else kind


def default_text(option: Mapping[str, Any]) -> str:
    if "default" in option:
        return f"`{value_text(option['default'])}`"
    if option.get("required"):
        return "required"
    computed = [text.removeprefix(COMPUTED) for text in paragraphs(option) if text.startswith(COMPUTED)]
    return "computed: " + markdown(computed[0].rstrip(".")) if computed else "none"


def meaning(option: Mapping[str, Any]) -> str:
    text = markdown((paragraphs(option) or [""])[0])
    if option.get("choices"):
        text += " One of " + ", ".join(f"`{value_text(choice)}`" for choice in option["choices"]) + "."
    return text


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [list(heads), ["---"] * len(heads), *(list(row) for row in rows)]
    return ["| " + " | ".join(cell(column) for column in line) + " |" for line in lines] + [""]


def variable_table(options: Options) -> list[str]:
    return table(
        ["Name", "Type", "Default", "Meaning"],
        [[f"`{name}`", type_text(option), default_text(option), meaning(option)] for name, option in options.items()],
    )


def details(options: Options) -> Iterator[str]:
    """What does not fit into the table: further paragraphs, and the options of a list's or mapping's items."""
    for name, option in options.items():
        more = [text for text in paragraphs(option)[1:] if not text.startswith(COMPUTED)]
        if not more and not option.get("options"):
            continue
        yield from (f"### `{name}`", "")
        if more:
            yield from (*(f"- {cell(markdown(text))}" for text in more), "")
        if option.get("options"):
            yield from variable_table(option["options"])


def topics(documented: Mapping[str, Any]) -> tuple[list[str], dict[str, list[str]]]:
    """The introduction, and the paragraphs under each heading."""
    introduction: list[str] = []
    under: dict[str, list[str]] = {}
    for text in paragraphs(documented):
        mark = next((mark for mark in TOPICS if text.startswith(mark)), None)
        if mark is None:
            introduction.append(text)
        else:
            under.setdefault(TOPICS[mark], []).append(text.removeprefix(mark).strip())
    return introduction, under


def tag_rows(tasks: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Tag -> names of the tasks of main.yml that carry it."""
    found: dict[str, list[str]] = {}
    for task in tasks:
        tags = task.get("tags") or []
        for tag in [tags] if isinstance(tags, str) else tags:
            found.setdefault(tag, []).append(str(task["name"]))
    return [[f"`{tag}`", ". ".join(names) + "."] for tag, names in found.items()]


def readme(role: Path) -> str:
    specs = entry_points(role)
    description = specs["main"]
    options = description.get("options") or {}
    introduction, under = topics(description)
    lines = [HEADER, "", f"# {COLLECTION}.{role.name}", "", f"{description['short_description']}.", ""]
    for text in introduction:
        lines += [cell(markdown(text)), ""]
    for heading in ("Requirements",):
        lines += [f"## {heading}", "", *(f"- {cell(markdown(text))}" for text in under.get(heading, [])), ""]
    lines += ["## Variables", "", *variable_table(options), *details(options)]
    if description.get("examples"):
        lines += ["## Example", "", "```yaml", description["examples"].rstrip(), "```", ""]
    lines += ["## A second run", "", *(f"- {cell(markdown(text))}" for text in under.get("A second run", [])), ""]
    lines += ["## Entry points", ""]
    lines += table(
        ["`tasks_from`", "Purpose", "Variables it checks"],
        [
            [
                f"`{name}`",
                f"{spec['short_description']}. "
                + ("" if name == "main" else " ".join(markdown(text) for text in paragraphs(spec))),
                "all above" if name == "main" else ", ".join(f"`{key}`" for key in spec.get("options") or {}) or "none",
            ]
            for name, spec in specs.items()
        ],
    )
    lines += ["## Tags", "", "Tags select phases where the role is imported. An include needs the tag as well.", ""]
    lines += table(["Tag", "Runs"], tag_rows(load(role / "tasks" / "main.yml")))
    if description.get("seealso"):
        lines += ["## See also", ""]
        for item in description["seealso"]:
            lines.append(f"- [{item['name']}]({item['link']}): {cell(markdown(item['description']))}")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


# --- the command ------------------------------------------------------------------------------------------------------


def problems(checkout: Path) -> list[str]:
    """Why the documentation of the roles does not say what the roles are."""
    found = []
    for role in role_directories(checkout):
        place = role.relative_to(checkout)
        options = entry_points(role)["main"].get("options") or {}
        found += [f"{place}: {text}" for text in drift(load(role / "defaults" / "main.yml"), options)]
    for path, text in pages(checkout).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            found.append(f"{path.relative_to(checkout)} is not what it is made from: run tools/docs.py")
    return found


def pages(checkout: Path) -> dict[Path, str]:
    """Every page that is made from something else, and its text."""
    made = {role / "README.md": readme(role) for role in role_directories(checkout)}
    if (checkout / "plugins" / "plugin_utils" / "catalogue.py").is_file():
        made[checkout / "docs" / "problems.md"] = problem_docs.page(checkout)
    return made


def write(checkout: Path) -> list[Path]:
    """Write the pages; the paths that changed."""
    changed = []
    for path, text in pages(checkout).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path.relative_to(checkout))
    return changed


def command() -> None:
    if sys.argv[1:] not in ([], ["--check"]):
        raise UserError("usage: docs.py [--check]")
    if not sys.argv[1:]:
        for path in write(CHECKOUT):
            say(f"wrote {path}")
    found = problems(CHECKOUT)
    for text in found:
        say(text)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main(command)
