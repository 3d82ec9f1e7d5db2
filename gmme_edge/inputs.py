"""Files that others wrote: read once, within bounds, and never waited for."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

from gmme_edge.errors import InputError, reason

MOST_BYTES = 32 << 20
_MOST_CONTAINERS = 1_000_000  # Python takes a second for so many


def read_file(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """The content of a file.

    Raises:
        OSError: it cannot be read, is larger than `most_bytes`, or is a pipe or a device.
    """
    content = read_start(path, most_bytes + 1)
    if len(content) > most_bytes:
        told = f"it is larger than {most_bytes:,} bytes"
        raise OSError(errno.EINVAL, told, str(path))
    return content


def read_start(path: Path, n_bytes: int) -> bytes:
    """The first bytes of a file; raises `OSError` as `read_file` does."""
    # Without O_NONBLOCK a pipe that nobody writes to would be waited for.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device, no file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(n_bytes)
    finally:
        os.close(descriptor)


def read_text(path: Path, most_bytes: int = MOST_BYTES, encoding: str = "utf-8") -> str:
    """`read_file`, decoded; raises `OSError`, or `ValueError` for what is no such text."""
    return read_file(path, most_bytes).decode(encoding)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file; raises as `read_text`, and `RecursionError`."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    tables: dict[str, Any] = tomllib.loads(read_text(path))
    return tables


def read_json(
    path: Path,
    kind: str,
    schema: int,
    error: type[InputError] = InputError,
    most_bytes: int = MOST_BYTES,
) -> dict[str, Any]:
    """The JSON object at `path`, its ``schema`` field checked; `kind` names it in messages."""
    try:
        text = read_text(path, most_bytes)
        if text.count("[") + text.count("{") > _MOST_CONTAINERS:
            raise ValueError(f"it holds over {_MOST_CONTAINERS:,} lists and objects")
        values = json.loads(text)
    except FileNotFoundError:
        raise error(f"{path} does not exist.", f"a {kind}.") from None
    except (OSError, ValueError, RecursionError) as problem:
        raise error(f"{path} is no readable JSON: {reason(problem)}.", f"a {kind}.") from problem
    if not isinstance(values, dict) or not isinstance(values.get("schema"), int):
        raise error(f"{path} has no schema number.", f"a {kind}.")
    if values["schema"] != schema:
        raise error(
            f"{path} has schema {values['schema']}.",
            f"schema {schema} of a {kind}.",
            "write it again with this version, or use the version of gmme-edge that wrote it.",
        )
    return values
