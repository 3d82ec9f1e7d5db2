"""Several processes and mixed precision by Lightning Fabric; plain torch where neither is used."""

from __future__ import annotations

import contextlib
import os
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gmme_edge.errors import PlatformError, UsageError, require
from gmme_edge.training.parallel.batch_norm import share_batch_norm
from gmme_edge.training.parallel.rows import Rows

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.precision import Precision

_PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def open_fabric(device: str, devices: int = 1, nodes: int = 1, precision: str = "32") -> Fabric:
    """Join the processes that torchrun, `fabric run` or Slurm started, or start `devices` of them.

    Under torchrun and `fabric run` their settings count and `devices` and `nodes` do not. Else
    the processes are copies of this program, which all run on from here: call it early.

    Args:
        device: ``"cpu"``, ``"cuda"`` or, for one process, ``"cuda:1"``.
        devices: processes on this machine, each with a device of its own.
        precision: as `Recipe.precision`.

    Raises:
        MissingDependencyError: Lightning Fabric is not installed.
        UsageError: the settings contradict each other.
        PlatformError: the machine has fewer GPUs.
    """
    place = torch.device(device)
    under_torchrun = dist.is_available() and dist.is_torchelastic_launched()
    if under_torchrun:
        devices = processes_here() or 1
        nodes = max(1, _number_of("WORLD_SIZE")) // devices
    _check(place, devices, precision)
    fabric_class = _import_lightning().Fabric
    if "LT_CLI_USED" in os.environ:  # `fabric run` passes the rest in such variables
        return fabric_class(precision=_PRECISIONS[precision])  # type: ignore[no-any-return]
    chosen = devices if place.type == "cpu" or place.index is None else [place.index]
    fabric: Fabric = fabric_class(
        accelerator=place.type, devices=chosen, num_nodes=nodes, precision=_PRECISIONS[precision]
    )
    fabric.launch()
    return fabric


def processes_here() -> int:
    """On this machine, as torchrun tells each of them; 0 where it does not.

    Raises:
        UsageError: a variable of torchrun's that is no number.
    """
    return _number_of("LOCAL_WORLD_SIZE")


def _number_of(variable: str) -> int:
    text = os.environ.get(variable) or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise UsageError(f"{variable} is {text!r:.40}.", "the number of processes, of torchrun.")
    return int(text)


def _check(place: torch.device, devices: int, precision: str) -> None:
    if precision == "16" and place.type == "cpu":
        raise UsageError("precision 16 on a CPU.", "32 or bf16 there.")
    if place.index is not None and devices > 1:
        raise UsageError(f"{devices} processes on {place}.", "cpu or cuda, without a number.")
    if place.type == "cuda" and devices > torch.cuda.device_count():
        raise PlatformError(
            f"{devices} processes, but torch sees {torch.cuda.device_count()} CUDA devices.",
            "one device for each process.",
        )


def _import_lightning() -> ModuleType:
    """`lightning_fabric`, or the same as a part of `lightning`."""
    alone = find_spec("lightning_fabric") or not find_spec("lightning")
    name = "lightning_fabric" if alone else "lightning.fabric"
    return require(name, "train in several processes or in mixed precision", "train")


class Processes:
    """The processes that share a run, seen from one of them; without a Fabric there is only one.

    Attributes:
        device: where this process computes.
        rank, size: its number, and how many there are; number 0 writes the files.
    """

    def __init__(self, fabric: Fabric | None, device: str, precision: str) -> None:
        if fabric is None and precision != "32":
            fabric = open_fabric(device, precision=precision)
        self._fabric = fabric
        self.device = fabric.device if fabric else torch.device(device)
        self.rank = fabric.global_rank if fabric else 0
        self.size = fabric.world_size if fabric else 1
        if fabric:
            used = getattr(self._precision, "precision", "32-true")
            if used != _PRECISIONS[precision]:
                raise UsageError(
                    f"The Fabric computes in {used}.", f"{_PRECISIONS[precision]}, as the recipe."
                )

    @property
    def _precision(self) -> Precision:
        assert self._fabric is not None
        return self._fabric.strategy.precision

    def rows(self, total: int) -> Rows:
        """This process's rows of a batch of `total`.

        Raises:
            UsageError: not an even number of rows for each process: mixing pairs neighbours, and
                averages over processes weigh each the same.
        """
        if self.size == 1:
            return Rows.all(total)
        if total % (2 * self.size):
            raise UsageError(
                f"A batch of {total} clips for {self.size} processes.",
                f"a multiple of {2 * self.size}: an even number of clips for each process.",
                f"--batch-size {max(total // (2 * self.size), 1) * 2 * self.size}",
            )
        share = total // self.size
        return Rows(total, self.rank * share, (self.rank + 1) * share)

    def adopt(self, model: nn.Module, optimizer: torch.optim.Optimizer, compiled: bool) -> None:
        """Take over the network's training; its parameters stay the same tensors."""
        if self.size > 1:
            share_batch_norm(model)
        self._network = cast(nn.Module, torch.compile(model)) if compiled else model
        self._optimizer = optimizer
        if self._fabric:
            self._network, self._optimizer = self._fabric.setup(self._network, optimizer)
            if self._precision.state_dict():  # a run before this one may have changed the scale
                scaler = torch.amp.GradScaler(self.device.type)
                self._precision.load_state_dict(scaler.state_dict())

    def forward(self, waveform: Tensor) -> Tensor:
        logits: Tensor = self._network(waveform)
        return logits

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        return self._fabric.autocast() if self._fabric else contextlib.nullcontext()

    def zero_grad(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the mean of all processes' `loss`."""
        if self._fabric is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self._fabric.backward(loss)

    def clip(self, gradient_norm: float) -> Tensor:
        """Clip the gradients; returns their norm before."""
        if self._fabric is None:
            return nn.utils.clip_grad_norm_(self._network.parameters(), gradient_norm)
        norm = self._fabric.clip_gradients(
            self._network, self._optimizer, max_norm=gradient_norm, error_if_nonfinite=False
        )
        assert norm is not None
        return norm

    def step(self) -> None:
        self._optimizer.step()

    @property
    def loss_scale(self) -> dict[str, float]:
        """The state of float16's loss scaling; empty where there is none."""
        return dict(self._precision.state_dict()) if self._fabric else {}

    @loss_scale.setter
    def loss_scale(self, state: dict[str, float]) -> None:
        if self._fabric and state:
            self._precision.load_state_dict(state)

    def sum(self, values: Tensor) -> Tensor:
        """The sum of all processes' `values`, the same on each; `values` itself."""
        if self.size > 1:
            dist.all_reduce(values)  # Fabric's own waits for all processes first
        return values

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true on any process."""
        if self.size == 1:
            return flag
        return bool(self.sum(torch.tensor(float(flag), device=self.device)))

    def wait(self) -> None:
        """Until every process is here."""
        if self._fabric:
            self._fabric.barrier()
