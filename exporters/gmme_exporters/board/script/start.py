#!/usr/bin/env python3
"""Build, check and time the networks of this folder with the TensorRT of this device.

Needs Python 3.8, numpy, TensorRT 8.5 or later and CUDA's runtime library, as JetPack brings them.
Installs and downloads nothing. Writes engines/ and results/ beside itself, and a key in the user's
cache folder, by which it knows its own engines again. The result goes back to the desk, where
`gmme-edge compare` reads it. Exit codes: 0 success, 2 usage, 3 a damaged file, 4 something is not
installed, 5 wrong outputs, 7 this device cannot do it, 130 interrupted.
"""

import os
import sys

if sys.version_info < (3, 8):  # noqa: UP036 - a board may have any
    sys.stderr.write(
        f"Python {sys.version_info[0]}.{sys.version_info[1]} is too old.\n"
        "Expected: Python 3.8 or later, as JetPack 5 and later bring it.\n"
        "Fix: run it with python3.8 or on such a board, or use trtexec as DEVICE.md says.\n"
    )
    sys.exit(7)
if __name__ == "__main__":  # a numpy.py in this folder must not run
    here = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120 - before pathlib
    sys.path[:] = [path for path in sys.path if os.path.realpath(path or ".") != here]
try:
    import numpy  # noqa: F401
except ImportError:
    sys.stderr.write("numpy is not installed.\nFix: sudo apt install python3-numpy\n")
    sys.exit(4)
