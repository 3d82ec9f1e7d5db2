"""The options of `export` that say what INT8 may cost, and what they mean to a quantizer."""

from __future__ import annotations

from typing import Annotated

import typer

_PANEL = "INT8"

MaxAccuracyDropOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Points of accuracy that INT8 may lose on validation clips of --calib-dataset: the "
        "fewest layers that this takes stay in floating point. Exit code 6 where it cannot be.",
        rich_help_panel=_PANEL,
    ),
]
MaxFloatMacsOption = Annotated[
    float,
    typer.Option(
        min=0, max=100, help="Percent of the multiply-adds that may stay in floating point then.",
        rich_help_panel=_PANEL,
    ),
]  # fmt: skip
Int8FloatOption = Annotated[
    str | None,
    typer.Option(
        help="Blocks that stay in floating point: front, none, or such as stem,stage1.0.  "
        "[default: those of `train --qat`, else front]",
        rich_help_panel=_PANEL,
    ),
]
BiasCorrectionOption = Annotated[
    bool | None,
    typer.Option(
        "--bias-correction/--no-bias-correction",
        help="Give back to biases what rounding shifts a channel by on calibration clips.  "
        "[default: with --max-accuracy-drop]",
        rich_help_panel=_PANEL,
    ),
]
EqualizeOption = Annotated[
    bool | None,
    typer.Option(
        "--equalize/--no-equalize",
        help="Scale channels so that their ranges are alike; the network's function stays.  "
        "[default: with --bias-correction, unless trained with --qat]",
        rich_help_panel=_PANEL,
    ),
]
