"""Containers that lie about their length, channels that cancel, levels and types of samples."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from gmme_edge.audio import (
    AudioWarning,
    Recording,
    Resampler,
    has_sound,
    peak_dbfs,
    read_audio,
    resample,
    split_windows,
    stream_windows,
    to_mono,
    to_samples,
)
from gmme_edge.audio.mpeg import parse_frame
from gmme_edge.audio.windows import tame
from gmme_edge.errors import AudioError, UsageError

RATE = 44_100
FRAME = 1152


def noise(seconds: float, level: float = 0.5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-level, level, round(seconds * RATE))


def encoded(samples: np.ndarray, form: str, subtype: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    rate = 48_000 if subtype == "OPUS" else RATE
    with soundfile.SoundFile(buffer, "w", rate, 1, subtype, format=form, **options) as file:
        file.write(samples)
    return buffer.getvalue()


def mp3(samples: np.ndarray, mode: str = "VARIABLE") -> bytes:
    return encoded(samples, "MP3", "MPEG_LAYER_III", compression_level=0.3, bitrate_mode=mode)


def headerless(data: bytes) -> bytes:
    """Without its first frame, which is the Xing or Info frame."""
    frame = parse_frame(data[:4])
    assert frame is not None and (b"Xing" in data[: frame.size] or b"Info" in data[: frame.size])
    return data[frame.size :]


@pytest.fixture
def listen(tmp_path: Path) -> Callable[..., Recording]:
    def heard(data: bytes, name: str = "a.bin", rate_hz: int = RATE) -> Recording:
        (tmp_path / name).write_bytes(data)
        return Recording(tmp_path / name, rate_hz)

    return heard


@pytest.mark.parametrize("loud_first", [True, False])
@pytest.mark.parametrize("mode", ["VARIABLE", "CONSTANT"])
def test_an_mp3_without_a_length_is_heard_to_its_end(
    listen: Callable[..., Recording], mode: str, loud_first: bool
) -> None:
    """The first frames' bit rate stands for nothing: 3 s of noise and 7 s of silence."""
    parts = [noise(3), np.zeros(7 * RATE)]
    whole = mp3(np.concatenate(parts if loud_first else parts[::-1]), mode)
    recording = listen(headerless(whole))
    assert 10 * RATE <= recording.n_samples <= 10 * RATE + 3 * FRAME
    assert any("does not say how long" in note for note in recording.notes)
    assert listen(whole).n_samples == 10 * RATE and listen(whole).notes == []


def test_joined_mp3s_are_heard_one_after_the_other(listen: Callable[..., Recording]) -> None:
    first, second = mp3(noise(2)), mp3(noise(3, seed=1))
    tag = b"ID3\x03\0\0\0\0\0\x0a" + bytes(10)
    joined = listen(first + tag + second)
    apart = [np.concatenate(list(listen(part).blocks())) for part in (first, second)]
    np.testing.assert_array_equal(np.concatenate(list(joined.blocks())), np.concatenate(apart))
    assert joined.n_samples == 5 * RATE


def test_tags_around_an_mp3_are_no_audio(listen: Callable[..., Recording]) -> None:
    data = mp3(noise(2))
    tagged = b"ID3\x03\0\0\0\0\1\0" + bytes(128) + data + b"TAG" + bytes(125)
    assert listen(tagged).n_samples == 2 * RATE


@pytest.mark.parametrize("form", ["VARIABLE", "CONSTANT"])
def test_an_mp3_cut_between_frames_is_refused(listen: Callable[..., Recording], form: str) -> None:
    data, position = mp3(noise(3), form), 0
    while position < len(data) // 2:
        frame = parse_frame(data[position : position + 4])
        assert frame is not None
        position += frame.size
    with pytest.raises(AudioError, match="truncated"):
        listen(data[:position])


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_chained_ogg_is_heard_to_its_end(listen: Callable[..., Recording], subtype: str) -> None:
    rate = 48_000 if subtype == "OPUS" else RATE
    first, second = (encoded(noise(2, seed=seed), "OGG", subtype) for seed in (0, 1))
    chained = np.concatenate(list(listen(first + second, "a.ogg", rate).blocks()))
    apart = [np.concatenate(list(listen(p, "b.ogg", rate).blocks())) for p in (first, second)]
    np.testing.assert_array_equal(chained, np.concatenate(apart))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("link", [0, 1])
def test_an_ogg_cut_between_pages_is_refused(
    listen: Callable[..., Recording], subtype: str, link: int
) -> None:
    data = encoded(noise(4), "OGG", subtype)
    cut = data[: data.rfind(b"OggS")]
    with pytest.raises(AudioError, match="truncated"):
        listen(data + cut if link else cut + data)


def rifx(samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="WAV", subtype="PCM_16", endian="BIG")
    return buffer.getvalue()


def test_a_cut_rifx_is_refused(listen: Callable[..., Recording]) -> None:
    whole = rifx(noise(1))
    assert whole[:4] == b"RIFX" and listen(whole).n_samples == RATE
    with pytest.raises(AudioError, match="truncated"):
        listen(whole[: len(whole) // 2])


def test_what_looks_like_endless_chunks_or_frames_is_not_walked_to_its_end(
    listen: Callable[..., Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cards that were erased read as zeros or as ones."""
    monkeypatch.setattr("gmme_edge.audio.truncation.MOST_CHUNKS", 100)
    with pytest.raises(AudioError, match="cannot be decoded"):
        listen(b"RIFF" + bytes(4) + b"WAVE" + bytes(8000))
    tried = []

    def parse(header: bytes) -> object:
        tried.append(header)
        return parse_frame(header)

    monkeypatch.setattr("gmme_edge.audio.mpeg.parse_frame", parse)
    whole = mp3(noise(1))
    assert listen(whole + b"\xff" * 200_000).n_samples == RATE
    assert len(tried) < 1000


def test_a_name_says_nothing_about_the_content(listen: Callable[..., Recording]) -> None:
    """libsndfile would ask for the sample rate of any file that is called .raw."""
    wav = rifx(noise(0.1))
    assert listen(wav, "a.raw").n_samples == RATE // 10
    with pytest.raises(AudioError, match=r"a\.raw cannot be decoded") as caught:
        listen(bytes(1000), "a.raw")
    assert "b'" not in str(caught.value)


@pytest.mark.parametrize("rate_hz", [1, 99, 2**31 - 1])
def test_a_rate_that_no_recording_has(listen: Callable[..., Recording], rate_hz: int) -> None:
    data = bytearray(encoded(noise(0.1), "WAV", "PCM_16"))
    data[24:28] = rate_hz.to_bytes(4, "little")
    with pytest.raises(AudioError, match=f"{rate_hz} Hz"):
        listen(bytes(data))


@pytest.mark.parametrize("rate_hz", ["44100", None, True, 44100.5, float("nan"), [8000]])
def test_what_is_no_rate_is_named(rate_hz: object) -> None:
    with pytest.raises(UsageError, match="sample rate is"):
        Resampler(rate_hz, 8000)  # type: ignore[arg-type]


def test_signalling_nans_are_refused_without_a_warning(tmp_path: Path) -> None:
    """As where integers lie under a header of floats; numpy would warn of its product."""
    samples = np.full(4000, 0x7F80_0001, np.uint32).view(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(AudioError, match="NaN"):
            read_audio(tmp_path / "a.wav", 16_000)


@pytest.mark.parametrize("channels", [1, 2])
def test_the_largest_samples_stay_finite(tmp_path: Path, channels: int) -> None:
    samples = np.full((4000, channels), 3.4e38, np.float32)
    samples[::3] *= -1
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    waveform = read_audio(tmp_path / "a.wav", 16_000)
    assert np.isfinite(waveform).all() and np.abs(waveform).max() > 1e37
    tamed = tame(split_windows(waveform, 1000))
    assert 0.9 < np.abs(tamed).max() <= 1


def test_ordinary_windows_are_left_as_they_are() -> None:
    windows = np.array([[0.5, -2.0], [0.0, 0.0]], np.float32)
    assert tame(windows) is windows


def test_antiphase_stereo_is_one_channel(tmp_path: Path) -> None:
    x = noise(0.5).astype(np.float32)
    stereo = np.stack([x / 2, -x / 2], axis=1)
    stereo[:, 1] *= 1.01  # nearly, as two real microphones would be
    soundfile.write(tmp_path / "a.wav", stereo, RATE, subtype="FLOAT")
    with pytest.warns(AudioWarning, match=r"a\.wav: its channels cancel.*channel 2"):
        found = read_audio(tmp_path / "a.wav", RATE)
    np.testing.assert_array_equal(found, stereo[:, 1])
    with pytest.warns(AudioWarning, match="antiphase"):
        np.testing.assert_array_equal(to_mono(stereo), stereo[:, 1])
    assert Recording(tmp_path / "a.wav", RATE).notes


def test_channels_of_their_own_are_averaged_without_a_word() -> None:
    stereo = np.stack([noise(0.1), noise(0.1, seed=1)], axis=1)
    np.testing.assert_allclose(to_mono(stereo), stereo.mean(axis=1), atol=1e-7)
    np.testing.assert_array_equal(to_mono(np.zeros((9, 2))), 0)


@pytest.mark.parametrize(
    ("dtype", "full", "zero"),
    [("int8", -128, 0), ("int16", -32768, 0), ("int32", -(2**31), 0), ("uint8", 0, 128)],
)
def test_integers_are_scaled_by_their_type(dtype: str, full: int, zero: int) -> None:
    found = to_samples(np.array([full, zero], dtype))
    np.testing.assert_array_equal(found, [-1, 0])


@pytest.mark.parametrize("shape", [(2, 44_100), (1, 9), (5, 6)])
@pytest.mark.parametrize(
    "kind", [np.asarray, list, torch.from_numpy], ids=["array", "list", "torch"]
)
def test_more_channels_than_samples_name_the_axes(
    shape: tuple[int, int], kind: Callable[[np.ndarray], object]
) -> None:
    with pytest.raises(AudioError) as caught:
        to_samples(kind(np.zeros(shape, np.float32)))
    assert str(shape) in str(caught.value) and "(channels, samples)" in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [b"abc", bytearray(4), None, "a.wav", Path("a.wav"), {}, object(), 1 + 2j, [1, 2], [True],
     [[1.0], [1.0, 2.0]], torch.zeros(4, requires_grad=True), np.array(["x"])],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_waveform_is_named(value: object) -> None:
    with pytest.raises(UsageError, match="waveform"):
        to_samples(value)


def test_lists_and_tensors_are_waveforms() -> None:
    np.testing.assert_array_equal(to_samples([0.25, 0.5]), [0.25, 0.5])
    np.testing.assert_array_equal(to_samples(torch.ones(5)), np.ones(5))


def test_sound_begins_at_the_stated_level() -> None:
    just = 10 ** (-80 / 20)
    windows = np.array([[0, 0, 0], [0, -just * 0.99, 0], [0, -just * 1.01, 0]], np.float32)
    assert has_sound(windows).tolist() == [False, False, True]
    assert peak_dbfs(np.array([0.5, -1.0])) == 0 and peak_dbfs(np.zeros(3)) == -240


@given(st.integers(1, 300), st.lists(st.integers(0, 70), max_size=12), st.integers(1, 60))
def test_windows_of_a_stream_are_those_of_the_whole(
    length: int, cuts: list[int], n_samples: int
) -> None:
    waveform = np.arange(1, length + 1, dtype=np.float32)
    blocks = np.split(waveform, np.minimum(np.cumsum(cuts), length)) if cuts else [waveform]
    found = np.stack(list(stream_windows(blocks, length, n_samples)))
    np.testing.assert_array_equal(found, split_windows(waveform, n_samples))


@given(st.sampled_from([8000, 11_025, 44_100, 48_000]), st.lists(st.integers(0, 900), min_size=1))
def test_resampling_in_blocks_is_resampling_at_once(from_hz: int, sizes: list[int]) -> None:
    whole = noise(1)[: sum(sizes)].astype(np.float32)
    resampler = Resampler(from_hz, 16_000)
    parts = [resampler.push(block) for block in np.split(whole, np.cumsum(sizes)[:-1])]
    parts.append(resampler.push(np.zeros(0, np.float32), last=True))
    streamed = np.concatenate(parts)
    once = resample(whole, from_hz, 16_000)
    np.testing.assert_array_equal(streamed if len(streamed) else np.zeros(1), once)


def test_a_long_recording_is_decoded_again_for_its_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([noise(1), noise(1)]).T, 48_000)
    short = Recording(tmp_path / "a.wav", 16_000)
    monkeypatch.setattr("gmme_edge.audio.recording._KEPT_SAMPLES", 1000)
    monkeypatch.setattr("gmme_edge.audio.recording._BLOCK_SAMPLES", 1000)
    long = Recording(tmp_path / "a.wav", 16_000)
    for _ in range(2):
        found = list(long.blocks())
        assert len(found) > 10
        np.testing.assert_array_equal(np.concatenate(found), np.concatenate(list(short.blocks())))
    assert long.n_samples == short.n_samples == sum(map(len, found))


_LISTEN = """
import resource, sys
from pathlib import Path
from gmme_edge.audio import Recording, stream_windows
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
recording = Recording(Path(sys.argv[1]), 22_050)
n = sum(1 for _ in stream_windows(recording.blocks(), recording.n_samples, 114_688))
print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    """A small FLAC of 8 channels of silence, 3 minutes: 276 MB where it is decoded at once."""
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 48_000, 8) as file:
        for _ in range(18):
            file.write(np.zeros((480_000, 8), np.float32))
    done = subprocess.run(
        [sys.executable, "-c", _LISTEN, str(tmp_path / "a.flac")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    windows, grown_kib = map(int, done.stdout.split())
    assert windows == 35 and grown_kib < 120_000
