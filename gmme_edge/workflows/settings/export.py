"""What `export` makes: the bundle, and everything that it is asked for at once."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from pathlib import Path

from gmme_edge.bundle.precisions import expand_precisions, is_int8
from gmme_edge.errors import UsageError
from gmme_edge.licenses import check_license
from gmme_edge.settings import Settings, flag_of, is_given, setting, settings_of
from gmme_edge.spec import ModelSpec
from gmme_edge.workflows.settings.calibration import CalibrationSettings
from gmme_edge.workflows.settings.clips import ClipSettings
from gmme_edge.workflows.settings.engines import EngineSettings
from gmme_edge.workflows.settings.int8 import Int8Settings
from gmme_edge.workflows.settings.triton import TritonSettings
from gmme_edge.workflows.settings.verdict import VerdictSettings

_OPSETS = 13, 22


@dataclass(frozen=True, kw_only=True)
class BundleSettings(Settings):
    """The bundle, and the network that it is made of."""

    panel = "Bundle"

    output: Path = setting(MISSING, "Where to write.", "-o", "--output")
    precision: str | None = setting(
        None,
        "Of fp32, fp16, int8 (int8-ort and int8-tensorrt), comma-separated.  [default: fp32,fp16]",
    )
    compact: bool = setting(
        False,
        "Make one small folder of bundle and checkpoint: weights in float16, stored once. "
        "Precision: fp32, unless others are named as well.",
        "--compact",
    )
    opset: int | None = setting(
        None, "13 to 22; 16 for TensorRT 8.  [default: 18; for --plan jetson 16]"
    )
    plan: str | None = setting(
        None, "jetson: add the script that builds, checks and times it on the board."
    )
    embedding: bool = setting(
        True, "A second output: the vector before the classes.", "--embedding/--no-embedding"
    )
    max_error: float | None = setting(
        None, "Limit of the relative error, every precision.", least=0, most=1e9
    )
    untrained: bool = setting(
        False, "Random weights of a preset, for latency studies.", "--untrained"
    )
    task: str | None = setting(None, "With --untrained: whose audio format to use.")
    classes: int | None = setting(None, "With --untrained: how many.", least=1, most=1_000_000)
    data_license: str | None = setting(
        None, "Of the recordings it was trained on, beside what the checkpoint says."
    )
    force: bool = setting(
        False,
        "Replace another model's bundle. Files that are no bundle's stay in any case.",
        "--force",
    )

    def check(self) -> None:
        if self.data_license is not None:
            check_license(self.data_license)
            if self.untrained:
                raise UsageError("--data-license with --untrained.", "a network that was trained.")
        if not self.untrained and (self.task or self.classes):
            raise UsageError(
                "--task and --classes are for --untrained; a checkpoint knows its own."
            )
        if self.untrained and self.task is None:
            raise UsageError(
                "--untrained needs a --task.", "esc50, urbansound8k or speech-commands."
            )
        if self.opset is not None and not _OPSETS[0] <= self.opset <= _OPSETS[1]:
            raise UsageError(f"--opset is {self.opset}.", f"{_OPSETS[0]} to {_OPSETS[1]}.")


@dataclass(frozen=True, kw_only=True)
class LoweringSettings(Settings):
    """What the network is rewritten into."""

    panel = "Lowering"

    target: str | None = setting(
        None,
        "What the graphs are shaped for: ort-cpu, ort-arm, tensorrt or generic.  "
        "[default: tensorrt with --engine or --plan, else ort-cpu]",
    )
    lowering: bool = setting(
        True, "Rewrite the network for the target, exactly; or don't.", "--lowering/--no-lowering"
    )
    incremental_hop_ms: float | None = setting(
        None,
        "Also write graphs for `listen --incremental`, which compute only what is new in windows "
        "so far apart; to the nearest whole token.",
        least=1,
        most=3_600_000,
    )

    def check(self) -> None:
        if not self.lowering and self.target not in (None, "generic"):
            raise UsageError(
                f"--target {self.target} with --no-lowering.",
                "one of them: generic is what is not lowered.",
            )

    def incremental_hop_samples(self, spec: ModelSpec) -> int:
        """The hop as a whole number of tokens; 0 for none."""
        if self.incremental_hop_ms is None:
            return 0
        tokens = round(self.incremental_hop_ms * spec.sample_rate_hz / (1000 * spec.stride))
        return max(1, tokens) * spec.stride

    def rounded_hop(self, spec: ModelSpec) -> str:
        """What became of a hop that is no whole number of tokens; empty where nothing did."""
        hop_samples = self.incremental_hop_samples(spec)
        hop_ms = round(1000 * hop_samples / spec.sample_rate_hz, 3)
        if self.incremental_hop_ms in (None, hop_ms):
            return ""
        return f"incremental hop: {hop_ms} ms, {hop_samples // spec.stride} tokens"

    def chosen(self, plan: str | None) -> str:
        """The target that is named; empty where the exporter is to choose."""
        if not self.lowering:
            return "generic"
        return self.target or ("tensorrt" if plan else "")


@dataclass(frozen=True, kw_only=True)
class WebSettings(Settings):
    """The bundle as a page."""

    panel = "Web page"

    web: Path | None = setting(None, "Also write a page that runs the bundle in a browser.")
    ort_web: Path | None = setting(
        None, "onnxruntime-web's folder.  [default: node_modules/onnxruntime-web]", needs="web"
    )


@dataclass(frozen=True, kw_only=True)
class ExportSettings(Settings):
    """All that an export is asked for; groups that are left out have their defaults."""

    bundle: BundleSettings
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)
    int8: Int8Settings = field(default_factory=Int8Settings)
    lowering: LoweringSettings = field(default_factory=LoweringSettings)
    engines: EngineSettings = field(default_factory=EngineSettings)
    verdict: VerdictSettings = field(default_factory=VerdictSettings)
    clips: ClipSettings = field(default_factory=ClipSettings)
    web: WebSettings = field(default_factory=WebSettings)
    triton: TritonSettings = field(default_factory=TritonSettings)

    @property
    def precisions(self) -> tuple[str, ...]:
        asked = self.bundle.precision
        if asked is None:
            compact = "fp32" if self.bundle.compact else "fp32,fp16"
            asked = "fp32,fp16,int8" if self.verdict.auto else compact
        return expand_precisions(asked)

    @property
    def measures_accuracy(self) -> bool:
        """Whether validation clips are needed."""
        return self.verdict.auto or self.int8.max_accuracy_drop is not None

    def check(self) -> None:
        has_int8 = any(map(is_int8, self.precisions))
        labelled = self.calibration.calib_dataset is not None
        if self.int8.max_accuracy_drop is not None and not (has_int8 and labelled):
            raise UsageError(
                "--max-accuracy-drop without INT8, or without clips to measure it on.",
                "int8 among --precision; --calib-dataset and --calib-data of a labelled data set.",
            )
        if not has_int8:
            self._refuse_int8_options()
        if self.clips.skip_bad and not labelled:
            raise UsageError("--skip-bad without --calib-data.", "both, or neither.")
        if self.verdict.auto:
            self._check_auto(labelled and not self.bundle.untrained)

    def _refuse_int8_options(self) -> None:
        """What only INT8 heeds; the clips are not: every precision is checked on them."""
        for group, names in ((self.int8, None), (self.calibration, ("calib_method",))):
            for each in settings_of(type(group)):
                if (names is None or each.name in names) and is_given(group, each.name):
                    said = flag_of(each)
                    if getattr(group, each.name) is False:  # as its other flag says it
                        said = f"--no-{said[2:]}"
                    raise UsageError(f"{said} without INT8.", "int8 among --precision.")

    def _check_auto(self, measurable: bool) -> None:
        if "fp32" not in self.precisions:
            raise UsageError(
                f"--auto with {', '.join(self.precisions)}.", "fp32 among the precisions."
            )
        if not measurable:
            raise UsageError(
                "--auto has nothing to measure accuracy with.",
                "a trained checkpoint and a labelled data set: its validation clips judge, its "
                "training clips calibrate.",
                "add --calib-dataset and --calib-data.",
            )
