"""UrbanSound8K and Speech Commands V2 as they are published, but of made sounds.

What a loader and a decoder meet is as in the real sets: layout, names, number of recordings, their
lengths, sample rates, channels and sample types. What is heard is noise, with a tone that tells the
class. Fewer recordings than the real sets have keep the same proportions.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
from numpy.typing import NDArray

T = TypeVar("T")

N_SLICES, FOLDS, CLASSES = 8_732, 10, 10
SLICE_S, N_WHOLE_SLICES = 4.0, 7_325  # the others are shorter
SLICES_OF_A_SOURCE = 7

# What the headers of the real slices say; the rates as counted in public notebooks.
RATES_HZ = {
    44_100: 5_370, 48_000: 2_502, 96_000: 610, 24_000: 82, 16_000: 45, 22_050: 44, 11_025: 39,
    192_000: 17, 8_000: 12, 11_024: 7, 32_000: 4,
}  # fmt: skip
CHANNELS = {2: 7_993, 1: 739}
SUBTYPES = {"PCM_16": 5_758, "PCM_24": 2_753, "FLOAT": 169, "PCM_U8": 43, "IMA_ADPCM": 9}

N_WORDS, N_TEST_WORDS, N_VALIDATION_WORDS = 105_829, 11_005, 9_981
WORD_S, WORD_HZ = 1.0, 16_000
WORDS = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four",
    "go", "happy", "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right",
    "seven", "sheila", "six", "stop", "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
)  # fmt: skip

_NOISE_SAMPLES = 1 << 20


def make_urbansound8k(root: Path, n_clips: int = N_SLICES) -> None:
    """Ten folds in `root` with their table; `n_clips` from 20 on, so that no fold is empty."""
    rng, sounds = np.random.default_rng(0), _Sounds()
    rates, channels, subtypes = (_spread(counts, rng) for counts in (RATES_HZ, CHANNELS, SUBTYPES))
    seconds = _spread({SLICE_S: N_WHOLE_SLICES, 0.0: N_SLICES - N_WHOLE_SLICES}, rng)
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for index in range(n_clips):
        # A source has slices of one class in one fold, as the official division wants it.
        kind, turn = index % (FOLDS * CLASSES), index // (FOLDS * CLASSES)
        fold, label = kind % FOLDS + 1, kind // FOLDS
        source = 100_000 + turn // SLICES_OF_A_SOURCE * FOLDS * CLASSES + kind
        name = f"{source}-{label}-0-{turn % SLICES_OF_A_SOURCE}.wav"
        length_s = seconds[index] or rng.uniform(0.1, SLICE_S)
        path = root / "audio" / f"fold{fold}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rate_hz = rates[index]
        waveform = sounds.make(index, label, round(length_s * rate_hz), rate_hz, channels[index])
        soundfile.write(path, waveform, rate_hz, subtypes[index])
        rows.append(f"{name},{source},0.0,{length_s:.6f},1,{fold},{label},class_{label}")
    table = root / "metadata" / "UrbanSound8K.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")


def make_speech_commands(root: Path, n_clips: int = N_WORDS) -> None:
    """A folder for each of 35 words, both lists, and the background noise."""
    rng, sounds, entries = np.random.default_rng(0), _Sounds(), []
    for index in range(n_clips):
        label = index % len(WORDS)
        entry = f"{WORDS[label]}/{index // len(WORDS):08x}_nohash_0.wav"
        path = root / entry
        path.parent.mkdir(parents=True, exist_ok=True)
        length_s = rng.uniform(0.4, WORD_S) if index % 10 == 0 else WORD_S
        waveform = sounds.make(index, label, round(length_s * WORD_HZ), WORD_HZ)
        soundfile.write(path, waveform, WORD_HZ, "PCM_16")
        entries.append(entry)
    _write_lists(root, entries)
    noise = root / "_background_noise_"
    noise.mkdir()
    for index in range(6):
        waveform = sounds.make(index, 0, 60 * WORD_HZ, WORD_HZ)
        soundfile.write(noise / f"noise_{index}.wav", waveform, WORD_HZ, "PCM_16")


def _write_lists(root: Path, entries: list[str]) -> None:
    n_test = len(entries) * N_TEST_WORDS // N_WORDS
    n_validation = len(entries) * N_VALIDATION_WORDS // N_WORDS
    lists = {"testing": entries[:n_test], "validation": entries[n_test : n_test + n_validation]}
    for name, part in lists.items():
        (root / f"{name}_list.txt").write_text("\n".join(part) + "\n", encoding="utf-8")


def _spread(counts: Mapping[T, int], rng: np.random.Generator) -> list[T]:
    """Each value as often as its count says, in random order."""
    values = list(itertools.chain.from_iterable([value] * n for value, n in counts.items()))
    return [values[i] for i in rng.permutation(len(values)).tolist()]


class _Sounds:
    """Stretches of one long noise, each with a tone for the class."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self._noise = rng.normal(0, 0.05, (2 * _NOISE_SAMPLES, 2)).astype(np.float32)

    def make(
        self, index: int, label: int, n_samples: int, rate_hz: int, channels: int = 1
    ) -> NDArray[np.float32]:
        """Shape ``(n_samples, channels)``; every `index` has a noise of its own."""
        start = index * 7_919 % _NOISE_SAMPLES
        phase = 2 * np.pi * (200 + 80 * label) / rate_hz * np.arange(n_samples, dtype=np.float32)
        tone = 0.3 * np.sin(phase, dtype=np.float32)
        return self._noise[start : start + n_samples, :channels] + tone[:, None]


MAKERS: dict[str, tuple[Callable[[Path, int], None], int]] = {
    "urbansound8k": (make_urbansound8k, N_SLICES),
    "speech-commands": (make_speech_commands, N_WORDS),
}
"""By the name of `--dataset`: what makes it, and how many recordings the real one has."""
