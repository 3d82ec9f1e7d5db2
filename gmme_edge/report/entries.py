"""The lines of a comparison: latency rows, each with the accuracy of the very same network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gmme_edge.profiling.energy_result import Energy
from gmme_edge.profiling.latency import LatencyRow
from gmme_edge.report.accuracy import Accuracy, Claim, claim_of, pool_accuracies
from gmme_edge.report.documents import (
    AccuracyResult,
    CrossValidationResult,
    LatencyResult,
    LoadedResult,
)
from gmme_edge.report.ranking import Rank
from gmme_edge.statistics import Interval


@dataclass(frozen=True)
class Ratio:
    """Figures relative to the base's; None where there is nothing to relate to.

    Attributes:
        latency: median ratio to the base's calls of the same repetitions, at the same precision,
            backend, threads and batch in the same file, with its bootstrap interval.
        latency_rank: what that interval says, see `ranking`; None for the base itself.
        latency_to_fp32: the same to the base's fp32.
        memory, energy: of the peaks and of what a clip takes, same setting and precision.
        accuracy_points: difference in percentage points, same precision and clips.
        accuracy_points_interval: its 95 % interval (Bonett and Price), where both files hold
            predictions of the same clips; `accuracy_p` is McNemar's exact test.
    """

    d_params: float | None = None
    t_params: float | None = None
    gflops: float | None = None
    size: float | None = None
    latency: float | None = None
    latency_interval: Interval | None = None
    latency_to_fp32: float | None = None
    accuracy_points: float | None = None
    accuracy_points_interval: Interval | None = None
    accuracy_p: float | None = None
    latency_rank: Rank | None = None
    memory: float | None = None
    energy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a comparison: a latency row, an accuracy, or both joined.

    Attributes:
        name: the model's, or the bundle's folder where several networks share a model.
        guessed: the accuracy was joined by names, because a file knows no weights' hash.
        is_noisy: something disturbed the measurement so that its ratios cannot be trusted.
    """

    name: str
    model: str
    precision: str
    backend: str
    d_params: int
    t_params: int
    gflops: float
    source: str
    device: Mapping[str, Any] = field(default_factory=dict)
    weights_sha256: str = ""
    latency: LatencyRow | None = None
    accuracy: Accuracy | None = None
    guessed: bool = False
    is_base: bool = False
    is_noisy: bool = False
    ratio: Ratio = field(default_factory=Ratio)

    @property
    def bundle(self) -> str:
        return self.latency.bundle if self.latency else ""

    @property
    def energy(self) -> Energy | None:
        """What a clip takes, where it was measured."""
        return self.latency.energy if self.latency else None

    @property
    def setting(self) -> tuple[object, ...]:
        """Where and how a latency was measured: only equal settings are compared."""
        row = self.latency
        if row is None:
            return (self.source,)
        how = (row.backend, row.threads, row.batch, row.gpu_call, row.stream)
        return self.source, *how, row.clip_s, row.n_classes

    @property
    def task(self) -> tuple[float, int] | None:
        """Clip length and number of classes, where a latency tells."""
        return (self.latency.clip_s, self.latency.n_classes) if self.latency else None

    def to_dict(self) -> dict[str, Any]:
        """One flat object of JSON values; what was not measured is null."""
        row, accuracy, energy = self.latency, self.accuracy, self.energy
        return {
            "name": self.name,
            "model": self.model,
            "bundle": self.bundle or None,
            "is_base": self.is_base,
            "precision": self.precision,
            "backend": self.backend,
            "threads": row.threads if row else None,
            "batch": row.batch if row else None,
            "gpu_call": row.gpu_call if row else None,
            "stream": row.stream if row else None,
            "clip_s": row.clip_s if row else None,
            "n_classes": row.n_classes if row else None,
            "d_params": self.d_params,
            "t_params": self.t_params,
            "gflops": self.gflops,
            "size_bytes": row.size_bytes if row else None,
            "peak_memory_bytes": row.peak_memory_bytes if row else None,
            "median_ms": row.median_ms if row else None,
            "median_interval_ms": list(row.median_interval_ms) if row else None,
            "p90_ms": row.p90_ms if row else None,
            "p90_interval_ms": list(row.p90_interval_ms) if row else None,
            "p99_ms": row.p99_ms if row else None,
            "throughput": row.throughput_clips_per_s if row else None,
            "energy_mj": energy.mean_mj if energy else None,
            "energy_interval_mj": energy.interval_mj if energy else None,
            "energy_meter": energy.meter if energy else None,
            "accuracy": accuracy.value if accuracy else None,
            "accuracy_interval": list(accuracy.interval) if accuracy else None,
            "accuracy_backend": accuracy.backend if accuracy else None,
            "dataset": accuracy.dataset if accuracy else None,
            "weights_sha256": self.weights_sha256,
            "source": self.source,
            "ratio": asdict(self.ratio),
        }


def join_results(results: Iterable[LoadedResult]) -> list[Entry]:
    """Every latency row with its network's accuracy, then the accuracies that no row took."""
    claims = [
        claim_of(result)
        for result in results
        if isinstance(result, AccuracyResult | CrossValidationResult)
    ]
    entries: list[Entry] = []
    taken: set[str] = set()
    for result in results:
        if isinstance(result, LatencyResult):
            for row in result.rows:
                found = [claim for claim in claims if _same_network(row, claim)]
                taken.update(claim.source for claim in found)
                entries.append(_entry_of_row(row, result, found))
    left: dict[tuple[object, ...], list[Claim]] = {}
    for claim in claims:
        if claim.source not in taken:
            left.setdefault(claim.group, []).append(claim)
    entries += map(_entry_of_claims, left.values())
    return _name(entries)


def _same_network(row: LatencyRow, claim: Claim) -> bool:
    """By the weights' hash where both know it; else by name, size and what else both know."""
    if (row.model, row.precision, row.t_params) != (claim.model, claim.precision, claim.t_params):
        return False
    if row.labels_sha256 and claim.labels_sha256 and row.labels_sha256 != claim.labels_sha256:
        return False
    if row.weights_sha256 and claim.weights_sha256:
        return row.weights_sha256 in claim.weights_sha256
    return True


def _entry_of_row(row: LatencyRow, result: LatencyResult, claims: Sequence[Claim]) -> Entry:
    sure = [claim for claim in claims if row.weights_sha256 in claim.weights_sha256]
    return Entry(
        name=row.model,
        model=row.model,
        precision=row.precision,
        backend=row.backend,
        d_params=row.d_params,
        t_params=row.t_params,
        gflops=row.gflops,
        source=result.source,
        device=result.device,
        weights_sha256=row.weights_sha256,
        latency=row,
        accuracy=pool_accuracies(sure or claims, row.backend),
        guessed=bool(claims) and not sure,
        is_noisy=not result.is_rankable,
    )


def _entry_of_claims(claims: Sequence[Claim]) -> Entry:
    first = claims[0]
    known = first.weights_sha256 if len(claims) == 1 else frozenset()
    return Entry(
        name=first.model,
        model=first.model,
        precision=first.precision,
        backend=first.backend,
        d_params=first.d_params,
        t_params=first.t_params,
        gflops=first.gflops,
        source=first.source,
        weights_sha256=next(iter(known)) if len(known) == 1 else "",
        accuracy=pool_accuracies(claims, first.backend),
    )


def _name(entries: Sequence[Entry]) -> list[Entry]:
    """By model; by folder where networks share a model; with the hash where they share both."""
    models = _networks(entries, lambda entry: entry.model)
    named = [
        replace(each, name=each.bundle or each.model) if len(models[each.model]) > 1 else each
        for each in entries
    ]
    names = _networks(named, lambda entry: entry.name)
    return [
        replace(each, name=f"{each.name} {each.weights_sha256[:8]}".strip())
        if len(names[each.name]) > 1
        else each
        for each in named
    ]


def _networks(
    entries: Sequence[Entry], name_of: Callable[[Entry], str]
) -> dict[str, set[tuple[object, ...]]]:
    """Name → the different networks that were timed under it."""
    found: dict[str, set[tuple[object, ...]]] = {}
    for entry in entries:
        networks = found.setdefault(name_of(entry), set())
        if entry.latency:
            networks.add((entry.weights_sha256 or entry.bundle, entry.task))
    return found
