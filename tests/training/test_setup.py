"""What several processes agree on before they train, and who listens to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gmme_edge.errors import UsageError
from gmme_edge.models.checkpoint import load_checkpoint
from gmme_edge.observer import SILENT
from gmme_edge.training.parallel.fabric import processes_here
from gmme_edge.workflows import training_setup
from gmme_edge.workflows.settings.training import LearningData, RunSettings
from gmme_edge.workflows.training import run_trainer
from gmme_edge.workflows.training_observer import Tolerant, TrainingObserver
from gmme_edge.workflows.training_plan import TrainingJob
from gmme_edge.workflows.training_setup import TrainingSetup
from tests.training.tiny_run import RECIPE, make_trainer


def sharing(others: list[int]) -> Any:  # noqa: ANN401 - stands in for a Fabric
    """A Fabric whose other processes see `others` bytes of free memory."""
    return SimpleNamespace(
        world_size=1 + len(others),
        global_rank=0,
        device=torch.device("cpu"),
        all_gather=lambda mine: torch.cat([mine[None], torch.tensor(others)]),
    )


@pytest.mark.parametrize(
    ("free", "others", "agreed"),
    [(1000, [400], 400), (600, [400], 300), (1000, [-1], None), (None, [400], None)],
)
def test_processes_share_the_memory_of_a_machine_and_agree_on_the_least(
    monkeypatch: pytest.MonkeyPatch, free: int | None, others: list[int], agreed: int | None
) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(training_setup, "free_bytes", lambda _: free)
    job = TrainingJob(
        data=LearningData(dataset="folder", data=Path("x")), run=RunSettings(output=Path("y"))
    )
    assert TrainingSetup(job, "cpu", sharing(others), SILENT)._free_bytes() == agreed


@pytest.mark.parametrize("text", ["x", "-1", "9" * 5000, "1.5"])
def test_a_variable_of_torchrun_that_is_no_number_is_told(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", text)
    with pytest.raises(UsageError, match="LOCAL_WORLD_SIZE is"):
        processes_here()


class BrokenPipe(TrainingObserver):
    def stepped(self, progress: object) -> None:
        raise BrokenPipeError

    def note(self, text: str) -> None:
        raise AssertionError("it is left alone after its first failure")


def test_an_observer_that_cannot_write_costs_no_checkpoint(tmp_path: Path) -> None:
    heard = Tolerant(BrokenPipe())
    run_trainer(make_trainer(tmp_path, replace(RECIPE, epochs=1)), "tiny", heard)
    heard.note("still here")
    assert load_checkpoint(tmp_path).training["finished"]
