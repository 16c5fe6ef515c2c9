"""The pictures of the documentation, taken of this cluster: `make pictures` runs this file and keeps them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import flower_pages
import pytest
from flower_site import AUTHORITY, URL, login, send_tasks, visitor
from testing import run_playbook, wait_for

import pictures
from browser import Browser

# Less would be a page without anything on it.
LEAST = 15_000
HOSTS = ("core1", "beat1", "beat2", "worker1", "worker2")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    pictures.SHELF.mkdir(parents=True, exist_ok=True)
    with visitor(AUTHORITY) as found:
        yield found


def check(file: Path) -> None:
    data = file.read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height <= pictures.HEIGHT) == (pictures.WIDTH, True), (width, height)
    assert LEAST < len(data) < pictures.LIMIT


def photograph_playbook(chromium: Browser, name: str, variable: str, file: Path) -> str:
    """Run a playbook that writes a page, take its picture, and return what can be read on it."""
    done = run_playbook("-e", f"{variable}={file}", name=f"playbooks/{name}.yml")
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    page = chromium.page()
    page.open(file.as_uri())
    target = pictures.SHELF / f"{name}.png"
    pictures.of_page(page, target)
    check(target)
    foreign = [url for url in page.requested if not url.startswith(("file:", "data:"))]
    assert not foreign, "the page loads something from elsewhere"
    return page.text()


@pytest.mark.parametrize(("name", "variable"), [("plan", "plan_page"), ("status", "status_html")])
def test_page_of_a_playbook(chromium, tmp_path, name, variable):
    text = photograph_playbook(chromium, name, variable, tmp_path / f"{name}.html")
    assert [host for host in HOSTS if host not in text] == []


def test_flower_is_photographed(chromium):
    send_tasks()
    page = chromium.page(login())
    assert page.open(f"{URL}/workers").status == 200
    found = wait_for(lambda: flower_pages.wait_for_workers(page, 4))
    assert list(found.values()) == ["Online"] * 4, found
    target = pictures.SHELF / "flower.png"
    pictures.of_page(page, target)
    check(target)
