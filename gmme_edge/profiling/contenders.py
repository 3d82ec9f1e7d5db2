"""The contenders that lists of options stand for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import GmmeEdgeError, UsageError
from gmme_edge.profiling.latency import Contender
from gmme_edge.runtime.backends import (
    BACKENDS,
    COPIED,
    find_backend,
    open_session,
    resolve_precision,
    runnable_precisions,
    why_unavailable,
)
from gmme_edge.runtime.engines.cache import Rebuild


@dataclass(frozen=True)
class Counts:
    """How often each combination comes: threads where a backend counts them, and the like."""

    threads: Sequence[int | None] = (None,)
    batches: Sequence[int] = (1,)
    gpu_calls: Sequence[str] = (COPIED,)


def list_all_contenders(
    bundles: Sequence[Bundle],
    counts: Counts,
    rebuild: Rebuild | None = None,
) -> tuple[list[Contender], list[str]]:
    """Every backend and precision that opens on this machine, and why the others do not.

    Raises:
        UsageError: nothing opens.
    """
    contenders: list[Contender] = []
    left_out: list[str] = []
    for backend in BACKENDS:
        problem = why_unavailable(backend)
        if problem:
            left_out.append(f"{backend}: {problem.splitlines()[0]}")
            continue
        for bundle in bundles:
            if not set(counts.gpu_calls) & set(BACKENDS[backend].gpu_calls):
                left_out.append(f"{backend}: it has no calls {', '.join(counts.gpu_calls)}")
                break
            names = runnable_precisions(bundle, backend, rebuild is not None)
            if not names:
                left_out.append(f"{backend}: {bundle.path.name} holds nothing for it")
            for contender in list_contenders([bundle], [backend], names, counts) if names else ():
                problem = _why_not(contender, rebuild)
                if problem:
                    left_out.append(
                        f"{backend}, {bundle.path.name} {contender.precision}: {problem}"
                    )
                else:
                    contenders.append(contender)
    if not contenders:
        raise UsageError("Nothing runs here. " + "; ".join(left_out), "a backend; see doctor.")
    return contenders, left_out


def _why_not(contender: Contender, rebuild: Rebuild | None) -> str:
    """Why a contender does not open; "" where it does."""
    try:
        open_session(
            contender.bundle, contender.backend, contender.precision, contender.threads, rebuild
        ).close()
    except GmmeEdgeError as error:
        return error.got
    return ""


def list_contenders(
    bundles: Sequence[Bundle],
    backends: Sequence[str],
    precisions: Sequence[str],
    counts: Counts,
    may_build: bool = False,
) -> list[Contender]:
    """Every combination, each once; no `precisions` means all that a backend runs.

    Args:
        may_build: engines that the bundles lack will be built.

    Raises:
        UsageError: an unknown backend, or a bundle with nothing to run on one.
    """
    contenders: dict[tuple[object, ...], Contender] = {}
    for bundle, backend in itertools.product(bundles, backends):
        row = find_backend(backend)
        chosen = [resolve_precision(name, backend) for name in precisions]
        chosen = chosen or list(runnable_precisions(bundle, backend, may_build))
        if not chosen:
            raise UsageError(
                f"{bundle.path} has nothing to run on {backend}.",
                "a model of some precision, and for TensorRT an engine.",
                f"export it again for {backend}.",
            )
        threads: Iterable[int | None] = counts.threads if row.on_cpu else (None,)
        calls = [call for call in counts.gpu_calls if call in row.gpu_calls]
        if not calls:
            raise UsageError(
                f"--gpu-call {', '.join(counts.gpu_calls)} on {backend}.",
                f"{', '.join(row.gpu_calls)} there.",
            )
        for how in itertools.product(chosen, threads, counts.batches, calls):
            contenders[bundle.path.resolve(), backend, how] = Contender(bundle, backend, *how)
    return list(contenders.values())
