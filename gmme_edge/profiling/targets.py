"""The targets that lists of options stand for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import UsageError
from gmme_edge.profiling.latency import Target
from gmme_edge.runtime.backends import BACKENDS, resolve_precision, runnable_precisions


def list_targets(
    bundles: Sequence[Bundle],
    backends: Sequence[str],
    precisions: Sequence[str],
    threads: Sequence[int | None],
    batches: Sequence[int],
    may_build: bool = False,
) -> list[Target]:
    """Every combination, each once; no `precisions` means all that a backend runs.

    Args:
        may_build: engines that the bundles lack will be built.

    Raises:
        UsageError: an unknown backend, or a bundle with nothing to run on one.
    """
    targets: dict[tuple[object, ...], Target] = {}
    for bundle, backend in itertools.product(bundles, backends):
        if backend not in BACKENDS:
            raise UsageError(f"Unknown backend {backend!r}.", f"one of {', '.join(BACKENDS)}.")
        chosen = [resolve_precision(name, backend) for name in precisions]
        chosen = chosen or list(runnable_precisions(bundle, backend, may_build))
        if not chosen:
            raise UsageError(
                f"{bundle.path} has nothing to run on {backend}.",
                "a model of some precision, and for TensorRT an engine.",
                f"export it again for {backend}.",
            )
        counts: Iterable[int | None] = threads if backend == "ort-cpu" else (None,)
        for precision, count, batch in itertools.product(chosen, counts, batches):
            key = (bundle.path.resolve(), backend, precision, count, batch)
            targets[key] = Target(bundle, backend, precision, count, batch)
    return list(targets.values())
