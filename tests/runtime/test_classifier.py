from __future__ import annotations

import asyncio
import importlib.util
import json
import pydoc
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock

import numpy as np
import onnxruntime
import pytest
import soundfile
import soxr

import gmme_edge
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import AudioError, BundleError, PlatformError, UsageError
from gmme_edge.runtime.classifier import Classifier, Prediction, load
from tests.artifacts import N_SAMPLES, RATE_HZ, WORDS, FakeSession, sounds
from tests.conftest import shared

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def classifier(bundle: Path) -> Classifier:
    return load(bundle, threads=1)


def by_hand(bundle: Path, waveform: np.ndarray, rate_hz: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and embedding, step by step with numpy, soxr and onnxruntime."""
    mono = waveform.astype(np.float64)
    mono = (mono.sum(axis=1) / mono.shape[1] if mono.ndim == 2 else mono).astype(np.float32)
    if rate_hz != RATE_HZ:
        mono = soxr.resample(mono, rate_hz, RATE_HZ)
    if len(mono) <= N_SAMPLES:
        windows = [np.concatenate([mono, np.zeros(N_SAMPLES - len(mono), np.float32)])]
    else:
        count = int(np.ceil(len(mono) / N_SAMPLES))
        step = (len(mono) - N_SAMPLES) / (count - 1)
        starts = [round(i * step) for i in range(count)]
        windows = [mono[start : start + N_SAMPLES] for start in starts]
    session = onnxruntime.InferenceSession(
        bundle / "model.fp32.onnx", providers=["CPUExecutionProvider"]
    )
    each = [session.run(None, {"waveform": window[None]}) for window in windows]
    powers = [np.exp(logits[0].astype(np.float64)) for logits, _ in each]
    return (
        np.mean([power / power.sum() for power in powers], axis=0),
        np.mean([embedding[0] for _, embedding in each], axis=0),
    )


def recording(length_s: float, rate_hz: int, channels: int, dtype: type) -> np.ndarray:
    mono = np.tile(sounds(1, seed=8).reshape(-1), 3)[: round(length_s * rate_hz)]
    gains = 0.2 + 0.3 * np.arange(max(channels, 1))
    return (mono if channels == 0 else mono[:, None] * gains).astype(dtype)


@pytest.mark.parametrize(
    ("rate_hz", "length_s", "channels", "dtype"),
    [
        (8000, N_SAMPLES / 8000, 0, np.float32),
        (8000, 0.05, 0, np.float64),
        (8000, N_SAMPLES / 8000 + 1 / 8000, 1, np.float32),
        (8000, 0.5, 2, np.float32),
        (16_000, 0.4, 2, np.float64),
        (44_100, 0.128, 1, np.float32),
        (11_025, 0.7, 3, np.float32),
        (4000, 0.9, 0, np.float16),
    ],
)
def test_any_rate_length_and_channels(
    classifier: Classifier, bundle: Path, rate_hz: int, length_s: float, channels: int, dtype: type
) -> None:
    waveform = recording(length_s, rate_hz, channels, dtype)
    probabilities, embedding = by_hand(bundle, waveform, rate_hz)
    found = classifier.probabilities(waveform, rate_hz)
    np.testing.assert_allclose(found, probabilities, atol=1e-5)
    assert found.sum() == pytest.approx(1) and found.shape == (len(WORDS),)
    np.testing.assert_allclose(classifier.embedding(waveform, rate_hz), embedding, atol=1e-4)


def test_predictions_are_ranked(classifier: Classifier, bundle: Path) -> None:
    waveform = sounds()[3]
    probabilities, _ = by_hand(bundle, waveform, RATE_HZ)
    order = sorted(range(len(WORDS)), key=lambda i: -probabilities[i])
    best = classifier(waveform, RATE_HZ, top_k=3)
    assert [p.label for p in best] == [WORDS[i] for i in order[:3]]
    assert [p.probability for p in best] == pytest.approx(probabilities[order[:3]], abs=1e-5)
    assert isinstance(best[0], Prediction) and type(best[0].probability) is float
    assert [len(classifier(waveform, RATE_HZ, top_k=k)) for k in (1, 5, 100)] == [1, 5, 10]
    assert len(classifier(waveform, RATE_HZ)) == 5
    with pytest.raises(UsageError, match="top_k is 0"):
        classifier(waveform, RATE_HZ, top_k=0)


def test_a_file_gives_what_its_samples_give(classifier: Classifier, tmp_path: Path) -> None:
    stereo = recording(0.3, 16_000, 2, np.float32)
    soundfile.write(tmp_path / "a.wav", stereo, 16_000, subtype="FLOAT")
    expected = classifier(stereo, 16_000, top_k=4)
    found = classifier.classify_file(str(tmp_path / "a.wav"), top_k=4)
    assert [p.label for p in found] == [p.label for p in expected]
    assert [p.probability for p in found] == pytest.approx([p.probability for p in expected])
    with pytest.raises(AudioError, match=r"b\.wav"):
        classifier.classify_file(tmp_path / "b.wav")


@pytest.mark.parametrize("dtype", [np.int64, bool, complex])
def test_samples_of_no_audio_type_are_refused_with_a_hint(
    classifier: Classifier, dtype: type
) -> None:
    with pytest.raises(UsageError, match="floating point from -1 to 1, or int8, int16"):
        classifier(np.ones(N_SAMPLES, dtype), RATE_HZ)


def test_integers_are_what_their_floats_are(classifier: Classifier) -> None:
    samples = np.round(sounds()[2] * 3000).astype(np.int16)
    expected = classifier.probabilities(samples / 32768, RATE_HZ)
    np.testing.assert_array_equal(classifier.probabilities(samples, RATE_HZ), expected)
    louder = samples.astype(np.int32) << 16
    np.testing.assert_array_equal(classifier.probabilities(louder, RATE_HZ), expected)


def test_swapped_axes_are_no_clip_of_a_thousand_channels(classifier: Classifier) -> None:
    x = sounds()[0]
    arrays = [np.stack([x, x]), x[None], [x, x]]
    if importlib.util.find_spec("torch"):  # a board has none
        import torch

        arrays.append(torch.from_numpy(arrays[0]))
    for swapped in arrays:
        with pytest.raises(AudioError, match=r"(?s)more channels than samples.*channels, samples"):
            classifier(swapped, RATE_HZ)


def test_one_recording_is_no_batch(classifier: Classifier) -> None:
    for several in (classifier.batch, classifier.embed):
        with pytest.raises(UsageError, match=r"(?s)one array of shape.*`embedding`"):
            several(sounds()[0], RATE_HZ)


@pytest.mark.parametrize("value", [None, b"ab", "a.wav", Path("a.wav")])
def test_what_is_no_array_is_named(classifier: Classifier, value: object) -> None:
    with pytest.raises(UsageError, match="waveform is"):
        classifier(value, RATE_HZ)
    with pytest.raises(UsageError, match="'8000'"):
        classifier(np.zeros(8), "8000")  # type: ignore[arg-type]


def test_predictions_unpack_and_are_json(classifier: Classifier) -> None:
    best = classifier(sounds()[3], RATE_HZ, top_k=2)
    for label, probability in best:
        assert label in WORDS and 0 <= probability <= 1
    assert json.loads(json.dumps([p.to_dict() for p in best]))[0]["label"] == best[0].label
    assert json.loads(json.dumps(best))[1] == list(best[1])


def test_a_classifier_shows_what_it_is(classifier: Classifier) -> None:
    assert repr(classifier) == (
        f"<Classifier small-gmme: {len(WORDS)} classes, fp32 on ort-cpu, windows of {N_SAMPLES} "
        f"samples at {RATE_HZ} Hz>"
    )
    assert (classifier.window_samples, classifier.hop) == (N_SAMPLES, N_SAMPLES)


@pytest.mark.parametrize("level_dbfs", [-200.0, -81.0, -79.0])
def test_silence_is_flagged(classifier: Classifier, tmp_path: Path, level_dbfs: float) -> None:
    waveform = (10 ** (level_dbfs / 20) * np.sin(np.arange(N_SAMPLES))).astype(np.float32)
    waveform /= np.abs(np.sin(np.arange(N_SAMPLES))).max()
    soundfile.write(tmp_path / "a.wav", waveform, RATE_HZ, subtype="FLOAT")
    silent = level_dbfs < -80
    assert classifier(waveform, RATE_HZ).silent is silent
    assert classifier.classify_file(tmp_path / "a.wav").silent is silent
    assert classifier.analyze(waveform, RATE_HZ).silent is silent
    assert len(classifier(waveform, RATE_HZ)) == 5  # the predictions are there all the same


def test_silent_windows_do_not_outvote_the_sound(classifier: Classifier, tmp_path: Path) -> None:
    """A sound with twenty windows of digital silence behind it, and its last moment in one."""
    sound = sounds()[3]
    expected = classifier.probabilities(sound, RATE_HZ)
    padded = np.concatenate([sound, sound[:10], np.zeros(20 * N_SAMPLES, np.float32)])
    soundfile.write(tmp_path / "a.wav", padded, RATE_HZ, subtype="FLOAT")
    np.testing.assert_allclose(classifier.probabilities(padded, RATE_HZ), expected, atol=1e-5)
    found = classifier.analyze_file(tmp_path / "a.wav")
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(found.embedding, classifier.embedding(sound, RATE_HZ), atol=1e-4)


def test_a_batch_is_each_waveform_by_itself(classifier: Classifier) -> None:
    waveforms = [sounds()[0], recording(0.5, RATE_HZ, 2, np.float32), np.zeros(9, np.int16)]
    for together, alone in zip(
        classifier.batch(waveforms, RATE_HZ, 3),
        [classifier(w, RATE_HZ, 3) for w in waveforms],
        strict=True,
    ):
        assert [p.label for p in together] == [p.label for p in alone]
        expected = [p.probability for p in alone]
        assert [p.probability for p in together] == pytest.approx(expected, abs=1e-6)
        assert together.silent == alone.silent
    embedded = classifier.embed(waveforms, RATE_HZ)
    one_by_one = np.stack([classifier.embedding(w, RATE_HZ) for w in waveforms])
    np.testing.assert_allclose(embedded, one_by_one, atol=1e-4)
    with pytest.raises(UsageError, match="no waveforms"):
        classifier.batch([], RATE_HZ)


def test_threads_agree_bit_for_bit(classifier: Classifier) -> None:
    clips = [recording(0.1 + 0.03 * i, 11_025, 2, np.float32) for i in range(24)]
    expected = [classifier.probabilities(clip, 11_025) for clip in clips]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda clip: classifier.probabilities(clip, 11_025), clips * 4))
    for one, other in zip(found, expected * 4, strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_engine_that_serves_one_thread_is_called_by_one(bundle: Path) -> None:
    busy = Lock()

    def logits(batch: np.ndarray) -> np.ndarray:
        assert busy.acquire(blocking=False), "two threads are in the session"
        time.sleep(0.001)
        busy.release()
        return one_hot(batch)

    classifier = Classifier(Bundle.open(bundle), FakeSession(logits))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda clip: classifier(clip, RATE_HZ), [sounds()[0]] * 20))


def test_an_event_loop_goes_on_while_it_listens(bundle: Path) -> None:
    entered, released = Event(), Event()

    def logits(batch: np.ndarray) -> np.ndarray:
        entered.set()
        assert released.wait(10)
        return one_hot(batch)

    classifier = Classifier(Bundle.open(bundle), FakeSession(logits))

    async def both() -> object:
        task = asyncio.create_task(classifier.aclassify(sounds()[0], RATE_HZ, top_k=1))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        assert not task.done()
        released.set()
        return await task

    assert asyncio.run(both()) == classifier(sounds()[0], RATE_HZ, top_k=1)


def test_a_long_file_is_analyzed_by_time(classifier: Classifier, tmp_path: Path) -> None:
    waveform = np.concatenate([sounds()[3], sounds()[5]])
    soundfile.write(tmp_path / "a.wav", waveform, RATE_HZ, subtype="FLOAT")
    found = classifier.analyze_file(tmp_path / "a.wav")
    assert found.starts_s.tolist() == [0, N_SAMPLES / RATE_HZ]
    assert found.window_s == N_SAMPLES / RATE_HZ and found.duration_s == 2 * found.window_s
    for i, alone in enumerate((sounds()[3], sounds()[5])):
        best = classifier(alone, RATE_HZ, top_k=1)[0]
        assert found.rank_window(i)[0].label == best.label


@pytest.mark.parametrize("wrong", ["abc", b"abc", None, 3])
def test_what_is_no_batch_is_named(classifier: Classifier, wrong: object) -> None:
    for call in (classifier.batch, classifier.embed):
        with pytest.raises(UsageError, match="waveforms are"):
            call(wrong, RATE_HZ)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, 3, b"a.wav", []])
def test_what_is_no_path_is_named(classifier: Classifier, wrong: object) -> None:
    with pytest.raises(UsageError, match="recording is"):
        classifier.classify_file(wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="bundle is"):
        load(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [-1, 1, 10**30, "0", None, True, 0.5])
def test_a_window_that_is_not_there_is_named(classifier: Classifier, wrong: object) -> None:
    with pytest.raises(UsageError, match="no window"):
        classifier.analyze(sounds()[3], RATE_HZ).rank_window(wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_spoken_digits_before_silence_stay_what_they_are() -> None:
    """A fifth of the test clips, 3 s of zeros behind each: 6 of 60 were right, 59 without them."""
    data = shared("data/FSDD")
    names = (data / "testing_list.txt").read_text().split()[::5]
    right = 0
    with load("digits") as classifier:
        for name in names:
            samples, rate_hz = soundfile.read(data / name, dtype="float32")
            padded = np.concatenate([samples, np.zeros(3 * rate_hz, np.float32)])
            right += classifier(padded, rate_hz, top_k=1)[0].label == Path(name).parent.name
    assert right >= 57


@pytest.mark.parametrize(
    "waveform",
    [
        np.array([0.1, np.nan], np.float32),
        np.array([0.1, -np.inf]),
        np.zeros(0, np.float32),
        np.zeros((4, 0), np.float32),
        np.zeros((2, 2, 2), np.float32),
        np.float32(0.5),
    ],
    ids=["nan", "inf", "empty", "no channels", "three axes", "scalar"],
)
def test_what_is_no_waveform(classifier: Classifier, waveform: np.ndarray) -> None:
    with pytest.raises(AudioError):
        classifier(waveform, RATE_HZ)


@pytest.mark.parametrize("rate_hz", [0, -8000])
def test_a_rate_that_is_none(classifier: Classifier, rate_hz: int) -> None:
    with pytest.raises(AudioError, match="positive"):
        classifier(np.zeros(8, np.float32), rate_hz)


def test_silence_has_probabilities(classifier: Classifier) -> None:
    found = classifier.probabilities(np.zeros(N_SAMPLES, np.float32), RATE_HZ)
    assert np.isfinite(found).all() and found.sum() == pytest.approx(1)


def one_hot(batch: np.ndarray) -> np.ndarray:
    """Logits of 20 for the class that a window's first sample names, else 0."""
    return 20.0 * (np.arange(len(WORDS)) == batch[:, :1].round())


def test_a_long_clip_is_heard_in_windows_a_few_at_a_time(bundle: Path) -> None:
    session = FakeSession(one_hot)
    classifier = Classifier(Bundle.open(bundle), session)
    waveform = np.zeros(9 * N_SAMPLES, np.float32)
    waveform[::N_SAMPLES] = [1, 2, 1, 1, 7, 1, 2, 1, 1]
    found = classifier.probabilities(waveform, RATE_HZ)
    assert [len(batch) for batch in session.batches] == [4, 4, 1]
    np.testing.assert_array_equal(np.concatenate(session.batches).reshape(-1), waveform)
    expected = np.zeros(len(WORDS))
    expected[[1, 2, 7]] = 6 / 9, 2 / 9, 1 / 9
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_a_bundle_without_an_embedding(bundle: Path) -> None:
    classifier = Classifier(Bundle.open(bundle), FakeSession(one_hot))
    with pytest.raises(UsageError, match="--no-embedding"):
        classifier.embedding(np.zeros(N_SAMPLES, np.float32), RATE_HZ)


def test_it_closes_its_session_also_after_an_error(bundle: Path) -> None:
    session = FakeSession(one_hot)
    with (
        pytest.raises(ZeroDivisionError),
        Classifier(Bundle.open(bundle), session) as classifier,
    ):
        assert not session.closed and classifier.labels == WORDS
        _ = 1 / 0
    assert session.closed


def test_a_closed_classifier_says_so(bundle: Path) -> None:
    with gmme_edge.load(str(bundle)) as classifier:
        assert isinstance(classifier, gmme_edge.Classifier)
        assert classifier.sample_rate_hz == RATE_HZ
    with pytest.raises(UsageError, match="closed"):
        classifier(np.ones(8, np.float32), RATE_HZ)


@pytest.mark.parametrize(
    ("asked", "precision"), [(None, "fp32"), ("fp16", "fp16"), ("int8", "int8-ort")]
)
def test_the_precision_that_runs(bundle: Path, asked: str | None, precision: str) -> None:
    with load(bundle, precision=asked) as classifier:
        found = classifier.probabilities(sounds()[0], RATE_HZ)
    session = onnxruntime.InferenceSession(
        bundle / f"model.{precision}.onnx", providers=["CPUExecutionProvider"]
    )
    logits = session.run(["logits"], {"waveform": sounds()[:1]})[0][0].astype(np.float64)
    np.testing.assert_allclose(found, np.exp(logits) / np.exp(logits).sum(), atol=1e-4)


def test_what_cannot_be_loaded(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle"):
        load(tmp_path)
    with pytest.raises(UsageError, match="fp8"):
        load(bundle, precision="fp8")
    with pytest.raises(UsageError, match="Unknown backend 'torch'"):
        load(bundle, backend="torch")
    with pytest.raises(UsageError, match="at least 1"):
        load(bundle, threads=0)
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(PlatformError, match="CUDAExecutionProvider"):
            load(bundle, backend="ort-cuda")


def test_the_api_page_lists_every_name() -> None:
    page = (ROOT / "docs/reference/api.md").read_text()
    for name in set(gmme_edge.__all__) - {"__version__"}:
        assert f".{name}\n" in page, name


def test_the_package_knows_its_names_alone() -> None:
    assert all(getattr(gmme_edge, name) is not None for name in gmme_edge.__all__)
    assert {"Analysis", "Classifier", "Ranking", "evaluate", "load"} <= set(gmme_edge.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'predict'"):
        _ = gmme_edge.predict


def test_help_and_dir_show_what_there_is() -> None:
    assert set(gmme_edge.__all__) <= set(dir(gmme_edge))
    shown = pydoc.plain(pydoc.render_doc(gmme_edge))
    assert "load(bundle" in shown and "export(source" in shown and "class Classifier" in shown


def test_the_monitor_hears_whole_windows(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model is asked for what it was trained on, not for a second in a window of five."""
    spec = importlib.util.spec_from_file_location("monitor", ROOT / "examples/python/monitor.py")
    assert spec is not None and spec.loader is not None
    monitor = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(monitor)
    soundfile.write(tmp_path / "a.wav", np.tile(sounds()[3], 4), RATE_HZ)
    windows: list[int] = []
    hear = Classifier.probabilities

    def count(self: Classifier, window: np.ndarray, rate_hz: int) -> np.ndarray:
        windows.append(len(window))
        return hear(self, window, rate_hz)

    monkeypatch.setattr(Classifier, "probabilities", count)
    monkeypatch.setattr("sys.argv", ["monitor.py", str(bundle), str(tmp_path / "a.wav")])
    monitor.main()
    assert windows and set(windows) == {N_SAMPLES}
