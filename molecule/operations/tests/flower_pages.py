"""Flower's pages as somebody reads and clicks them in a browser."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from devtools import Page

PATIENCE = 90.0
# While a table has no rows, its one cell says so.
ROWS = """
[...document.querySelectorAll('%s tbody tr')].map(row => [...row.cells].map(cell => cell.textContent.trim()))
    .filter(cells => cells.length > 1)
"""
COLUMNS = "[...document.querySelectorAll('#tasks-table thead th')].map(cell => cell.dataset.column)"
ONLINE = "[...document.querySelectorAll('#workers-table .badge')].filter(badge => badge.textContent == 'Online').length"
# What Flower's own button does, with the cookie and the login of the page. Also where there is no button.
SHUT_DOWN = """
new Promise(done => $.ajax({
    type: 'POST',
    url: $('#url_prefix').val() + '/api/worker/shutdown/' + %s,
    complete: answer => done([answer.status, answer.responseText]),
}))
"""


def rows(page: Page, table: str) -> list[list[str]]:
    return list(page.evaluate(ROWS % table) or [])


def workers(page: Page) -> dict[str, str]:
    """Node -> Online or Offline, as the table of the page says."""
    return {cells[0]: cells[1] for cells in rows(page, "#workers-table")}


def wait_for_workers(page: Page, count: int) -> dict[str, str]:
    """The workers, when so many are online or the patience has ended."""
    page.wait_for(f"{ONLINE} >= {count}", PATIENCE)
    return workers(page)


def go_to_tasks(page: Page) -> None:
    page.click(".navbar-nav a[href$='/tasks']")
    assert page.wait_for("!!document.querySelector('#tasks-table_wrapper')", PATIENCE), page.text()


def show_only(page: Page, state: str) -> None:
    """Press the button above the table."""
    page.click(f".task-state-filter[data-task-state='{state}']")
    others = f"[...document.querySelectorAll('#tasks-table .badge')].filter(badge => badge.textContent != '{state}')"
    page.wait_for(f"!!document.querySelector('#tasks-table .badge') && {others}.length == 0", PATIENCE)


def tasks(page: Page) -> list[dict[str, str]]:
    """The rows of the table, column -> text."""
    names: list[str] = page.evaluate(COLUMNS)
    return [dict(zip(names, cells, strict=True)) for cells in rows(page, "#tasks-table")]


def shut_down(page: Page, node: str) -> tuple[int, str]:
    """What comes of it: status and text."""
    answer: list[Any] = page.evaluate(SHUT_DOWN % json.dumps(node))
    return answer[0], answer[1]
