"""Bytes out of a bundle's folder or zip file: bounded, and read once.

Whoever hashes a file and opens it again by its name may be handed another one in between. So the
bytes are read once, and those that were hashed are those that are used.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from gmme_edge.errors import BundleError
from gmme_edge.inputs import read_start

MOST_MANIFEST_BYTES = 4 << 20
MOST_FILE_BYTES = 2 << 30
_MOST_DEPTH = 64


def is_archive(path: Path) -> bool:
    """Whether a bundle's path is a zip file instead of a folder."""
    if not path.is_file():
        return False
    from zipfile import is_zipfile  # here and below: most bundles are folders

    return is_zipfile(path)


def read_bounded(root: Path, name: str, most_bytes: int) -> bytes:
    """The file `name` of a folder or zip file; one byte over `most_bytes` where it is larger.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read, or is a pipe or a device.
    """
    most_bytes = min(most_bytes, MOST_FILE_BYTES)
    if is_archive(root):
        from gmme_edge.bundle.zipped import read_member

        return read_member(root, name, most_bytes)
    return read_start(root / name, most_bytes + 1)


def parse_object(data: bytes, where: str, error: type[BundleError] = BundleError) -> dict[str, Any]:
    """The JSON object in `data`, whose size and depth are bounded before it is parsed."""
    try:
        if len(data) > MOST_MANIFEST_BYTES:
            raise ValueError(f"it is larger than {MOST_MANIFEST_BYTES:,} bytes")
        text = data.decode("utf-8")
        if _is_deep(text):
            raise ValueError(f"it is nested deeper than {_MOST_DEPTH}")
        values = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise error(f"{where} is no readable JSON: {problem}", "a bundle manifest.") from problem
    if not isinstance(values, dict) or not isinstance(values.get("schema"), int):
        raise error(f"{where} has no schema number.", "a bundle manifest.")
    return values


def _is_deep(text: str) -> bool:
    """Whether brackets outside of texts are nested deeper than `_MOST_DEPTH`."""
    depth = 0
    # A text that is never closed matches too: else each of its quotes is scanned to the end.
    for match in re.finditer(r'"(?:[^"\\]|\\.)*"?|([\[{])|([\]}])', text):
        if match.lastindex:
            depth += 1 if match.lastindex == 1 else -1
            if depth > _MOST_DEPTH:
                return True
    return False
