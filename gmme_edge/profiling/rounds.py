"""The calls that are timed: in rounds that visit every contender, as one of three streams of work.

single    one call of each contender per round; the next follows at once
offline   a burst of calls of each contender per round: throughput with warm caches
paced     some hops of each contender per round: one call per hop, and idle in between
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gmme_edge.errors import UsageError
from gmme_edge.profiling.calls import PACED_HOPS, take
from gmme_edge.profiling.opened import Runs

Stream = Literal["single", "offline", "paced"]
STREAMS: tuple[Stream, ...] = ("single", "offline", "paced")

_SETTLED, _MEDIAN_OF, _MOST_WARMUP, _MOST_WARMUP_S = 0.02, 10, 200, 30.0
_LEAST_ROUNDS = 3


@dataclass(frozen=True)
class LatencySettings:
    """How often and how contenders are called.

    Attributes:
        warmup: untimed rounds first; None: until no contender's median changes by over 2 %.
        repetitions: timed samples per contender.
        seed: of the order in which the contenders take turns.
        duration_s: go on for so long instead of counting samples; at least 3 rounds.
        stream: see this module.
        hop_s: of a paced stream: how often a call is due.
    """

    warmup: int | None = 10
    repetitions: int = 100
    seed: int = 0
    duration_s: float | None = None
    stream: Stream = "single"
    hop_s: float | None = None

    def __post_init__(self) -> None:
        if (self.warmup or 0) < 0 or self.repetitions < 1 or self.seed < 0:
            raise UsageError(
                f"{self.repetitions} repetitions after {self.warmup} warm-up calls, "
                f"seed {self.seed}.",
                "at least 1 repetition, and no negative number.",
            )
        if (self.stream == "paced") != (self.hop_s is not None):
            raise UsageError(
                f"A {self.stream} stream with a hop of {self.hop_s} s.",
                "a hop for a paced stream, and for no other.",
            )

    @property
    def samples_per_round(self) -> int:
        return PACED_HOPS if self.stream == "paced" else 1

    @property
    def rounds(self) -> int:
        """Timed rounds; of no meaning with a duration."""
        return -(-self.repetitions // self.samples_per_round)


@dataclass
class Samples:
    """What was timed so far, per contender; a later run can go on from it.

    Attributes:
        ms: of a paced stream from the moment at which the call was due, else of the call.
        misses: calls of a paced stream that were not done when the next was due, and those that
            were left out because of them.
    """

    ms: list[list[float]]
    misses: list[int]
    rounds: int = 0
    elapsed_s: float = 0.0
    warmup_rounds: int = field(default=0, compare=False)

    @classmethod
    def empty(cls, n_contenders: int) -> Samples:
        return cls([[] for _ in range(n_contenders)], [0] * n_contenders)


Progress = Callable[[int, int], None]
Call = Callable[[], object]


def time_rounds(
    sessions: Sequence[Runs],
    inputs: Sequence[NDArray[np.float32]],
    settings: LatencySettings,
    on_progress: Progress | None = None,
    samples: Samples | None = None,
) -> Samples:
    """Milliseconds of every timed call, added to `samples`; whole rounds only.

    Args:
        on_progress: called after every round with (calls made, calls in all), or with
            (tenths of seconds spent, tenths in all) where a duration is given.
    """
    samples = samples or Samples.empty(len(sessions))
    calls: list[Call] = [
        lambda session=session, clips=clips: session.run(clips)  # type: ignore[misc]
        for session, clips in zip(sessions, inputs, strict=True)
    ]
    tell = _teller(settings, len(calls), on_progress)
    samples.warmup_rounds = _warm_up(calls, settings, tell)
    while not _is_done(samples, settings):
        start_s = time.perf_counter()
        order = np.random.default_rng([settings.seed, samples.rounds]).permutation(len(calls))
        taken = {
            int(choice): take(calls[choice], settings.stream, settings.hop_s) for choice in order
        }
        for choice, (ms, misses) in taken.items():
            samples.ms[choice] += ms
            samples.misses[choice] += misses
        samples.rounds += 1
        samples.elapsed_s += time.perf_counter() - start_s
        tell(samples)
    return samples


def _is_done(samples: Samples, settings: LatencySettings) -> bool:
    if settings.duration_s is None:
        return samples.rounds >= settings.rounds
    return samples.elapsed_s >= settings.duration_s and samples.rounds >= _LEAST_ROUNDS


def _warm_up(
    calls: Sequence[Call], settings: LatencySettings, tell: Callable[[Samples | int], None]
) -> int:
    """Untimed rounds, as many as asked for or until the medians settle; returns how many."""
    seen: list[list[float]] = [[] for _ in calls]
    start_s, rounds = time.perf_counter(), 0
    while rounds < _MOST_WARMUP if settings.warmup is None else rounds < settings.warmup:
        if settings.warmup is None and (
            _settled(seen) or time.perf_counter() - start_s > _MOST_WARMUP_S
        ):
            break
        for values, call in zip(seen, calls, strict=True):
            before_s = time.perf_counter()
            call()
            values.append(time.perf_counter() - before_s)
        rounds += 1
        tell(rounds)
    return rounds


def _settled(seen: Sequence[Sequence[float]]) -> bool:
    """Whether each contender's last 10 calls have the median of the 10 before, within 2 %."""
    if len(seen[0]) < 2 * _MEDIAN_OF:
        return False
    for values in seen:
        last, before = values[-_MEDIAN_OF:], values[-2 * _MEDIAN_OF : -_MEDIAN_OF]
        if abs(np.median(last) / np.median(before) - 1) > _SETTLED:
            return False
    return True


def _teller(
    settings: LatencySettings, n_contenders: int, on_progress: Progress | None
) -> Callable[[Samples | int], None]:
    """What reports progress after a round: the number of a warm-up round, or what was taken."""
    warmup = settings.warmup or 0

    def tell(state: Samples | int) -> None:
        if on_progress is None:
            return
        if settings.duration_s is not None:
            elapsed_s = 0.0 if isinstance(state, int) else state.elapsed_s
            on_progress(round(10 * elapsed_s), round(10 * max(settings.duration_s, elapsed_s)))
            return
        rounds = min(state, warmup) if isinstance(state, int) else warmup + state.rounds
        on_progress(rounds * n_contenders, (warmup + settings.rounds) * n_contenders)

    return tell
