"""What the commands print under ``--json`` where it is no result file, and what they write beside.

Fields may be added within a schema version; none is taken away or given another meaning.
"""

from __future__ import annotations

from typing import Any, TypedDict

from gmme_edge.fields import Count, NotNegative, Number, Share, Text
from gmme_edge.report.documents import AccuracyResult
from gmme_edge.statistics import Interval


class ShippedModel(TypedDict):
    """A network that comes with the package; `accuracy` is what was measured last, if anything."""

    name: Text
    model: Text
    task: Text
    labels: list[str]
    t_params: Count
    size_bytes: Count
    data_license: str
    accuracy: dict[str, Any] | None


class Preset(TypedDict):
    """A network that can be trained, and its costs for a task."""

    name: Text
    task: Text
    d_params: Count
    t_params: Count
    gflops: NotNegative
    tokens: Count


class Models(TypedDict):
    """`gmme-edge models --json`."""

    shipped: list[ShippedModel]
    presets: list[Preset]


class Backend(TypedDict):
    """A backend, and why it does not work here: null where it does."""

    name: Text
    problem: str | None


class ChosenBackend(TypedDict):
    """What ``--backend auto`` took for a bundle, and why; it is remembered."""

    bundle: str
    backend: Text
    reason: str


class Doctor(TypedDict):
    """`gmme-edge doctor --json`; a package's version is null where it is not installed."""

    packages: dict[str, str | None]
    device: dict[str, Any]
    backends: list[Backend]
    chosen: list[ChosenBackend]
    warnings: list[str]


class Parity(TypedDict):
    """Errors of the logits against others: those of floating point, or of the same graph."""

    max_abs: NotNegative
    mean_abs: NotNegative
    relative: NotNegative
    limit: NotNegative
    top1_agreement: Share
    n_clips: Count


class Verify(TypedDict):
    """`gmme-edge verify --json`, by precision.

    `parity` compares with the network in floating point; `repeat` with what the same graph gave
    when it was exported, null where the bundle does not hold that. `signed_by` names the trusted
    key that signed the manifest, null without `--trust`.
    """

    bundle: Text
    backend: Text
    passed: bool
    signed_by: str | None
    parity: dict[str, Parity]
    repeat: dict[str, Parity | None]


class LabelProbability(TypedDict):
    """One class of a recording."""

    label: str
    probability: Share


class HeardWindow(TypedDict):
    """A window of a recording that is longer than the model's."""

    start_s: float
    end_s: float
    silent: bool
    label: str
    probability: Share


class _Named(TypedDict):
    file: Text


class Recording(_Named, total=False):
    """One recording of `gmme-edge predict --json`, which prints a list of them.

    One that could not be heard has `file` and `error` only; `windows` is there where a recording
    is longer than the model's window.
    """

    error: str
    duration_s: float
    silent: bool
    predictions: list[LabelProbability]
    notes: list[str]
    windows: list[HeardWindow]


class Evaluation(TypedDict):
    """`gmme-edge evaluate --json`, kind ``evaluation``: one result for each precision."""

    schema: int
    kind: Text
    results: list[AccuracyResult]


class EngineLayer(TypedDict):
    """A layer of an engine; empty texts where the engine does not say."""

    name: str
    kind: str
    precision: str
    inputs: list[list[int]]
    outputs: list[list[int]]
    tactic: str
    computes: bool


class EngineLayers(TypedDict):
    """`gmme-edge engine-info --json`, kind ``engine-layers``."""

    schema: int
    kind: Text
    n_layers: int
    n_fp32: int
    precisions: dict[str, int]
    layers: list[EngineLayer]
    engine: dict[str, Any]


class Converted(TypedDict):
    """`gmme-edge convert --json`."""

    checkpoint: Text
    model: dict[str, Any]


class _Trained(TypedDict):
    checkpoint: Text
    epoch: Count
    loss: Number
    accuracy: Share


class Trained(_Trained, total=False):
    """`gmme-edge train --json` of one run: the figures of its last epoch."""

    monitor_accuracy: Share


class BundleFile(TypedDict):
    """A file of a bundle."""

    path: Text
    role: Text
    sha256: Text
    size_bytes: int
    precision: str
    target: str
    opset: int


class Manifest(TypedDict):
    """`manifest.json` of a bundle, which `gmme-edge export --json` prints."""

    schema: int
    model: dict[str, Any]
    complexity: dict[str, Any]
    audio: dict[str, Any]
    input: Text
    outputs: list[str]
    labels: list[str]
    untrained: bool
    files: list[BundleFile]
    parity: dict[str, Any]
    accuracy: dict[str, Any]
    provenance: dict[str, Any]


class PairedModel(TypedDict):
    """One side of a paired test."""

    result: str
    model: str


class PooledTest(TypedDict):
    """McNemar's exact test on all clips; differences are second minus first, as shares."""

    n: Count
    difference: Number
    bonett_price_95: Interval
    only_first_right: int
    only_second_right: int
    mcnemar_exact_p: Share


class Paired(TypedDict):
    """`gmme-edge paired --json`, kind ``paired``."""

    schema: int
    kind: Text
    command: str
    first: PairedModel
    second: PairedModel
    pooled: PooledTest
    folds: list[dict[str, Any]]
    folds_mean: dict[str, Any]
