"""Result files: one measurement each. A class says what each kind holds, reads it and writes it.

The JSON schemas in `gmme_edge/report/schemas/` are made of these classes (`report.schemas`). Every
field without a default was there in the first version; the others may be missing in old files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, ValidationError, convert, to_builtins

from gmme_edge.complexity import count
from gmme_edge.device.facts import describe_device
from gmme_edge.device.state import observe_state
from gmme_edge.errors import InputError
from gmme_edge.fields import Count, NotNegative, Number, Positive, Sha256, Share, Text
from gmme_edge.inputs import read_json
from gmme_edge.profiling.energy_result import PowerTrace
from gmme_edge.profiling.latency import LatencyRow
from gmme_edge.profiling.layers import LayerProfile
from gmme_edge.profiling.roofline import Roofline
from gmme_edge.profiling.rounds import LatencySettings
from gmme_edge.scoring import Predictions, Score
from gmme_edge.spec import ModelSpec

SCHEMA: Literal[1] = 1
Shares = tuple[Share, Share]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What every kind has.

    Attributes:
        source: the file that it was read from; not written.
        created: when, in UTC.
        command: what measures it again.
        device: the machine, as `gmme-edge doctor` describes it.
        state: its clocks, temperatures and the like, ``before`` and ``after`` the measurement.
    """

    schema: Literal[1] = SCHEMA
    source: str = ""
    created: str = ""
    command: str = ""
    device: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The file's content, as JSON values."""
        values = {name: value for name, value in vars(self).items() if name != "source"}
        return dict(to_builtins(values))


@dataclass(frozen=True, kw_only=True)
class LatencyResult(Result):
    """`gmme-edge profile`: rows that were measured together, with equally many samples."""

    kind: Literal["latency"] = "latency"
    rows: Annotated[tuple[LatencyRow, ...], Meta(min_length=1)]
    device: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    noise: dict[str, Any] = field(default_factory=dict)
    power: tuple[PowerTrace, ...] = ()

    def __post_init__(self) -> None:
        if len({len(row.samples_ms) for row in self.rows}) > 1:
            raise ValueError("its rows have unequal numbers of samples")
        if not isinstance(self.noise.get("reasons", []), (list, tuple)):
            raise ValueError("its reasons for noise are no list")

    @property
    def is_rankable(self) -> bool:
        """Whether what disturbed it spares ratios; in older files all that was noted counts."""
        return bool(self.noise.get("rankable", not self.noise.get("reasons")))

    def to_dict(self) -> dict[str, Any]:
        """The file's content, as JSON values."""
        values = {name: value for name, value in vars(self).items() if name != "source"}
        rows = [row.to_dict() for row in values.pop("rows")]
        return {**values, "power": to_builtins(self.power), "rows": rows}


@dataclass(frozen=True, kw_only=True)
class AccuracyResult(Result):
    """`gmme-edge evaluate`: top-1 accuracy with its 95 % interval (Wilson), over `n` clips."""

    kind: Literal["accuracy"] = "accuracy"
    model: Text
    d_params: Count
    t_params: Count
    gflops: Positive
    dataset: Text
    split: Text
    fold: Annotated[int, Meta(ge=0)] | None
    backend: Text
    precision: Text
    accuracy: Share
    interval: Shares
    n: Count
    device: dict[str, Any]
    weights_sha256: Sha256 = ""
    labels: tuple[str, ...] = ()
    per_class: dict[str, Any] = field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] = ()
    per_level: dict[str, Any] = field(default_factory=dict)
    predictions: Predictions | None = None
    flips: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, Count] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LayersResult(Result):
    """`gmme-edge profile --layers`: time per node and per block."""

    kind: Literal["layers"] = "layers"
    profiles: Annotated[tuple[LayerProfile, ...], Meta(min_length=1)]

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "profiles": [profile.to_dict() for profile in self.profiles]}


@dataclass(frozen=True, kw_only=True)
class RooflineResult(Result):
    """`gmme-edge profile --roofline`: each block beside what the machine can do."""

    kind: Literal["roofline"] = "roofline"
    profiles: Annotated[tuple[Roofline, ...], Meta(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """All test clips as one test."""

    accuracy: Share
    correct: Annotated[int, Meta(ge=0)]
    n: Count
    wilson_95: Shares


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One fold of a cross-validation."""

    fold: Annotated[int, Meta(ge=0)]
    accuracy: Share
    correct: Annotated[int, Meta(ge=0)]
    n: Count
    wilson_95: Shares
    checkpoint_sha256: Sha256 = ""
    wall_time_s: NotNegative | None = None
    predictions: Predictions | None = None


@dataclass(frozen=True, kw_only=True)
class CrossValidationResult(Result):
    """`cross-validation.json` of `gmme-edge train --folds`."""

    kind: Literal["cross-validation"] = "cross-validation"
    model: Text
    dataset: Text
    split: Text
    spec: dict[str, Any]
    labels: tuple[str, ...]
    pooled: Pooled
    folds: Annotated[tuple[Fold, ...], Meta(min_length=1)]
    folds_mean: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    wall_time_s: NotNegative = 0.0
    versions: dict[str, Any] = field(default_factory=dict)
    paired: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One part of a network in 8 bits: alone, and all others; null is an SQNR without noise."""

    part: Text
    macs: Share
    sqnr_alone_db: Number | None
    sqnr_others_db: Number | None
    accuracy_alone: Share | None
    accuracy_others: Share | None


@dataclass(frozen=True, kw_only=True)
class SensitivityResult(Result):
    """`gmme-edge sensitivity`: what each block or layer costs in 8 bits."""

    kind: Literal["sensitivity"] = "sensitivity"
    model: Text
    precision: Text
    dataset: Text
    fold: int | None
    method: Text
    bias_correction: bool
    accuracy_float: Share | None
    n_validation: Annotated[int, Meta(ge=0)]
    calibration_sha256: Sha256
    effects: tuple[Effect, ...]
    equalized: bool = False


@dataclass(frozen=True, kw_only=True)
class CalibrationResult(Result):
    """`calibration.json`: which clips calibrated INT8, and what `export --calib-clips` reads."""

    kind: Literal["calibration"] = "calibration"
    seed: int
    n: Count
    sha256: Sha256
    clips: tuple[Any, ...]
    selection: str = ""
    edges_dbfs: tuple[Number, ...] = ()


Nodes = LayersResult | RooflineResult
LoadedResult = LatencyResult | AccuracyResult | CrossValidationResult | Nodes
KINDS: dict[str, type[Result]] = {
    "latency": LatencyResult,
    "accuracy": AccuracyResult,
    "layers": LayersResult,
    "roofline": RooflineResult,
    "cross-validation": CrossValidationResult,
    "sensitivity": SensitivityResult,
    "calibration": CalibrationResult,
}
COMPARABLE = ("latency", "accuracy", "layers", "roofline", "cross-validation")
_WRITERS = "`gmme-edge profile`, `evaluate -o` or `train --folds`"


def describe_result(kind: str, command: str = "") -> dict[str, Any]:
    """The fields that every result has, of this machine and moment."""
    return {
        "schema": SCHEMA,
        "kind": kind,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "device": describe_device(),
        "state": {"after": observe_state()},
    }


def latency_document(
    rows: Sequence[LatencyRow], settings: LatencySettings, command: str = ""
) -> dict[str, Any]:
    """What a latency file holds, as JSON values; `command` tells how to measure it again."""
    return {
        **describe_result("latency", command),
        "settings": asdict(settings),
        "rows": [row.to_dict() for row in rows],
    }


def accuracy_document(
    spec: ModelSpec,
    score: Score,
    where: Mapping[str, Any],
    backend: str,
    precision: str,
    weights_sha256: str = "",
) -> dict[str, Any]:
    """What an accuracy file holds; `where` names dataset, split and fold."""
    return {
        **describe_result("accuracy"),
        "model": spec.name,
        **{name: getattr(count(spec), name) for name in ("d_params", "t_params", "gflops")},
        **where,
        "backend": backend,
        "precision": precision,
        "weights_sha256": weights_sha256,
        **score.to_dict(),
    }


def load_result(path: Path, kinds: Sequence[str] = COMPARABLE) -> LoadedResult:
    """Read and validate a result file of one of `kinds`.

    Raises:
        InputError: absent, no JSON, another schema or kind, or a field that is off.
    """
    values = read_json(path, f"result of {_WRITERS}", SCHEMA)
    kind = values.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise InputError(f"{path} has the kind {kind!r}.", f"one of {', '.join(kinds)}.")
    try:
        return convert({**values, "source": str(path)}, KINDS[kind])  # type: ignore[return-value]
    except (ValidationError, InputError) as error:
        raise InputError(
            f"{path} is a damaged {kind} result: {error}.",
            f"a file as {_WRITERS} writes it.",
            "measure again.",
        ) from error
