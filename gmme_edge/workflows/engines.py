"""What settings of engines mean to the builder, and the trtexec lines that build their like."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from gmme_edge.runtime.engines.info import EngineInfo
from gmme_edge.workflows.settings.engines import EngineSettings
from gmme_exporters.tensorrt.config import EngineOptions
from gmme_exporters.tensorrt.trtexec import trtexec_command

if TYPE_CHECKING:
    from gmme_edge.bundle.bundle import Bundle


def engine_options(settings: EngineSettings) -> tuple[EngineOptions, ...]:
    """One entry per engine of a precision: per GPU generation for tensorrt-rtx.

    Raises:
        UsageError: an unknown engine, or options that contradict each other.
    """
    if settings.engine is None:
        return ()
    return tuple(
        EngineOptions(
            flavour=settings.engine,
            sm=generation,
            min_batch=settings.min_batch,
            opt_batch=settings.opt_batch or settings.min_batch,
            max_batch=settings.max_batch,
            workspace_mib=settings.workspace_mib,
            optimization_level=settings.optimization_level,
            timing_cache=str(settings.timing_cache) if settings.timing_cache else None,
            compatibility=settings.compatibility,
            version_compatible=settings.version_compatible,
            dla_core=settings.dla_core,
        )
        for generation in settings.generations
    )


def trtexec_lines(bundle: Bundle, engines: Iterable[EngineOptions]) -> tuple[str, ...]:
    """For each TensorRT engine of the bundle the trtexec command that builds its like."""
    options = next((each for each in engines if each.flavour == "tensorrt"), None)
    if options is None:
        return ()
    lines = []
    for file in bundle.manifest.files:
        if file.role == "engine":
            graph, engine = bundle.find("model", file.precision), bundle.path / file.path
            version = EngineInfo.read(engine).version
            n_samples = bundle.manifest.model.n_samples
            command = trtexec_command(
                bundle.path / graph.path, engine, file.precision, options, version, n_samples
            )
            lines.append(shlex.join(command))
    return tuple(lines)
