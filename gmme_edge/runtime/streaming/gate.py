"""Is there anything to hear? Level and spectral shape against an adaptive noise floor.

The networks scale every window to its peak, which makes a silent room as loud as speech. So the
gate looks at the sound before that, frame by frame, and spares the network windows in which no
frame is active.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gmme_edge.errors import UsageError
from gmme_edge.runtime.streaming.rules import check_number

_BANDS = 16
_LOWEST_HZ = 60.0
_QUIETEST = 1e-10  # power of a band at which levels end: -100 dB


@dataclass(frozen=True)
class GateRules:
    """When a frame is active: it is loud enough, and it differs from the background.

    Attributes:
        min_level_dbfs: frames below this level are never active.
        level_margin_db: a frame this far above the noise floor is active.
        flatness_margin_db: so is a frame whose spectrum, divided by the floor's, is this far from
            flat: its arithmetic mean over its geometric mean, in dB.
        floor_rise_s, floor_fall_s: time constants with which the floor follows louder and softer
            sound; in the first seconds of a stream it rises faster.

    Raises:
        UsageError: a value out of its range.
    """

    min_level_dbfs: float = -60.0
    level_margin_db: float = 8.0
    flatness_margin_db: float = 4.0
    floor_rise_s: float = 12.0
    floor_fall_s: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check_number(name, value)
        if not -math.inf < self.min_level_dbfs <= 0:
            raise UsageError(f"min_level_dbfs is {self.min_level_dbfs}.", "at most 0.")
        for name in ("level_margin_db", "flatness_margin_db", "floor_rise_s", "floor_fall_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} is {getattr(self, name)}.", "a positive number.")

    def to_dict(self) -> dict[str, float]:
        """As JSON holds it."""
        return dict(vars(self))


class ActivityGate:
    """Follows one stream; frames touch, and do not depend on how the sound was cut into chunks."""

    def __init__(self, rules: GateRules, sample_rate_hz: int) -> None:
        self.frame_samples = 1 << (max(1, sample_rate_hz // 25) - 1).bit_length()
        self._rules = rules
        self._frame = np.zeros(self.frame_samples, np.float32)
        self._taper = np.hanning(self.frame_samples + 1)[:-1]
        self._edges = _band_edges(self.frame_samples, sample_rate_hz)
        self._widths = np.diff(self._edges).astype(np.float64)
        self._scale = 2.0 / (self.frame_samples * (self._taper**2).sum())
        seconds = self.frame_samples / sample_rate_hz
        self._second = 1 / seconds
        self._rise = 1 - math.exp(-seconds / rules.floor_rise_s)
        self._fall = 1 - math.exp(-seconds / rules.floor_fall_s)
        self.reset()

    def reset(self) -> None:
        """Forget everything, the noise floor too."""
        self._since_reset = 0
        self._floor_db = np.full(_BANDS, 10 * math.log10(_QUIETEST))
        self.start_segment()

    def start_segment(self) -> None:
        """What follows does not continue what came before; the noise floor stays."""
        self._filled, self._frames = 0, 0
        self._active: deque[int] = deque()

    def hear(self, samples: NDArray[np.float32]) -> None:
        """Take the next samples of the segment, any number."""
        position = 0
        while position < len(samples):
            part = samples[position : position + self.frame_samples - self._filled]
            self._frame[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            position += len(part)
            if self._filled == self.frame_samples:
                if self._is_active(self._frame.astype(np.float64)):
                    self._active.append(self._frames)
                self._frames += 1
                self._filled = 0

    def is_open(self, start: int) -> bool:
        """Whether an active frame begins at or after `start`, a sample of the segment.

        Forgets frames before it, so `start` must not go back. Where no frame is whole yet, open.
        """
        while self._active and self._active[0] * self.frame_samples < start:
            self._active.popleft()
        return self._frames == 0 or bool(self._active)

    def measure(self, frame: NDArray[np.float64]) -> tuple[float, float, NDArray[np.float64]]:
        """A frame's excess over the floor and distance from flat in dB, and its bands' levels."""
        power = np.abs(np.fft.rfft(frame * self._taper)) ** 2 * self._scale
        bands = np.add.reduceat(power[: self._edges[-1]], self._edges[:-1]) / self._widths
        levels_db = 10 * np.log10(np.maximum(bands, _QUIETEST))
        above_db = levels_db - self._floor_db
        excess_db = 10 * math.log10(float(np.mean(10 ** (above_db / 10))))
        return excess_db, excess_db - float(np.mean(above_db)), levels_db

    def _is_active(self, frame: NDArray[np.float64]) -> bool:
        excess_db, from_flat_db, levels_db = self.measure(frame)
        # Quadratically from -100 dB to the background within seconds, so that a stream which
        # begins with an event is heard, and one which begins with noise soon costs nothing.
        rise = max(self._rise, min(1.0, 2 / (self._since_reset + self._second)))
        weights = np.where(levels_db > self._floor_db, rise, self._fall)
        self._since_reset += 1
        self._floor_db += weights * (levels_db - self._floor_db)
        rules = self._rules
        loud = float(np.mean(frame * frame)) >= 10 ** (rules.min_level_dbfs / 10)
        return loud and (
            excess_db >= rules.level_margin_db or from_flat_db >= rules.flatness_margin_db
        )


def _band_edges(frame_samples: int, sample_rate_hz: int) -> NDArray[np.int64]:
    """First bins of the bands, equally wide on the mel scale, and the bin after the last."""

    def mel(hz: float) -> float:
        return 2595 * math.log10(1 + hz / 700)

    low, high = mel(_LOWEST_HZ), mel(sample_rate_hz / 2)
    mels = [low + (high - low) * i / _BANDS for i in range(_BANDS + 1)]
    hz = [700 * (10 ** (value / 2595) - 1) for value in mels]
    edges = [round(value * frame_samples / sample_rate_hz) for value in hz]
    for i in range(1, len(edges)):  # a band has one bin at least
        edges[i] = max(edges[i], edges[i - 1] + 1)
    return np.array(edges, np.int64)
