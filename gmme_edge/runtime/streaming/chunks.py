"""Chunks of any kind to mono at the network's rate, and the window that they fill."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio.resampling import check_rate
from gmme_edge.errors import AudioError, UsageError, require

MOST_CHANNELS = 64
_BLOCK = 65_536  # samples in or out at a time, so that memory does not follow the chunk's size

_LARGEST = 1e30
_CENTRE_AND_SCALE: dict[str, tuple[float, float]] = {
    "float32": (0.0, 1.0),
    "float64": (0.0, 1.0),
    "float16": (0.0, 1.0),
    "int16": (0.0, 2.0**15),
    "int32": (0.0, 2.0**31),
    "int8": (0.0, 2.0**7),
    "uint8": (128.0, 2.0**7),
}


class Intake:
    """Mono float32 at `to_hz`, whatever comes in; the same samples however they were cut.

    Attributes:
        from_hz: the rate of what comes in; None before the first chunk.
    """

    def __init__(self, to_hz: int) -> None:
        self._to_hz = to_hz
        self.reset()

    def reset(self) -> None:
        """Forget the sound's rate and number of channels."""
        self.from_hz: int | None = None
        self._channels: int | None = None
        self._resampler: Any = None

    def take(self, chunk: NDArray[Any], from_hz: int) -> Iterator[NDArray[np.float32]]:
        """The chunk's samples, block by block; nothing changes where it raises.

        Raises:
            AudioError: more than two axes, over 64 channels, or NaN or infinite samples.
            UsageError: samples of another type, or the rate or the number of channels changed
                within a stream.
        """
        try:
            samples = np.asarray(chunk)
        except Exception as error:  # whatever the value's class raises when it is converted
            kind = type(chunk).__name__
            raise UsageError(f"A chunk of type {kind}: {error}", "an array of samples.") from error
        if samples.dtype.name not in _CENTRE_AND_SCALE:
            raise UsageError(
                f"A chunk of {samples.dtype.name}.", f"one of {', '.join(_CENTRE_AND_SCALE)}."
            )
        if samples.ndim not in (1, 2):
            raise AudioError(f"A chunk of shape {samples.shape}.", "(n,) or (n, channels).")
        if samples.ndim == 2 and samples.shape[1] > MOST_CHANNELS:
            raise AudioError(
                f"A chunk of shape {samples.shape}: {samples.shape[1]} channels.",
                f"(n, channels) with at most {MOST_CHANNELS} channels, not (channels, n).",
                "pass chunk.T.",
            )
        if not all(_is_finite(samples[i : i + _BLOCK]) for i in range(0, len(samples), _BLOCK)):
            raise AudioError("A chunk has NaN, infinite or huge samples.", "samples from -1 to 1.")
        self._check_format(samples, from_hz)
        return self._convert(samples)

    def drain(self) -> NDArray[np.float32]:
        """What the resampler still holds; it starts anew afterwards."""
        if self._resampler is None:
            return np.zeros(0, np.float32)
        rest = self._resampler.resample_chunk(np.zeros(0, np.float32), last=True)
        self._resampler.clear()
        return np.asarray(rest, np.float32)

    def expect(self, from_hz: int) -> None:
        """Fix the source's rate, or check it.

        Raises:
            AudioError, UsageError: not the rate of what came before, or none of a recording.
        """
        from_hz = check_rate(from_hz)
        if self.from_hz not in (None, from_hz):
            raise UsageError(
                f"Sound at {from_hz} Hz.",
                f"{self.from_hz} Hz, as before.",
                "call reset(), or use a stream for each source.",
            )
        if self.from_hz is None and from_hz != self._to_hz:
            soxr = require("soxr", f"resample from {from_hz} Hz to {self._to_hz} Hz")
            self._resampler = soxr.ResampleStream(
                from_hz, self._to_hz, 1, dtype="float32", quality="HQ"
            )
        self.from_hz = from_hz

    def _check_format(self, samples: NDArray[Any], from_hz: int) -> None:
        channels = 1 if samples.ndim == 1 else samples.shape[1]
        if self._channels not in (None, channels) or channels < 1:
            raise UsageError(
                f"A chunk of {channels} channels.",
                f"{self._channels or 'at least 1'}, as before.",
                "call reset(), or use a stream for each source.",
            )
        self.expect(from_hz)
        self._channels = channels

    def _convert(self, samples: NDArray[Any]) -> Iterator[NDArray[np.float32]]:
        from_hz = self.from_hz or self._to_hz
        size = max(1, min(_BLOCK, _BLOCK * from_hz // self._to_hz))  # what comes out is bounded too
        for start in range(0, len(samples), size):
            mono = _to_mono(samples[start : start + size])
            if self._resampler is not None:
                mono = np.asarray(self._resampler.resample_chunk(mono), np.float32)
            yield mono


def _is_finite(samples: NDArray[Any]) -> bool:
    return bool((np.abs(samples, dtype=np.float64) <= _LARGEST).all())


def _to_mono(samples: NDArray[Any]) -> NDArray[np.float32]:
    """The mean of the channels at full scale 1, summed in their order, so that no chunk matters."""
    centre, scale = _CENTRE_AND_SCALE[samples.dtype.name]
    channels = samples.reshape(len(samples), -1).astype(np.float64)
    total = channels[:, 0].copy()
    for each in range(1, channels.shape[1]):
        total += channels[:, each]
    mono: NDArray[np.float32] = ((total / channels.shape[1] - centre) / scale).astype(np.float32)
    return mono


class LastSamples:
    """The last `count` samples of a stream, always in one piece."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._buffer = np.zeros(2 * count, np.float32)
        self.clear()

    def clear(self) -> None:
        self._end = 0

    def extend(self, samples: NDArray[np.float32]) -> None:
        """Append up to `count` samples; older ones are forgotten."""
        if self._end + len(samples) > len(self._buffer):
            keep = self._count
            self._buffer[:keep] = self._buffer[self._end - keep : self._end].copy()
            self._end = keep
        self._buffer[self._end : self._end + len(samples)] = samples
        self._end += len(samples)

    def window(self) -> NDArray[np.float32]:
        """A copy of the last `count` samples; zeros follow where there are fewer."""
        found = np.zeros(self._count, np.float32)
        known = self._buffer[max(0, self._end - self._count) : self._end]
        found[: len(known)] = known
        return found
