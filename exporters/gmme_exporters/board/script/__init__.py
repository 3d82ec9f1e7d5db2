"""The parts of the script that a board runs; `assemble` joins them into one file.

A board has Python 3.8, numpy and TensorRT, and nothing of this package. Python reads a whole file
before it runs the first line, so every part must be syntax of Python 3.6: only then can the script
itself say that a Python is too old. Hence no ``from __future__ import annotations`` here, and
`typing.Dict` for ``dict[…]``. The modules of the package that `assemble` takes in keep to that
syntax, too.
"""
