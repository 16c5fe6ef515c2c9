"""Builds the docs site in build/docs: the guide's pages, and the reference of roles, modules and filters.

The reference is made by antsibull-docs from the argument specs and the documentation of the plugins. A warning of
Sphinx fails the build.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import publishing
from common import CACHE, CHECKOUT, UserError, main, must, say
from sanity import COLLECTION, copy_collection

TARGET = CHECKOUT / "build" / "docs"
LOG = CACHE / "logs" / "docs.log"
NAME = "taskfleet.celery_cluster"
REPOSITORY = "https://github.com/taskfleet/celery_cluster/blob/main"
CONFIGURATION = f"""\
project = "{NAME}"
copyright = "The taskfleet developers"
extensions = ["sphinx_antsibull_ext", "myst_parser"]
html_theme = "sphinx_ansible_theme"
html_title = "{NAME}"
html_show_sphinx = False
smartquotes = False
myst_heading_anchors = 3
# Files that are no page of the site are at home in the repository.
myst_url_schemes = ["http", "https", "mailto"]
# ref.ref: the reference refers to pages of Ansible's own site, and the roles to variables of the role celery by their
# bare name. misc.highlighting_failure: Jinja in YAML, and what is typed into psql, are no language that it knows.
suppress_warnings = ["ref.ref", "misc.highlighting_failure"]
highlight_language = "YAML+Jinja"
default_role = "any"
"""
INDEX = f"""\
{NAME}
========================

.. toctree::
   :maxdepth: 1
   :caption: For operators

{{pages}}

.. toctree::
   :maxdepth: 2
   :caption: Reference

   collections/taskfleet/celery_cluster/index
"""
#: The order of the pages; those that are not named here follow.
FIRST = ("guide", "supported", "deploy", "broker", "database", "publishers")


def copy_pages(source: Path, target: Path) -> list[str]:
    """The pages of docs/, their links to other files of the repository turned into addresses."""
    names = [path.stem for path in sorted(source.glob("*.md"))]
    for name in names:
        text = (source / f"{name}.md").read_text(encoding="utf-8")
        (target / f"{name}.md").write_text(text.replace("](../", f"]({REPOSITORY}/"), encoding="utf-8")
    for picture in (*source.glob("*.png"), *source.glob("*.svg")):
        shutil.copy2(picture, target)
    return [name for name in FIRST if name in names] + [name for name in names if name not in FIRST]


def reference(target: Path, env: Mapping[str, str]) -> None:
    argv = [str(publishing.BIN / "antsibull-docs"), "collection", "--use-current", "--fail-on-error"]
    must([*argv, "--cleanup", "everything", "--dest-dir", str(target), NAME], env=env)


def build(source: Path, env: Mapping[str, str]) -> None:
    shutil.rmtree(TARGET, ignore_errors=True)
    argv = [str(publishing.BIN / "python"), "-m", "sphinx", "-W", "--keep-going", "-q", "-j", "auto"]
    done = subprocess.run([*argv, str(source), str(TARGET)], env=env, capture_output=True, text=True, check=False)
    LOG.parent.mkdir(parents=True, exist_ok=True)
    LOG.write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode != 0:
        say("\n".join(done.stderr.splitlines()[-20:]))
        raise UserError(f"sphinx has warnings: {LOG}")


def docs_site() -> None:
    publishing.ensure()
    with tempfile.TemporaryDirectory(prefix="docs-") as directory:
        scratch = Path(directory)
        copy_collection(scratch / COLLECTION)
        env = publishing.environment(scratch / "home", scratch)
        site = scratch / "site"
        site.mkdir()
        reference(site, env)
        pages = copy_pages(CHECKOUT / "docs", site)
        listed = "\n".join(f"   {name}" for name in pages)
        (site / "index.rst").write_text(INDEX.format(pages=listed), encoding="utf-8")
        (site / "conf.py").write_text(CONFIGURATION, encoding="utf-8")
        build(site, env)
    say(f"docs site: {TARGET.relative_to(CHECKOUT)}/index.html ({len(list(TARGET.rglob('*.html')))} pages)")


if __name__ == "__main__":
    main(docs_site)
