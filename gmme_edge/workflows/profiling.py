"""Time bundles on this machine: whole networks, or layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.device.energy.find import find_meters
from gmme_edge.errors import UsageError
from gmme_edge.observer import SILENT, Observer
from gmme_edge.profiling import layers
from gmme_edge.profiling.energy import EnergySettings, choose_meters, measure_energy
from gmme_edge.profiling.energy_result import PowerTrace
from gmme_edge.profiling.latency import LatencyRow, LatencySettings, Target, measure
from gmme_edge.profiling.noise import judge_noise, observe
from gmme_edge.profiling.targets import list_targets
from gmme_edge.report.documents import LatencyResult, LayersResult, describe_result
from gmme_edge.settings import command_line
from gmme_edge.workflows.settings.profiling import ProfileSettings

if TYPE_CHECKING:
    from gmme_edge.device.energy.meter import Meter
    from gmme_edge.runtime.engines.cache import Rebuild


def profile(
    bundles: Sequence[str | Path],
    settings: ProfileSettings | None = None,
    observer: Observer = SILENT,
    rebuild: Rebuild | None = None,
) -> LatencyResult:
    """Time bundles side by side, their calls in turn, and keep every raw sample.

    Args:
        bundles: folders, or names of shipped models; compare what is given in one call.
        rebuild: builds engines that a bundle lacks; without it such a bundle is an error.

    Raises:
        GmmeEdgeError: whatever opening, running or measuring raises; nothing is swallowed.
    """
    settings = settings or ProfileSettings()
    targets = _targets(bundles, settings, rebuild is not None)
    meters = choose_meters(find_meters(), targets) if settings.energy else {}
    before = observe()
    rows = measure(
        targets, _calls(settings), lambda *step: observer.progress("profiling", *step), rebuild
    )
    after = observe()
    noise = judge_noise(rows, before, after)
    for reason in noise["reasons"]:
        observer.note(f"too noisy to rank: {reason}")
    rows, power = _add_energy(rows, targets, meters, settings, observer, rebuild)
    described = describe_result("latency", _command(bundles, settings))
    described["state"] = {"before": before.state, "after": after.state}
    return LatencyResult(
        **described,
        settings=asdict(_calls(settings)),
        noise=noise,
        power=tuple(power),
        rows=tuple(rows),
    )


def _add_energy(
    rows: list[LatencyRow],
    targets: list[Target],
    meters: dict[Meter, list[int]],
    settings: ProfileSettings,
    observer: Observer,
    rebuild: Rebuild | None,
) -> tuple[list[LatencyRow], list[PowerTrace]]:
    """The rows with their energy, and the traces; as they were where nothing is to be measured."""
    if not meters:
        return rows, []
    energies, traces = measure_energy(
        targets,
        meters,
        EnergySettings(settings.energy_rounds, settings.energy_window_s, settings.seed),
        lambda *step: observer.progress("measuring energy", *step),
        rebuild,
    )
    return [replace(row, energy=each) for row, each in zip(rows, energies, strict=True)], traces


def profile_layers(
    bundles: Sequence[str | Path],
    settings: ProfileSettings | None = None,
    observer: Observer = SILENT,
) -> LayersResult:
    """Time every node of the bundles' networks, one network after the other, on ``ort-cpu``.

    Raises:
        UsageError: another backend.
    """
    settings = settings or ProfileSettings()
    if other := sorted(set(settings.backends) - {"ort-cpu"}):
        raise UsageError(
            f"--layers on {', '.join(other)}.", "ort-cpu.", "see engine-info for engines."
        )
    targets = _targets(bundles, settings)
    before = observe()
    profiles = []
    for index, target in enumerate(targets):
        observer.progress("profiling layers", index, len(targets))
        profiles.append(layers.profile_layers(target, _calls(settings)))
    command = _command(bundles, settings, "--layers")
    described = describe_result("layers", command)
    described["state"] = {"before": before.state, **described["state"]}
    return LayersResult(**described, profiles=tuple(profiles))


def _targets(
    bundles: Sequence[str | Path], settings: ProfileSettings, may_build: bool = False
) -> list[Target]:
    if not bundles:
        raise UsageError("There is nothing to measure.", "at least one bundle.")
    return list_targets(
        [Bundle.open(path) for path in bundles],
        settings.backends,
        settings.precisions,
        settings.thread_counts,
        settings.batches,
        may_build,
    )


def _calls(settings: ProfileSettings) -> LatencySettings:
    return LatencySettings(settings.warmup, settings.repetitions, settings.seed)


def _command(bundles: Sequence[str | Path], settings: ProfileSettings, *flags: str) -> str:
    """The call that repeats this measurement."""
    return command_line("profile", [*bundles, *flags], settings)
