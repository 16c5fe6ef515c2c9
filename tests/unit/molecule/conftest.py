"""Makes what the scenarios calculate importable as their tests import it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "molecule" / "deploy" / "tests"))
