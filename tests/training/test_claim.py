"""The folder of a run: one training at a time, and what is not its own stays."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from gmme_edge.errors import UsageError
from gmme_edge.training.folds import RESULT, is_result
from gmme_edge.training.run.claim import STATE, claim_folder, refuse_foreign, refuse_loss
from gmme_edge.workflows.training_curves import CURVES, is_curves
from tests.training.tiny_run import RECIPE, make_trainer


def test_two_trainings_of_one_folder_are_refused_and_the_holder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with (
        claim_folder(folder),
        pytest.raises(UsageError, match=f"process {os.getpid()} on .* since"),
        claim_folder(folder),
    ):
        pass
    assert not folder.exists()
    with claim_folder(folder):  # free again
        (folder / "model").touch()
    assert [path.name for path in folder.iterdir()] == ["model"]


def test_a_finished_checkpoint_is_replaced_only_when_told_so(tmp_path: Path) -> None:
    make_trainer(tmp_path, replace(RECIPE, epochs=1)).run()
    refuse_loss(tmp_path, restart=False)  # the run itself may be repeated
    (tmp_path / STATE).unlink()
    with pytest.raises(UsageError, match=r"finished checkpoint(.|\n)*--restart"):
        refuse_loss(tmp_path, restart=False)
    refuse_loss(tmp_path, restart=True)


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "metrics.jsonl"])
def test_files_of_another_project_are_never_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"theirs": 1}')
    for restart in (False, True):
        with pytest.raises(UsageError, match=name):
            refuse_loss(tmp_path, restart)


def test_pictures_and_results_of_something_else_are_never_overwritten(tmp_path: Path) -> None:
    for name, is_own in ((CURVES, is_curves), (RESULT, is_result)):
        path = tmp_path / name
        refuse_foreign(path, is_own)
        path.write_text("<svg><title>My house</title></svg>")
        with pytest.raises(UsageError, match="--restart does not replace it"):
            refuse_foreign(path, is_own)


def test_a_bundle_is_no_place_for_a_run_even_with_a_state(tmp_path: Path) -> None:
    for name in ("manifest.json", STATE):
        (tmp_path / name).write_text("{}")
        with pytest.raises(UsageError, match="it is a bundle"):
            refuse_loss(tmp_path, restart=True)


def test_a_link_is_followed_also_to_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("target")
    with claim_folder(link):
        (link / "model").touch()
        with pytest.raises(UsageError, match="is being trained in"), claim_folder(link.resolve()):
            pass
    assert link.is_symlink() and (tmp_path / "target" / "model").is_file()
