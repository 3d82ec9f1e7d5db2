"""A measurement that was cut short, kept beside where its result would be: ``r.json.part``."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gmme_edge.device.facts import describe_device
from gmme_edge.errors import InputError
from gmme_edge.files import write_json
from gmme_edge.inputs import read_json
from gmme_edge.profiling.latency import Contender
from gmme_edge.profiling.rounds import LatencySettings, Samples
from gmme_edge.runtime.backends import COPIED

_SCHEMA = 1
_EVERY_S = 5.0
_KEY_FACTS = ("board", "cpu", "arch", "kernel", "affinity", "jetson", "libraries")


@dataclass
class Unfinished:
    """The samples so far, and the file that keeps them.

    Attributes:
        key: of what is measured, how, and on which machine; samples of anything else are useless.
        reasons: what disturbed the runs before this one.
    """

    path: Path
    key: str
    samples: Samples
    reasons: list[str]
    _saved_s: float = 0.0

    def save_sometimes(self) -> None:
        """Every 5 seconds, so that a kill loses little."""
        if time.monotonic() - self._saved_s > _EVERY_S:
            self.save()

    def save(self) -> None:
        """Whole rounds only; nothing before the first."""
        self._saved_s = time.monotonic()
        if self.samples.rounds:
            content = {"key": self.key, "samples": asdict(self.samples), "reasons": self.reasons}
            write_json(self.path, {"schema": _SCHEMA, **content})

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def open_unfinished(
    output: Path, contenders: Sequence[Contender], settings: LatencySettings, restart: bool = False
) -> Unfinished:
    """What an earlier call left of the same measurement; empty where there is none.

    Raises:
        InputError: the file is there and belongs to another measurement, or is damaged.
    """
    path = output.with_name(output.name + ".part")
    key = _key_of(contenders, settings)
    fresh = Unfinished(path, key, Samples.empty(len(contenders)), [])
    if restart or not path.exists():
        return fresh
    values = read_json(path, "measurement that was cut short", _SCHEMA)
    fix = f"take --restart, or remove {path}."
    if values.get("key") != key:
        raise InputError(
            f"{path} is of other contenders, settings, libraries or another machine.",
            "the measurement that was cut short.",
            fix,
        )
    try:
        fresh.samples = _samples(values["samples"], len(contenders))
        fresh.reasons = [str(reason) for reason in values["reasons"]]
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}.", "a file of `profile`.", fix) from error
    return fresh


def _words_of(contender: Contender) -> list[object]:
    what: list[object] = [
        contender.bundle_sha256,
        contender.backend,
        contender.precision,
        contender.threads,
        contender.batch,
    ]
    return what if contender.gpu_call == COPIED else [*what, contender.gpu_call]


def _samples(values: dict[str, Any], n_contenders: int) -> Samples:
    samples = Samples(
        ms=[[float(ms) for ms in row] for row in values["ms"]],
        misses=[int(misses) for misses in values["misses"]],
        rounds=int(values["rounds"]),
        elapsed_s=float(values["elapsed_s"]),
    )
    lengths = {len(row) for row in samples.ms}
    if len(samples.ms) != n_contenders or len(samples.misses) != n_contenders or len(lengths) != 1:
        raise ValueError("its rows do not fit together")
    if samples.rounds < 0 or not 0 <= samples.elapsed_s < float("inf"):
        raise ValueError("its rounds or its time are no number of any")
    if not all(0 < ms < float("inf") for row in samples.ms for ms in row):
        raise ValueError("a time is no positive number")
    return samples


def _key_of(contenders: Sequence[Contender], settings: LatencySettings) -> str:
    """A hash; how long to measure may change, all else may not."""
    how = {**asdict(settings), "repetitions": 0, "duration_s": None}
    what = [_words_of(contender) for contender in contenders]
    device = describe_device()
    where = {name: device.get(name) for name in _KEY_FACTS}
    text = json.dumps([how, what, where], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
