"""A loss that is not finite: which recordings were in the batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from gmme_edge.errors import GmmeEdgeError
from gmme_edge.files import write_text

DIVERGED = "diverged-batch.txt"
_NAMES_SHOWN = 8


class TrainingDivergedError(GmmeEdgeError):
    """The loss became NaN or infinite."""


def is_finite(loss: float, norm: float, loss_scale: float) -> bool:
    """Whether a step may be taken.

    Under float16 a gradient may overflow: the optimizer then leaves the step out, and the loss is
    scaled by half as much. Once it is not scaled up at all, the gradient itself is at fault.
    """
    return math.isfinite(loss) and (math.isfinite(norm) or loss_scale > 1)


def divergence(
    step: int, loss: float, norm: float, paths: Sequence[Path], folder: Path, write: bool
) -> TrainingDivergedError:
    """The error to raise; all `paths` are written into `folder`, the first few are in the message.

    Args:
        norm: of the gradient.
        write: only one of several processes does.
    """
    if write:
        write_text(folder / DIVERGED, "".join(f"{path}\n" for path in paths))
    names = ", ".join(path.name for path in paths[:_NAMES_SHOWN])
    more = f" and {len(paths) - _NAMES_SHOWN} more" if len(paths) > _NAMES_SHOWN else ""
    return TrainingDivergedError(
        f"At step {step} the loss is {loss} and its gradient's norm {norm}; the batch holds "
        f"{names}{more} ({folder / DIVERGED}).",
        "finite numbers.",
        "lower --lr, or check these recordings; the last state is kept.",
    )
