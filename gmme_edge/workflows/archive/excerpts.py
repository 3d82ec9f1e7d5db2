"""A few seconds of a recording around an event, small enough for a page."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np

from gmme_edge.audio import AudioWarning, Waveform, resample, to_mono
from gmme_edge.errors import require
from gmme_edge.report.render.spectrogram import draw_spectrogram

_LEAST_S, _MOST_S = 2.0, 6.0
_RATES_HZ = (8000, 11_025, 12_000, 16_000, 22_050, 24_000)  # that MP3 and all browsers know
_PEAK = 0.8


@dataclass(frozen=True)
class Excerpt:
    """A sound and its spectrogram; empty where the recording cannot be read."""

    seconds: float = 0.0
    top_khz: float = 0.0
    picture: bytes = b""
    sound: bytes = b""
    sound_type: str = ""


def cut_clip(path: bytes, start_s: float, end_s: float, rate_hz: int) -> Excerpt:
    """The event with what is around it, 2 to 6 s, at about the rate that the network hears."""
    soundfile = require("soundfile", "decode audio files")
    seconds = min(_MOST_S, max(_LEAST_S, end_s - start_s))
    try:
        with soundfile.SoundFile(path) as file:
            from_hz, count = int(file.samplerate), int(seconds * file.samplerate)
            before_s = max(0.0, seconds - (end_s - start_s)) / 2
            first = min(int((start_s - before_s) * from_hz), file.frames - count)
            file.seek(max(0, first))
            samples = file.read(count, dtype="float32", always_2d=True)
    except (OSError, RuntimeError):
        return Excerpt()
    if not len(samples) or not np.isfinite(samples).all():
        return Excerpt()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)  # the scan has told it
        mono = to_mono(samples)
    to_hz = max(rate for rate in _RATES_HZ if rate <= max(rate_hz, _RATES_HZ[0]))
    sound = resample(mono, from_hz, to_hz)
    sound = sound * np.float32(_PEAK / (float(np.abs(sound).max()) or 1.0))
    encoded, kind = _encode(sound, to_hz)
    return Excerpt(
        seconds=len(sound) / to_hz,
        top_khz=to_hz / 2000,
        picture=draw_spectrogram(sound, to_hz),
        sound=encoded,
        sound_type=kind,
    )


def _encode(sound: Waveform, rate_hz: int) -> tuple[bytes, str]:
    """As MP3, which every browser plays; as WAV where libsndfile is older than 1.1."""
    soundfile = require("soundfile", "encode audio")
    known = "MP3" in soundfile.available_formats()
    form, kind = ("MP3", "audio/mpeg") if known else ("WAV", "audio/wav")
    buffer = io.BytesIO()
    soundfile.write(buffer, sound, rate_hz, format=form)
    return buffer.getvalue(), kind
