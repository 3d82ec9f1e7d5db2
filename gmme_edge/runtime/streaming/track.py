"""One label's way from probabilities to events.

         p >= on                      p < off
quiet ────────────▶ open, sounding ────────────▶ open, in a gap ──▶ quiet (gap over merge_gap)
                          ▲                            │
                          └────────── p >= on ─────────┘
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gmme_edge.runtime.streaming.grid import Span
from gmme_edge.runtime.streaming.rules import Rule


@dataclass
class Found:
    """An event in the making: its stretch in samples, and the windows behind it."""

    label: str
    start: int
    end: int
    peak: float = 0.0
    total: float = 0.0
    first_window: int = -1
    last_window: int = -1
    windows: int = 0

    def count(self, probability: float | None, window: int) -> None:
        """Add a window, once; one that was not computed (None) only moves the last number."""
        if self.last_window == window:
            return
        self.first_window = window if self.last_window < 0 else self.first_window
        self.last_window = window
        if probability is not None:
            self.peak = max(self.peak, probability)
            self.total += probability
            self.windows += 1


class LabelTrack:
    """The state of one label; all times in samples."""

    def __init__(self, label: str, rule: Rule, sample_rate_hz: int) -> None:
        def samples(seconds: float) -> int:
            return math.floor(seconds * sample_rate_hz + 0.5)

        self.on = rule.on
        self._label, self._off = label, rule.off_threshold
        self._min, self._merge = samples(rule.min_duration_s), samples(rule.merge_gap_s)
        self._refractory = samples(rule.refractory_s)
        longest = rule.max_duration_s
        self._max = None if longest is None else max(1, samples(longest))
        self._open: Found | None = None
        self._sounding = False
        self._quiet_until = 0

    @property
    def is_quiet(self) -> bool:
        """Nothing changes before the probability reaches `on`."""
        return self._open is None and not self._sounding

    def snapshot(self) -> Found | None:
        """The open event as it stands; None where there is none, or it is too short yet."""
        one = self._open
        return replace(one) if one is not None and one.end - one.start >= self._min else None

    def hear(
        self, cell: Span, smooth: float, probability: float | None, window: int
    ) -> list[Found]:
        """Events that end within `cell`, whose smoothed probability is `smooth`."""
        ended: list[Found] = []
        position, end = cell
        while position < end and smooth >= (self._off if self._sounding else self.on):
            if self._open is not None and self._reach(end) <= position:
                ended += self._close()  # it cannot grow as far as this
            if self._open is None:
                position = max(position, self._quiet_until)
                if position >= end or probability is None:
                    break
                self._open = Found(self._label, position, position)
            self._open.end = position = self._reach(end)
            self._open.count(probability, window)
            self._sounding = True
            if self._max is not None and position == self._open.start + self._max:
                ended += self._close()
                self._sounding = self._refractory == 0
        else:
            if position == end:
                return ended
        self._sounding = False
        if self._open is not None and end - self._open.end > self._merge:
            ended += self._close()
        return ended

    def finish(self) -> list[Found]:
        """The sound ends, and with it what is open."""
        self._sounding = False
        return [] if self._open is None else self._close()

    def _reach(self, end: int) -> int:
        """How far the open event may last, at most to `end`."""
        assert self._open is not None
        return end if self._max is None else min(end, self._open.start + self._max)

    def _close(self) -> list[Found]:
        one, self._open = self._open, None
        assert one is not None
        if one.end - one.start < self._min:
            return []
        self._quiet_until = one.end + self._refractory
        return [one]
