"""What a network is rewritten into before it is exported, per target.

Every rewrite is exact: it changes the order of sums, not the function
(`docs/explanation/lowering.md`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

from gmme_edge.bundle.precisions import PRECISIONS
from gmme_edge.errors import UsageError
from gmme_edge.models.eat import EAT
from gmme_exporters.lowering.front import split_front
from gmme_exporters.lowering.gmme import relay_gmme
from gmme_exporters.lowering.gmme_int8 import relay_gmme_for_int8
from gmme_exporters.lowering.head import lower_head
from gmme_exporters.lowering.planes import to_planes

Rewrite = Callable[[EAT], None]

_CPU: tuple[Rewrite, ...] = (to_planes, split_front, relay_gmme, lower_head)
_CPU_INT8: tuple[Rewrite, ...] = (to_planes, split_front, relay_gmme_for_int8, lower_head)
TARGETS: dict[str, tuple[Rewrite, ...]] = {
    "ort-cpu": _CPU,
    "ort-arm": _CPU,
    # A GPU starts twice the kernels for the edges, and pads at the speed of its memory.
    "tensorrt": (to_planes, relay_gmme, lower_head),
    "generic": (),
}
GENERIC = "generic"
_INT8 = "-int8"
_OF_FILES = TARGETS | {name + _INT8: _CPU_INT8 for name in TARGETS if TARGETS[name] is _CPU}


def lower(model: EAT, target: str) -> EAT:
    """A copy of `model` in eval mode, rewritten for `target`; the same function of a waveform.

    Raises:
        UsageError: an unknown target.
    """
    lowered = copy.deepcopy(model).eval()
    for rewrite in rewrites_of(target):
        rewrite(lowered)
    return lowered.requires_grad_(False)


def rewrites_of(target: str) -> tuple[Rewrite, ...]:
    if target not in _OF_FILES:
        raise UsageError(f"Unknown target {target!r}.", f"one of {', '.join(TARGETS)}.")
    return _OF_FILES[target]


def default_target(engines: bool) -> str:
    """Engines run on a GPU."""
    return "tensorrt" if engines else "ort-cpu"


def name_rewrites(targets: Iterable[str]) -> dict[str, list[str]]:
    """Per target the names of its rewrites, in the order in which they are applied."""
    return {target: [rewrite.__name__ for rewrite in rewrites_of(target)] for target in targets}


def target_of(precision: str, target: str) -> str:
    """The target of one precision's file: a CPU's integer kernels want a layout of their own.

    INT8 for TensorRT is never shaped for a CPU.
    """
    row = PRECISIONS.get(precision)
    if target == GENERIC or row is None or not row.is_int8:
        return target
    if row.lowering:
        return row.lowering
    return target + _INT8 if target + _INT8 in _OF_FILES else target
