"""What an export is asked for: precisions, engines, how INT8 is calibrated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmme_edge.blocks import FRONT
from gmme_edge.bundle.bundle import GOLDEN, MANIFEST
from gmme_edge.bundle.manifest import INCREMENTAL
from gmme_edge.bundle.precisions import expand_precisions, is_int8
from gmme_edge.errors import UsageError
from gmme_edge.models.checkpoint import DESCRIPTION, WEIGHTS
from gmme_edge.models.eat import EAT
from gmme_exporters.graphs.export import DEFAULT_OPSET
from gmme_exporters.int8.qdq import Quantizer, Ranges, Refinement
from gmme_exporters.lowering import targets
from gmme_exporters.tensorrt.build import EngineOptions

CALIBRATION = "calibration.json"

__all__ = ["Calibration", "ExportOptions", "expand_precisions"]


@dataclass(frozen=True)
class Calibration:
    """How INT8 gets its ranges.

    Attributes:
        ranges: a prepared float32 graph → the range of each of its tensors.
        record: which clips and settings; stored beside the ranges.
        refine: chooses the layers left in floating point and corrects biases; the front's layers
            and no correction if None.
        equalize: a network and an INT8 dialect → the same function, easier to round.
        floats: the blocks that `refine` will leave in floating point, as far as that is known.
    """

    ranges: Callable[[Path], Ranges]
    record: Mapping[str, Any]
    sha256: str
    refine: Callable[[Quantizer], Refinement] | None = None
    equalize: Callable[[EAT, str], EAT] | None = None
    floats: str = FRONT


@dataclass(frozen=True)
class ExportOptions:
    """What goes into a bundle.

    Attributes:
        precisions: of ``model.*.onnx``; see `expand_precisions`.
        max_error: replaces every precision's limit of the relative error.
        engines: one engine per entry for every precision that TensorRT takes.
        compact: the bundle is a checkpoint as well, with its weights rounded to float16 and stored
            once; the fp32 graph reads them. Every precision is made of the rounded weights.
        target: what the graphs are shaped for, see `lowering.targets`; by default tensorrt where
            there are engines, else ort-cpu.
        incremental_hop_samples: also write the graphs that compute only the new part of windows so
            far apart; 0 for none.
        untrained: the weights are random, for latency studies.
        source: the checkpoint's folder, which is never written to; None where it has none.
        force: see `gmme_edge.ownership.claim_bundle`.
        command: what makes the bundle again; noted in the manifest.
    """

    precisions: tuple[str, ...] = ("fp32",)
    opset: int = DEFAULT_OPSET
    embedding: bool = True
    max_error: float | None = None
    engines: tuple[EngineOptions, ...] = ()
    compact: bool = False
    target: str = ""
    incremental_hop_samples: int = 0
    untrained: bool = False
    source: Path | None = None
    force: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        default = targets.default_target(bool(self.engines))
        object.__setattr__(self, "target", self.target or default)
        targets.rewrites_of(self.target)
        if self.compact and "fp32" not in self.precisions:
            raise UsageError(
                f"A compact bundle of {', '.join(self.precisions)} was asked for.",
                "fp32 among its precisions: that is the graph which shares the weights.",
            )

    @property
    def writes(self) -> tuple[str, ...]:
        """The files that an export with these options makes, engines apart."""
        names = [MANIFEST, GOLDEN, *(f"model.{name}.onnx" for name in self.precisions)]
        if any(map(is_int8, self.precisions)):
            names.append(CALIBRATION)
        if self.incremental_hop_samples:
            names += INCREMENTAL.values()
        if self.compact:
            names += [WEIGHTS, DESCRIPTION]
        return tuple(names)
