"""Which backend runs a bundle fastest on this machine: measured once, and remembered."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, NamedTuple  # noqa: UP035 - evaluated on Python 3.8

import numpy as np

from gmme_edge.bundle.manifest import INPUT
from gmme_edge.device.cpu import affinity
from gmme_edge.device.facts import LIBRARIES, installed_versions, parse_cpu_model
from gmme_edge.device.system import read
from gmme_edge.errors import GmmeEdgeError, InputError, PlatformError
from gmme_edge.folders import default_cache
from gmme_edge.inputs import read_json
from gmme_edge.runtime.backends import BACKENDS, open_session, why_unavailable
from gmme_edge.runtime.parity import verify_session

if TYPE_CHECKING:
    from gmme_edge.bundle.bundle import Bundle
    from gmme_edge.runtime.engines.cache import Rebuild
    from gmme_edge.runtime.session import Session

_SCHEMA = 1
_FOLDER = "backends"  # the folder's name within the cache
_WARM_UPS, _ROUNDS = 2, 7
_Open = Dict[str, "Session"]  # noqa: UP006


class Choice(NamedTuple):
    """A backend, why it was taken, and for which bundle."""

    backend: str
    reason: str
    bundle: str


def choose_backend(
    bundle: Bundle,
    precision: str | None = None,
    threads: int | None = None,
    rebuild: Rebuild | None = None,
) -> Choice:
    """The fastest backend whose outputs agree with the golden vectors here.

    It is measured on one window at a time, each backend in its recommended precision or in
    `precision`. The choice is remembered for these very files and this machine, and made anew
    where a library, the processor, or what works here changed.

    Raises:
        PlatformError: none works; the message tells for each one why.
    """
    works = {name: why_unavailable(name) for name in BACKENDS}
    path = _place(bundle, precision, threads, works)
    known = _remembered(path)
    if known is not None:
        return known
    absent = [name for name, why in works.items() if why is not None]
    failed: dict[str, str] = {}
    opened: _Open = {}
    golden = bundle.golden()
    try:
        for name in (name for name, why in works.items() if why is None):
            wanted = precision or bundle.recommended_precision(name)
            try:
                opened[name] = open_session(bundle, name, wanted, threads, rebuild)
                verify_session(bundle, opened[name], golden)
            except GmmeEdgeError as error:
                failed[name] = error.got
                if name in opened:
                    opened.pop(name).close()
        if not opened:
            whys = [why.splitlines()[0] for why in works.values() if why is not None]
            told = _tell({**dict(zip(absent, whys)), **failed})  # noqa: B905 - Python 3.8
            raise PlatformError(f"No backend runs this bundle here. {told}.", "at least one.")
        backend, reason = _fastest(opened, golden[INPUT][:1])
        if failed:
            reason += f"; left out: {_tell(failed)}"
        if absent:
            reason += f"; `gmme-edge doctor` tells why {', '.join(absent)} cannot run here"
    finally:
        for session in opened.values():
            session.close()
    choice = Choice(backend, reason, str(bundle.path))
    _remember(path, choice)
    return choice


def remembered_choices() -> list[Choice]:
    """What the cache folder holds of bundles that are still there, for whoever wants to look."""
    try:
        paths = sorted((default_cache() / _FOLDER).glob("*.json"))
    except (GmmeEdgeError, OSError):
        return []
    known = [one for one in map(_remembered, paths) if one is not None]
    return [one for one in known if Path(one.bundle).exists()]


def _tell(failed: dict[str, str]) -> str:
    return "; ".join(f"{name}: {why.rstrip('.')}" for name, why in failed.items())


def _fastest(opened: _Open, window: np.ndarray[Any, Any]) -> tuple[str, str]:
    """Interleaved, so that whatever else the machine does hits all alike."""
    times_ms: dict[str, list[float]] = {name: [] for name in opened}
    for _ in range(_WARM_UPS + _ROUNDS):
        for name, session in opened.items():
            begun_s = time.perf_counter()
            session.run(window)
            times_ms[name].append(1000 * (time.perf_counter() - begun_s))
    medians_ms = {name: float(np.median(times[_WARM_UPS:])) for name, times in times_ms.items()}
    ranked = sorted(medians_ms, key=medians_ms.__getitem__)
    told = [f"{name} in {opened[name].precision} {medians_ms[name]:.3g} ms" for name in ranked]
    reason = f"{ranked[0]} is the fastest here that agrees with the export: {', '.join(told)}"
    return ranked[0], f"{reason} a window"


def _place(
    bundle: Bundle, precision: str | None, threads: int | None, works: dict[str, str | None]
) -> Path | None:
    """Where the choice is remembered; None where this user has no cache folder."""
    facts = [
        _SCHEMA,
        sorted((file.path, file.sha256) for file in bundle.manifest.files),
        precision,
        threads,
        [name for name, why in works.items() if why is None],
        platform.machine(),
        parse_cpu_model(read("/proc/cpuinfo")),
        affinity(),
        installed_versions(LIBRARIES),
    ]
    digest = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:32]
    try:
        return default_cache() / _FOLDER / f"{digest}.json"
    except (GmmeEdgeError, OSError):
        return None


def _remembered(path: Path | None) -> Choice | None:
    """None where nothing is known, or it cannot be read: then it is measured again."""
    if path is None or not path.is_file():
        return None
    try:
        values = read_json(path, "choice of a backend", _SCHEMA)
    except InputError:
        return None
    backend, reason = values.get("backend"), values.get("reason")
    if backend not in BACKENDS or not isinstance(reason, str):
        return None
    return Choice(str(backend), reason, str(values.get("bundle", "")))


def _remember(path: Path | None, choice: Choice) -> None:
    """A cache that cannot be written to costs the measurement each time, and no more."""
    from gmme_edge.files import write_json

    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"schema": _SCHEMA, **choice._asdict()})
        except OSError:
            return
