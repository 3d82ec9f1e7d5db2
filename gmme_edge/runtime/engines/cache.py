"""Engines that were built on this machine because none of a bundle's fitted it.

What lies here was built by leave (`Rebuild`) and is used from then on without asking again. The
builder is handed in, since nothing that runs on a device imports an exporter.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import EngineError, GmmeEdgeError, InputError
from gmme_edge.folders import default_cache
from gmme_edge.runtime.engines.info import Engine, EngineInfo, Machine, choose_engine

try:
    import fcntl
except ImportError:  # not POSIX: there two processes at once build twice
    fcntl = None  # type: ignore[assignment]

_NAME = "model.engine"
_ENGINES = "engines"  # the folder's name within the cache


@dataclass(frozen=True)
class Rebuild:
    """Leave to build an engine where a bundle has none that fits, or a damaged one.

    Attributes:
        build: (ONNX file, engine to write with its sidecar, precision, flavour); usually
            `gmme_exporters.tensorrt.rebuild.allow_rebuild` makes it.
        options: how `build` is set; engines that were built differently are kept apart.
    """

    build: Callable[[Path, Path, str, str], EngineInfo]
    options: Mapping[str, Any]


def open_engine(
    bundle: Bundle, precision: str, machine: Machine, rebuild: Rebuild | None = None
) -> Engine:
    """An engine for this machine: the bundle's, else the cache's, else, by leave, a new one.

    Every byte of it was compared with the hash that was noted when it was built.

    Raises:
        UsageError: the bundle lacks this precision.
        EngineError: no engine fits; the message tells for each one why.
        BundleError: a file of the bundle is damaged; for an engine, only without `rebuild`.
    """
    try:
        return choose_engine(bundle, machine, precision)
    except (EngineError, InputError):
        engine = _cached(bundle, precision, machine, rebuild)
        if engine is None:
            raise
        return engine


def _cached(
    bundle: Bundle, precision: str, machine: Machine, rebuild: Rebuild | None
) -> Engine | None:
    # A compact bundle's graph has the same bytes whatever its weights are: they count too.
    sources = (bundle.find("model", precision), *bundle.weights(precision))
    hashes = [file.sha256 for file in sources]
    place = default_cache() / _ENGINES / _digest([hashes, precision, asdict(machine)])
    if rebuild is None:
        return _last_used(place, machine, hashes[0], precision)
    path = place / _digest(dict(rebuild.options)) / _NAME
    with _locked(path.parent):
        engine = _read(path, machine, hashes[0], precision)
        if engine is None:
            # A copy that nobody else can write, so that what is built is what was checked.
            with tempfile.TemporaryDirectory(dir=path.parent.parent) as own:
                source = bundle.copy_model(precision, Path(own))
                rebuild.build(source, path, precision, machine.flavour)
            engine = _read(path, machine, hashes[0], precision)
        if engine is None:
            raise EngineError(
                f"{path} was built, and is not an engine for this machine and graph.",
                f"one of {machine.flavour} {machine.version} for {machine.gpu_name}.",
                f"delete {path.parent} and try again.",
            )
        now_ns = time.time_ns()  # the file system's own clock ticks every few ms only
        os.utime(path, ns=(now_ns, now_ns))
        return engine


def _last_used(place: Path, machine: Machine, onnx_sha256: str, precision: str) -> Engine | None:
    paths = sorted(place.glob(f"*/{_NAME}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    found = (_read(path, machine, onnx_sha256, precision) for path in paths)
    return next((engine for engine in found if engine), None)


def _read(path: Path, machine: Machine, onnx_sha256: str, precision: str) -> Engine | None:
    """The engine at `path`; None where it is absent, damaged or another's: it is built again."""
    try:
        info = EngineInfo.read(path)
        plan = path.read_bytes()
    except (GmmeEdgeError, OSError):
        return None
    whole = (info.size_bytes, info.engine_sha256) == (len(plan), hashlib.sha256(plan).hexdigest())
    fits = not info.mismatch(machine, {onnx_sha256}) and info.precision == precision
    return Engine(str(path), info, plan) if whole and fits else None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; the kernel releases the lock with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
