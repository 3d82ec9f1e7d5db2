"""Recordings to waveforms: decode, downmix, resample, cut; numpy, soundfile and soxr only.

Training, evaluation and the device use these same functions, so that they cannot disagree.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gmme_edge.errors import AudioError, require
from gmme_edge.truncation import is_cut

Waveform = NDArray[np.float32]

AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"}
)
_UNKNOWN_FRAMES = 1 << 62  # libsndfile's answer for a FLAC stream that was written to a pipe


def read_audio(path: Path, sample_rate_hz: int) -> Waveform:
    """Decode any libsndfile format to mono float32 at `sample_rate_hz`; shape ``(n,)``.

    Raises:
        AudioError: missing, empty, truncated, not audio, or with NaN or infinite samples.
    """
    soundfile = require("soundfile", "decode audio files")
    try:
        if not path.is_file():
            raise AudioError(f"{path} does not exist or is no file.", "an audio file.")
        if path.stat().st_size == 0:
            raise AudioError(f"{path} is empty (0 bytes).", "an audio file.")
        with soundfile.SoundFile(os.fsencode(path)) as file:  # names need not be UTF-8
            announced, rate_hz = file.frames, int(file.samplerate)
            if announced >= _UNKNOWN_FRAMES:
                raise AudioError(
                    f"{path} does not say how many samples it holds.",
                    "a file whose header was completed, not one written to a pipe.",
                    f"rewrite it, for example with `ffmpeg -i {path.name} whole{path.suffix}`.",
                )
            samples = file.read(announced, dtype="float32", always_2d=True)
        cut = len(samples) < announced or is_cut(path)
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        raise AudioError(
            f"{path} cannot be decoded: {error}",
            "a format that libsndfile reads (WAV, FLAC, Ogg, MP3, …).",
        ) from error
    if cut:
        raise AudioError(
            f"{path} is truncated: its header announces more audio than the file holds "
            f"({len(samples)} frames decoded).",
            "a complete file.",
            "copy it again, or leave it out with --skip-bad.",
        )
    if len(samples) == 0:
        raise AudioError(f"{path} holds no samples.", "at least one sample.")
    return resample(to_mono(samples, str(path)), rate_hz, sample_rate_hz)


def to_mono(samples: NDArray[np.floating], name: str = "the waveform") -> Waveform:
    """The mean of the channels; ``(n,)`` or ``(n, channels)`` → ``(n,)`` float32.

    Raises:
        AudioError: no samples, more than two axes, or NaN or infinite values.
    """
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise AudioError(
            f"{name} has shape {samples.shape}.", "(samples,) or (samples, channels), not empty."
        )
    if not np.isfinite(samples).all():
        bad = int(samples.size - np.isfinite(samples).sum())
        raise AudioError(
            f"{name} has {bad} NaN or infinite samples.", "finite samples.", "repair the recording."
        )
    mono = samples if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float64)
    return np.ascontiguousarray(mono, dtype=np.float32)


def resample(waveform: Waveform, from_hz: int, to_hz: int) -> Waveform:
    """Band-limited resampling with soxr's high-quality setting; ``(n,)`` → ``(≈ n·to/from,)``."""
    if from_hz <= 0 or to_hz <= 0:
        raise AudioError(f"Sample rates of {from_hz} Hz and {to_hz} Hz.", "positive rates.")
    if from_hz == to_hz:
        return waveform
    soxr = require("soxr", f"resample from {from_hz} Hz to {to_hz} Hz")
    resampled = np.asarray(soxr.resample(waveform, from_hz, to_hz, quality="HQ"), np.float32)
    return resampled if len(resampled) else np.zeros(1, np.float32)


def split_windows(waveform: Waveform, n_samples: int) -> Waveform:
    """Cut a waveform into the windows a network sees; ``(n,)`` → ``(windows, n_samples)``.

    A shorter one is zero-padded at its end. A longer one becomes the fewest equally spaced
    windows that cover it, the first at its start and the last at its end.
    """
    if len(waveform) <= n_samples:
        window = np.zeros((1, n_samples), np.float32)
        window[0, : len(waveform)] = waveform
        return window
    count = -(-len(waveform) // n_samples)
    starts = np.linspace(0, len(waveform) - n_samples, count).round().astype(np.int64)
    return np.stack([waveform[start : start + n_samples] for start in starts])


def is_silent(waveform: Waveform) -> bool:
    """No sample reaches half a step of 16-bit audio (-96 dB of full scale)."""
    return bool(np.abs(waveform).max(initial=0.0) < 0.5 / 32768)
