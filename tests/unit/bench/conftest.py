"""Makes the parts of the benchmark importable as they import each other: by their bare names."""

from __future__ import annotations

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(CHECKOUT / "bench"), str(CHECKOUT / "tools")]
