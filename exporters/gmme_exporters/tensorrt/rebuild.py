"""Leave to build an engine on the machine that runs it, where a bundle's don't fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from gmme_edge.runtime.engines.cache import Rebuild
from gmme_edge.runtime.engines.info import EngineInfo
from gmme_exporters.tensorrt.build import EngineOptions, build_engine


def allow_rebuild(
    options: EngineOptions | None = None, on_start: Callable[[str], None] = lambda _what: None
) -> Rebuild:
    """For `gmme_edge.load(…, rebuild=allow_rebuild())` and the `--rebuild` options.

    Args:
        options: batches, memory and the like; the flavour is that of the backend that runs.
        on_start: told what is about to be built, which takes seconds on a desktop and minutes on
            a Jetson.
    """
    chosen = options or EngineOptions()

    def build(onnx_path: Path, engine_path: Path, precision: str, flavour: str) -> EngineInfo:
        on_start(f"building a {flavour} engine of {onnx_path.name} for this GPU")
        return build_engine(onnx_path, engine_path, precision, replace(chosen, flavour=flavour))

    unimportant = ("flavour", "timing_cache")  # one is the machine's, one only saves time
    settings = {name: v for name, v in asdict(chosen).items() if name not in unimportant}
    return Rebuild(build, settings)
