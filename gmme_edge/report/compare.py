"""Join latency and accuracy results and relate every figure to a baseline model's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gmme_edge.errors import UsageError
from gmme_edge.profiling.latency import LatencyRow
from gmme_edge.profiling.statistics import Interval, median_ratio
from gmme_edge.report.accuracy import Accuracy, Key, choose_accuracy, key_of
from gmme_edge.report.documents import AccuracyResult, LatencyResult, Result


@dataclass(frozen=True)
class Ratio:
    """Figures relative to the baseline model's; None where there is nothing to relate to.

    Attributes:
        latency: ratio of medians to the baseline at the same precision, backend, threads and
            batch in the same file, with the bootstrap interval of paired repetitions.
        latency_to_fp32: the same to the baseline's fp32.
        accuracy_points: difference in percentage points, same precision and clips.
    """

    d_params: float | None = None
    t_params: float | None = None
    gflops: float | None = None
    size: float | None = None
    latency: float | None = None
    latency_interval: Interval | None = None
    latency_to_fp32: float | None = None
    accuracy_points: float | None = None


@dataclass(frozen=True)
class Entry:
    """One line of a comparison: a latency row, an accuracy, or both joined."""

    model: str
    precision: str
    backend: str
    d_params: int
    t_params: int
    gflops: float
    source: str
    latency: LatencyRow | None = None
    accuracy: Accuracy | None = None
    ratio: Ratio = field(default_factory=Ratio)

    @property
    def setting(self) -> tuple[object, ...]:
        """Where and how a latency was measured: only equal settings are compared."""
        row = self.latency
        if row is None:
            return (self.source,)
        return self.source, row.backend, row.threads, row.batch, row.clip_s, row.n_classes

    def to_dict(self) -> dict[str, Any]:
        """One flat object of JSON values; what was not measured is null."""
        row, accuracy = self.latency, self.accuracy
        return {
            "model": self.model,
            "precision": self.precision,
            "backend": self.backend,
            "threads": row.threads if row else None,
            "batch": row.batch if row else None,
            "d_params": self.d_params,
            "t_params": self.t_params,
            "gflops": self.gflops,
            "size_bytes": row.size_bytes if row else None,
            "peak_memory_bytes": row.peak_memory_bytes if row else None,
            "median_ms": row.median_ms if row else None,
            "p90_ms": row.p90_ms if row else None,
            "throughput": row.throughput_clips_per_s if row else None,
            "accuracy": accuracy.value if accuracy else None,
            "accuracy_interval": list(accuracy.interval) if accuracy else None,
            "accuracy_backend": accuracy.backend if accuracy else None,
            "dataset": accuracy.dataset if accuracy else None,
            "source": self.source,
            "ratio": asdict(self.ratio),
        }


@dataclass(frozen=True)
class Comparison:
    """The entries in the order of the files, and what a reader must know about them."""

    baseline: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    results: tuple[Result, ...]


def compare_results(results: Sequence[Result], baseline: str) -> Comparison:
    """Join `results` and relate them to the model named `baseline`.

    Raises:
        UsageError: no such model among them, two rows that both claim to be the baseline of a
            setting, or accuracies that cannot be pooled.
    """
    entries = _join(results)
    models = list(dict.fromkeys(entry.model for entry in entries))
    if baseline not in models:
        raise UsageError(
            f"No result is of the baseline {baseline!r}.",
            f"one of the models present: {', '.join(models)}.",
            "name one with --baseline, or profile the baseline in the same run.",
        )
    _refuse_twins(entries, baseline)
    related = tuple(replace(entry, ratio=_relate(entry, entries, baseline)) for entry in entries)
    return Comparison(baseline, related, _notes(related, baseline), tuple(results))


def _join(results: Iterable[Result]) -> list[Entry]:
    """Every latency row with its model's accuracy, then the accuracies that no row took."""
    accuracies: dict[Key, list[AccuracyResult]] = {}
    for result in results:
        if isinstance(result, AccuracyResult):
            accuracies.setdefault(key_of(result), []).append(result)
    entries = [
        Entry(
            row.model, row.precision, row.backend, row.d_params, row.t_params, row.gflops,
            result.source, row,
            choose_accuracy(
                accuracies.get((row.model, row.precision, row.t_params), ()), row.backend
            ),
        )
        for result in results
        if isinstance(result, LatencyResult)
        for row in result.rows
    ]  # fmt: skip
    taken = {(entry.model, entry.precision, entry.t_params) for entry in entries}
    for key, found in accuracies.items():
        if key not in taken:
            first, accuracy = found[0], choose_accuracy(found, found[0].backend)
            entries.append(
                Entry(
                    first.model, first.precision, first.backend, first.d_params, first.t_params,
                    first.gflops, first.source, None, accuracy,
                )
            )  # fmt: skip
    return entries


def _refuse_twins(entries: Sequence[Entry], baseline: str) -> None:
    seen: set[tuple[object, ...]] = set()
    for entry in entries:
        key = (entry.precision, *entry.setting)
        if entry.model == baseline and entry.latency is not None:
            if key in seen:
                raise UsageError(
                    f"{entry.source} has {baseline} at {entry.precision} on {entry.backend} twice.",
                    "one row that can be the baseline.",
                    "profile one bundle of the baseline, and give each file once.",
                )
            seen.add(key)


def _relate(entry: Entry, entries: Sequence[Entry], baseline: str) -> Ratio:
    def find(matches: Callable[[Entry], bool]) -> Entry | None:
        found = [other for other in entries if other.model == baseline and matches(other)]
        # The entry's own file first: elsewhere the baseline may be another export.
        return min(found, key=lambda other: other.source != entry.source, default=None)

    base = find(lambda other: _same_task(entry, other))
    sized = find(lambda o: _same_task(entry, o) and o.precision == entry.precision)
    timed = find(lambda o: o.setting == entry.setting and o.precision == entry.precision)
    fp32 = find(lambda o: o.setting == entry.setting and o.precision == "fp32")
    latency, interval = _latency_ratio(entry, timed)
    return Ratio(
        d_params=entry.d_params / base.d_params if base else None,
        t_params=entry.t_params / base.t_params if base else None,
        gflops=entry.gflops / base.gflops if base else None,
        size=entry.latency.size_bytes / sized.latency.size_bytes
        if entry.latency and sized and sized.latency
        else None,
        latency=latency,
        latency_interval=interval,
        latency_to_fp32=_latency_ratio(entry, fp32)[0],
        accuracy_points=_accuracy_points(entry, find),
    )


def _same_task(entry: Entry, other: Entry) -> bool:
    if entry.latency and other.latency:
        mine, its = entry.latency, other.latency
        return (mine.clip_s, mine.n_classes) == (its.clip_s, its.n_classes)
    if entry.accuracy and other.accuracy:
        return entry.accuracy.dataset == other.accuracy.dataset
    return False


def _latency_ratio(entry: Entry, base: Entry | None) -> tuple[float | None, Interval | None]:
    if entry.latency is None or base is None or base.latency is None:
        return None, None
    return median_ratio(entry.latency.samples_ms, base.latency.samples_ms)


def _accuracy_points(
    entry: Entry, find: Callable[[Callable[[Entry], bool]], Entry | None]
) -> float | None:
    mine = entry.accuracy
    if mine is None:
        return None
    base = find(
        lambda other: (
            other.accuracy is not None
            and other.precision == entry.precision
            and other.accuracy.protocol == mine.protocol
        )
    )
    if base is None or base.accuracy is None:
        return None
    return 100 * (mine.value - base.accuracy.value)


def _notes(entries: Sequence[Entry], baseline: str) -> tuple[str, ...]:
    notes = []
    for entry in entries:
        row, accuracy, what = entry.latency, entry.accuracy, f"{entry.model} ({entry.precision})"
        if row and entry.ratio.latency is None:
            notes.append(
                f"{entry.source} has no {baseline} measured like {what} on {row.backend}: "
                "latencies of different runs, devices or settings are not compared."
            )
        if accuracy and entry.ratio.accuracy_points is None:
            notes.append(
                f"No accuracy of {baseline} on the clips of {what}: {accuracy.dataset}, "
                f"{accuracy.split}."
            )
        if row and accuracy and accuracy.backend != row.backend:
            notes.append(
                f"The accuracy of {what} beside {row.backend} was measured on {accuracy.backend}."
            )
    return tuple(dict.fromkeys(notes))
