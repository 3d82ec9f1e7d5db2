"""Band-limited resampling with soxr's high-quality setting, in blocks or at once.

Blocks of any size give the same samples, bit by bit, as the whole waveform at once. Recordings are
resampled in stretches of ten minutes, each with a second of what surrounds it, so that any part of
a long one can be had without what lies before it, again bit by bit.
"""

from __future__ import annotations

import math
import numbers

import numpy as np

from gmme_edge.audio.samples import Waveform
from gmme_edge.errors import AudioError, UsageError, require, shorten

_LOWEST_HZ, _HIGHEST_HZ = 100, 10_000_000
# The filter may overshoot: samples near the largest float are scaled down, exactly, on the way.
_HEADROOM = np.float32(2**-32)
_LARGEST = np.finfo(np.float32).max * _HEADROOM

STRETCH_S = 600
_AROUND_S = 1  # far more than the filter's length


def check_rate(rate_hz: object) -> int:
    """`rate_hz` as a whole number.

    Raises:
        UsageError: no number, or not a whole one.
        AudioError: a rate that no recording has; a resampler would work on it for hours.
    """
    if isinstance(rate_hz, bool) or not isinstance(rate_hz, numbers.Real):
        raise UsageError(f"The sample rate is {shorten(rate_hz)}.", "a number in hertz.")
    try:
        number = float(rate_hz)
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not math.isfinite(number) or number != int(number):
        raise UsageError(f"The sample rate is {shorten(rate_hz)} Hz.", "a whole number of hertz.")
    if number <= 0:
        raise AudioError(f"A sample rate of {rate_hz} Hz.", "positive rates.")
    if not _LOWEST_HZ <= number <= _HIGHEST_HZ:
        raise AudioError(
            f"A sample rate of {rate_hz} Hz.", f"from {_LOWEST_HZ} to {_HIGHEST_HZ} Hz."
        )
    return int(number)


def resampled_length(n_samples: int, from_hz: int, to_hz: int) -> int:
    """How many samples `n_samples` become: the nearest whole number, at least 1."""
    return max(1, (2 * n_samples * to_hz + from_hz) // (2 * from_hz))


class Resampler:
    """Mono blocks at one rate in, blocks at another out; the filter's delay is compensated.

    Raises:
        AudioError, UsageError: see `check_rate`.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        from_hz, to_hz = check_rate(from_hz), check_rate(to_hz)
        self._stream = None
        if from_hz != to_hz:
            soxr = require("soxr", f"resample from {from_hz} Hz to {to_hz} Hz")
            self._stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")

    def push(self, block: Waveform, last: bool = False) -> Waveform:
        """What is ready after `block`; with the `last` one everything is. A block may be empty."""
        if self._stream is None:
            return block
        with np.errstate(invalid="ignore"):  # NaN is refused further on, by name
            scaled = np.ascontiguousarray(block * _HEADROOM, dtype=np.float32)
        ready = np.asarray(self._stream.resample_chunk(scaled, last=last), np.float32)
        result: Waveform = np.clip(ready, -_LARGEST, _LARGEST) / _HEADROOM
        return result


class StretchResampler:
    """As `Resampler`, for recordings: begins anew with every stretch.

    Args:
        first: the number of the stretch that blocks begin with; the first one is to hold the
            recording's sample `begins`.

    Attributes:
        begins: the first sample that is needed, at `from_hz`.
    """

    def __init__(self, from_hz: int, to_hz: int, first: int = 0) -> None:
        self._rates_hz = from_hz, to_hz
        self._open = [_Stretch(first, from_hz, to_hz)]
        self.begins = self._position = self._open[0].begins

    def push(self, block: Waveform, last: bool = False) -> Waveform:
        """What is ready after `block`; with the `last` one everything is. A block may be empty."""
        end = self._position + len(block)
        while _begin_s(number := self._open[-1].number + 1) * self._rates_hz[0] < end:
            self._open.append(_Stretch(number, *self._rates_hz))
        ready: list[Waveform] = []
        for stretch in self._open:
            first, after = (max(0, at - self._position) for at in (stretch.begins, stretch.ends))
            stretch.push(block[first:after], last or end >= stretch.ends)
        while self._open and self._open[0].done:
            ready += self._open.pop(0).take()
        if self._open:
            ready += self._open[0].take()
        self._position = end
        return ready[0] if len(ready) == 1 else np.concatenate([np.zeros(0, np.float32), *ready])


class _Stretch:
    """One stretch, from a second before it to a second after it; `begins`, `ends` are of these."""

    def __init__(self, number: int, from_hz: int, to_hz: int) -> None:
        self.number, self.done = number, False
        self.begins = _begin_s(number) * from_hz
        self.ends = (STRETCH_S * (number + 1) + _AROUND_S) * from_hz
        self._own = STRETCH_S * number * to_hz, STRETCH_S * (number + 1) * to_hz
        self._next = _begin_s(number) * to_hz  # the sample that the resampler gives next
        self._resampler = Resampler(from_hz, to_hz)
        self._ready: list[Waveform] = []

    def push(self, block: Waveform, last: bool) -> None:
        if self.done:
            return
        made = self._resampler.push(block, last)
        first, after = (min(max(0, at - self._next), len(made)) for at in self._own)
        self._next += len(made)
        self.done = last
        if first < after:
            self._ready.append(made[first:after])

    def take(self) -> list[Waveform]:
        """What is ready and its own."""
        found, self._ready = self._ready, []
        return found


def _begin_s(number: int) -> int:
    """Where the sound of a stretch begins, with what is before it."""
    return STRETCH_S * number - (_AROUND_S if number else 0)


def resample(waveform: Waveform, from_hz: int, to_hz: int) -> Waveform:
    """A whole waveform; ``(n,)`` → ``(≈ n·to/from,)``, at least one sample."""
    resampled = Resampler(from_hz, to_hz).push(waveform, last=True)
    return resampled if len(resampled) else np.zeros(1, np.float32)
