"""Decoding, downmixing, resampling and cutting, compared with analytic signals and plain numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gmme_edge.audio import is_silent, read_audio, resample, split_windows, to_mono
from gmme_edge.errors import AudioError

RATE = 16_000
# Rounding to 8 to 32 bits, to floats, and the error of the lossy codecs on a full-scale sine.
LINEAR = {"PCM_U8": 1e-2, "PCM_16": 4e-5, "PCM_24": 2e-7, "PCM_32": 1e-7, "FLOAT": 1e-7}
CODECS = {**LINEAR, "DOUBLE": 1e-7, "ULAW": 3e-2, "ALAW": 3e-2, "IMA_ADPCM": 3e-2, "GSM610": 0.3}
FILES = [("wav", "WAV", subtype, error) for subtype, error in CODECS.items()] + [
    ("wav", "WAVEX", "PCM_16", 4e-5),
    ("wav", "RF64", "PCM_16", 4e-5),
    ("w64", "W64", "PCM_16", 4e-5),
    ("aiff", "AIFF", "PCM_24", 2e-7),
    ("au", "AU", "PCM_16", 4e-5),
    ("caf", "CAF", "PCM_16", 4e-5),
    ("flac", "FLAC", "PCM_S8", 1e-2),
    ("flac", "FLAC", "PCM_16", 4e-5),
    ("flac", "FLAC", "PCM_24", 2e-7),
    ("ogg", "OGG", "VORBIS", 5e-2),
    ("opus", "OGG", "OPUS", 5e-2),
    ("mp3", "MP3", "MPEG_LAYER_III", 5e-2),
]


def sine(n_samples: int, rate_hz: int, frequency_hz: float = 440.0) -> NDArray[np.float64]:
    return 0.8 * np.sin(2 * np.pi * frequency_hz * np.arange(n_samples) / rate_hz)


def rms(values: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def write(path: Path, file_format: str, subtype: str, samples: NDArray[np.float64]) -> Path:
    if file_format not in soundfile.available_formats():
        pytest.skip(f"this libsndfile writes no {file_format}")
    if subtype not in soundfile.available_subtypes(file_format):
        pytest.skip(f"this libsndfile writes no {subtype} in {file_format}")
    soundfile.write(path, samples, RATE, subtype=subtype, format=file_format)
    return path


@pytest.mark.parametrize(("suffix", "file_format", "subtype", "error"), FILES)
def test_every_format_decodes_to_the_sine(
    tmp_path: Path, suffix: str, file_format: str, subtype: str, error: float
) -> None:
    expected = sine(32_000, RATE)
    waveform = read_audio(write(tmp_path / f"a.{suffix}", file_format, subtype, expected), RATE)
    assert waveform.dtype == np.float32 and waveform.ndim == 1
    assert len(expected) <= len(waveform) <= len(expected) + 2400  # codecs pad whole blocks
    assert rms(waveform[: len(expected)] - expected) < error


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, (500, channels))
    path = write(tmp_path / "a.wav", "WAV", "FLOAT", samples)
    stored = samples.astype(np.float32)
    np.testing.assert_allclose(read_audio(path, RATE), np.mean(stored, axis=1), atol=1e-7)


@pytest.mark.parametrize("from_hz", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("to_hz", [16_000, 22_050])
def test_resampling_gives_the_analytic_sine(tmp_path: Path, from_hz: int, to_hz: int) -> None:
    """1 s of a 1 kHz tone; the ends, where the tone starts and stops abruptly, are left out."""
    soundfile.write(tmp_path / "a.wav", sine(from_hz, from_hz, 1000), from_hz, subtype="FLOAT")
    waveform = read_audio(tmp_path / "a.wav", to_hz)
    assert abs(len(waveform) - to_hz) <= 1
    inner = slice(to_hz // 10, -to_hz // 10)
    assert rms((waveform - sine(len(waveform), to_hz, 1000))[inner]) < 1e-4


def test_resampling_removes_what_the_lower_rate_cannot_hold() -> None:
    """10 kHz would alias to 6 kHz at 16 kHz; -80 dB of it may remain."""
    tone = sine(48_000, 48_000, 10_000).astype(np.float32)
    assert rms(resample(tone, 48_000, 16_000)[1600:-1600]) < 1e-4 * rms(tone)


def test_one_sample_survives_resampling() -> None:
    assert resample(np.ones(1, np.float32), 48_000, 8_000).shape == (1,)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(0, 8000), (8000, 0), (-1, 8000)])
def test_impossible_rates_are_refused(from_hz: int, to_hz: int) -> None:
    with pytest.raises(AudioError, match="positive rates"):
        resample(np.ones(8, np.float32), from_hz, to_hz)


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(("suffix", "file_format", "subtype", "_"), FILES)
def test_cut_files_are_refused(
    tmp_path: Path, suffix: str, file_format: str, subtype: str, _: float, kept: float
) -> None:
    """Noise, so that each codec needs many blocks and pages."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 50_000)
    path = write(tmp_path / f"whole.{suffix}", file_format, subtype, noise)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(AudioError) as caught:
        read_audio(cut, RATE)
    assert str(cut) in str(caught.value)
    assert "truncated" in str(caught.value) or "cannot be decoded" in str(caught.value)


def wav_bytes(tmp_path: Path, n_samples: int = 1000) -> bytearray:
    """A 16-bit mono WAV file in its simplest form: a header of 44 bytes, then the samples."""
    path = write(tmp_path / "plain.wav", "WAV", "PCM_16", sine(n_samples, RATE))
    data = bytearray(path.read_bytes())
    assert data[36:40] == b"data" and len(data) == 44 + 2 * n_samples
    return data


def test_header_only_is_refused(tmp_path: Path) -> None:
    for size in (12, 20, 44):
        (tmp_path / "a.wav").write_bytes(wav_bytes(tmp_path)[:size])
        with pytest.raises(AudioError, match=r"a\.wav"):
            read_audio(tmp_path / "a.wav", RATE)
    (tmp_path / "a.wav").write_bytes(wav_bytes(tmp_path, 0))
    with pytest.raises(AudioError, match="holds no samples"):
        read_audio(tmp_path / "a.wav", RATE)


@pytest.mark.parametrize(
    ("riff_size", "data_size"),
    [
        (0xFFFF_FFFF, 0xFFFF_FFFF),  # ffmpeg to a pipe
        (0x7FFF_F024, 0x7FFF_F000),  # sox to a pipe
        (0x8000_0024, 0x8000_0000),  # arecord to a pipe
        (0x7FFF_FFFF, 0x7FFF_FFFF),
        (0, 2000),
    ],
)
def test_streaming_headers_are_accepted(tmp_path: Path, riff_size: int, data_size: int) -> None:
    data = wav_bytes(tmp_path)
    data[4:8] = riff_size.to_bytes(4, "little")
    data[40:44] = data_size.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    np.testing.assert_allclose(
        read_audio(tmp_path / "a.wav", RATE), sine(1000, RATE), atol=1 / 32768
    )


@pytest.mark.parametrize("padded", [True, False])
def test_odd_sized_chunk_before_the_audio(tmp_path: Path, padded: bool) -> None:
    """RIFF pads odd chunks to even sizes; some writers leave the last one of a file unpadded."""
    data = wav_bytes(tmp_path)
    chunk = b"note" + (3).to_bytes(4, "little") + b"abc"
    data = data[:36] + chunk + b"\0" + data[36:] if padded else data + chunk
    data[4:8] = (len(data) - 8 + (not padded)).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    assert len(read_audio(tmp_path / "a.wav", RATE)) == 1000


def test_odd_number_of_audio_bytes(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", sine(999, RATE), RATE, subtype="PCM_U8")
    whole = (tmp_path / "a.wav").read_bytes()
    for content in (whole, whole[: 44 + 999]):  # with and without the padding byte
        (tmp_path / "a.wav").write_bytes(content)
        assert len(read_audio(tmp_path / "a.wav", RATE)) == 999


def test_metadata_cut_off_after_the_audio_is_accepted(tmp_path: Path) -> None:
    data = wav_bytes(tmp_path)
    data[4:8] = (len(data) + 500).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data + b"LIST")
    assert len(read_audio(tmp_path / "a.wav", RATE)) == 1000


def test_flac_that_was_written_to_a_pipe(tmp_path: Path) -> None:
    """Its STREAMINFO counts 0 samples, for unknown; libsndfile cannot read on after a seek."""
    data = bytearray(write(tmp_path / "a.flac", "FLAC", "PCM_16", sine(1000, RATE)).read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(data)
    with pytest.raises(AudioError, match=r"(?s)a\.flac does not say how many.*ffmpeg"):
        read_audio(tmp_path / "a.flac", RATE)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.txt"])
@pytest.mark.parametrize("content", [b"This is no audio file. " * 50, b"OggS", b"RIFF", b"\0" * 99])
def test_what_is_no_audio_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=name):
        read_audio(tmp_path / name, RATE)


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.wav does not exist"):
        read_audio(tmp_path / "gone.wav", RATE)
    (tmp_path / "empty.wav").touch()
    with pytest.raises(AudioError, match=r"empty\.wav is empty"):
        read_audio(tmp_path / "empty.wav", RATE)
    with pytest.raises(AudioError, match=r"is a folder, no file") as refused:
        read_audio(tmp_path, RATE)
    assert refused.value.fix == "name a file in it."
    with pytest.raises(AudioError, match=r"/dev/null is a pipe or a device, no file"):
        read_audio(Path("/dev/null"), RATE)


def test_a_cut_recording_is_told_without_an_option_that_the_caller_may_not_have(
    tmp_path: Path,
) -> None:
    soundfile.write(tmp_path / "a.wav", sine(1000, RATE), RATE)
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[:500])
    with pytest.raises(AudioError, match="is truncated") as refused:
        read_audio(tmp_path / "a.wav", RATE)
    assert "--" not in str(refused.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(tmp_path: Path, value: float) -> None:
    samples = sine(100, RATE)
    samples[[3, 50]] = value
    path = write(tmp_path / "a.wav", "WAV", "FLOAT", samples)
    with pytest.raises(AudioError, match=r"a\.wav has 2 NaN or infinite"):
        read_audio(path, RATE)


@pytest.mark.parametrize("shape", [(0,), (0, 2), (3, 2, 1), ()])
def test_to_mono_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match="shape"):
        to_mono(np.zeros(shape, np.float32))


@given(st.integers(1, 700), st.integers(1, 100))
def test_windows_cover_every_sample(length: int, n_samples: int) -> None:
    """With each sample equal to its position plus one, a zero can only be padding."""
    waveform = np.arange(1, length + 1, dtype=np.float32)
    windows = split_windows(waveform, n_samples)
    assert windows.shape == (max(1, -(-length // n_samples)), n_samples)
    assert windows.dtype == np.float32
    assert set(windows.ravel().tolist()) - {0.0} == set(waveform.tolist())
    if length >= n_samples:
        assert windows[0, 0] == 1 and windows[-1, -1] == length and windows.all()
        np.testing.assert_array_equal(np.diff(windows, axis=1), 1)
        steps = np.diff(windows[:, 0])
        assert len(steps) == 0 or steps.max() - steps.min() <= 1
    else:
        np.testing.assert_array_equal(windows[0], [*waveform, *[0] * (n_samples - length)])


def test_silence_is_half_a_step_of_16_bits() -> None:
    assert is_silent(np.zeros(10, np.float32))
    assert is_silent(np.full(10, 0.4 / 32768, np.float32))
    assert not is_silent(np.array([0, 0, -1 / 32768], np.float32))
