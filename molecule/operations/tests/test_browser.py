"""Flower in a real browser: over TLS of a private authority, behind a password, for reading only."""

from __future__ import annotations

import time
from collections.abc import Iterator

import flower_pages
import pytest
from flower_site import AUTHORITY, URL, login, send_tasks, visitor
from testing import host, wait_for

import browser
from browser import Browser
from devtools import Login, Page

WORKERS = ("worker1", "worker2")
# Each of the hosts runs both kinds.
NODES = 4
TASK = "ledger.short"
# Refused by Flower, or by the proxy in front of it.
FORBIDDEN = (403, 405)
UNAUTHORIZED = 401


def processes() -> dict[str, str]:
    """Host -> units and main processes of its workers: equal before and after means that none of them stopped."""
    command = "systemctl show -p Id,ActiveState,SubState,MainPID 'ledger-worker-*@*.service'"
    return {name: host(name).check_output(command) for name in WORKERS}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with visitor(AUTHORITY) as found:
        yield found


@pytest.fixture(scope="module")
def page(chromium: Browser) -> Page:
    """Somebody who is logged in."""
    found = chromium.page(login())
    answer = wait_for(lambda: (answer := found.open(f"{URL}/workers")).status == 200 and answer)
    assert answer and not answer.error, f"{URL}: {found.open(URL)}"
    return found


def test_both_workers_are_online(page, capsys):
    begun = time.monotonic()
    page.open(f"{URL}/workers")
    found = flower_pages.wait_for_workers(page, NODES)
    with capsys.disabled():
        print(f"\nFlower's page shows the workers after {time.monotonic() - begun:.1f} s")
    online = [node for node, state in found.items() if state == "Online"]
    assert {node.rpartition("@")[2] for node in online} == set(WORKERS), found
    assert len(online) == NODES, found
    foreign = [url for url in page.requested if not url.startswith((f"{URL}/", "data:"))]
    assert not foreign, "the page loads something from elsewhere"
    assert not [url for status, url in page.refused if status], page.refused


def test_finished_tasks_have_their_names(page):
    page.open(f"{URL}/workers")
    flower_pages.go_to_tasks(page)

    def finished() -> list[dict[str, str]]:
        # The newest are on the first page.
        send_tasks()
        flower_pages.show_only(page, "SUCCESS")
        return [task for task in flower_pages.tasks(page) if task["name"] == TASK]

    found = wait_for(finished)
    assert found, f"{TASK} is not among {flower_pages.tasks(page)}"
    assert {task["state"] for task in found} == {"SUCCESS"}
    assert {task["worker"].rpartition("@")[2] for task in found} <= set(WORKERS)


@pytest.mark.parametrize(
    "given",
    [None, Login("admin", "not this one"), Login("nobody", "")],
    ids=["without a password", "with a wrong password", "as somebody else"],
)
@pytest.mark.parametrize("path", ["/", "/workers", "/tasks", "/api/workers"])
def test_nothing_is_shown_without_the_password(chromium, given, path):
    page = chromium.page(given)
    answer = page.open(f"{URL}{path}")
    assert answer.status == UNAUTHORIZED, answer
    assert not any(name in page.text() for name in WORKERS)


def test_without_the_authority_the_browser_refuses():
    with visitor() as stranger:
        answer = stranger.page(login()).open(f"{URL}/")
    assert answer == (0, "net::ERR_CERT_AUTHORITY_INVALID")


def test_nobody_shuts_a_worker_down(page):
    before = processes()
    page.open(f"{URL}/workers")
    # A release of before may still be in the table, as offline.
    seen = flower_pages.wait_for_workers(page, NODES)
    nodes = [node for node, state in seen.items() if state == "Online" and node.endswith(f"@{WORKERS[0]}")]
    assert nodes, flower_pages.workers(page)
    for node in nodes:
        assert page.open(f"{URL}/worker/{node}").status == 200
        # The page offers nothing that would be refused.
        assert node in page.text()
        assert not page.evaluate("document.querySelector('#worker-shutdown')")
        # And whoever asks without a button is refused.
        status, text = flower_pages.shut_down(page, node)
        assert status in FORBIDDEN, (status, text)
    # A worker that was told to stop is given the time to do it.
    time.sleep(5)
    assert processes() == before
    page.open(f"{URL}/workers")
    found = flower_pages.wait_for_workers(page, NODES)
    assert {found[node] for node in nodes} == {"Online"}


def test_nothing_of_the_browser_remains():
    with pytest.raises(ZeroDivisionError), visitor(AUTHORITY) as found:
        assert found.page().open("about:blank").error == ""
        running = browser.processes(found.home, found.session)
        assert running
        raise ZeroDivisionError
    assert not found.home.exists()
    assert browser.processes(found.home, found.session) == []
