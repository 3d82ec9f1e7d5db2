"""The manifest: what `manifest.json` says of a bundle, read from untrusted JSON and written."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, TypeVar, get_args

from gmme_edge.bundle.precisions import graph_of
from gmme_edge.errors import BundleError, InputError, UsageError, fault
from gmme_edge.licenses import license_of
from gmme_edge.spec import ModelSpec

SCHEMA = 1
MANIFEST = "manifest.json"
GOLDEN = "golden.npz"
INPUT, OUTPUTS = "waveform", ("logits", "embedding")

Role = Literal[
    "model",
    "incremental-start",
    "incremental-step",
    "weights",
    "description",
    "engine",
    "engine-sidecar",
    "golden",
    "calibration",
    "board-script",
    "board-page",
]
INCREMENTAL: dict[Role, str] = {
    "incremental-start": "incremental.start.onnx",
    "incremental-step": "incremental.step.onnx",
}
"""The graphs that compute only the new part of a window, by their roles."""
_T = TypeVar("_T")


@dataclass(frozen=True)
class BundleFile:
    """One file of a bundle; `path` is relative to it, with forward slashes.

    `precision` is set for models, engines and weights (those that the model of this precision
    reads); `target` names what the graph was shaped for (a model) or the engine's platform (an
    engine, for example ``tensorrt-rtx-sm89``). `opset` and `operators` are a model's: the version
    of the default domain, and the names of the operations in it, sorted; empty where an older
    exporter did not note them.
    """

    path: str
    role: Role
    sha256: str
    size_bytes: int
    precision: str = ""
    target: str = ""
    opset: int = 0
    operators: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.operators, (list, tuple)):
            raise TypeError(f"operators are {self.operators!r}")
        object.__setattr__(self, "operators", tuple(self.operators))  # a list in JSON
        texts = (self.path, self.sha256, self.precision, self.target, *self.operators)
        numbers = (self.size_bytes, self.opset)
        if (
            self.role not in get_args(Role)
            or not all(isinstance(text, str) for text in texts)
            or not all(isinstance(number, int) for number in numbers)
        ):
            raise TypeError(f"a file is described as {asdict(self)}")


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` holds, schema 1.

    Attributes:
        labels: class names in the order of the logits.
        untrained: random weights, exported for a latency study.
        files: every file of the bundle but the manifest.
        parity: per precision, the figures of the exporter's check against torch.
        accuracy: per precision, what `gmme-edge evaluate --record` measured last, if anything.
        provenance: checkpoint and calibration-set hashes, tool versions, time.
        verdict: what `gmme-edge export --auto`, if asked, measured where, and recommends.
    """

    model: ModelSpec
    labels: tuple[str, ...]
    untrained: bool = False
    files: tuple[BundleFile, ...] = ()
    parity: dict[str, dict[str, float]] = field(default_factory=dict)
    accuracy: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    verdict: dict[str, Any] = field(default_factory=dict)

    @property
    def weights_sha256(self) -> str:
        """Of the checkpoint that was exported, whatever the precision; empty if not known."""
        return str(self.provenance.get("checkpoint_sha256") or "")

    @property
    def data_license(self) -> str:
        """Of the recordings it was trained on, such as ``CC-BY-4.0``; empty if not stated."""
        return license_of(self.provenance.get("data"))

    def to_dict(self) -> dict[str, Any]:
        from gmme_edge.complexity import count  # who runs a bundle writes none

        spec = self.model
        return {
            "schema": SCHEMA,
            "model": spec.to_dict(),
            "complexity": asdict(count(spec)),
            "audio": {
                "sample_rate_hz": spec.sample_rate_hz,
                "n_samples": spec.n_samples,
                "channels": 1,
                "scaling": "inside the graph: 0.95 of full scale at the clip's peak",
            },
            "input": INPUT,
            "outputs": list(OUTPUTS),
            "labels": list(self.labels),
            "untrained": self.untrained,
            "files": [asdict(file) for file in self.files],
            "parity": self.parity,
            "accuracy": self.accuracy,
            "provenance": self.provenance,
            **({"verdict": self.verdict} if self.verdict else {}),
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Manifest:
        """Read back what `to_dict` wrote; raises `BundleError` for anything else."""
        try:
            manifest = Manifest(
                model=ModelSpec.from_dict(values["model"]),
                labels=tuple(_typed(label, str) for label in _typed(values["labels"], list)),
                untrained=_typed(values["untrained"], bool),
                files=tuple(BundleFile(**file) for file in _typed(values["files"], list)),
                parity={
                    precision: _typed(figures, dict)
                    for precision, figures in _typed(values["parity"], dict).items()
                },
                accuracy=_typed(values["accuracy"], dict),
                provenance=_typed(values["provenance"], dict),
                verdict=_typed(values.get("verdict", {}), dict),
            )
            _check_verdict(manifest)
        except (KeyError, TypeError, ValueError, OverflowError, InputError, UsageError) as error:
            raise BundleError(
                f"{MANIFEST} is damaged: {fault(error)}",
                f"a manifest of schema {SCHEMA}.",
                "copy the bundle again, or export it again into a new folder.",
            ) from error
        _check_paths(manifest.files)
        if len(manifest.labels) != manifest.model.n_classes:
            raise BundleError(
                f"{MANIFEST} has {len(manifest.labels)} labels for "
                f"{manifest.model.n_classes} classes.",
                "one label per class.",
            )
        return manifest

    @property
    def precisions(self) -> tuple[str, ...]:
        """Of the models, in the manifest's order."""
        return tuple(file.precision for file in self.files if file.role == "model")

    def listed(self, path: str) -> BundleFile | None:
        """The entry of a path, if there is one."""
        return next((file for file in self.files if file.path == path), None)


def _check_verdict(manifest: Manifest) -> None:
    if manifest.verdict:
        _typed(manifest.verdict["backend"], str)
        if graph_of(_typed(manifest.verdict["precision"], str)) not in manifest.precisions:
            raise ValueError(f"the verdict is {manifest.verdict['precision']!r:.60}")


def _check_paths(files: tuple[BundleFile, ...]) -> None:
    seen: set[PurePosixPath] = set()
    for file in files:
        pure = PurePosixPath(file.path)
        if pure in seen:
            raise BundleError(
                f"{MANIFEST} names {file.path!r} twice.",
                "every file once.",
                "export the bundle again.",
            )
        seen.add(pure)
        strange = re.search("[\\\\\0\ud800-\udfff]", file.path) or not pure.name
        if strange or pure.is_absolute() or ".." in pure.parts:
            raise BundleError(f"{MANIFEST} names {file.path!r}.", "paths inside the bundle only.")


def _typed(value: object, kind: type[_T]) -> _T:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.60} is no {kind.__name__}")
    return value
