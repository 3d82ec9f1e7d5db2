"""Recordings to waveforms: decode, downmix, resample, cut; numpy, soundfile and soxr only.

Training, evaluation and the device use these same functions, so that they cannot disagree.

    samples      whatever a caller passes as a waveform, as mono float32
    level        which stretches hold sound
    resampling   any rate to the model's, in blocks of any size
    windows      what a network sees of a waveform
    recording    a file, decoded in blocks and checked to its end
    naming, dating   when a recording began
    truncation, mpeg, ogg   what containers say about their own length
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gmme_edge.audio.level import SOUND_DBFS, has_sound, is_silent, peak_dbfs, sound_share
from gmme_edge.audio.resampling import Resampler, check_rate, resample
from gmme_edge.audio.samples import AudioWarning, Waveform, to_mono, to_samples
from gmme_edge.audio.windows import split_windows, stream_windows, window_starts

if TYPE_CHECKING:
    from gmme_edge.audio.recording import AUDIO_SUFFIXES, FOREIGN_SUFFIXES, Recording, read_audio

__all__ = [
    "AUDIO_SUFFIXES",
    "FOREIGN_SUFFIXES",
    "SOUND_DBFS",
    "AudioWarning",
    "Recording",
    "Resampler",
    "Waveform",
    "check_rate",
    "has_sound",
    "is_silent",
    "peak_dbfs",
    "read_audio",
    "resample",
    "sound_share",
    "split_windows",
    "stream_windows",
    "to_mono",
    "to_samples",
    "window_starts",
]


def __getattr__(name: str) -> object:
    """Load what decodes files on first use: most devices hear a microphone."""
    if name in ("AUDIO_SUFFIXES", "FOREIGN_SUFFIXES", "Recording", "read_audio"):
        from gmme_edge.audio import recording

        return getattr(recording, name)
    raise AttributeError(f"module 'gmme_edge.audio' has no attribute {name!r}")
