"""What the worker of this host has noted, as a list of [number, sent, began]. It is forgotten afterwards.

Given: `directory` of the worker.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from pace.notes import FILE, RECORD
from pace.settings import given


def main() -> None:
    file = Path(given()["directory"], FILE)
    data = file.read_bytes() if file.exists() else b""
    print(json.dumps(list(RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size]))))
    if data:
        # The processes that have it open go on at its end, which is its beginning now.
        os.truncate(file, 0)


if __name__ == "__main__":
    main()
