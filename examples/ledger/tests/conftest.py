"""Makes the application importable from its tree, as a deployed release does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
