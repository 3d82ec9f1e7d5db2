"""Where windows lie, in whole samples: no rounding error ever adds up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple  # noqa: UP035

from gmme_edge.errors import UsageError
from gmme_edge.runtime.streaming.rules import check_number

Span = Tuple[int, int]  # noqa: UP006 - evaluated, and Python 3.8 has no other
_MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class WindowGrid:
    """Windows of `window_samples`, one every `hop_us` microseconds, from sample 0 on.

    Where `hop_samples` is given, windows are exactly so far apart, and `hop_us` is that rounded.
    A window speaks for its cell: the stretch of one hop around its middle. Cells touch and never
    overlap. The first begins with the sound, the last ends with it.

    Raises:
        UsageError: a hop under one sample, or longer than the window.
    """

    sample_rate_hz: int
    window_samples: int
    hop_us: int
    hop_samples: int | None = None

    def __post_init__(self) -> None:
        if self.sample_rate_hz < 1 or self.window_samples < 1:
            raise UsageError(
                f"Windows of {self.window_samples} samples at {self.sample_rate_hz} Hz.",
                "positive numbers.",
            )
        whole_us = self.window_samples * _MICROSECONDS
        if self.hop_us * self.sample_rate_hz < _MICROSECONDS or (
            self.hop_us * self.sample_rate_hz > whole_us
        ):
            raise UsageError(
                f"A hop of {self.hop_us / 1000:g} ms.",
                f"at least one sample and at most one window "
                f"({1000 * self.window_samples / self.sample_rate_hz:.3f} ms), so that every "
                "sample is heard.",
            )

    @property
    def _hop(self) -> tuple[int, int]:
        """In samples, as a numerator and a denominator."""
        if self.hop_samples is not None:
            return self.hop_samples, 1
        return self.hop_us * self.sample_rate_hz, _MICROSECONDS

    def start(self, index: int) -> int:
        """The first sample of window `index`."""
        step, parts = self._hop
        return index * step // parts

    def end(self, index: int) -> int:
        """The sample after the last one of window `index`."""
        return self.start(index) + self.window_samples

    def cell(self, index: int) -> Span:
        """What window `index` speaks for: ``[start, end)``."""
        lead = (self.window_samples - self.start(1)) // 2
        return (self.start(index) + lead if index else 0, self.start(index + 1) + lead)

    def whole_windows(self, total_samples: int) -> int:
        """How many windows fit into `total_samples`."""
        last = total_samples - self.window_samples
        if last < 0:
            return 0
        step, parts = self._hop
        return ((last + 1) * parts - 1) // step + 1

    def tail(self, total_samples: int) -> int | None:
        """Where the last window begins that hears what whole windows left over; None: nothing.

        It is moved back so that it ends with the sound. Where the sound is shorter than a window
        it begins at 0, and zeros follow the sound.
        """
        whole = self.whole_windows(total_samples)
        heard = self.end(whole - 1) if whole else 0
        return None if heard == total_samples else max(0, total_samples - self.window_samples)

    def starts(self, total_samples: int) -> tuple[int, ...]:
        """First samples of all windows over a sound of `total_samples`, the tail's last."""
        tail = self.tail(total_samples)
        whole = tuple(self.start(i) for i in range(self.whole_windows(total_samples)))
        return whole if tail is None else (*whole, tail)


def make_grid(
    sample_rate_hz: int,
    window_samples: int,
    hop_ms: float | None,
    hop_samples: int | None = None,
) -> WindowGrid:
    """The grid for a hop in milliseconds, kept to the microsecond; None: a quarter of a window.

    Args:
        hop_samples: what the hop is for a classifier that has but one.
    """
    check_number("hop_ms", hop_ms, optional=True)
    if hop_samples is not None:
        hop_us = round(hop_samples * _MICROSECONDS / sample_rate_hz)
        if hop_ms is not None and round(hop_ms * 1000) != hop_us:
            raise UsageError(
                f"A hop of {hop_ms} ms for a classifier that computes incrementally.",
                f"none, or {hop_us / 1000:g} ms, for which its graphs were made.",
            )
        return WindowGrid(sample_rate_hz, window_samples, hop_us, hop_samples)
    if hop_ms is None:
        hop_us = -(-window_samples * _MICROSECONDS // (4 * sample_rate_hz))
    elif not hop_ms > 0:
        raise UsageError(f"A hop of {hop_ms} ms.", "a positive number.")
    else:
        hop_us = round(hop_ms * 1000)
    return WindowGrid(sample_rate_hz, window_samples, hop_us)
