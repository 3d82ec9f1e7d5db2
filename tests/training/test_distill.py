"""Soft labels against a float64 computation, and teachers that do not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gmme_edge.errors import CheckpointError, UsageError
from gmme_edge.models.checkpoint import Checkpoint
from gmme_edge.models.eat import EAT, seed_batch_norm
from gmme_edge.spec import Downsample, DownsampleKind, ModelSpec
from gmme_edge.training.distill import Teacher, distillation_loss
from tests.conftest import TINY

LABELS = ("dog", "rain", "siren")


def divergence(student: np.ndarray, teacher: np.ndarray, temperature: float) -> np.ndarray:
    """T² · sum of p·log(p / q), written out in float64."""
    p, q = (np.exp(x.astype(np.float64) / temperature) for x in (teacher, student))
    p, q = p / p.sum(axis=1, keepdims=True), q / q.sum(axis=1, keepdims=True)
    return temperature**2 * (p * np.log(p / q)).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 10.0])
def test_loss_is_the_divergence(temperature: float) -> None:
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(0, 4, (2, 6, 5)).astype(np.float32)
    got = distillation_loss(torch.from_numpy(student), torch.from_numpy(teacher), temperature)
    assert got.shape == (6,)
    np.testing.assert_allclose(got, divergence(student, teacher, temperature), rtol=2e-5)


def test_loss_is_zero_for_equal_labels_only() -> None:
    """A constant added to all logits changes no label."""
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    assert distillation_loss(logits + 3, logits, 2.0).abs().max() < 1e-5
    assert distillation_loss(logits.flip(1), logits, 2.0).min() > 0.01


def test_loss_is_finite_for_sure_teachers_and_in_half_precision() -> None:
    """Logits whose softmax underflows, which p·log(p / q) would make NaN."""
    teacher = torch.tensor([[300.0, -300.0], [0.0, 0.0]])
    student = torch.tensor([[-9.0, 9.0], [300.0, -300.0]])
    loss = distillation_loss(student, teacher, 1.0)
    np.testing.assert_allclose(loss, [18.0, 300 - np.log(2)], rtol=1e-5)
    assert torch.equal(distillation_loss(student.half(), teacher.half(), 1.0), loss)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 50.0])
def test_gradient_is_the_difference_of_the_labels(temperature: float) -> None:
    """T·(q - p) per row (eq. 2 of arXiv 1503.02531), about as large for every temperature."""
    rng = np.random.default_rng(1)
    student, teacher = (torch.from_numpy(rng.normal(size=(3, 4))) for _ in range(2))
    student.requires_grad_(True)
    distillation_loss(student, teacher, temperature).sum().backward()
    q, p = (torch.softmax(x.detach() / temperature, 1) for x in (student, teacher))
    assert student.grad is not None
    torch.testing.assert_close(
        student.grad, temperature * (q - p), rtol=1e-4, atol=1e-6 * temperature
    )
    assert 0.1 < float(student.grad.abs().max()) < 1


def checkpoint(spec: ModelSpec = TINY, labels: tuple[str, ...] = LABELS) -> Checkpoint:
    torch.manual_seed(2)
    return Checkpoint(EAT(spec), labels)


def test_teacher_is_the_evaluated_network() -> None:
    """No dropout, no statistics of the batch, no gradient, and nothing in it changes."""
    source = checkpoint()
    source.model.train()
    before = {name: value.clone() for name, value in source.model.state_dict().items()}
    teacher = Teacher(source, "cpu")
    waveform = torch.rand(3, 1, TINY.n_samples, requires_grad=True)
    logits = teacher(waveform)
    assert logits.shape == (3, 3) and not logits.requires_grad
    torch.testing.assert_close(logits[:1], teacher(waveform[:1]))
    after = source.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kind", ["gmme", "gmme-lite"])
def test_larger_network_of_other_blocks_teaches(kind: DownsampleKind) -> None:
    """As EAT-M AA teaches EAT-S: the student takes over its labels of three tones."""
    hz, seconds = torch.tensor([100.0, 400.0, 1600.0]), torch.arange(2048) / 8000
    tones = 0.95 * torch.sin(2 * torch.pi * hz[:, None] * seconds)
    short = replace(TINY, factors=(4, 4), n_samples=2048)
    larger = checkpoint(replace(short, backbone=replace(TINY.backbone, embed_dim=64)))
    seed_batch_norm(larger.model, tones)
    with torch.no_grad():
        larger.model.classify.weight.mul_(8)  # sure of what it says
    teacher, student = Teacher(larger), replace(short, downsample=Downsample(kind, 4, 2))
    teacher.check(student, LABELS)
    torch.manual_seed(0)
    model, losses = EAT(student, dropout=0.0), []
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    for _ in range(30):
        loss = distillation_loss(model(tones[:, None]), teacher(tones[:, None]), 2.0).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses) < losses[0] / 4


@pytest.mark.parametrize(
    ("changes", "labels", "message"),
    [
        ({"sample_rate_hz": 16_000}, LABELS, "8192 samples at 8000 Hz, the student 8192 at 16000"),
        ({"n_samples": 12_288}, LABELS, "8192 samples at 8000 Hz, the student 12288 at 8000"),
        ({}, ("rain", "dog", "siren"), "dog, rain, siren; the student's rain, dog, siren"),
        ({"n_classes": 2}, ("dog", "rain"), "dog, rain, siren; the student's dog, rain"),
    ],
)
def test_teacher_that_does_not_fit(
    changes: dict[str, int], labels: tuple[str, ...], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        Teacher(checkpoint()).check(replace(TINY, **changes), labels)  # type: ignore[arg-type]


def test_many_classes_are_not_all_listed() -> None:
    labels = tuple(f"class {i}" for i in range(50))
    teacher = Teacher(checkpoint(replace(TINY, n_classes=50), labels))
    with pytest.raises(CheckpointError, match=r"class 11, … \(50\); the student's dog, rain"):
        teacher.check(TINY, LABELS)


def test_waveform_of_another_length_is_refused() -> None:
    with pytest.raises(UsageError, match=r"given 9000 samples.\nExpected: 8192"):
        Teacher(checkpoint())(torch.zeros(1, 1, 9000))
