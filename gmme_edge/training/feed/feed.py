"""What the network is fed at each step: a function of the recipe's seed and the step alone."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gmme_edge.models.eat import peak_scale
from gmme_edge.training.feed.augment import augment
from gmme_edge.training.feed.batches import Batches, generator_for
from gmme_edge.training.feed.mixing import Targets, mix, resample_batch
from gmme_edge.training.parallel.rows import Rows
from gmme_edge.training.recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """This process's rows of one step's batch.

    Attributes:
        indices: the whole batch's clips.
        waveform: shape (B, N), on the device.
        targets: labels, shape (B,).
        mixed: whether each row is two clips.
        seed: of the step's dropout.
    """

    indices: Tensor
    waveform: Tensor
    targets: Targets
    mixed: bool
    seed: int


class Feed:
    """Shuffled, augmented and mixed batches of `rows.total` clips; the last partial one is dropped.

    A clip is peak-scaled before it is augmented and not again, as in the reference, so that the
    gain stays one. All of it is float32 on the device.
    """

    def __init__(self, batches: Batches, recipe: Recipe, sample_rate_hz: int, rows: Rows) -> None:
        self._batches, self._recipe, self._rows = batches, recipe, rows
        self._sample_rate_hz = sample_rate_hz
        self.steps_per_epoch = len(batches) // rows.total

    def indices(self, step: int) -> Tensor:
        epoch, within = divmod(step, self.steps_per_epoch)
        order = self._batches.order(self._recipe.seed, epoch)
        return order[within * self._rows.total : (within + 1) * self._rows.total]

    def batch(self, step: int) -> Batch:
        recipe, rate, rows = self._recipe, self._sample_rate_hz, self._rows
        generator = generator_for(recipe.seed, step, stream=1)
        indices = self.indices(step)
        waveform, labels = self._batches.take(indices, generator, rows)
        waveform = peak_scale(waveform)
        if recipe.augment:
            waveform = augment(waveform, recipe, rate, rows, generator)
            waveform = resample_batch(waveform, recipe, generator)
        targets = Targets.unmixed(labels)
        mixed = recipe.mixing and step >= recipe.mixing_from_epoch * self.steps_per_epoch
        if mixed:
            waveform, targets = mix(waveform, labels, recipe, rate, rows, generator)
        return Batch(indices, waveform, targets, mixed, generator.initial_seed())
