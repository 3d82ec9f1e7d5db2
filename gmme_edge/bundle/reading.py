"""Bytes out of a bundle's folder or zip file: bounded, and read once.

Whoever hashes a file and opens it again by its name may be handed another one in between. So the
bytes are read once, and those that were hashed are those that are used.
"""

from __future__ import annotations

import json
import lzma
import re
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from gmme_edge.errors import BundleError
from gmme_edge.inputs import read_start

MOST_MANIFEST_BYTES = 4 << 20
MOST_FILE_BYTES = 2 << 30
_MOST_DEPTH = 64
_ZIP_ERRORS = (  # what zipfile lets through of a damaged file
    zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError,
    zlib.error, lzma.LZMAError, struct.error, OverflowError,
)  # fmt: skip


def is_archive(path: Path) -> bool:
    """Whether a bundle's path is a zip file instead of a folder."""
    return path.is_file() and zipfile.is_zipfile(path)


def read_bounded(root: Path, name: str, most_bytes: int) -> bytes:
    """The file `name` of a folder or zip file; one byte over `most_bytes` where it is larger.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read, or is a pipe or a device.
    """
    most_bytes = min(most_bytes, MOST_FILE_BYTES)
    if is_archive(root):
        return _read_member(root, name, most_bytes)
    return read_start(root / name, most_bytes + 1)


def _read_member(path: Path, name: str, most_bytes: int) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_member(archive, name)) as file:
            return file.read(most_bytes + 1)
    except KeyError:
        raise FileNotFoundError(f"{path} holds no {name}") from None
    except _ZIP_ERRORS as error:
        raise OSError(f"{path} is damaged at {name}: {error}") from error


def _member(archive: zipfile.ZipFile, name: str) -> str:
    """The name in the archive: a zip file of a folder holds that folder as well."""
    names = archive.namelist()
    tops = {PurePosixPath(each).parts[0] for each in names if PurePosixPath(each).parts}
    nested = f"{next(iter(tops))}/{name}" if len(tops) == 1 else name
    return nested if nested in names else name


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
