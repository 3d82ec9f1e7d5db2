"""Any part of a recording, sample by sample as the whole has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmme_edge.audio import Recording, resample, resampling
from gmme_edge.audio.seeking import can_seek, read_part
from gmme_edge.errors import AudioError


def noise(n: int, channels: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (n, channels))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(1, 40_000), st.sampled_from([8000, 11_025, 4410]), st.sampled_from([8000, 16_000]),
    st.sampled_from([("wav", "PCM_16"), ("flac", "PCM_24"), ("aiff", "FLOAT"), ("caf", "ALAW")]),
    st.tuples(st.floats(0, 1), st.floats(0, 1)), st.integers(1, 2),
)  # fmt: skip
def test_a_part_is_what_the_whole_has_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int, from_hz: int, to_hz: int,
    form: tuple[str, str], ends: tuple[float, float], channels: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(resampling, "STRETCH_S", 1)
    monkeypatch.setattr("gmme_edge.audio.recording._BLOCK_SAMPLES", 3000)
    path = tmp_path / f"a.{form[0]}"
    soundfile.write(path, noise(n, channels, n), from_hz, subtype=form[1])
    assert can_seek(path)
    recording = Recording(path, to_hz)
    whole = np.concatenate(list(recording.blocks()))
    assert len(whole) == recording.n_given
    start, stop = sorted(int(end * len(whole)) for end in ends)
    if start == stop:
        return
    found = np.concatenate(list(read_part(path, to_hz, recording.channel, start, stop)))
    np.testing.assert_array_equal(found, whole[start:stop])


@pytest.mark.parametrize(("from_hz", "to_hz"), [(44_100, 16_000), (8000, 22_050), (8000, 8000)])
def test_stretches_join_without_a_seam(
    monkeypatch: pytest.MonkeyPatch, from_hz: int, to_hz: int, tmp_path: Path
) -> None:
    monkeypatch.setattr(resampling, "STRETCH_S", 1)
    sound = noise(round(4.7 * from_hz), 1, 1)[:, 0].astype(np.float32)
    soundfile.write(tmp_path / "a.wav", sound, from_hz, subtype="FLOAT")
    found = np.concatenate(list(Recording(tmp_path / "a.wav", to_hz).blocks()))
    np.testing.assert_allclose(found, resample(sound, from_hz, to_hz), atol=2e-6)


def test_no_part_of_a_recording_that_became_shorter_is_made_up(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(8000, 1, 0), 8000)
    with pytest.raises(AudioError, match="ends 100 samples too early"):
        list(read_part(path, 8000, None, 4000, 8100))
    path.write_text("no recording any more")
    with pytest.raises(AudioError, match="cannot be decoded"):
        list(read_part(path, 8000, None, 0, 10))


def test_where_a_sample_is_not_found_exactly_nobody_seeks(tmp_path: Path) -> None:
    for form, subtype in (("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("WAV", "IMA_ADPCM")):
        soundfile.write(tmp_path / "a", noise(16_000, 1, 0), 16_000, format=form, subtype=subtype)
        assert not can_seek(tmp_path / "a")
    assert not can_seek(tmp_path / "nothing.wav")
