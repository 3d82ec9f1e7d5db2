"""What the cache folder holds, how large it is, and how it is kept within a limit.

Only entries that this project wrote, known by their names and their content, are ever removed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gmme_edge.errors import UsageError

LIMIT_VARIABLE = "GMME_EDGE_CACHE_LIMIT_MB"
_DEFAULT_LIMIT_MB = 20_000
_HASH = re.compile("[0-9a-f]{32}(?:[0-9a-f]{32})?")


@dataclass(frozen=True)
class CacheEntry:
    """Decoded recordings, engines of a graph, INT8 ranges of a calibration, a chosen backend.

    Attributes:
        kind: ``audio``, ``engines``, ``ranges`` or ``backends``.
        used_at_s: when it was made or last used, in seconds since 1970.
    """

    path: Path
    kind: str
    size_bytes: int
    used_at_s: float


def list_entries(cache: Path) -> list[CacheEntry]:
    """The entries of a cache folder, the last used first; empty where it does not exist."""
    found = [_measure(path, kind) for path, kind in _find(cache)]
    return sorted(found, key=lambda entry: entry.used_at_s, reverse=True)


def shrink(cache: Path, limit: int, keep: Path | None = None) -> list[CacheEntry]:
    """Remove the entries unused for longest until all take at most `limit` bytes.

    A process that has an entry open keeps it until it ends.

    Args:
        keep: an entry that stays whatever its size.

    Returns:
        What was removed.
    """
    kept_bytes, removed = 0, []
    entries = sorted(list_entries(cache), key=lambda entry: entry.path != keep)
    for entry in entries:
        if entry.path == keep or kept_bytes + entry.size_bytes <= limit:
            kept_bytes += entry.size_bytes
            continue
        if entry.path.is_dir():
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            entry.path.unlink(missing_ok=True)
        removed.append(entry)
    return removed


def mark_used(entry: Path) -> None:
    """Note that an entry is in use now, where the cache may be written to."""
    now_ns = time.time_ns()
    with contextlib.suppress(OSError):
        os.utime(entry, ns=(now_ns, now_ns))


def limit_bytes() -> int:
    """The size that decoding keeps the cache within: $GMME_EDGE_CACHE_LIMIT_MB, or 20 GB."""
    text = os.environ.get(LIMIT_VARIABLE, "")
    if not text:
        return _DEFAULT_LIMIT_MB * 1_000_000
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise UsageError(f"{LIMIT_VARIABLE} is {text!r:.40}.", "a whole number of megabytes.")
    return int(text) * 1_000_000


def _find(cache: Path) -> Iterator[tuple[Path, str]]:
    for path in _children(cache):
        if _HASH.fullmatch(path.name) and (path / "samples.f32").is_file():
            yield path, "audio"
    for path in _children(cache / "engines"):
        if _HASH.fullmatch(path.name) and path.is_dir():
            yield path, "engines"
    for kind in ("ranges", "backends"):
        for path in _children(cache / kind):
            if _HASH.fullmatch(path.stem) and path.suffix == ".json":
                yield path, kind


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def _measure(path: Path, kind: str) -> CacheEntry:
    size, used_at_s = 0, 0.0
    for each in (path, *(path.rglob("*") if path.is_dir() else ())):
        with contextlib.suppress(OSError):  # removed by another process meanwhile
            stat = each.lstat()
            size += 0 if each.is_dir() else stat.st_size
            used_at_s = max(used_at_s, stat.st_mtime)
    return CacheEntry(path, kind, size, used_at_s)
