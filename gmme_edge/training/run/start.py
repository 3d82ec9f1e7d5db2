"""The network that a run begins with: fresh, or from a trained one, as INT8 or not."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gmme_edge.errors import CheckpointError, UsageError
from gmme_edge.models.checkpoint import Checkpoint
from gmme_edge.models.eat import EAT, peak_scale, seed_batch_norm
from gmme_edge.spec import ModelSpec
from gmme_edge.training.fake_quantization import simulate_int8
from gmme_edge.training.feed.batches import Batches, generator_for
from gmme_edge.training.recipe import Recipe

_CALIBRATION_BATCH = 16
_SEEDING_CLIPS = 32  # as many as are scored at once: a whole batch of long clips may not fit


def initial_network(
    spec: ModelSpec, recipe: Recipe, batches: Batches, first: Tensor, start: EAT | None
) -> EAT:
    """The network on the device of `batches`; a function of the recipe's seed.

    Args:
        first: the clips of the first step; some of them seed a fresh network's BatchNorms.
        start: its weights; fresh ones otherwise.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = EAT(spec, recipe.dropout).to(batches.device)
        if start is None:
            few = first[:_SEEDING_CLIPS]
            waveform, _ = batches.take(few, generator_for(recipe.seed, 0, stream=2))
            seed_batch_norm(model, peak_scale(waveform))
        else:
            model.load_state_dict(start.state_dict())
    if recipe.qat != "off":
        if start is None:
            raise UsageError(
                "Quantization-aware training of a network with random weights.",
                "a trained network to start from.",
                "add --init CHECKPOINT, or a shipped model.",
            )
        clips = _calibration_batches(batches, recipe)
        simulate_int8(model, recipe.qat, recipe.qat_float, clips)
    return model


def _calibration_batches(batches: Batches, recipe: Recipe) -> Iterator[Tensor]:
    """Training clips as they are, without augmentation: that is what INT8 is calibrated on."""
    order = batches.order(recipe.seed, 0)[: recipe.qat_clips]
    for number, indices in enumerate(torch.split(order, _CALIBRATION_BATCH)):
        yield peak_scale(batches.take(indices, generator_for(recipe.seed, number, stream=3))[0])


def check_trained(source: Checkpoint, labels: tuple[str, ...]) -> None:
    """Raise `CheckpointError` unless `source` already tells `labels` apart.

    Quantization-aware training is too short and gentle to learn them.
    """
    if source.training.get("untrained"):
        raise CheckpointError(
            f"{source.spec.name} to start from has random weights.",
            "a trained network.",
            "train it without --qat first.",
        )
    unknown = [label for label in labels if label not in source.labels]
    if unknown:
        raise CheckpointError(
            f"{source.spec.name} to start from does not know {', '.join(unknown[:8])}.",
            "a network that was trained on the classes of this data set.",
            "fine-tune it without --qat first, then start from the result.",
        )
