"""The picture of a run's curves, in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gmme_edge.files import write_text
from gmme_edge.inputs import read_start
from gmme_edge.report.render.curves import draw_curves

if TYPE_CHECKING:
    from gmme_edge.training.run.loop import Trainer

CURVES = "curves.svg"
_RATES = 200
_TITLE = "<title>Training curves of "
_HEAD_BYTES = 1024


def is_curves(path: Path) -> bool:
    """Whether `path` is a picture that `write_curves` drew."""
    return _TITLE.encode() in read_start(path, _HEAD_BYTES)


def write_curves(trainer: Trainer, title: str) -> None:
    """Draw the epochs so far; the watched clips are called what they are."""
    from gmme_edge.training.run.optimizer import one_cycle

    recipe, state = trainer.recipe, trainer.state
    if trainer.processes.rank > 0 or not state.history:
        return
    steps = range(0, state.step, max(1, state.step // _RATES))
    rates = [
        (step / trainer.steps_per_epoch, one_cycle(step, trainer.total_steps, recipe))
        for step in steps
    ]
    mixing_from = recipe.mixing_from_epoch if recipe.mixing else None
    watched = str(trainer.data.description.get("monitor", "test"))
    picture = draw_curves(title, state.history, rates, watched, mixing_from)
    write_text(trainer.out / CURVES, picture)
