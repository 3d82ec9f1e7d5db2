"""``python -m tests.faults FAMILY [PART OF A CASE'S NAME]``: one family, or some of its cases."""

from __future__ import annotations

import sys

from tests.faults.engine import main

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
