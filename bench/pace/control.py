"""Tells all workers one thing, and waits until each of them has answered.

Given: `app`, `plain` (see settings), `verb`, `arguments`, and `workers`: how many answers there must be.
"""

from __future__ import annotations

import json

from pace.settings import application, enter, given

PATIENCE = 30


def main() -> None:
    wanted = given()
    enter(wanted["plain"])
    app = application(wanted["app"])
    replies = app.control.broadcast(
        wanted["verb"], arguments=wanted["arguments"], reply=True, timeout=PATIENCE, limit=wanted["workers"]
    )
    print(json.dumps(replies))


if __name__ == "__main__":
    main()
