"""An audio file as mono blocks at one rate, whatever its format, length and channels.

Every file is decoded to its end before anything of it is used: what its header announces is
compared with what its frames hold. Short recordings stay in memory from then on; longer ones are
decoded once more when their blocks are asked for, so that memory does not grow with length.
"""

from __future__ import annotations

import math
import mmap
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import mpeg, ogg
from gmme_edge.audio.parts import Part, PartReader
from gmme_edge.audio.reader import SoundFile
from gmme_edge.audio.resampling import StretchResampler, check_rate, resampled_length
from gmme_edge.audio.samples import (
    AudioWarning,
    Waveform,
    cancelled,
    cancels,
    channel_powers,
    refuse_infinite,
)
from gmme_edge.audio.truncation import is_cut
from gmme_edge.errors import AudioError, AudioLengthError, MissingDependencyError, require

AUDIO_SUFFIXES = frozenset(
    {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64"}
)
FOREIGN_SUFFIXES = frozenset(
    {".3gp", ".aac", ".amr", ".ape", ".m4a", ".mka", ".mp4", ".webm", ".wma", ".wv"}
)
"""Recordings, too, in formats that libsndfile does not decode."""

_UNKNOWN_FRAMES = 1 << 62  # libsndfile's answer for a FLAC stream that was written to a pipe
_BLOCK_SAMPLES = 1 << 18  # of all channels together
_KEPT_SAMPLES = 1 << 22  # 16 MB: three minutes at 22 kHz


class Recording:
    """A decodable, whole and finite recording; mono at `sample_rate_hz`.

    Args:
        name: what messages call it; default its path.
        longest_s: decoding stops as soon as there is more.

    Attributes:
        n_samples: its length at `sample_rate_hz`.
        n_given: how many samples `blocks` gives; a resampler may round differently.
        channel: the only one that is heard; None: the mean of all.
        notes: what its user should know, such as channels that cancel each other.

    Raises:
        AudioError: missing, empty, truncated, not audio, or with NaN or infinite samples.
        AudioLengthError: longer than `longest_s`.
    """

    def __init__(
        self,
        path: Path,
        sample_rate_hz: int,
        keep_all: bool = False,
        name: str = "",
        longest_s: float = math.inf,
    ) -> None:
        self.path, self.sample_rate_hz = path, check_rate(sample_rate_hz)
        self.name = name or str(path)
        self.notes: list[str] = []
        self._longest_s = longest_s
        self._most_kept = math.inf if keep_all else _KEPT_SAMPLES
        self.channel: int | None = None
        self._kept: list[Waveform] | None = None
        self.n_given = 0
        self.n_samples = self._survey()

    def blocks(self) -> Iterator[Waveform]:
        """The waveform in blocks, from its start; as often as it is asked for."""
        return iter(self._kept) if self._kept is not None else self._resampled()

    def _survey(self) -> int:
        """Decode to the end: length, channels that cancel, and the blocks themselves if short."""
        check = _Check(self.name)
        self._kept = []
        for block in self._resampled(check):
            self.n_given += len(block)
            if self._kept is not None:
                self._kept.append(block)
                if sum(map(len, self._kept)) > self._most_kept:
                    self._kept = None
        check.finish()
        if (loudest := check.loudest_if_cancelled()) is not None:
            self.notes.append(cancelled(loudest))
            self.channel = loudest
            self._kept = None if self._kept is None else list(self._resampled())
        return check.length

    def _resampled(self, check: _Check | None = None) -> Iterator[Waveform]:
        resampler, rate_hz = None, 0
        for samples, found_hz in self._decoded(survey=check is not None):
            if resampler is None or found_hz != rate_hz:  # joined files may differ
                if resampler is not None:
                    yield resampler.push(np.zeros(0, np.float32), last=True)
                resampler, rate_hz = StretchResampler(found_hz, self.sample_rate_hz), found_hz
            mono = one_channel(samples, self.channel)
            if check is not None:
                check.add(samples, mono, found_hz, self.sample_rate_hz)
                if check.length > self._longest_s * self.sample_rate_hz:
                    raise AudioLengthError(
                        f"{self.name} is longer than {self._longest_s:g} s.",
                        f"at most {self._longest_s:g} s.",
                        "cut it into parts, or send it as a stream.",
                    )
            yield resampler.push(mono)
        if resampler is not None:
            yield resampler.push(np.zeros(0, np.float32), last=True)

    def _decoded(self, survey: bool) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Blocks ``(frames, channels)``, each with its rate; a `survey` notes what is unknown."""
        soundfile = require("soundfile", "decode audio files")
        try:
            with _opened(self.path, self.name) as (handle, data):
                parts, cut, unknown = _look_inside(data, self.path)
                if survey and unknown:
                    self.notes.append(unknown)
                decoded = 0
                for part in parts:
                    source = handle if part is None else PartReader(data, part)
                    with sequential(soundfile)(source, closefd=False) as file:
                        announced, rate_hz = file.frames, check_rate(int(file.samplerate))
                        refuse_unknown_length(announced, self.path, self.name)
                        found = 0
                        for block in blocks_of(file):
                            found += len(block)
                            yield block, rate_hz
                    decoded += found
                    cut = cut or (found < announced and (part is None or part.exact))
        except (AudioError, MissingDependencyError):
            raise
        except (OSError, RuntimeError, ValueError, TypeError, MemoryError) as error:
            raise AudioError(
                f"{self.name} cannot be decoded: {decoder_reason(error)}",
                "a format that libsndfile reads (WAV, FLAC, Ogg, MP3, …).",
            ) from error
        if cut:
            raise AudioError(
                f"{self.name} is truncated: it announces more audio than the file holds "
                f"({decoded} frames decoded).",
                "a complete file.",
                "copy it again, or leave it out.",
            )


class _Check:
    """What a survey adds up over the blocks of one recording."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bad = 0
        self._frames: dict[int, int] = {}  # rate → frames
        self._mean_power, self._powers = 0.0, np.zeros(0)
        self.length = 0

    def add(self, samples: NDArray[np.float32], mono: Waveform, rate_hz: int, to_hz: int) -> None:
        self._bad += int(samples.size - np.isfinite(samples).sum())
        self._frames[rate_hz] = self._frames.get(rate_hz, 0) + len(samples)
        self.length = sum(resampled_length(n, hz, to_hz) for hz, n in self._frames.items())
        if samples.shape[1] > 1:
            powers = channel_powers(samples)
            same = len(powers) == len(self._powers)
            self._powers = self._powers + powers if same else powers
            self._mean_power += float(np.square(mono, dtype=np.float64).sum())

    def finish(self) -> None:
        if not self._frames:
            raise AudioError(f"{self._name} holds no samples.", "at least one sample.")
        refuse_infinite(self._bad, self._name)

    def loudest_if_cancelled(self) -> int | None:
        if len(self._powers) and cancels(self._mean_power, self._powers):
            return int(self._powers.argmax())
        return None


def one_channel(samples: NDArray[np.float32], channel: int | None) -> Waveform:
    """``(n, channels)`` to one of them, or to their mean."""
    if samples.shape[1] == 1 or (channel or 0) >= samples.shape[1]:
        mono = samples[:, 0]
    elif channel is None:
        mono = samples.mean(axis=1, dtype=np.float64)
    else:
        mono = samples[:, channel]
    return np.ascontiguousarray(mono, dtype=np.float32)


def read_audio(path: Path, sample_rate_hz: int) -> Waveform:
    """Decode any libsndfile format to mono float32 at `sample_rate_hz`; shape ``(n,)``.

    What its user should know comes as an `AudioWarning`.

    Raises:
        AudioError: missing, empty, truncated, not audio, or with NaN or infinite samples.
    """
    recording = Recording(path, sample_rate_hz, keep_all=True)
    for note in recording.notes:
        warnings.warn(f"{recording.name}: {note}", AudioWarning, stacklevel=2)
    waveform = np.concatenate(list(recording.blocks()))
    return waveform if len(waveform) else np.zeros(1, np.float32)


def refuse_unknown_length(announced: int, path: Path, name: str) -> None:
    if announced >= _UNKNOWN_FRAMES:
        raise AudioError(
            f"{name} does not say how many samples it holds.",
            "a file whose header was completed, not one written to a pipe.",
            f"rewrite it, for example with `ffmpeg -i {path.name} whole{path.suffix}`.",
        )


def _no_file(path: Path, name: str) -> AudioError:
    if path.is_dir():
        return AudioError(f"{name} is a folder, no file.", "an audio file.", "name a file in it.")
    if path.exists():
        return AudioError(f"{name} is a pipe or a device, no file.", "an audio file.")
    return AudioError(f"{name} does not exist.", "an audio file.", "check the path.")


@contextmanager
def _opened(path: Path, name: str) -> Iterator[tuple[int, memoryview]]:
    """A descriptor and a map of the file, which is read as its content says, not its name."""
    if not path.is_file():
        raise _no_file(path, name)
    if path.stat().st_size == 0:
        raise AudioError(f"{name} is empty (0 bytes).", "an audio file.")
    handle = os.open(path, os.O_RDONLY)
    try:
        with mmap.mmap(handle, 0, access=mmap.ACCESS_READ) as data, memoryview(data) as view:
            yield handle, view
    finally:
        os.close(handle)


def _look_inside(view: memoryview, path: Path) -> tuple[tuple[Part | None, ...], bool, str]:
    """The parts to decode (None: the file as it is), whether it was cut, and what is unknown."""
    data: mmap.mmap = view.obj  # type: ignore[assignment]  # as `_opened` made it
    if data[:4] == b"OggS":
        links = ogg.find_links(data)
        whole = len(links.parts) < 2
        return ((None,) if whole else links.parts), links.cut, ""
    if _may_be_mpeg(data) and (stream := mpeg.find_stream(data)) is not None:
        unknown = (
            ""
            if stream.known
            else (
                "it does not say how long it was, so a cut between two frames would go unnoticed."
            )
        )
        return stream.parts, stream.cut, unknown
    return (None,), is_cut(path), ""


def _may_be_mpeg(data: mmap.mmap) -> bool:
    tagged = data[:3] == b"ID3" and data.find(b"fLaC", 0, 1 << 20) < 0
    return bool(tagged or (data[0] == 0xFF and data[1:2] and data[1] & 0xE0 == 0xE0))


def sequential(soundfile: ModuleType) -> Callable[..., SoundFile]:
    """libsndfile's reader without the seek after each block, which guessed lengths mislead."""

    class Sequential(soundfile.SoundFile):  # type: ignore[misc, name-defined]
        def seekable(self) -> bool:
            return False

    return Sequential


def blocks_of(file: SoundFile) -> Iterator[NDArray[np.float32]]:
    frames = max(1, _BLOCK_SAMPLES // file.channels)
    while len(block := file.read(frames, dtype="float32", always_2d=True)):
        yield block


def decoder_reason(error: BaseException) -> str:
    """What libsndfile says, without the file name that it repeats as bytes."""
    text = getattr(error, "error_string", "") or str(error)
    return text if isinstance(text, str) else str(error)
