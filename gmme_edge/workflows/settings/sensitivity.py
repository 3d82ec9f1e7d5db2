"""What a study of INT8's sensitivity measures, and on which recordings."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path

from gmme_edge.settings import Settings, setting
from gmme_edge.workflows.settings.clips import LabelledClips


@dataclass(frozen=True, kw_only=True)
class SensitivityClips(LabelledClips):
    """A labelled data set: training clips set the ranges, validation clips measure accuracy."""

    calib_size: int = setting(128, "Training clips for ranges.", least=1, most=1_000_000)
    calib_method: str = setting("mean+std", "As for export.")


@dataclass(frozen=True, kw_only=True)
class SensitivitySettings(Settings):
    """How the network is quantized, and what is measured of its parts."""

    panel = "Quantization"

    output: Path = setting(MISSING, "Where to write.", "-o", "--output", panel="Output")
    precision: str = setting(
        "int8-ort",
        "int8-ort or int8-tensorrt.",
        choices=("int8-ort", "int8-tensorrt"),
        metavar="DIALECT",
    )
    layers: bool = setting(False, "Per layer, not per block.", "--layers")
    accuracy: bool = setting(
        True, "Also measure accuracy, on the validation clips.", "--accuracy/--no-accuracy"
    )
    bias_correction: bool = setting(
        True,
        "Give back to biases what rounding shifts a channel by.",
        "--bias-correction/--no-bias-correction",
    )
    equalize: bool | None = setting(
        None,
        "Scale channels so that their ranges are alike.  "
        "[default: with --bias-correction, unless trained with --qat]",
        "--equalize/--no-equalize",
    )
    target: str = setting(
        "ort-cpu", "What the graphs are shaped for: ort-cpu, ort-arm, tensorrt or generic."
    )
