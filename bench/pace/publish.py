"""Sends tasks, one after the other, each confirmed by the broker. Answers how long that took, and what went wrong.

Given: `app`, `plain` (see settings), `first`, `count`, and `every`: seconds between two tasks, 0 for as fast as can be.
"""

from __future__ import annotations

import json
import time

from pace.settings import application, enter, given
from pace.tasks import note

# Connects, and declares the queue: not what is measured.
WARM = -1


def main() -> None:
    wanted = given()
    enter(wanted["plain"])
    app = application(wanted["app"])
    task, every = app.tasks[note.name], wanted["every"]
    task.delay(WARM, time.time())
    faults = []
    begun = due = time.time()
    for number in range(wanted["first"], wanted["first"] + wanted["count"]):
        if every:
            time.sleep(max(0.0, due - time.time()))
            # No burst after an outage.
            due = max(due, time.time() - every) + every
        try:
            task.delay(number, time.time())
        except Exception as error:
            faults.append(f"{number}: {type(error).__name__}: {error}")
    print(json.dumps({"seconds": time.time() - begun, "faults": faults}))


if __name__ == "__main__":
    main()
