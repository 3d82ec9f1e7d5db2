"""Files that are whole or absent: atomic writes, hashes, JSON with a clear error."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gmme_edge.errors import InputError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error.

    The data is flushed to the disk before the rename, so a kill or a full disk at any moment
    leaves the old file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As `replacing`, for a folder; the old folder, if any, stays until the new one is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    old = temporary.with_name(temporary.name + ".old")
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Any) -> None:  # noqa: ANN401 - any JSON value
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def read_json(
    path: Path, kind: str, schema: int, error: type[InputError] = InputError
) -> dict[str, Any]:
    """The JSON object at `path`, its ``schema`` field checked; `kind` names it in messages."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path} does not exist.", f"a {kind}.") from None
    except (OSError, ValueError, RecursionError) as problem:
        raise error(f"{path} is no readable JSON: {problem}", f"a {kind}.") from problem
    if not isinstance(values, dict) or not isinstance(values.get("schema"), int):
        raise error(f"{path} has no schema number.", f"a {kind}.")
    if values["schema"] != schema:
        raise error(
            f"{path} has schema {values['schema']}.",
            f"schema {schema} of a {kind}.",
            "write it again with this version, or use the version of gmme-edge that wrote it.",
        )
    return values


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
