"""Any part of a long recording without what lies before it, as `Recording` gives it, bit by bit.

Only formats in which libsndfile finds a sample exactly: PCM of any kind, and FLAC. In others, such
as MP3 and Ogg, a decoder lands near the sample, or in another state than one that came from the
start.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gmme_edge.audio import resampling
from gmme_edge.audio.reader import SoundFile
from gmme_edge.audio.recording import blocks_of, decoder_reason, one_channel, sequential
from gmme_edge.audio.resampling import StretchResampler
from gmme_edge.audio.samples import Waveform
from gmme_edge.errors import AudioError, require

_FORMATS = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "FLAC"})
_SUBTYPES = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW")


def can_seek(path: Path) -> bool:
    """Whether `read_part` works for this recording."""
    try:
        with _opened(path) as file:
            return file.format in _FORMATS and file.subtype.startswith(_SUBTYPES)
    except (OSError, RuntimeError):
        return False


def read_part(
    path: Path, sample_rate_hz: int, channel: int | None, start: int, stop: int
) -> Iterator[Waveform]:
    """Samples ``[start, stop)`` at `sample_rate_hz`, in blocks.

    Args:
        channel: as `Recording.channel` has it.

    Raises:
        AudioError: it cannot be decoded as far as that.
    """
    number = start // (resampling.STRETCH_S * sample_rate_hz)
    position = number * resampling.STRETCH_S * sample_rate_hz
    try:
        with _opened(path) as file:
            resampler = StretchResampler(int(file.samplerate), sample_rate_hz, number)
            file.seek(min(resampler.begins, file.frames))
            for made in _resampled(file, resampler, channel):
                yield made[max(0, start - position) : max(0, stop - position)]
                position += len(made)
                if position >= stop:
                    return
    except (OSError, RuntimeError) as error:
        raise AudioError(f"{path} cannot be decoded: {decoder_reason(error)}") from error
    raise AudioError(
        f"{path} has changed: it ends {stop - position} samples too early.",
        "a recording that stays as it is while it is heard.",
    )


@contextmanager
def _opened(path: Path) -> Iterator[SoundFile]:
    """By its descriptor, so that any name will do."""
    reader = sequential(require("soundfile", "decode audio files"))
    with path.open("rb") as handle, reader(handle.fileno(), closefd=False) as file:
        yield file


def _resampled(
    file: SoundFile, resampler: StretchResampler, channel: int | None
) -> Iterator[Waveform]:
    for block in blocks_of(file):
        yield resampler.push(one_channel(block, channel))
    yield resampler.push(np.zeros(0, np.float32), last=True)
