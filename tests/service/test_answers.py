"""What the service answers is what the classifier and the stream say."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jsonschema
import numpy as np
import pytest
import soundfile
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

import gmme_edge
from gmme_edge.workflows.settings.serving import BatchSettings
from tests.service.running import Running, running

RATE_HZ = 8000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Running]:
    with running(folder / "bundle", batches=BatchSettings(max_wait_ms=20)) as one:
        yield one


@pytest.fixture(scope="module")
def classifier(service: Running, folder: Path) -> Iterator[gmme_edge.Classifier]:
    with gmme_edge.load(folder / "bundle", threads=1) as one:
        yield one


def noise(n: int, seed: int = 0, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (n, channels)).astype(np.float32)


def encoded(sound: np.ndarray, rate_hz: int, container: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, rate_hz, format=container)
    return file.getvalue()


def check_same(told: dict[str, Any], found: gmme_edge.Analysis) -> None:
    assert told["duration_s"] == pytest.approx(found.duration_s)
    assert [one["label"] for one in told["predictions"]] == [one.label for one in found.rank()]
    np.testing.assert_allclose(
        [one["probability"] for one in told["predictions"]],
        [one.probability for one in found.rank()], atol=1e-6,
    )  # fmt: skip
    assert len(told.get("windows", [0])) == len(found.starts_s)


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG"])
def test_a_file_is_classified_as_by_the_classifier(
    service: Running, classifier: gmme_edge.Classifier, tmp_path: Path, container: str
) -> None:
    content = encoded(noise(30_000), 11_025, container)
    (tmp_path / "sound").write_bytes(content)
    answer = service.classify(content)
    assert answer.status_code == 200, answer.text
    check_same(answer.json(), classifier.analyze_file(tmp_path / "sound"))
    assert service.classify(content, "?top=1").json()["predictions"].__len__() == 1


@pytest.mark.parametrize("sample_format", ["int16", "int32", "float32"])
@pytest.mark.parametrize("channels", [1, 2])
def test_raw_pcm_is_classified_as_an_array(
    service: Running, classifier: gmme_edge.Classifier, sample_format: str, channels: int
) -> None:
    samples = noise(20_000, channels=channels)
    if sample_format != "float32":
        samples = (samples * np.iinfo(sample_format).max).astype(sample_format)
    query = urlencode({"rate_hz": 16_000, "sample_format": sample_format, "channels": channels})
    answer = service.classify(samples.tobytes(), f"?{query}")
    assert answer.status_code == 200, answer.text
    check_same(answer.json(), classifier.analyze(samples, 16_000))


def test_an_embedding_is_the_classifiers(
    service: Running, classifier: gmme_edge.Classifier
) -> None:
    sound = noise(20_000)
    answer = service.client.post(
        f"/v1/embed?rate_hz={RATE_HZ}&sample_format=float32", content=sound.tobytes()
    )
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(
        answer.json()["embedding"], classifier.embedding(sound, RATE_HZ), atol=1e-6
    )


def test_silence_is_told(service: Running) -> None:
    assert service.classify(bytes(16_000), f"?rate_hz={RATE_HZ}").json()["silent"] is True


def test_clients_that_share_a_run_get_their_own_answers(
    service: Running, classifier: gmme_edge.Classifier
) -> None:
    sounds = [noise(4000 + 900 * seed, seed) for seed in range(16)]
    query = f"?rate_hz={RATE_HZ}&sample_format=float32"
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda s: service.classify(s.tobytes(), query), sounds))
    for sound, answer in zip(sounds, answers, strict=True):
        check_same(answer.json(), classifier.analyze(sound, RATE_HZ))


def hear(service: Running, chunks: list[bytes | str], **query: object) -> list[dict[str, Any]]:
    address = f"{service.stream_url}?{urlencode(query, doseq=True)}"
    with connect(address, proxy=None) as socket:
        for chunk in chunks:
            socket.send(chunk)
        told: list[dict[str, Any]] = []
        with suppress(ConnectionClosedError):
            told += (json.loads(message) for message in socket)
        return told


@pytest.mark.parametrize("size", [333, 5000, 100_000])
def test_a_stream_tells_the_events_of_a_stream(
    service: Running, classifier: gmme_edge.Classifier, size: int
) -> None:
    sound = (noise(60_000)[:, 0] * 32_767).astype(np.int16)
    rules = gmme_edge.EventRules(on=0.4, merge_gap_s=0.2, deny=("c",))
    stream = gmme_edge.Stream(classifier, 250, rules)
    expected = [one.to_dict() for one in [*stream.push(sound, 16_000), *stream.flush()]]
    assert expected
    chunks: list[bytes | str] = [sound[i : i + size].tobytes() for i in range(0, 60_000, size)]
    head, *events, end = hear(
        service, [*chunks, '{"kind": "end"}'],
        rate_hz=16_000, hop_ms=250, on=0.4, merge_gap_s=0.2, deny="c",
    )  # fmt: skip
    assert events == expected
    assert (head["kind"], head["rules"]["on"], end["kind"]) == ("stream", 0.4, "end")
    assert (end["windows"], end["computed"]) == (stream.windows, stream.computed)


def test_a_gap_moves_the_time_on(service: Running) -> None:
    sound = (noise(16_000)[:, 0] * 32_767).astype(np.int16).tobytes()
    gap = '{"kind": "gap", "lost_samples": 8000}'
    told = hear(service, [sound, gap, sound, '{"kind": "end"}'], rate_hz=RATE_HZ, top=2)
    gaps = [one for one in told if one["kind"] == "gap"]
    assert [(one["start_s"], one["end_s"]) for one in gaps] == [(2.0, 3.0)]
    assert told[-1]["duration_s"] == 5.0
    windows = [one for one in told if one["kind"] == "window"]
    assert windows and all(len(one["predictions"]) == 2 for one in windows)


def test_a_sound_under_a_window_gets_its_classes_at_the_end(service: Running) -> None:
    told = hear(service, [bytes(200), '{"kind": "end"}'], rate_hz=RATE_HZ, top=1)
    assert [one["kind"] for one in told] == ["stream", "window", "end"]


@pytest.mark.parametrize(
    ("query", "chunks", "text"),
    [
        ({"rate_hz": 8000}, [b"abc"], "multiple of 2"),
        ({"rate_hz": 8000, "channels": 3}, [b"abcd"], "multiple of 6"),
        ({"rate_hz": 8000}, ["{"], "cannot be read"),
        ({"rate_hz": 8000}, ['{"kind": "dance"}'], "'dance'"),
        ({"rate_hz": 8000}, ['{"kind": "gap"}'], "gap of 0"),
        ({"rate_hz": 8000, "sample_format": "float32"}, [b"\0\0\xc0\x7f"], "NaN"),
    ],
)
def test_a_stream_that_cannot_be_heard_ends_with_the_reason(
    service: Running, query: dict[str, object], chunks: list[bytes | str], text: str
) -> None:
    last = hear(service, chunks, **query)[-1]
    assert last["kind"] == "error" and text in " ".join(last["error"].values())


def test_answers_follow_the_published_document(service: Running) -> None:
    document = service.client.get("/openapi.json").json()
    shared = {"components": document["components"]}
    sound, raw = noise(20_000).tobytes(), f"?rate_hz={RATE_HZ}&sample_format=float32"
    answers = {
        ("post", "/v1/classify", "200"): service.classify(sound, raw),
        ("post", "/v1/embed", "200"): service.client.post(f"/v1/embed{raw}", content=sound),
        ("post", "/v1/classify", "422"): service.classify(b"garbage"),
        ("get", "/health", "200"): service.client.get("/health"),
    }
    for (method, path, status), answer in answers.items():
        assert answer.status_code == int(status), answer.text
        content = document["paths"][path][method]["responses"][status]["content"]
        jsonschema.validate(answer.json(), {**shared, **content["application/json"]["schema"]})


def test_what_happened_is_counted(service: Running) -> None:
    service.classify(b"garbage")
    text = service.client.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    assert float(lines['gmme_edge_requests_total{path="/v1/classify",status="422"}']) >= 1
    assert float(lines["gmme_edge_requests_in_progress"]) == 0


def test_the_page_and_what_it_needs_are_there(service: Running) -> None:
    page = service.client.get("/")
    assert page.status_code == 200 and "What do you hear?" in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("page.js", "capture.js", "style.css"):
        answer = service.client.get(f"/{name}")
        assert answer.status_code == 200 and len(answer.text) > 100
