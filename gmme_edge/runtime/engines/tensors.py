"""Whether an engine has the inputs and outputs that its bundle promises."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from gmme_edge.bundle.bundle import INPUT, OUTPUTS
from gmme_edge.errors import EngineError

if TYPE_CHECKING:
    from gmme_edge.runtime.engines.objects import CudaEngine


def check_tensors(
    library: ModuleType,
    engine: CudaEngine,
    n_samples: int,
    max_batch: int,
    name: str,
) -> dict[str, tuple[int, ...]]:
    """The shape of one row of the input and of each output, found to be the bundle's.

    Raises:
        EngineError: other names, shapes or types than `gmme-edge export` gives them.
    """
    found = {}
    for index in range(engine.num_io_tensors):
        tensor = engine.get_tensor_name(index)
        shape = tuple(engine.get_tensor_shape(tensor))
        # A profile of one batch size only may leave that size in place of the dynamic -1.
        batch_fits = shape[:1] in ((-1,), (max_batch,))
        if engine.get_tensor_dtype(tensor) == library.float32 and batch_fits:
            found[tensor] = shape[1:]
    if (
        len(found) != engine.num_io_tensors
        or found.get(INPUT) != (n_samples,)
        or OUTPUTS[0] not in found
        or not set(found) <= {INPUT, *OUTPUTS}
    ):
        raise EngineError(
            f"{name} has the float32 tensors {found} per clip, of {engine.num_io_tensors} in all.",
            f"{INPUT!r} of {n_samples} samples, {' and '.join(OUTPUTS)}, all float32.",
            "export the bundle again.",
        )
    return found
