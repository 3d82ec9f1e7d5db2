"""Join latency and accuracy results and relate every figure to a base's, where that is fair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gmme_edge.errors import InputError, UsageError
from gmme_edge.profiling.noise import noise_verdict
from gmme_edge.profiling.statistics import paired_ratio
from gmme_edge.report.documents import (
    SCHEMA,
    LatencyResult,
    LoadedResult,
)
from gmme_edge.report.entries import Entry, Ratio, join_results
from gmme_edge.report.ranking import rank_ratio
from gmme_edge.scoring import PairedTest, paired_test
from gmme_edge.statistics import Interval

DEFAULT_BASE = "eat-s-aa"

__all__ = ["DEFAULT_BASE", "Comparison", "Entry", "Ratio", "compare_results", "relate_latency"]


@dataclass(frozen=True)
class Comparison:
    """The entries in the order of the files, and what a reader must know about them."""

    baseline: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    results: tuple[LoadedResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """What ``compare --json`` prints and ``-o x.json`` writes."""
        return {
            "schema": SCHEMA,
            "kind": "comparison",
            "baseline": self.baseline,
            "entries": [entry.to_dict() for entry in self.entries],
            "notes": list(self.notes),
            "devices": [{"source": r.source, "device": r.device} for r in self.results],
        }


def compare_results(results: Sequence[LoadedResult], baseline: str | None = None) -> Comparison:
    """Join `results` and relate them to a base, on the same device and backend.

    Args:
        baseline: a model or a bundle's folder, as `gmme-edge profile` prints them. By default the
            AA network, or the first network where there is none.

    Raises:
        UsageError: nothing to compare, no such model or folder, one network twice in one file, or
            accuracies that cannot be pooled.
    """
    entries = join_results(results)
    if not entries:
        raise UsageError("There is nothing to compare.", "results of latency or accuracy.")
    name = baseline or _default_base(entries)
    entries = [replace(e, is_base=name in (e.name, e.model, e.bundle)) for e in entries]
    if not any(entry.is_base for entry in entries):
        names = dict.fromkeys(n for e in entries for n in (e.name, e.model, e.bundle) if n)
        raise UsageError(
            f"No result is of the baseline {name!r}.",
            f"one of those present: {', '.join(names)}.",
            "name one with --baseline, or profile the baseline in the same run.",
        )
    _refuse_twins(entries)
    bases = [entry for entry in entries if entry.is_base]
    related = tuple(replace(entry, ratio=_relate(entry, bases)) for entry in entries)
    notes = (*_join_notes(related), *_notes(related, name), *_noise_notes(results))
    return Comparison(name, related, tuple(dict.fromkeys(notes)), tuple(results))


def _default_base(entries: Sequence[Entry]) -> str:
    models = [entry.model for entry in entries]
    if DEFAULT_BASE in models:
        return DEFAULT_BASE
    return next((model for model in models if model.endswith("-aa")), entries[0].name)


def _refuse_twins(entries: Sequence[Entry]) -> None:
    seen: set[tuple[object, ...]] = set()
    for entry in entries:
        key = (entry.name, entry.bundle, entry.precision, *entry.setting)
        if entry.is_base and entry.latency is not None:
            if key in seen:
                raise UsageError(
                    f"{entry.source} has {entry.name} at {entry.precision} on {entry.backend} "
                    "twice.",
                    "one row that can be the baseline.",
                    "give each file once.",
                )
            seen.add(key)


def _relate(entry: Entry, bases: Sequence[Entry]) -> Ratio:
    def find(matches: Callable[[Entry], bool]) -> Entry | None:
        found = [other for other in bases if matches(other)]
        # The entry's own file first: elsewhere the base may be another export.
        return min(found, key=lambda other: other.source != entry.source, default=None)

    base = find(lambda other: _same_task(entry, other))
    sized = find(lambda o: _same_task(entry, o) and o.precision == entry.precision)
    timed = find(lambda o: o.setting == entry.setting and o.precision == entry.precision)
    fp32 = find(lambda o: o.setting == entry.setting and o.precision == "fp32")
    scored = find(lambda o: _same_clips(entry, o) and o.precision == entry.precision)
    latency, interval = relate_latency(entry, timed)
    test = _test(entry, scored)
    return Ratio(
        d_params=entry.d_params / base.d_params if base else None,
        t_params=entry.t_params / base.t_params if base else None,
        gflops=entry.gflops / base.gflops if base else None,
        size=entry.latency.size_bytes / sized.latency.size_bytes
        if entry.latency and sized and sized.latency
        else None,
        latency=latency,
        latency_interval=interval,
        latency_rank=None if timed is entry else rank_ratio(interval, entry.is_noisy),
        latency_to_fp32=relate_latency(entry, fp32)[0],
        memory=entry.latency.peak_memory_bytes / timed.latency.peak_memory_bytes
        if entry.latency and timed and timed.latency
        else None,
        energy=relate_energy(entry, timed),
        accuracy_points=100 * (entry.accuracy.value - scored.accuracy.value)
        if entry.accuracy and scored and scored.accuracy
        else None,
        accuracy_points_interval=_in_points(test.interval) if test else None,
        accuracy_p=test.p_value if test else None,
    )


def relate_latency(entry: Entry, base: Entry | None) -> tuple[float | None, Interval | None]:
    """The median ratio over the same repetitions, with its interval."""
    if entry.latency is None or base is None or base.latency is None:
        return None, None
    return paired_ratio(entry.latency.samples_ms, base.latency.samples_ms)


def relate_energy(entry: Entry, base: Entry | None) -> float | None:
    """The ratio of what a clip takes, idle subtracted; None where noise leaves the base nothing."""
    if base is None or entry.energy is None or base.energy is None or base.energy.mean_mj <= 0:
        return None
    if entry.energy.meter != base.energy.meter:  # other meters see other parts of the machine
        return None
    return entry.energy.mean_mj / base.energy.mean_mj


def _same_task(entry: Entry, other: Entry) -> bool:
    if entry.latency and other.latency:
        return entry.task == other.task
    if entry.accuracy and other.accuracy:
        return entry.accuracy.dataset == other.accuracy.dataset
    return False


def _same_clips(entry: Entry, other: Entry) -> bool:
    mine, its = entry.accuracy, other.accuracy
    return mine is not None and its is not None and mine.protocol == its.protocol


def _test(entry: Entry, base: Entry | None) -> PairedTest | None:
    """McNemar's test where both know what was predicted for the same clips."""
    if base is None or base is entry or base.accuracy is None or entry.accuracy is None:
        return None
    theirs, mine = base.accuracy.predictions, entry.accuracy.predictions
    if theirs is None or mine is None or theirs is mine:
        return None
    try:
        return paired_test(theirs, mine)
    except InputError:  # other clips under one protocol's name: no test, the difference stands
        return None


def _in_points(interval: Interval) -> Interval:
    return 100 * interval[0], 100 * interval[1]


def _join_notes(entries: Sequence[Entry]) -> list[str]:
    """How accuracies were joined where that is not certain."""
    guessed = [entry.accuracy.source for entry in entries if entry.guessed and entry.accuracy]
    notes = []
    if guessed:
        notes.append(
            "Latency and accuracy were joined by name, precision and size, because the files do "
            f"not both know the weights' hash: {', '.join(dict.fromkeys(guessed))}."
        )
    elsewhere: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        row, accuracy = entry.latency, entry.accuracy
        if row and accuracy and accuracy.backend != row.backend:
            elsewhere.setdefault((row.backend, accuracy.backend), []).append(entry)
    for (here, there), found in elsewhere.items():
        notes.append(f"Accuracy beside {here} was measured on {there}: {_enumerate(found)}.")
    return notes


def _enumerate(entries: Sequence[Entry]) -> str:
    """Each network once, with its precisions."""
    precisions: dict[str, list[str]] = {}
    for entry in entries:
        precisions.setdefault(entry.name, []).append(entry.precision)
    return ", ".join(f"{n} ({', '.join(dict.fromkeys(p))})" for n, p in precisions.items())


def _notes(entries: Sequence[Entry], baseline: str) -> list[str]:
    """What is not ranked, and why."""
    notes = []
    tasks: dict[tuple[float, int], list[str]] = {}
    for entry in entries:
        if entry.task:
            tasks.setdefault(entry.task, []).append(entry.name)
    if len(tasks) > 1:
        parts = (
            f"{clip_s:g} s clips, {n} classes ({', '.join(dict.fromkeys(names))})"
            for (clip_s, n), names in tasks.items()
        )
        notes.append(f"Networks for different tasks are not comparable: {'; '.join(parts)}.")
    bases = [entry for entry in entries if entry.is_base and entry.latency]
    alone: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        row, accuracy, what = entry.latency, entry.accuracy, f"{entry.name} ({entry.precision})"
        if row and entry.ratio.latency is None:
            notes.append(
                f"{entry.source} has no {baseline} measured like {what} on {row.backend}: "
                f"{_differences(entry, bases)}."
            )
        if accuracy and entry.ratio.accuracy_points is None:
            alone.setdefault((accuracy.dataset, accuracy.split), []).append(entry)
    for (dataset, split), found in alone.items():
        notes.append(
            f"No accuracy of {baseline} on the same {split} clips of {dataset}: "
            f"{_enumerate(found)}."
        )
    return notes


def _differences(entry: Entry, bases: Sequence[Entry]) -> str:
    """What keeps an entry from being ranked against the base that was measured most alike."""
    if not bases:
        return "there is no latency of it"
    mine = _conditions(entry)
    differing = min(
        (
            [f"{k} {v}, not {mine[k]}" for k, v in _conditions(base).items() if v != mine[k]]
            for base in bases
        ),
        key=len,
    )
    return f"its nearest row has {'; '.join(differing)}"


def _conditions(entry: Entry) -> dict[str, str]:
    row, device = entry.latency, entry.device
    assert row is not None
    jetson = device.get("jetson")
    board = jetson if isinstance(jetson, dict) else {}
    return {
        "clip length": f"{row.clip_s:g} s",
        "classes": str(row.n_classes),
        "precision": row.precision,
        "backend": row.backend,
        "threads": str(row.threads or "auto"),
        "batch": str(row.batch),
        "calls": row.gpu_call,
        "stream": row.stream,
        "device": str(board.get("model") or device.get("cpu") or "unknown"),
        "power mode": str(board.get("power_mode") or "none"),
        "run": entry.source,
    }


def _noise_notes(results: Sequence[LoadedResult]) -> list[str]:
    return [
        f"{result.source} is {noise_verdict(result.is_rankable)}: {'; '.join(map(str, reasons))}."
        for result in results
        if isinstance(result, LatencyResult) and (reasons := result.noise.get("reasons"))
    ]
