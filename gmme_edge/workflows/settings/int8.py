"""What INT8 may cost, and what is done to make it cost less."""

from __future__ import annotations

from dataclasses import dataclass

from gmme_edge.errors import UsageError
from gmme_edge.settings import Settings, is_given, setting

_PANEL = "INT8"


@dataclass(frozen=True, kw_only=True)
class Int8Settings(Settings):
    """How far INT8 may depart from floating point.

    Attributes:
        strict: raise where the limit cannot be kept; otherwise take what loses least.
    """

    max_accuracy_drop: float | None = setting(
        None,
        "Points of accuracy that INT8 may lose on validation clips of --calib-dataset: the "
        "fewest layers that this takes stay in floating point. Exit code 6 where it cannot be.",
        least=0,
        most=100,
        panel=_PANEL,
    )
    max_float_macs: float = setting(
        10,
        "Percent of the multiply-adds that may stay in floating point then.",
        least=0,
        most=100,
        needs="max_accuracy_drop",
        panel=_PANEL,
    )
    int8_float: str | None = setting(
        None,
        "Blocks that stay in floating point: front, none, or such as stem,stage1.0.  "
        "[default: those of `train --qat`, else front]",
        panel=_PANEL,
    )
    bias_correction: bool | None = setting(
        None,
        "Give back to biases what rounding shifts a channel by on calibration clips.  "
        "[default: with --max-accuracy-drop]",
        "--bias-correction/--no-bias-correction",
        panel=_PANEL,
    )
    equalize: bool | None = setting(
        None,
        "Scale channels so that their ranges are alike; the network's function stays.  "
        "[default: with --bias-correction, unless trained with --qat]",
        "--equalize/--no-equalize",
        panel=_PANEL,
    )
    strict: bool = True

    def check(self) -> None:
        if self.int8_float is not None and self.max_accuracy_drop is not None:
            raise UsageError(
                "--int8-float with --max-accuracy-drop.",
                "one of them: the limit's search chooses.",
            )

    @property
    def given(self) -> tuple[str, ...]:
        """The names of the settings that differ from their defaults."""
        names = ("max_accuracy_drop", "max_float_macs", "int8_float", "bias_correction", "equalize")
        return tuple(name for name in names if is_given(self, name))
