"""Windows of which only the new part is computed, by a real bundle on ONNX Runtime."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gmme_edge
from gmme_edge import EventRules, IncrementalClassifier, Stream, load_incremental
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import BundleError, GmmeEdgeError, UsageError
from gmme_edge.runtime.incremental_graphs import IncrementalGraphs
from gmme_edge.runtime.streaming.grid import make_grid
from gmme_edge.runtime.streaming.incremental import HeldPeak
from gmme_edge.runtime.streaming.stream import classify_windows
from tests.artifacts import (
    INCREMENTAL_HOP,
    N_SAMPLES,
    RATE_HZ,
    copy_bundle,
    edit_manifest,
    incremental_bundle,
    sounds,
)

RULES = EventRules(on=0.3)


@pytest.fixture(scope="module")
def exported(root: Path) -> Path:
    return incremental_bundle(root)


@pytest.fixture(scope="module")
def follower(exported: Path) -> IncrementalClassifier:
    return load_incremental(exported, threads=1)


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """Ten sounds one after another, each at its own level."""
    levels = np.random.default_rng(0).uniform(0.05, 0.9, (10, 1))
    return (sounds() * levels).astype(np.float32).ravel()


def chunks(sound: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    return np.split(sound, sorted(cut % (len(sound) + 1) for cut in cuts))


@given(
    cuts=st.lists(st.integers(0, 10**5), max_size=20),
    rate_hz=st.sampled_from([RATE_HZ, 11_025]),
    gate=st.booleans(),
)
@settings(max_examples=15, deadline=None)
def test_chunks_do_not_matter(
    follower: IncrementalClassifier,
    scene: np.ndarray,
    cuts: list[int],
    rate_hz: int,
    gate: bool,
) -> None:
    found = []
    for parts in ([scene], chunks(scene, cuts)):
        stream = Stream(follower, rules=RULES, **({} if gate else {"gate": None}))
        events = [event for part in parts for event in stream.push(part, rate_hz)]
        found.append([event.to_dict() for event in events + stream.flush()])
    assert found[0] == found[1]
    assert found[0]


def test_windows_under_a_held_scale_are_whole_windows(exported: Path, scene: np.ndarray) -> None:
    """Step after step, and a whole window at each place: within 1e-4 of each other."""
    graphs = IncrementalGraphs(Bundle.open(exported), 1)
    _, kept = graphs.start(scene[None, :N_SAMPLES], 0.5)
    for at in range(INCREMENTAL_HOP, len(scene) - N_SAMPLES, INCREMENTAL_HOP):
        window = np.ascontiguousarray(scene[None, at : at + N_SAMPLES])
        logits, kept = graphs.step(window, 0.5, kept)
        whole, frames = graphs.start(window, 0.5)
        assert np.abs(logits - whole).max() < 1e-4
        for got, expected in zip(kept, frames, strict=True):
            assert np.abs(got - expected).max() < 1e-4 * np.abs(expected).max()


def test_without_tolerance_it_is_the_classifier(exported: Path, scene: np.ndarray) -> None:
    """Only windows that share their peak share frames, and scale as single ones do."""
    with gmme_edge.load(exported, threads=1) as classifier:
        grid = make_grid(RATE_HZ, N_SAMPLES, None, INCREMENTAL_HOP)
        starts = grid.starts(len(scene))
        expected = classify_windows(classifier, scene, starts)
    with load_incremental(exported, 1, hold_db=0) as follower:
        found = [follower.probabilities_at(scene[at : at + N_SAMPLES].copy(), at) for at in starts]
        assert follower.in_part > 20 < follower.whole
        assert follower.whole + follower.in_part == len(starts)
    assert np.abs(np.array(found) - expected).max() < 1e-4


def test_a_stream_steps_while_the_level_holds(follower: IncrementalClassifier) -> None:
    whole, in_part = follower.whole, follower.in_part
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, N_SAMPLES + 9 * INCREMENTAL_HOP)
    stream = Stream(follower, gate=None)
    stream.push(noise, RATE_HZ)
    assert (follower.whole - whole, follower.in_part - in_part) == (1, 9)
    stream.push(noise[:INCREMENTAL_HOP] * 1.5, RATE_HZ)  # 3.5 dB
    assert (follower.whole - whole, follower.in_part - in_part) == (2, 9)
    stream.skip(1, RATE_HZ)  # nothing follows across a gap
    stream.push(noise[: N_SAMPLES + INCREMENTAL_HOP], RATE_HZ)
    assert (follower.whole - whole, follower.in_part - in_part) == (3, 10)
    stream.reset()
    stream.push(noise[:N_SAMPLES], RATE_HZ)
    assert (follower.whole - whole, follower.in_part - in_part) == (4, 10)


def test_streams_in_turns_keep_their_sounds_apart(
    exported: Path, follower: IncrementalClassifier, scene: np.ndarray
) -> None:
    """They share what is kept; so each window is a whole one, as by the plain classifier."""
    sounds = (scene, scene[::-1].copy())
    streams = [Stream(follower, gate=None) for _ in sounds]
    in_part, found = follower.in_part, ([], [])  # type: tuple[list, list]
    for at in range(0, len(scene), INCREMENTAL_HOP):
        for stream, sound, rows in zip(streams, sounds, found, strict=True):
            before = stream.windows
            stream.push(sound[at : at + INCREMENTAL_HOP], RATE_HZ)
            rows += [stream.latest] if stream.windows > before else []
    with gmme_edge.load(exported, threads=1) as classifier:
        for sound, rows in zip(sounds, found, strict=True):
            starts = [INCREMENTAL_HOP * i for i in range(len(rows))]
            expected = classify_windows(classifier, sound, starts)
            assert len(rows) > 20 and np.abs(np.array(rows) - expected).max() < 1e-4
    assert follower.in_part == in_part


def test_a_short_piece_is_not_followed(follower: IncrementalClassifier) -> None:
    """A sound of one hop, then another: its window had zeros where the next has sound."""
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, N_SAMPLES + INCREMENTAL_HOP)
    stream, in_part = Stream(follower, gate=None), follower.in_part
    stream.push(noise[:INCREMENTAL_HOP], RATE_HZ)
    stream.flush()
    stream.push(noise[INCREMENTAL_HOP:], RATE_HZ)
    assert (stream.windows, follower.in_part) == (2, in_part)


def test_silence_and_giants(follower: IncrementalClassifier) -> None:
    """Neither divides by zero nor overflows; samples that no recording has are never kept."""
    follower.reset()
    silence = np.zeros(N_SAMPLES, np.float32)
    giant = np.full(N_SAMPLES, 1e30, np.float32)
    in_part = follower.in_part
    for index, window in enumerate((silence, silence, giant, giant, silence)):
        found = follower.probabilities_at(window, index * INCREMENTAL_HOP)
        assert found.sum() == pytest.approx(1)
    assert follower.in_part == in_part + 1
    assert follower.probabilities(giant, RATE_HZ).sum() == pytest.approx(1)


def test_the_hop_is_exact_in_samples() -> None:
    grid = make_grid(22_050, 114_688, None, 11_264)
    assert [grid.start(index) for index in (1, 7, 10**6)] == [11_264, 78_848, 11_264 * 10**6]
    assert grid.whole_windows(114_688 + 11_264) == 2
    assert grid.whole_windows(114_688 + 11_263) == 1
    assert grid.cell(1)[1] == grid.cell(2)[0]
    assert grid.hop_us == 510_839


@given(
    peaks=st.lists(st.floats(0, 1e6), min_size=1, max_size=20),
    hold_db=st.sampled_from([0.0, 1.0, 3.0, 60.0]),
)
def test_a_held_peak_is_near(peaks: list[float], hold_db: float) -> None:
    rule = HeldPeak(hold_db)
    for peak in peaks:
        if not rule.fits(peak):
            rule.peak = peak
        if peak > 1e-9 and rule.peak > 1e-9:
            assert abs(20 * np.log10(peak / rule.peak)) <= hold_db + 1e-9
        else:
            assert rule.peak == peak or hold_db
        assert np.isfinite(rule.scale)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"hold_db": -1}, "hold_db is -1"),
        ({"hold_db": float("nan")}, "hold_db"),
        ({"hold_db": "1"}, "hold_db"),
        ({"threads": 0}, "threads"),
        ({"sha256": "0" * 64}, "SHA-256"),
    ],
)
def test_wrong_settings(exported: Path, settings: dict[str, object], text: str) -> None:
    with pytest.raises(GmmeEdgeError, match=text):
        load_incremental(exported, **settings)  # type: ignore[arg-type]


def test_a_bundle_without_such_graphs(bundle: Path) -> None:
    with pytest.raises(UsageError, match=r"--incremental-hop-ms"):
        load_incremental(bundle)


def test_another_hop_is_refused(follower: IncrementalClassifier) -> None:
    assert Stream(follower, 12).grid.hop_samples == INCREMENTAL_HOP  # 96 samples at 8 kHz
    with pytest.raises(UsageError, match=r"none, or 12 ms"):
        Stream(follower, 100)


@pytest.mark.parametrize(
    ("window", "rate_hz"),
    [(np.zeros(N_SAMPLES), 44_100), (np.zeros(10), RATE_HZ), (None, RATE_HZ), ("x", RATE_HZ)],
)
def test_one_window_or_none(follower: IncrementalClassifier, window: object, rate_hz: int) -> None:
    with pytest.raises(UsageError, match="one window of 1024 samples"):
        follower.probabilities(window, rate_hz)


def test_graphs_that_do_not_fit(exported: Path, tmp_path: Path) -> None:
    """The step in the place of the start, and the ordinary graph in the step's."""
    for index, (role, path) in enumerate(
        [("incremental-start", "incremental.step.onnx"), ("incremental-step", "model.fp32.onnx")]
    ):
        copy = copy_bundle(exported, tmp_path / str(index))
        files = {f["path"]: f for f in json.loads((copy / "manifest.json").read_text())["files"]}

        def change(
            values: dict[str, list[dict[str, object]]], role: str = role, path: str = path
        ) -> None:
            kept = [f for f in values["files"] if f["role"] != role and f["path"] != path]
            values["files"] = [*kept, {**files[path], "role": role, "precision": "fp32"}]  # noqa: B023

        edit_manifest(copy, change)
        with pytest.raises(GmmeEdgeError, match=r"fit each other|no graphs"):
            load_incremental(copy)


def test_a_changed_file_is_noticed(exported: Path, tmp_path: Path) -> None:
    copy = copy_bundle(exported, tmp_path / "copy")
    with (copy / "incremental.step.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match="not the file that was exported"):
        load_incremental(copy)


def test_closed(exported: Path) -> None:
    with load_incremental(exported) as follower:
        assert "96 apart" in repr(follower)
    follower.close()
    with pytest.raises(UsageError, match="closed"):
        follower.probabilities(np.zeros(N_SAMPLES), RATE_HZ)


def test_a_zipped_bundle(exported: Path, tmp_path: Path) -> None:
    import shutil

    zipped = shutil.make_archive(str(tmp_path / "bundle"), "zip", exported)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_incremental(zipped).hop_samples == INCREMENTAL_HOP
