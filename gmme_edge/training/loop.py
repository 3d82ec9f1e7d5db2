"""The training loop: one process, one device, resumable at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gmme_edge import __version__
from gmme_edge.data.store import WaveformStore
from gmme_edge.errors import GmmeEdgeError, UsageError
from gmme_edge.evaluation import score_store
from gmme_edge.models.checkpoint import save_checkpoint
from gmme_edge.models.eat import EAT, peak_scale, seed_batch_norm, torch_predictor
from gmme_edge.spec import ModelSpec
from gmme_edge.training.augment import augment
from gmme_edge.training.batches import Batches, generator_for
from gmme_edge.training.ema import Ema
from gmme_edge.training.interrupt import stop_on_signal
from gmme_edge.training.recipe import Recipe
from gmme_edge.training.state import STATE, RunState

_SAVE_EVERY_S = 60.0


class TrainingDivergedError(GmmeEdgeError):
    """The loss became NaN or infinite."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands; `accuracy` and `loss` are of this epoch's training clips so far."""

    epoch: int
    step: int
    total_steps: int
    loss: float
    accuracy: float
    learning_rate: float
    clips_per_s: float
    left_s: float
    monitor_accuracy: float | None


@dataclass(frozen=True)
class TrainingData:
    """Stored clips to train on and, if given, clips to watch the averaged weights on.

    `description` says which data set and split these are; it is saved with the checkpoint.
    """

    train: WaveformStore
    monitor: WaveformStore | None
    labels: tuple[str, ...]
    description: Mapping[str, Any]


class Trainer:
    """Trains `spec` by `recipe` into the checkpoint folder `out`.

    All randomness is a function of the seed and the step, so a run that was stopped and resumed
    ends with the same weights as one that was not.
    """

    def __init__(
        self, spec: ModelSpec, data: TrainingData, recipe: Recipe, out: Path, device: str = "cpu"
    ) -> None:
        if spec.n_classes != len(data.labels):
            raise UsageError(
                f"The model has {spec.n_classes} classes, the data {len(data.labels)} labels."
            )
        self.spec, self.data, self.recipe, self.out = spec, data, recipe, out
        self.device = torch.device(device)
        self.batches = Batches(data.train, spec.n_samples)
        self.batch_size = min(recipe.batch_size, len(self.batches))
        self.steps_per_epoch = len(self.batches) // self.batch_size  # the last partial is dropped
        self.total_steps = self.steps_per_epoch * recipe.epochs
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            model = EAT(spec).to(self.device)
            first = self.batches.order(recipe.seed, 0)[: self.batch_size]
            waveform, _ = self.batches.take(first, generator_for(recipe.seed, 0, stream=2))
            seed_batch_norm(model, peak_scale(waveform.to(self.device)))
        optimizer = torch.optim.AdamW(
            parameter_groups(model, recipe.weight_decay),
            recipe.max_lr, recipe.betas, recipe.epsilon,
        )  # fmt: skip
        ema = Ema(model, recipe, self.steps_per_epoch)
        self.state = RunState(model, ema, optimizer, 0, [], new_running())

    @property
    def identity(self) -> dict[str, Any]:
        """What must not change between a run and its continuation."""
        return {
            "model": self.spec.to_dict(),
            "recipe": self.recipe.to_dict(),
            "data": {
                **self.data.description,
                "clips": len(self.batches),
                "labels": list(self.data.labels),
            },
        }

    def run(
        self, on_progress: Callable[[Progress], None] | None = None, restart: bool = False
    ) -> None:
        """Train to the end, continuing what `out` holds unless `restart`.

        Raises:
            KeyboardInterrupt: after Ctrl-C or SIGTERM, once the state is saved.
            TrainingDivergedError: the loss is NaN or infinite; the last saved state stays.
            CheckpointError: `out` holds another run.
        """
        state = self.state
        self.out.mkdir(parents=True, exist_ok=True)  # fails now rather than with the first save
        if restart:
            (self.out / STATE).unlink(missing_ok=True)
        elif (self.out / STATE).exists():
            state.load(self.out, self.identity)
        clock = _Clock(state.step)
        with torch.random.fork_rng(devices=[]), stop_on_signal() as stop:
            while state.step < self.total_steps:
                loss = self._step()
                if state.step % self.steps_per_epoch == 0:
                    self._end_epoch()
                if on_progress:
                    on_progress(self._progress(loss, clock))
                if stop.requested:
                    self.save()
                    raise KeyboardInterrupt
                if clock.should_save():
                    self.save()
            self.save()

    def save(self) -> None:
        """Write the resumable state, then the checkpoint with the averaged weights."""
        self.state.save(self.out, self.identity)
        finished = self.state.step >= self.total_steps
        save_checkpoint(
            self.out, self.spec, self.state.ema.model.state_dict(), self.data.labels,
            {
                **self.identity,
                "finished": finished,
                "step": self.state.step,
                "history": self.state.history,
                "versions": {"gmme-edge": __version__, "torch": str(torch.__version__)},
            },
        )  # fmt: skip

    def _step(self) -> float:
        recipe, state = self.recipe, self.state
        epoch, within = divmod(state.step, self.steps_per_epoch)
        generator = generator_for(recipe.seed, state.step, stream=1)
        order = self.batches.order(recipe.seed, epoch)
        indices = order[within * self.batch_size : (within + 1) * self.batch_size]
        waveform, labels = self.batches.take(indices, generator)
        waveform, labels = peak_scale(waveform.to(self.device)), labels.to(self.device)
        if recipe.augment:
            waveform = augment(waveform, self.spec.sample_rate_hz, generator)
        torch.manual_seed(generator.initial_seed())  # dropout draws from the global generator
        logits = state.model.train()(waveform.unsqueeze(1))
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        value = self._descend(loss, indices)
        state.running["loss"] += value * len(labels)
        state.running["correct"] += int((logits.argmax(1) == labels).sum())
        state.running["clips"] += len(labels)
        return value

    def _descend(self, loss: Tensor, indices: Tensor) -> float:
        recipe, state, value = self.recipe, self.state, float(loss.detach())
        for group in state.optimizer.param_groups:
            group["lr"] = one_cycle(state.step, self.total_steps, recipe)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(state.model.parameters(), recipe.gradient_norm))
        if not math.isfinite(value + norm):
            names = [self.data.train.paths[i].name for i in indices[:8].tolist()]
            raise TrainingDivergedError(
                f"At step {state.step} the loss is {value} and its gradient's norm {norm}; the "
                f"batch holds {', '.join(names)}, …",
                "finite numbers.", "lower --lr, or check these recordings; the last state is kept.",
            )  # fmt: skip
        state.optimizer.step()
        state.ema.update(state.model, state.step)
        state.step += 1
        return value

    def _end_epoch(self) -> None:
        running = self.state.running
        entry = {
            "epoch": float(self.state.step // self.steps_per_epoch),
            "loss": running["loss"] / running["clips"],
            "accuracy": running["correct"] / running["clips"],
        }
        if self.data.monitor is not None:
            predict = torch_predictor(self.state.ema.model)
            result = score_store(predict, self.data.monitor, self.spec.n_samples, self.data.labels)
            entry["monitor_accuracy"] = result.accuracy
        self.state.history.append(entry)
        self.state.running = new_running()

    def _progress(self, loss: float, clock: _Clock) -> Progress:
        state = self.state
        clips, last = state.running["clips"], state.history[-1] if state.history else {}
        steps_per_s = clock.steps_per_s(state.step)
        return Progress(
            epoch=-(-state.step // self.steps_per_epoch),
            step=state.step,
            total_steps=self.total_steps,
            loss=state.running["loss"] / clips if clips else last.get("loss", loss),
            accuracy=state.running["correct"] / clips if clips else last.get("accuracy", 0.0),
            learning_rate=one_cycle(state.step - 1, self.total_steps, self.recipe),
            clips_per_s=steps_per_s * self.batch_size,
            left_s=(self.total_steps - state.step) / steps_per_s,
            monitor_accuracy=last.get("monitor_accuracy"),
        )


class _Clock:
    """Speed since this process started, and when to save next."""

    def __init__(self, step: int) -> None:
        self._first, self._start = step, time.monotonic()
        self._saved = self._start

    def steps_per_s(self, step: int) -> float:
        return max(step - self._first, 1) / max(time.monotonic() - self._start, 1e-9)

    def should_save(self) -> bool:
        if time.monotonic() - self._saved < _SAVE_EVERY_S:
            return False
        self._saved = time.monotonic()
        return True


def new_running() -> dict[str, float]:
    return {"loss": 0.0, "correct": 0.0, "clips": 0.0}


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW's two groups: weights of rank 2 and more decay, the rest do not."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def one_cycle(step: int, total_steps: int, recipe: Recipe) -> float:
    """OneCycle's learning rate (cosine up over the warm-up, cosine down to almost 0).

    As torch's `OneCycleLR` with its default divisors, but a function of the step alone.
    """
    initial, final = recipe.max_lr / 25, recipe.max_lr / 25 / 1e4
    peak = max(recipe.warmup_fraction * total_steps - 1, 1e-9)
    if step <= peak:
        low, high, share = initial, recipe.max_lr, step / peak
    else:
        low, high = recipe.max_lr, final
        share = (step - peak) / max(total_steps - 1 - peak, 1e-9)
    return high + (low - high) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
