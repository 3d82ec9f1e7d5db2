"""The settings of a training; each group checks itself, and none needs torch."""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from gmme_edge.errors import UsageError
from gmme_edge.licenses import check_license
from gmme_edge.settings import Settings, setting
from gmme_edge.workflows.settings.clips import LabelledClips
from gmme_edge.workflows.settings.running import MOST_THREADS

_RECIPE, _TRANSFER, _MACHINE = "Recipe (default: the named recipe's)", "Transfer", "Machine"
_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")
_DEFAULT_TEACHER_WEIGHT = 0.5


@dataclass(frozen=True, kw_only=True)
class LearningData(LabelledClips):
    """What to learn from, and what to test on."""

    folds: str | None = setting(
        None, "Cross-validate: all, or folds such as 1,3; a run and a score for each."
    )
    against: Path | None = setting(
        None, "The cross-validation.json of another model, for the paired test."
    )
    validation_share: float | None = setting(
        None,
        "Hold this part of the training clips out, by whole sources, and watch it instead "
        "of the test clips; 0 watches none, which saves their time.",
        least=0,
        most=0.5,
    )
    data_license: str | None = setting(
        None,
        "The recordings' licence, such as CC-BY-NC-3.0; it goes with the checkpoint and its "
        "bundles, and whoever loads one of these is told if it restricts commercial use.",
    )

    def check(self) -> None:
        if self.data_license is not None:
            check_license(self.data_license)
        if self.folds is None and self.against:
            raise UsageError(
                "--against without --folds.",
                "a cross-validation.",
                "score both checkpoints with `gmme-edge evaluate -o`, then `gmme-edge paired`.",
            )
        if self.folds is not None and self.fold is not None:
            raise UsageError("Both --fold and --folds are given.", "one of them.")


@dataclass(frozen=True, kw_only=True)
class RunSettings(Settings):
    """Where a run's files go."""

    panel = "Output"

    output: Path = setting(MISSING, "Where to write.", "-o", "--output")
    restart: bool = setting(
        False, "Ignore the run in -o, finished or not, and replace it.", "--restart"
    )


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(Settings):
    """Which network, and what it hears; None where the task or ``--init`` decides."""

    panel = "Network"

    model: str | None = setting(None, "A preset; see `gmme-edge models`. Default: that of --init.")
    task: str | None = setting(
        None, "Whose audio format to use; needed for folder and csv without --init."
    )
    sample_rate: int | None = setting(
        None, "Sample rate in Hz, instead of the task's.", least=1, most=1_000_000
    )
    samples: int | None = setting(
        None, "Clip length in samples, instead of the task's.", least=1, most=1 << 24
    )
    factors: str | None = setting(None, "Strides of stage 1, such as 4,4,4, instead of the task's.")

    def check(self) -> None:
        self.parsed_factors()

    def parsed_factors(self) -> tuple[int, ...] | None:
        """The strides; None where they are not given."""
        if self.factors is None:
            return None
        parts = [part.strip() for part in self.factors.split(",")]
        if not all(part.isascii() and part.isdigit() and len(part) < 4 for part in parts):
            raise UsageError(f"--factors {self.factors!r}", "numbers such as 4,4,4.")
        return tuple(map(int, parts))


@dataclass(frozen=True, kw_only=True)
class RecipeSettings(Settings):
    """What differs from the named recipe, whose own limits are `Recipe`'s."""

    recipe: str | None = setting(
        None, "esc50, urbansound8k or speech-commands; default: the task's.", panel=_RECIPE
    )
    epochs: int | None = setting(None, "Passes over the training clips.", panel=_RECIPE, least=1)
    batch_size: int | None = setting(None, "Clips per step.", panel=_RECIPE, least=1)
    lr: float | None = setting(None, "Learning rate: OneCycle's maximum.", panel=_RECIPE)
    label_smoothing: float | None = setting(
        None, "Share of a label that goes to all classes, 0 to 1.", panel=_RECIPE
    )
    ema_decay: float | None = setting(
        None, "Of the mean of the weights that is kept, 0 to 1.", panel=_RECIPE
    )
    ema_unit: str | None = setting(
        None, "step or epoch; default: epoch from 300 epochs on, else step.", panel=_RECIPE
    )
    augment: bool | None = setting(
        None, "Change every clip a little, anew each time.", "--augment/--no-augment", panel=_RECIPE
    )
    seed: int | None = setting(None, "Of weights, order and augmentation.", panel=_RECIPE)
    assign: tuple[str, ...] = setting(
        (),
        "Any number of the recipe, such as mixing=false; repeatable.",
        "--set",
        metavar="NAME=VALUE",
        panel=_RECIPE,
    )
    precision: str | None = setting(None, "Arithmetic: 32, bf16 or 16 bits.", panel=_MACHINE)
    compile_network: bool | None = setting(
        None, "Compile the network (torch.compile).", "--compile/--no-compile", panel=_MACHINE
    )

    def changes(self) -> dict[str, Any]:
        """The recipe's fields that are given, but for the epochs and ``--set``."""
        fields = {
            "batch_size": self.batch_size,
            "max_lr": self.lr,
            "label_smoothing": self.label_smoothing,
            "ema_decay": self.ema_decay,
            "ema_unit": self.ema_unit,
            "augment": self.augment,
            "seed": self.seed,
            "precision": self.precision,
            "compile": self.compile_network,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class TransferSettings(Settings):
    """A network to start from, and one to learn from."""

    init: str | None = setting(
        None,
        "Start from a checkpoint or a shipped model; {fold} stands for the fold's number.",
        panel=_TRANSFER,
    )
    any_rate: bool = setting(
        False, "Let --init change its sample rate.", "--any-rate", needs="init", panel=_TRANSFER
    )
    qat: bool = setting(
        False,
        "Train --init on as its INT8 export will compute, briefly and gently, by its own "
        "outputs in floating point; --set qat=int8-tensorrt for the other dialect.",
        "--qat",
        needs="init",
        panel=_TRANSFER,
    )
    freeze: str | None = setting(
        None,
        "What of --init stays as it is: none, stem, stage1 or backbone.",
        needs="init",
        panel=_TRANSFER,
    )
    layer_decay: float | None = setting(
        None,
        "Factor on the learning rate per layer below the head.",
        needs="init",
        panel=_TRANSFER,
    )
    teacher: str | None = setting(
        None,
        "Learn from the outputs of a checkpoint or shipped model; {fold} as in --init.",
        panel=_TRANSFER,
    )
    teacher_weight: float | None = setting(
        None,
        "Of the teacher's loss, 0 to 1; default 0.5, or 1 with --qat where --init teaches.",
        needs=("teacher", "qat"),
        panel=_TRANSFER,
    )
    teacher_temperature: float | None = setting(
        None, "How far it softens both outputs.", needs=("teacher", "qat"), panel=_TRANSFER
    )

    def changes(self) -> dict[str, Any]:
        """The recipe's fields that are given, or follow from a teacher."""
        weight = self.teacher_weight
        if self.teacher and weight is None:
            weight = _DEFAULT_TEACHER_WEIGHT
        fields = {
            "freeze": self.freeze,
            "layer_decay": self.layer_decay,
            "teacher_weight": weight,
            "teacher_temperature": self.teacher_temperature,
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class MachineSettings(Settings):
    """Where a run computes; nothing here changes what it computes, but for ``micro_batch``."""

    device: str = setting("auto", "cpu, cuda, cuda:1, … or auto.", panel=_MACHINE)
    devices: int = setting(
        1, "Processes on this machine that share each batch.", least=1, most=1024, panel=_MACHINE
    )
    nodes: int = setting(1, "Machines that train together.", least=1, most=1024, panel=_MACHINE)
    micro_batch: int | None = setting(
        None,
        "Clips that one pass holds, whose gradients add up to the batch's; default: the "
        "whole batch, or what fits into memory.",
        least=1,
        most=1 << 20,
        panel=_MACHINE,
    )
    threads: int | None = setting(
        None,
        "CPU threads; default: all cores of this machine.",
        least=1,
        most=MOST_THREADS,
        panel=_MACHINE,
    )
    tensorboard: bool | None = setting(
        None,
        "Scalars for TensorBoard; default: where it is installed.",
        "--tensorboard/--no-tensorboard",
        panel=_MACHINE,
    )

    def check(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise UsageError(f"Unknown device {self.device!r}.", "cpu, cuda, cuda:1, … or auto.")
