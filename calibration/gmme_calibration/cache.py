"""Ranges that were computed before: files named by what they follow from, never by a path."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from gmme_calibration.ranges import Ranges
from gmme_calibration.thresholds import Method
from gmme_edge.errors import DatasetError, DiskFullError, InputError, reason
from gmme_edge.files import sha256_of, write_json
from gmme_edge.inputs import read_json

_SCHEMA = 1


def ranges_key(model: Path, clips_sha256: str, op_types: Sequence[str], method: Method) -> str:
    """SHA-256 over everything that ranges follow from: weights, graph, clips, method, runtime.

    The graph's file holds the weights and no path.
    """
    runtime = onnxruntime.__version__
    parts = [_SCHEMA, sha256_of(model), clips_sha256, list(op_types), str(method), runtime]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def cached_ranges(folder: Path, key: str, compute: Callable[[], Ranges]) -> Ranges:
    """The ranges stored under `key` in `folder`, or those that `compute` gives, stored for later.

    A damaged file is as good as none. Two processes that compute the same write the same.

    Raises:
        DatasetError: `folder` cannot be written to.
    """
    path = folder / "ranges" / f"{key}.json"
    found = _read(path)
    if found is not None:
        return found
    ranges = compute()
    content = {"schema": _SCHEMA, "sha256": _digest(ranges), "ranges": ranges}
    try:
        write_json(path, content)
    except DiskFullError:
        raise
    except OSError as error:
        raise DatasetError(
            f"The cache of ranges cannot be written to {path.parent}: {reason(error)}.",
            "a folder that may be written to.",
            "name another one with --cache DIR.",
        ) from error
    return ranges


def _read(path: Path) -> Ranges | None:
    try:
        values = read_json(path, "cache of ranges", _SCHEMA)
        entries = values["ranges"].items()
        ranges = {str(name): (float(low), float(high)) for name, (low, high) in entries}
    except (ArithmeticError, InputError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None
    sound = ranges and np.isfinite(list(ranges.values())).all()
    return ranges if sound and _digest(ranges) == values.get("sha256") else None


def _digest(ranges: Ranges) -> str:
    # JSON keeps every digit of a float, so what is read is what was written.
    return hashlib.sha256(json.dumps(sorted(ranges.items())).encode()).hexdigest()
