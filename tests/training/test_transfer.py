"""A trained network's weights in a network for other classes and lengths, against numpy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gmme_edge.data.synthetic import LABELS as SOUNDS
from gmme_edge.data.synthetic import synthesize
from gmme_edge.errors import CheckpointError
from gmme_edge.evaluation import score_store
from gmme_edge.models.checkpoint import Checkpoint, load_checkpoint
from gmme_edge.models.eat import EAT, torch_predictor
from gmme_edge.spec import BACKBONES, Backbone, Downsample, ModelSpec
from gmme_edge.training.recipe import Recipe
from gmme_edge.training.run.loop import Start, Trainer, TrainingData
from gmme_edge.training.transfer import initial_model
from tests.conftest import TINY
from tests.training import tiny_run

LABELS = ("dog", "rain", "siren")


def trained(spec: ModelSpec, labels: tuple[str, ...] = LABELS) -> Checkpoint:
    """Every weight and statistic other than an initialisation leaves it."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(7)
        model = EAT(spec)
        for value in model.state_dict().values():
            value.add_(torch.rand_like(value) / 10 if value.is_floating_point() else 41)
    return Checkpoint(model.eval(), labels)


SOURCE = trained(TINY)


def resized(position: np.ndarray, tokens: int) -> np.ndarray:
    """The class token's row, then straight lines between token centres, in float64."""
    rows = position[1:].astype(np.float64)
    centres = (np.arange(tokens) + 0.5) * len(rows) / tokens - 0.5
    columns = [np.interp(centres, np.arange(len(rows)), column) for column in rows.T]
    return np.concatenate([position[:1], np.stack(columns, axis=1)])


def test_everything_but_the_head_is_taken_over(tiny: ModelSpec) -> None:
    source = trained(tiny)
    model = initial_model(replace(tiny, n_classes=5), source, ("a", "b", "c", "d", "dog"))
    theirs = source.model.state_dict()
    for name, value in model.state_dict().items():
        assert name.startswith("classify.") or torch.equal(value, theirs[name]), name
    assert model.classify.weight.shape == (5, 32) and not model.classify.bias.any()
    waveform = torch.rand(2, 1, tiny.n_samples) - 0.5
    with torch.no_grad():
        assert torch.equal(model.eval().embed(waveform), source.model.embed(waveform))


def test_start_is_a_copy() -> None:
    source = trained(TINY)
    model = initial_model(TINY, source, LABELS)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert all(p.all() for p in source.model.parameters())
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("labels", [LABELS, ("siren", "dog"), ("rain", "siren", "dog")])
def test_head_of_known_labels_is_kept(labels: tuple[str, ...]) -> None:
    """Each label keeps its logit, in the new order."""
    source = trained(TINY)
    model = initial_model(replace(TINY, n_classes=len(labels)), source, labels).eval()
    waveform = torch.rand(2, 1, TINY.n_samples) - 0.5
    with torch.no_grad():
        ours, theirs = model(waveform), source.model(waveform)
    wanted = torch.stack([theirs[:, LABELS.index(label)] for label in labels], dim=1)
    torch.testing.assert_close(ours, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("labels", [("dog", "rain", "cat"), ("Dog", "rain", "siren"), ()])
def test_head_is_new_where_a_label_is_unknown(labels: tuple[str, ...]) -> None:
    """Small, as torch initialises a Linear, and a function of the seed alone."""
    heads = []
    for seed, noise in ((3, 1), (3, 2), (4, 1)):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        heads.append(initial_model(TINY, SOURCE, labels, seed).classify.weight.detach())
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    assert 0.1 < float(heads[0].abs().max()) <= 1 / np.sqrt(32)


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3, 0.5], ids=str)
def test_position_embedding_is_resized(factor: float) -> None:
    source = trained(replace(TINY, n_samples=2 * TINY.n_samples))
    spec = replace(TINY, n_samples=int(2 * TINY.n_samples * factor))
    got = initial_model(spec, source).position.detach().numpy()[0]
    wanted = resized(source.model.position.detach().numpy()[0], spec.tokens)
    assert got.shape == (spec.tokens + 1, 32)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(got[0], source.model.position.detach().numpy()[0, 0])


def test_another_length_runs(tiny: ModelSpec) -> None:
    spec = replace(tiny, n_samples=12_288)
    model = initial_model(spec, trained(tiny)).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 1, 12_288) - 0.5).isfinite().all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"downsample": Downsample("gmme", 8, 4)}, "down-sampling aa, not gmme-k8c4"),
        ({"backbone": replace(TINY.backbone, n_layers=3)}, "n_layers 2, not 3"),
        ({"backbone": replace(TINY.backbone, n_heads=8)}, "n_heads 4, not 8"),
        ({"backbone": BACKBONES["eat-s"]}, "stem_channels 4, not 16\n  embed_dim 32, not 128"),
        ({"factors": (4, 4, 2)}, r"factors \(4, 4, 4\), not \(4, 4, 2\)"),
        ({"sample_rate_hz": 16_000}, r"8000 Hz, not 16000 Hz.*every pitch would be ×0.50"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_named(changes: dict[str, object], message: str) -> None:
    spec = replace(TINY, name="mine", **changes)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=message) as error:
        initial_model(spec, SOURCE)
    assert "tiny cannot start mine" in str(error.value) and "Fix: train tiny" in str(error.value)


def test_heads_that_share_their_shapes_are_told_apart() -> None:
    """Another number of heads fits every tensor, and computes something else."""
    spec = replace(TINY, backbone=replace(TINY.backbone, n_heads=8))
    shapes = {name: value.shape for name, value in EAT(spec).state_dict().items()}
    assert shapes == {name: v.shape for name, v in SOURCE.model.state_dict().items()}
    with pytest.raises(CheckpointError, match="n_heads"):
        initial_model(spec, SOURCE)


def test_another_rate_is_accepted_when_asked_for() -> None:
    spec = replace(TINY, sample_rate_hz=16_000)
    model = initial_model(spec, SOURCE, any_rate=True)
    assert model.spec == spec
    assert torch.equal(model.stem.conv.weight, SOURCE.model.stem.conv.weight)


def test_trainer_keeps_what_is_frozen(tmp_path: Path) -> None:
    """In the averaged weights too, which are what the checkpoint holds."""
    source = trained(tiny_run.SPEC, ("a", "b", "c"))
    start = initial_model(tiny_run.SPEC, source, tiny_run.LABELS)
    recipe = replace(tiny_run.RECIPE, freeze="backbone", epochs=1)
    Trainer(tiny_run.SPEC, tiny_run.make_data(), recipe, tmp_path, start=Start(start)).run()
    saved, theirs = load_checkpoint(tmp_path).model.state_dict(), source.model.state_dict()
    for name, value in saved.items():
        assert torch.equal(value, theirs[name]) != name.startswith("classify."), name


@pytest.mark.slow
def test_few_clips_suffice_for_a_trained_network(tmp_path: Path) -> None:
    """Four sounds of each of four new classes; the same steps from scratch get less far.

    Over four seeds: a single run's accuracy varies by ten points and more, also with how a CPU
    rounds.
    """
    known = ("rising sweep", "falling sweep", "tremolo", "two-tone siren", "hiss", "clicks")
    new = ("steady tone", "vibrato", "bell", "puffs")
    backbone = Backbone(8, 32, 64, 2, 4)
    whole = ModelSpec("small", backbone, Downsample("gmme", 4, 4), 8000, 2048, (4, 4), 6)
    spec, test = replace(whole, n_classes=4), synthetic(new, 40, 2).train

    def accuracies(seed: int) -> tuple[float, float]:
        recipe = Recipe(
            10, batch_size=16, max_lr=3e-3, ema_unit="step", ema_decay=0.95, seed=seed,
            mixing=False, noise=False, resample_probability=0.0,
        )  # fmt: skip
        folder = tmp_path / str(seed)
        longer = replace(recipe, epochs=20, max_lr=1.5e-3)
        Trainer(whole, synthetic(known, 40, 0), longer, folder / "source").run()
        source = load_checkpoint(folder / "source")
        few = synthetic(new, 4, 1 + 10 * seed)

        def accuracy(freeze: str, start: EAT | None) -> float:
            tuning = replace(recipe, epochs=12, ema_decay=0.9, freeze=freeze)
            Trainer(spec, few, tuning, folder / freeze, start=Start(start)).run()
            predict = torch_predictor(load_checkpoint(folder / freeze).model)
            return score_store(predict, test, spec.n_samples, new).accuracy

        start = initial_model(spec, source, new, seed)
        return accuracy("stage1", start), accuracy("none", None)

    tuned, scratch = (sum(column) / 4 for column in zip(*map(accuracies, range(4)), strict=True))
    assert tuned > 0.75 and tuned > scratch + 0.1, (tuned, scratch)


def synthetic(labels: tuple[str, ...], clips_per_class: int, seed: int) -> TrainingData:
    chosen = [(k, label, i) for i in range(clips_per_class) for k, label in enumerate(labels)]
    sounds = [
        synthesize(label, 8000, 2048, (seed, SOUNDS.index(label), i)) for _, label, i in chosen
    ]
    store = tiny_run.make_store(sounds, [k for k, _, _ in chosen])
    return TrainingData(store, None, labels, {"dataset": "synthetic"})
