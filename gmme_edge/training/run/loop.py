"""The training loop, resumable at any step, in one process or in several that share each batch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gmme_edge import __version__
from gmme_edge.data.store import WaveformStore
from gmme_edge.errors import UsageError
from gmme_edge.evaluation import score_store
from gmme_edge.interrupt import stop_on_signal
from gmme_edge.models.checkpoint import save_checkpoint
from gmme_edge.models.eat import torch_predictor
from gmme_edge.spec import ModelSpec
from gmme_edge.training.distill import distillation_loss
from gmme_edge.training.fake_quantization import plain_state
from gmme_edge.training.feed.batches import Batches
from gmme_edge.training.feed.feed import Batch, Feed
from gmme_edge.training.feed.mixing import Targets
from gmme_edge.training.parallel.fabric import Processes
from gmme_edge.training.recipe import Recipe
from gmme_edge.training.run.accumulation import slow_batch_norm, split_rows
from gmme_edge.training.run.allocator import keep_freed_memory
from gmme_edge.training.run.divergence import divergence, is_finite
from gmme_edge.training.run.ema import Ema
from gmme_edge.training.run.inputs import Place as Place
from gmme_edge.training.run.inputs import Start as Start
from gmme_edge.training.run.inputs import TrainingData as TrainingData
from gmme_edge.training.run.journal import Journal
from gmme_edge.training.run.loss import batch_loss
from gmme_edge.training.run.optimizer import one_cycle, parameter_groups, set_train_mode
from gmme_edge.training.run.progress import Clock
from gmme_edge.training.run.progress import Progress as Progress
from gmme_edge.training.run.start import initial_network
from gmme_edge.training.run.state import STATE, RunState, new_running

_SAVE_EVERY_S = 60.0
_JOURNAL_EVERY_STEPS = 10
_HERE, _FRESH = Place(), Start()


class Trainer:
    """Trains `spec` by `recipe` into the checkpoint folder `out`.

    All randomness is a function of the seed and the step, so a run that was stopped and resumed
    ends with the same weights as one that was not. With a Fabric of several processes, each takes
    its rows of every batch, and the result is that of one process up to rounding and dropout,
    whose masks no two shapes share; `out` must be one folder for all of them.

    Args:
        journal: told of steps and epochs, on process 0.
    """

    def __init__(
        self,
        spec: ModelSpec,
        data: TrainingData,
        recipe: Recipe,
        out: Path,
        place: Place = _HERE,
        start: Start = _FRESH,
        journal: Journal | None = None,
    ) -> None:
        if spec.n_classes != len(data.labels):
            raise UsageError(
                f"The model has {spec.n_classes} classes, the data {len(data.labels)} labels."
            )
        if recipe.teacher_weight and start.teacher is None:
            raise UsageError(f"teacher_weight = {recipe.teacher_weight} without a teacher.")
        self.spec, self.data, self.recipe, self.out = spec, data, recipe, out
        self._start = start
        self.processes = Processes(place.fabric, place.device, recipe.precision)
        self.device = self.processes.device
        self._journal = journal if self.processes.rank == 0 else None
        self.batches = Batches(
            data.train, spec.n_samples, self.device, crop_energy=recipe.crop_energy
        )
        self.batch_size = min(recipe.batch_size, len(self.batches))
        rows = self.processes.rows(self.batch_size)
        self.feed = Feed(self.batches, recipe, spec.sample_rate_hz, rows)
        self.parts = split_rows(rows.stop - rows.start, place.micro_batch)
        self.steps_per_epoch = self.feed.steps_per_epoch
        self.total_steps = self.steps_per_epoch * recipe.epochs
        model = initial_network(spec, recipe, self.batches, self.feed.indices(0), start.weights)
        optimizer = torch.optim.AdamW(
            parameter_groups(model, recipe), recipe.max_lr, recipe.betas, recipe.epsilon
        )
        ema = Ema(model, recipe, self.steps_per_epoch)
        slow_batch_norm(model, len(self.parts))
        self.processes.adopt(model, optimizer, recipe.compile)
        micro_batch = place.micro_batch if len(self.parts) > 1 else None
        self.state = RunState(model, ema, optimizer, 0, [], new_running(), micro_batch=micro_batch)

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
            **self._start.identity,
        }

    def run(
        self,
        on_progress: Callable[[Progress], None] | None = None,
        restart: bool = False,
        on_scored: Callable[[int, int], None] | None = None,
    ) -> None:
        """Train to the end, continuing what `out` holds unless `restart`.

        On process 0, `on_progress` is called after each step, and `on_scored` while the watched
        clips are scored: with how many are done, and how many there are.

        Raises:
            KeyboardInterrupt: after Ctrl-C or SIGTERM on any process, once the state is saved.
            TrainingDivergedError: the loss is NaN or infinite; the last saved state stays.
            CheckpointError: `out` holds another run.
        """
        state, processes = self.state, self.processes
        self._open(restart)
        clock = Clock(state.step)
        with torch.random.fork_rng(devices=[]), stop_on_signal("stopping after this step") as stop:
            while state.step < self.total_steps:
                loss, norm = self._step()
                if state.step % self.steps_per_epoch == 0:
                    self._end_epoch(on_scored)
                progress = self._progress(loss, clock)
                self._report(progress, loss, norm)
                if on_progress and processes.rank == 0:
                    on_progress(progress)
                if processes.any(stop.requested):
                    self.save(wait=True)
                    raise KeyboardInterrupt
                if clock.should_save(_SAVE_EVERY_S):
                    self.save()
            self.save(wait=True)

    def _open(self, restart: bool) -> None:
        """Load the state in `out`, if any, on every process; `restart` leaves it until it is
        replaced, since the disk may be too full for a new one.
        """
        state, processes = self.state, self.processes
        self.out.mkdir(parents=True, exist_ok=True)  # fails now rather than with the first save
        if not restart and (self.out / STATE).exists():
            state.load(self.out, self.identity)
            processes.loss_scale = state.loss_scale
        steps = processes.sum(torch.tensor(float(state.step), device=self.device))
        if steps != state.step * processes.size:
            raise UsageError(
                f"{self.out} is not the same folder on all machines.", "a shared folder."
            )
        if self._journal:
            self._journal.rewind(state.step)
        if self.device.type == "cpu":
            keep_freed_memory()

    def save(self, wait: bool = False) -> None:
        """Write the resumable state, then the checkpoint with the averaged weights: on process 0.

        `wait` keeps every process, so that none ends, and its launcher the others, before that.
        """
        if self.processes.rank == 0:
            self._write()
        if wait:
            self.processes.wait()

    def _write(self) -> None:
        self.state.loss_scale = self.processes.loss_scale
        self.state.save(self.out, self.identity)
        finished = self.state.step >= self.total_steps
        identity = self.identity
        save_checkpoint(
            self.out,
            self.spec,
            plain_state(self.state.ema.model),
            self.data.labels,
            {
                **identity,
                "data": {**identity["data"], **self.data.facts},
                "finished": finished,
                "step": self.state.step,
                "history": self.state.history,
                "versions": {"gmme-edge": __version__, "torch": str(torch.__version__)},
            },
        )

    def _step(self) -> tuple[float, float]:
        """One optimizer step; the whole batch's loss and its gradient's norm before clipping."""
        state, processes = self.state, self.processes
        batch = self.feed.batch(state.step)
        set_train_mode(state.model, self.recipe)
        torch.manual_seed(batch.seed + processes.rank)  # of the global generator: dropout
        for group in state.optimizer.param_groups:
            group["lr"] = group["lr_scale"] * one_cycle(state.step, self.total_steps, self.recipe)
        sums = processes.sum(self._add_gradients(batch))
        norm = processes.clip(self.recipe.gradient_norm)
        loss, correct_clips, gradient_norm = torch.cat([sums, norm[None].double()]).tolist()
        loss /= self.batch_size
        if not is_finite(loss, gradient_norm, processes.loss_scale.get("scale", 0.0)):
            paths = [self.data.train.paths[i] for i in batch.indices.tolist()]
            raise divergence(
                state.step, loss, gradient_norm, paths, self.out, write=processes.rank == 0
            )
        processes.step()
        state.ema.update(state.model, state.step)
        state.step += 1
        state.running["loss"] += loss * self.batch_size
        state.running["correct"] += correct_clips
        state.running["clips"] += self.batch_size
        return loss, gradient_norm

    def _add_gradients(self, batch: Batch) -> Tensor:
        """Gradients of the batch's mean loss; the losses' sum and how many clips are right."""
        processes, sums = self.processes, torch.zeros(2, dtype=torch.float64, device=self.device)
        processes.zero_grad()
        for rows in self.parts:
            waveform, targets = batch.waveform[rows].unsqueeze(1), batch.targets[rows]
            logits = processes.forward(waveform)
            losses = self._losses(logits, waveform, targets, batch.mixed)
            processes.backward(losses.mean() * (len(losses) / len(batch.waveform)))
            dominant = torch.where(targets.share > 0.5, targets.second, targets.first)
            correct = (logits.detach().argmax(1) == dominant).sum()
            sums += torch.stack([losses.detach().sum().double(), correct.double()])
        return sums

    def _losses(self, logits: Tensor, waveform: Tensor, targets: Targets, mixed: bool) -> Tensor:
        """Shape (B,)."""
        recipe, teacher = self.recipe, self._start.teacher
        losses = batch_loss(logits, targets, recipe, mixed)
        if teacher is None or not recipe.teacher_weight:
            return losses
        with self.processes.autocast():
            taught = teacher(waveform)
        soft = distillation_loss(logits, taught, recipe.teacher_temperature)
        return (1 - recipe.teacher_weight) * losses + recipe.teacher_weight * soft

    def _end_epoch(self, on_scored: Callable[[int, int], None] | None) -> None:
        running = self.state.running
        entry = {
            "epoch": float(self.state.step // self.steps_per_epoch),
            "loss": running["loss"] / running["clips"],
            "accuracy": running["correct"] / running["clips"],
        }
        if self.data.monitor is not None:
            entry["monitor_accuracy"] = self._monitor(self.data.monitor, on_scored)
        self.state.history.append(entry)
        self.state.running = new_running()
        if self._journal:
            self._journal.log(self.state.step, "epoch", entry)

    def _monitor(self, store: WaveformStore, on_scored: Callable[[int, int], None] | None) -> float:
        """The averaged weights' accuracy, found by process 0."""
        accuracy = torch.zeros((), dtype=torch.float64, device=self.device)
        if self.processes.rank == 0:
            predict = torch_predictor(self.state.ema.model)
            score = score_store(predict, store, self.spec.n_samples, self.data.labels, on_scored)
            accuracy.fill_(score.accuracy)
        return float(self.processes.sum(accuracy))

    def _report(self, progress: Progress, loss: float, norm: float) -> None:
        if self._journal and progress.step % _JOURNAL_EVERY_STEPS == 0:
            values = {"loss": loss, "grad_norm": norm, "lr": progress.learning_rate}
            values["clips_per_s"] = progress.clips_per_s
            self._journal.log(progress.step, "step", values)

    def _progress(self, loss: float, clock: Clock) -> Progress:
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
