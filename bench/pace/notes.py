"""Where and how a task notes its execution: in the working directory of its worker, one record after the other.

Neither a database nor a result stands between the broker and the figure.
"""

from __future__ import annotations

import struct

FILE = "pace.bin"
# Number, when it was sent, when it began.
RECORD = struct.Struct("<qdd")
