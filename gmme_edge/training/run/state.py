"""The resumable state of a run: one safetensors file, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gmme_edge.errors import CheckpointError
from gmme_edge.files import replacing
from gmme_edge.models.eat import EAT
from gmme_edge.training.run.claim import STATE as STATE
from gmme_edge.training.run.ema import Ema


def new_running() -> dict[str, float]:
    return {"loss": 0.0, "correct": 0.0, "clips": 0.0}


@dataclass
class RunState:
    """Everything that changes while training; random numbers are functions of `step`.

    Attributes:
        step: optimizer steps done.
        history: one entry per finished epoch.
        running: sums of the unfinished epoch: loss, correct, clips.
        loss_scale: of float16's gradients; empty in other precisions.
        micro_batch: how many clips one pass holds; None for the whole batch.
    """

    model: EAT
    ema: Ema
    optimizer: torch.optim.Optimizer
    step: int
    history: list[dict[str, float]]
    running: dict[str, float]
    loss_scale: dict[str, float] = field(default_factory=dict)
    micro_batch: int | None = None

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.model.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{slot}": v for slot, v in slots.items()}
        return tensors

    def save(self, folder: Path, identity: Mapping[str, Any]) -> None:
        note = {
            "identity": dict(identity),
            "step": self.step,
            "history": self.history,
            "running": self.running,
            "loss_scale": self.loss_scale,
            "micro_batch": self.micro_batch,
        }
        tensors = {key: value.detach().contiguous().cpu() for key, value in self._tensors().items()}
        with replacing(folder / STATE, sum(t.nbytes for t in tensors.values())) as temporary:
            save_file(tensors, temporary, metadata={"run": json.dumps(note)})

    def load(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Continue the run in `folder`.

        Raises:
            CheckpointError: unreadable, or a run with other settings or data.
        """
        path = folder / STATE
        with _naming_damage(path):
            note, tensors = _read(path)
            _check_identity(path, note["identity"], json.loads(json.dumps(dict(identity))))
            self._restore(note, tensors)

    def _restore(self, note: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Take over a whole state, or raise and keep what is."""
        step, history = _whole_number(note["step"]), [_figures(e) for e in note["history"]]
        running, scale = _figures(note["running"]), _figures(note.get("loss_scale", {}))
        if any("epoch" not in entry for entry in history):
            raise ValueError("an epoch without its number")
        if running.keys() != new_running().keys():
            raise ValueError(f"running sums {sorted(running)}")
        own = self._tensors()
        parts = ("model.", "ema.")
        _check_tensors(
            {k: v for k, v in own.items() if k.startswith(parts)},
            {k: v for k, v in tensors.items() if k.startswith(parts)},
        )
        slots = _optimizer_slots(self.optimizer, tensors)
        groups = self.optimizer.state_dict()["param_groups"]
        self.step, self.history, self.running, self.loss_scale = step, history, running, scale
        self.model.load_state_dict(_under("model.", tensors))
        self.ema.model.load_state_dict(_under("ema.", tensors))
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})


def saved_micro_batch(folder: Path) -> tuple[bool, int | None]:
    """Whether `folder` holds a run, and the micro-batch that it must go on with."""
    path = folder / STATE
    if not path.exists():
        return False, None
    with _naming_damage(path):
        value = _read(path, tensors=False)[0].get("micro_batch")
        return True, None if value is None else _whole_number(value)


def refuse_other_run(folder: Path, known: Mapping[str, Any]) -> None:
    """Say at once what `RunState.load` would say after the clips were decoded.

    Args:
        known: an identity, perhaps without what only the clips tell.

    Raises:
        CheckpointError: `folder` holds a run with other settings, or one that is unreadable.
    """
    path = folder / STATE
    if not path.exists():
        return
    with _naming_damage(path):
        note, _ = _read(path, tensors=False)
        wanted = json.loads(json.dumps(dict(known)))
        _check_identity(path, note["identity"], wanted, whole=False)


@contextlib.contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except CheckpointError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        OSError,
        RuntimeError,
        SafetensorError,
        TypeError,
        ValueError,
    ) as error:
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"{path} cannot be read: {type(error).__name__}: {reason}",
            "an intact training state.",
            "start again with --restart.",
        ) from error


def _read(path: Path, tensors: bool = True) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        note = json.loads((file.metadata() or {})["run"])
        if not isinstance(note, dict) or not isinstance(note["identity"], dict):
            raise TypeError("its notes are no object")
        keys = file.keys() if tensors else ()
        return note, {key: file.get_tensor(key) for key in keys}


def _whole_number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        raise ValueError(f"{value!r} is no number of steps or clips")
    return value


def _figures(values: object) -> dict[str, float]:
    """A mapping of names to finite numbers, as it was written."""
    if not isinstance(values, dict):
        raise TypeError(f"{type(values).__name__} in place of figures")
    for name, value in values.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise ValueError(f"{name} = {value!r}")
    return values


def _check_tensors(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    if own.keys() != saved.keys():
        raise ValueError(f"other tensors: {', '.join(sorted(own.keys() ^ saved.keys())[:4])}")
    for key, value in saved.items():
        if value.shape != own[key].shape or value.dtype != own[key].dtype:
            raise ValueError(f"{key} is {value.dtype} {tuple(value.shape)}")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{key} is not finite")


def _optimizer_slots(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> dict[int, dict[str, Tensor]]:
    """AdamW's moments by parameter; either all of them or, before the first step, none."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in _under("optimizer.", tensors).items():
        index, _, slot = key.partition(".")
        slots.setdefault(int(index), {})[slot] = value
    if not slots:
        return slots
    if sorted(slots) != list(range(len(parameters))):
        raise ValueError(f"moments of {len(slots)} parameters, not {len(parameters)}")
    for number, parameter in enumerate(parameters):
        moments = {name: slots[number][name] for name in ("exp_avg", "exp_avg_sq")}
        _check_tensors(dict.fromkeys(moments, parameter), moments)
        _check_tensors({"step": torch.tensor(0.0)}, {"step": slots[number]["step"]})
    return slots


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _check_identity(
    path: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any], whole: bool = True
) -> None:
    old, new = _flat(saved), _flat(wanted)
    if not whole:  # of a part that is known, what is missing is told later
        old = {k: v for k, v in old.items() if k in new or k.partition(".")[0] not in wanted}
    differences = [
        f"{key}: saved {old.get(key)!r}, now {new.get(key)!r}"
        for key in {**new, **old}
        if old.get(key) != new.get(key)
    ]
    if differences:
        raise CheckpointError(
            f"{path} belongs to another run:\n  " + "\n  ".join(differences),
            "the settings and data with which it was started.",
            "repeat those settings, choose another -o, or start again with --restart.",
        )


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    """``{"recipe": {"seed": 0}}`` → ``{"recipe.seed": 0}``; deeper levels stay."""
    flat: dict[str, Any] = {}
    for part, value in identity.items():
        inner = value if isinstance(value, dict) else None
        flat |= {part: value} if inner is None else {f"{part}.{k}": v for k, v in inner.items()}
    return flat
