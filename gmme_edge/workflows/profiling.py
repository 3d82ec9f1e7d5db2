"""Time bundles on this machine: whole networks, or layer by layer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.device.cpu import usable_cpus
from gmme_edge.device.energy.find import find_meters
from gmme_edge.errors import UsageError
from gmme_edge.observer import SILENT, Observer
from gmme_edge.profiling import layers, roofline
from gmme_edge.profiling.contenders import Counts, list_all_contenders, list_contenders
from gmme_edge.profiling.energy import EnergySettings, choose_meters, measure_energy
from gmme_edge.profiling.energy_result import PowerTrace
from gmme_edge.profiling.latency import Contender, LatencyRow, measure
from gmme_edge.profiling.noise import Moment, judge_noise, noise_verdict, observe
from gmme_edge.profiling.peaks import Peaks, measure_peaks
from gmme_edge.profiling.rounds import LatencySettings, Samples, Stream
from gmme_edge.profiling.unfinished import open_unfinished
from gmme_edge.public import public
from gmme_edge.report.documents import LatencyResult, LayersResult, RooflineResult, describe_result
from gmme_edge.runtime.backends import COPIED
from gmme_edge.settings import command_line
from gmme_edge.workflows.settings.profiling import ProfileSettings

if TYPE_CHECKING:
    from gmme_edge.device.energy.meter import Meter
    from gmme_edge.runtime.engines.cache import Rebuild

_TABLE_EVERY_S = 0.5
_NODES = ("ort-cpu",)


@public
def profile(
    bundles: Sequence[str | Path],
    settings: ProfileSettings | None = None,
    observer: Observer = SILENT,
    rebuild: Rebuild | None = None,
    output: Path | None = None,
) -> LatencyResult:
    """Time bundles side by side, their calls in turn, and keep every raw sample.

    Args:
        bundles: folders, or names of shipped models; compare what is given in one call.
        rebuild: builds engines that a bundle lacks; without it such a bundle is an error.
        output: where the caller will write the result. A call that is cut short leaves its
            samples beside it (``.part``), and the same call goes on from them.

    Raises:
        GmmeEdgeError: whatever opening, running or measuring raises; nothing is swallowed.
    """
    settings = settings or ProfileSettings()
    contenders = _contenders(bundles, settings, observer, rebuild)
    calls = _calls(settings, contenders)
    meters = choose_meters(find_meters(), contenders) if settings.energy else {}
    watch = _Watch(observer, contenders, calls, output, settings.restart)
    before = observe()
    observer.stage("latency, in turns")
    try:
        rows = measure(contenders, calls, watch.on_progress, rebuild, watch.samples)
    except BaseException:
        watch.keep(before)
        raise
    after = observe()
    noise = judge_noise(rows, before, after)
    noise["reasons"] = list(dict.fromkeys([*watch.reasons, *noise["reasons"]]))
    noise["rankable"] &= not watch.reasons
    for reason in noise["reasons"]:
        observer.note(f"{noise_verdict(noise['rankable'])}: {reason}")
    rows, power = _add_energy(rows, contenders, meters, settings, observer, rebuild)
    described = describe_result("latency", _command(bundles, settings))
    described["state"] = {"before": before.state, "after": after.state}
    result = LatencyResult(
        **described,
        settings={**asdict(calls), "warmup_rounds": watch.samples.warmup_rounds},
        noise=noise,
        power=tuple(power),
        rows=tuple(rows),
    )
    watch.finish()
    return result


class _Watch:
    """Shows what was timed so far, and keeps it where a measurement can be cut short."""

    def __init__(
        self,
        observer: Observer,
        contenders: Sequence[Contender],
        calls: LatencySettings,
        output: Path | None,
        restart: bool,
    ) -> None:
        self._observer = observer
        self._names = [_name(contender) for contender in contenders]
        self._shown_s = 0.0
        self._unfinished = open_unfinished(output, contenders, calls, restart) if output else None
        self.samples = Samples.empty(len(contenders))
        self.reasons: list[str] = []
        if self._unfinished:
            self.samples, self.reasons = self._unfinished.samples, self._unfinished.reasons
        if self.samples.rounds:
            observer.note(f"going on after {self.samples.rounds} rounds of an earlier call")

    def on_progress(self, done: int, total: int) -> None:
        self._observer.progress("profiling", done, total)
        if time.monotonic() - self._shown_s > _TABLE_EVERY_S:
            self._shown_s = time.monotonic()
            self._observer.table(("so far", "samples", "median ms", "p90 ms"), self._cells())
        if self._unfinished:
            self._unfinished.save_sometimes()

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (name, str(len(ms)), f"{np.median(ms):.2f}", f"{np.percentile(ms, 90):.2f}")
            if ms
            else (name, "0", "", "")
            for name, ms in zip(self._names, self.samples.ms, strict=True)
        ]

    def keep(self, before: Moment) -> None:
        """After an interruption: the samples, and what disturbed them."""
        if self._unfinished and self.samples.rounds:
            self._unfinished.reasons += judge_noise([], before, observe())["reasons"]
            self._unfinished.save()
            self._observer.note(f"kept in {self._unfinished.path}; the same command goes on")

    def finish(self) -> None:
        if self._unfinished:
            self._unfinished.remove()


def _add_energy(
    rows: list[LatencyRow],
    contenders: list[Contender],
    meters: dict[Meter, list[int]],
    settings: ProfileSettings,
    observer: Observer,
    rebuild: Rebuild | None,
) -> tuple[list[LatencyRow], list[PowerTrace]]:
    """The rows with their energy, and the traces; as they were where nothing is to be measured."""
    if not meters:
        return rows, []
    observer.stage("energy, in turns")
    energies, traces = measure_energy(
        contenders,
        meters,
        EnergySettings(settings.energy_rounds, settings.energy_window_s, settings.seed),
        lambda *step: observer.progress("measuring energy", *step),
        rebuild,
    )
    return [replace(row, energy=each) for row, each in zip(rows, energies, strict=True)], traces


@public
def profile_layers(
    bundles: Sequence[str | Path],
    settings: ProfileSettings | None = None,
    observer: Observer = SILENT,
    rebuild: Rebuild | None = None,
) -> LayersResult:
    """Time every node or layer of the bundles' networks, one network after the other.

    Args:
        rebuild: builds engines that a bundle lacks.

    Raises:
        UsageError: a backend that tells no layers.
    """
    settings = replace(settings or ProfileSettings(), layers=True)
    contenders, calls = _for_nodes(bundles, settings, observer, rebuild)
    before = observe()
    profiles = []
    observer.stage("layer by layer")
    for index, contender in enumerate(contenders):
        observer.progress("profiling layers", index, len(contenders))
        profiles.append(layers.profile_layers(contender, calls, rebuild=rebuild))
    described = describe_result("layers", _command(bundles, settings))
    described["state"] = {"before": before.state, **described["state"]}
    return LayersResult(**described, profiles=tuple(profiles))


@public
def profile_roofline(
    bundles: Sequence[str | Path],
    settings: ProfileSettings | None = None,
    observer: Observer = SILENT,
) -> RooflineResult:
    """Compare every block with what this machine can do, on ``ort-cpu`` in single precision.

    Raises:
        UsageError: another backend or precision.
        PlatformError: the machine's peaks could not be measured.
    """
    settings = replace(settings or ProfileSettings(), roofline=True)
    if settings.precision is None:
        settings = replace(settings, precision="fp32")
    contenders, calls = _for_nodes(bundles, settings, observer)
    before = observe()
    peaks: dict[int, Peaks] = {}
    profiles = []
    for index, contender in enumerate(contenders):
        threads = contender.threads or max(1, int(usable_cpus()))
        if threads not in peaks:
            observer.stage(f"what this machine can do, threads {threads}")
            peaks[threads] = measure_peaks(threads)
            observer.stage("block by block")
        observer.progress("profiling blocks", index, len(contenders))
        profiles.append(roofline.profile_roofline(contender, calls, peaks[threads]))
    described = describe_result("roofline", _command(bundles, settings))
    described["state"] = {"before": before.state, **described["state"]}
    return RooflineResult(**described, profiles=tuple(profiles))


def _for_nodes(
    bundles: Sequence[str | Path],
    settings: ProfileSettings,
    observer: Observer,
    rebuild: Rebuild | None = None,
) -> tuple[list[Contender], LatencySettings]:
    """What is to be timed node by node, where the backend tells them."""
    flag, can = ("--layers", layers.LAYER_BACKENDS) if settings.layers else ("--roofline", _NODES)
    if other := sorted(set(settings.backends) - set(can)):
        raise UsageError(f"{flag} on {', '.join(other)}.", f"{', '.join(can)}.")
    warmup = LatencySettings.warmup if settings.warmup is None else settings.warmup
    calls = LatencySettings(warmup, settings.repetitions)
    return _contenders(bundles, settings, observer, rebuild), calls


def _contenders(
    bundles: Sequence[str | Path],
    settings: ProfileSettings,
    observer: Observer,
    rebuild: Rebuild | None = None,
) -> list[Contender]:
    if not bundles:
        raise UsageError("There is nothing to measure.", "at least one bundle.")
    opened = [Bundle.open(path) for path in bundles]
    counts = Counts(settings.thread_counts, settings.batches, settings.gpu_calls)
    if settings.all:
        contenders, left_out = list_all_contenders(opened, counts, rebuild)
        for what in left_out:
            observer.note(f"left out: {what}")
        return contenders
    may_build = rebuild is not None
    backends, precisions = settings.backends, settings.precisions
    return list_contenders(opened, backends, precisions, counts, may_build)


def _name(contender: Contender) -> str:
    threads = "" if contender.threads is None else f" threads {contender.threads}"
    batch = "" if contender.batch == 1 else f" batch {contender.batch}"
    call = "" if contender.gpu_call == COPIED else f" {contender.gpu_call}"
    name = contender.bundle.path.resolve().name
    return f"{name} {contender.precision} {contender.backend}{threads}{batch}{call}"


def _calls(settings: ProfileSettings, contenders: Sequence[Contender]) -> LatencySettings:
    hop_s = None
    if settings.stream == "paced":
        specs = [contender.bundle.manifest.model for contender in contenders]
        half_clip_s = min(spec.n_samples / spec.sample_rate_hz for spec in specs) / 2
        hop_s = settings.hop_ms / 1000 if settings.hop_ms else half_clip_s
    return LatencySettings(
        warmup=settings.warmup,
        repetitions=settings.repetitions,
        seed=settings.seed,
        duration_s=settings.duration,
        stream=cast(Stream, settings.stream),
        hop_s=hop_s,
    )


def _command(bundles: Sequence[str | Path], settings: ProfileSettings) -> str:
    """The call that repeats this measurement."""
    return command_line("profile", bundles, settings)
