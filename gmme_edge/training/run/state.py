"""The resumable state of a run: one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from gmme_edge.training.run.ema import Ema

STATE = "training-state.safetensors"


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
    """

    model: EAT
    ema: Ema
    optimizer: torch.optim.Optimizer
    step: int
    history: list[dict[str, float]]
    running: dict[str, float]
    loss_scale: dict[str, float] = field(default_factory=dict)

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
        try:
            with safe_open(path, framework="pt") as file:
                note = json.loads((file.metadata() or {})["run"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            _check_identity(path, note["identity"], json.loads(json.dumps(dict(identity))))
            self._restore(note, tensors)
        except (OSError, KeyError, ValueError, RuntimeError, SafetensorError) as error:
            reason = str(error).partition("\n")[0]
            raise CheckpointError(
                f"{path} cannot be read: {type(error).__name__}: {reason}",
                "an intact training state.", "start again with --restart.",
            ) from error  # fmt: skip

    def _restore(self, note: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.step, self.history, self.running = note["step"], note["history"], note["running"]
        self.loss_scale = note.get("loss_scale", {})
        self.model.load_state_dict(_under("model.", tensors))
        self.ema.model.load_state_dict(_under("ema.", tensors))
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in _under("optimizer.", tensors).items():
            index, _, slot = key.partition(".")
            slots.setdefault(int(index), {})[slot] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _check_identity(path: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    old, new = _flat(saved), _flat(wanted)
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
