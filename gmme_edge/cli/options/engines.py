"""The options of `export` that say how engines are built, and what they mean together."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmme_edge.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from gmme_edge.bundle.bundle import Bundle
    from gmme_exporters.tensorrt.build import EngineOptions

_PANEL = "Engines"

EngineOption = Annotated[
    str | None,
    typer.Option(help="Also build engines: tensorrt-rtx or tensorrt.", rich_help_panel=_PANEL),
]
SmOption = Annotated[
    str | None,
    typer.Option(
        help="GPU generations for tensorrt-rtx, e.g. 86,89,120; default: this GPU's.",
        rich_help_panel=_PANEL,
    ),
]
MaxBatchOption = Annotated[
    int, typer.Option(min=1, help="Largest batch of the engines.", rich_help_panel=_PANEL)
]
MinBatchOption = Annotated[
    int, typer.Option(min=1, help="Smallest batch of the engines.", rich_help_panel=_PANEL)
]
OptBatchOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="The batch that kernels are chosen for; default: --min-batch.",
        rich_help_panel=_PANEL,
    ),
]  # fmt: skip
WorkspaceOption = Annotated[
    int | None,
    typer.Option(min=1, help="Limit of the engine's scratch memory.", rich_help_panel=_PANEL),
]
OptimizationLevelOption = Annotated[
    int | None,
    typer.Option(
        min=0, max=5, help="0: quick build, 5: quick engine; default: the library's, 3.",
        rich_help_panel=_PANEL,
    ),
]  # fmt: skip
TimingCacheOption = Annotated[
    Path | None,
    typer.Option(
        help="File of kernel timings that shortens later builds (tensorrt).", rich_help_panel=_PANEL
    ),
]
CompatibilityOption = Annotated[
    str,
    typer.Option(
        help="Further GPUs to serve: none, ampere-plus or same-compute-capability (tensorrt).",
        rich_help_panel=_PANEL,
    ),
]
VersionCompatibleOption = Annotated[
    bool,
    typer.Option(
        "--version-compatible",
        help="Later releases of the same major version can load the engine (tensorrt).",
        rich_help_panel=_PANEL,
    ),
]
DlaCoreOption = Annotated[
    int | None,
    typer.Option(
        min=0, help="Orin, Xavier: run what it can on this DLA core, the rest on the GPU.",
        rich_help_panel=_PANEL,
    ),
]  # fmt: skip


def engine_options(
    engine: str | None,
    sm: str | None,
    batches: tuple[int, int | None, int],
    workspace_mib: int | None,
    optimization_level: int | None,
    timing_cache: Path | None,
    compatibility: str,
    version_compatible: bool,
    dla_core: int | None,
) -> tuple[EngineOptions, ...]:
    """One entry per engine of a precision: per GPU generation for tensorrt-rtx.

    Args:
        batches: smallest, optimal (None: the smallest) and largest.
    """
    if engine is None:
        if sm is not None:
            raise UsageError("--sm is for --engine tensorrt-rtx.", "both, or neither.")
        settings = (workspace_mib, optimization_level, timing_cache, dla_core)
        if version_compatible or compatibility != "none" or settings != (None,) * len(settings):
            raise UsageError("Options of engines without --engine.", "both, or neither.")
        return ()
    from gmme_exporters.tensorrt.build import EngineOptions

    smallest, optimal, largest = batches
    return tuple(
        EngineOptions(
            engine, number, smallest, optimal or smallest, largest, workspace_mib,
            optimization_level, str(timing_cache) if timing_cache else None, compatibility,
            version_compatible, dla_core,
        )
        for number in _generations(sm)
    )  # fmt: skip


def _generations(sm: str | None) -> list[int] | list[None]:
    if sm is None:
        return [None]
    try:
        return list(dict.fromkeys(int(part) for part in sm.split(",")))
    except ValueError:
        raise UsageError(f"--sm {sm}", "numbers such as 86,89,120.") from None


def describe_trtexec(bundle: Bundle, engines: Iterable[EngineOptions], console: Console) -> None:
    """Print, for each TensorRT engine of the bundle, the trtexec command that builds its like."""
    from gmme_edge.runtime.engines.info import EngineInfo
    from gmme_exporters.tensorrt.trtexec import trtexec_command

    options = next((each for each in engines if each.flavour == "tensorrt"), None)
    if options is None:
        return
    for file in bundle.manifest.files:
        if file.role == "engine":
            command = trtexec_command(
                bundle.path / f"model.{file.precision}.onnx", bundle.path / file.path,
                file.precision, options, EngineInfo.read(bundle.path / file.path).version,
                bundle.manifest.model.n_samples,
            )  # fmt: skip
            console.print(shlex.join(command), markup=False, highlight=False, soft_wrap=True)
