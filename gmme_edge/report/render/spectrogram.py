"""A sound as a small picture: a PNG of its spectrogram, made with numpy and zlib alone."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 320, 96
_RANGE_DB, _LEVELS = 80.0, 64
_FRAME_S = 0.025
_ANCHORS = ((0, 0, 4), (59, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109),
            (252, 253, 191))  # fmt: skip


def draw_spectrogram(samples: NDArray[np.float32], rate_hz: int) -> bytes:
    """``(n,)`` → a PNG of 320 by 96 pixels: time to the right, 0 Hz to half the rate upwards.

    Brightness is level, over the 80 dB under the loudest point.
    """
    return _png(_levels(samples, rate_hz), _palette())


def _levels(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.uint8]:
    """Rows from high to low frequencies, 0 (faint) to `_LEVELS` - 1."""
    size = max(2 * _HEIGHT, 1 << round(float(np.log2(max(2.0, rate_hz * _FRAME_S)))))
    padded = np.pad(samples.astype(np.float64), (size // 2, size // 2 + 1))
    starts = np.linspace(0, max(0, len(padded) - size), _WIDTH).astype(np.int64)
    frames = padded[starts[:, None] + np.arange(size)] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    edges = np.linspace(0, power.shape[1], _HEIGHT + 1).astype(np.int64)[:-1]
    rows = np.add.reduceat(power, edges, axis=1).T[::-1]
    most = float(rows.max())
    if most <= 0:
        return np.zeros(rows.shape, np.uint8)
    decibels = 10 * np.log10(np.maximum(rows / most, 10 ** (-_RANGE_DB / 10)))
    return np.asarray((decibels / _RANGE_DB + 1) * (_LEVELS - 1), np.uint8)


def _palette() -> bytes:
    """Red, green and blue of each level, from dark to light."""
    at = np.linspace(0, len(_ANCHORS) - 1, _LEVELS)
    colours = [np.interp(at, range(len(_ANCHORS)), channel) for channel in zip(*_ANCHORS)]  # noqa: B905
    return bytes(np.stack(colours, axis=1).round().astype(np.uint8))


def _png(pixels: NDArray[np.uint8], palette: bytes) -> bytes:
    """A picture with a palette (PNG specification, colour type 3)."""
    height, width = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)  # filter 0 each
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
