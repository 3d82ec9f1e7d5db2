"""The options of `train`, and the recipe that they make together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gmme_edge.errors import UsageError

if TYPE_CHECKING:
    from gmme_edge.training.recipe import Recipe

_RECIPE, _TRANSFER, _MACHINE = "Recipe (default: the named recipe's)", "Transfer", "Machine"
_DEFAULT_TEACHER_WEIGHT = 0.5

RecipeOption = Annotated[
    str | None,
    typer.Option(
        help="esc50, urbansound8k or speech-commands; default: the task's.",
        rich_help_panel=_RECIPE,
    ),
]
EpochsOption = Annotated[int | None, typer.Option(min=1, rich_help_panel=_RECIPE)]
BatchSizeOption = Annotated[int | None, typer.Option(min=1, rich_help_panel=_RECIPE)]
LrOption = Annotated[
    float | None, typer.Option(help="OneCycle's maximum.", rich_help_panel=_RECIPE)
]
LabelSmoothingOption = Annotated[float | None, typer.Option(rich_help_panel=_RECIPE)]
EmaDecayOption = Annotated[float | None, typer.Option(rich_help_panel=_RECIPE)]
EmaUnitOption = Annotated[
    str | None,
    typer.Option(
        help="step or epoch; default: epoch from 300 epochs on, else step.",
        rich_help_panel=_RECIPE,
    ),
]
AugmentOption = Annotated[
    bool | None, typer.Option("--augment/--no-augment", rich_help_panel=_RECIPE)
]
SeedOption = Annotated[int | None, typer.Option(rich_help_panel=_RECIPE)]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any number of the recipe, such as mixing=false; repeatable.",
        rich_help_panel=_RECIPE,
    ),
]
InitOption = Annotated[
    str | None,
    typer.Option(
        help="Start from a checkpoint or a shipped model; {fold} stands for the fold's number.",
        rich_help_panel=_TRANSFER,
    ),
]
AnyRateOption = Annotated[
    bool,
    typer.Option(
        "--any-rate", help="Let --init change its sample rate.", rich_help_panel=_TRANSFER
    ),
]
FreezeOption = Annotated[
    str | None,
    typer.Option(
        help="What of --init stays as it is: none, stem, stage1 or backbone.",
        rich_help_panel=_TRANSFER,
    ),
]
LayerDecayOption = Annotated[
    float | None,
    typer.Option(
        help="Factor on the learning rate per layer below the head.", rich_help_panel=_TRANSFER
    ),
]
QatOption = Annotated[
    bool,
    typer.Option(
        "--qat",
        help="Train --init on as its INT8 export will compute, briefly and gently, by its own "
        "outputs in floating point; --set qat=int8-tensorrt for the other flavour.",
        rich_help_panel=_TRANSFER,
    ),
]
TeacherOption = Annotated[
    str | None,
    typer.Option(
        help="Learn from the outputs of a checkpoint or shipped model; {fold} as in --init.",
        rich_help_panel=_TRANSFER,
    ),
]
TeacherWeightOption = Annotated[
    float | None,
    typer.Option(
        help="Of the teacher's loss, 0 to 1; default 0.5, or 1 with --qat where --init teaches.",
        rich_help_panel=_TRANSFER,
    ),
]
TeacherTemperatureOption = Annotated[float | None, typer.Option(rich_help_panel=_TRANSFER)]
FoldsOption = Annotated[
    str | None,
    typer.Option(help="Cross-validate: all, or folds such as 1,3; a run and a score for each."),
]
AgainstOption = Annotated[
    Path | None,
    typer.Option(help="The cross-validation.json of another model, for the paired test."),
]
DeviceOption = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:1, … or auto.", rich_help_panel=_MACHINE)
]
DevicesOption = Annotated[
    int,
    typer.Option(
        min=1, help="Processes on this machine that share each batch.", rich_help_panel=_MACHINE
    ),
]
NodesOption = Annotated[int, typer.Option(min=1, help="Machines.", rich_help_panel=_MACHINE)]
PrecisionOption = Annotated[
    str | None, typer.Option(help="32, bf16 or 16.", rich_help_panel=_MACHINE)
]
CompileOption = Annotated[
    bool | None,
    typer.Option("--compile/--no-compile", help="torch.compile.", rich_help_panel=_MACHINE),
]
TensorboardOption = Annotated[
    bool | None,
    typer.Option(
        "--tensorboard/--no-tensorboard",
        help="Scalars for TensorBoard; default: where it is installed.",
        rich_help_panel=_MACHINE,
    ),
]


def build_recipe(
    name: str, epochs: int | None, chosen: dict[str, Any], assignments: list[str]
) -> Recipe:
    """The named recipe with the options that were given (not None), then ``--set``.

    What follows from the schedule's length and the precision follows from ``--set`` too.
    """
    from gmme_edge.training.recipe import named_recipe, override

    given = {key: value for key, value in chosen.items() if value is not None}
    first = override(named_recipe(name, epochs, **given), assignments)
    settled = {**given, "precision": first.precision}
    return override(named_recipe(name, first.epochs, **settled), assignments)


def qat_settings(
    qat: bool, init: str | None, epochs: int | None, chosen: dict[str, Any]
) -> tuple[int | None, dict[str, Any]]:
    """The epochs and options of the recipe, where they are not given those of ``--qat``."""
    from gmme_edge.training.recipe import QAT_CHANGES, QAT_EPOCHS

    if not qat:
        return epochs, chosen
    if init is None:
        raise UsageError(
            "--qat without --init.", "a trained checkpoint or shipped model to start from."
        )
    given = {name: value for name, value in chosen.items() if value is not None}
    return epochs or QAT_EPOCHS, {**QAT_CHANGES, **given}


def transfer_settings(
    init: str | None, freeze: str | None, layer_decay: float | None, qat: bool,
    teacher: str | None, weight: float | None, temperature: float | None,
) -> dict[str, Any]:  # fmt: skip
    """The recipe's fields on transfer; an option without what it acts on is refused."""
    taught_by = init if qat and teacher is None else teacher
    needed = {
        "--freeze": (freeze, init, "--init"),
        "--layer-decay": (layer_decay, init, "--init"),
        "--teacher-weight": (weight, taught_by, "--teacher"),
        "--teacher-temperature": (temperature, taught_by, "--teacher"),
    }
    for option, (value, source, other) in needed.items():
        if value is not None and source is None:
            raise UsageError(f"{option} without {other}.", f"both, or neither of {option}.")
    if teacher and weight is None:
        weight = _DEFAULT_TEACHER_WEIGHT
    return {
        "freeze": freeze,
        "layer_decay": layer_decay,
        "teacher_weight": weight,
        "teacher_temperature": temperature,
    }
