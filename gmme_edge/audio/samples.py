"""What callers pass as a waveform, as checked mono float32."""

from __future__ import annotations

import os
import warnings
from typing import cast

import numpy as np
from numpy.typing import NDArray

from gmme_edge.errors import AudioError, UsageError

Waveform = NDArray[np.float32]

_INTEGERS = ("int8", "int16", "int32", "uint8")
_CANCELLED = 0.01  # of the channels' mean power (-20 dB): two channels correlate below -0.98


class AudioWarning(UserWarning):
    """Something about a recording that does not stop the work, and that its user should know."""


def to_samples(value: object) -> NDArray[np.floating]:
    """Anything array-like as floating point; ``(samples,)`` or ``(samples, channels)``.

    Integers are scaled by their type, so that full scale is 1; 8 bits without a sign are centred
    at 128, as in WAV files.

    Raises:
        UsageError: no array of numbers, or integers of a type that no audio has.
        AudioError: empty, other axes, or more channels than samples.
    """
    samples = _as_array(value)
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise AudioError(
            f"The waveform has shape {samples.shape}.",
            "(samples,) or (samples, channels), not empty.",
        )
    if samples.ndim == 2 and samples.shape[1] > samples.shape[0]:
        raise AudioError(
            f"The waveform has shape {samples.shape}: more channels than samples.",
            "(samples, channels), not (channels, samples) or a batch.",
            "pass waveform.T, or each clip of a batch by itself (`Classifier.batch`).",
        )
    if np.issubdtype(samples.dtype, np.floating):
        return cast("NDArray[np.floating]", samples)
    bits = samples.dtype.itemsize * 8 - 1
    centre = 128 if samples.dtype == np.uint8 else 0
    return (samples.astype(np.float64) - centre) / 2.0**bits


def _as_array(value: object) -> NDArray[np.generic]:
    if isinstance(value, (str, bytes, bytearray, memoryview, os.PathLike)) or value is None:
        raise UsageError(
            f"The waveform is {_named(value)}.",
            "an array of samples.",
            "a file goes to `classify_file`; raw bytes through `np.frombuffer(data, np.int16)`.",
        )
    try:
        samples = np.asarray(value)
    except Exception as error:  # whatever the value's class raises when it is converted
        raise UsageError(
            f"The waveform is {_named(value)}, which gives no array: {error}",
            "an array of samples in the CPU's memory.",
        ) from error
    if not np.issubdtype(samples.dtype, np.floating) and samples.dtype.name not in _INTEGERS:
        raise UsageError(
            f"The waveform's samples are {samples.dtype}.",
            f"floating point from -1 to 1, or {', '.join(_INTEGERS)}.",
            "convert 16-bit samples with `waveform.astype(np.int16)`.",
        )
    return samples


def _named(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def to_mono(samples: NDArray[np.floating], name: str = "the waveform") -> Waveform:
    """The mean of the channels; ``(n,)`` or ``(n, channels)`` → ``(n,)`` float32.

    Where the channels cancel each other, as in antiphase stereo, the loudest one is taken, and
    an `AudioWarning` says so.

    Raises:
        AudioError: no samples, more than two axes, or NaN or infinite values.
    """
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise AudioError(
            f"{name} has shape {samples.shape}.", "(samples,) or (samples, channels), not empty."
        )
    refuse_infinite(int(samples.size - np.isfinite(samples).sum()), name)
    if samples.ndim == 1:
        return np.ascontiguousarray(samples, dtype=np.float32)
    mono = samples.mean(axis=1, dtype=np.float64)
    powers = channel_powers(samples)
    if cancels(float(np.square(mono).sum()), powers):
        loudest = int(powers.argmax())
        warnings.warn(f"{name}: {cancelled(loudest)}", AudioWarning, stacklevel=2)
        mono = samples[:, loudest]
    return np.ascontiguousarray(mono, dtype=np.float32)


def refuse_infinite(count: int, name: str) -> None:
    if count:
        raise AudioError(
            f"{name} has {count} NaN or infinite samples.",
            "finite samples.",
            "repair the recording.",
        )


def channel_powers(samples: NDArray[np.floating]) -> NDArray[np.float64]:
    """The sum of squares of each channel; ``(n, channels)`` → ``(channels,)``."""
    return np.asarray(np.einsum("ij,ij->j", samples, samples, dtype=np.float64))


def cancels(mean_power: float, powers: NDArray[np.float64]) -> bool:
    """Whether the mean of channels of `powers` holds next to nothing of them."""
    return bool(mean_power < _CANCELLED * powers.mean())


def cancelled(channel: int) -> str:
    """What to tell about it."""
    return f"its channels cancel each other (antiphase), so only channel {channel + 1} was heard."
