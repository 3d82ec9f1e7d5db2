"""The Triton example: a real server loads what `export --triton` writes, and its client agrees."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

import gmme_edge
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.data.synthetic import synthesize
from gmme_exporters.triton.config import TritonOptions
from gmme_exporters.triton.repository import write_models
from tests.bundles import make_bundle
from tests.examples.streams import difference
from tests.examples.tools import EXAMPLES, PRETRAINED, ROOT, change_a_byte, run
from tests.examples.triton import PYTHON, Server, needs_triton, serving

pytestmark = pytest.mark.slow
OPTIONS = TritonOptions(kinds=("python",), largest_batch=4, delay_us=50_000)
DIGITS, MODEL = PRETRAINED / "digits", "digits-fp32-python"
PROTOCOLS = ("http", "grpc", "stream")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    needs_triton()
    folder = tmp_path_factory.mktemp("triton")
    write_models(Bundle.open("digits"), folder / "models", OPTIONS)
    with serving(folder / "models", folder) as found:
        yield found


def ask(server: Server, protocol: str, *words: object, given: bytes = b"") -> list[dict]:
    url = server.http if protocol == "http" else server.grpc
    out = run(
        "env", f"PYTHONPATH={ROOT}", PYTHON, EXAMPLES / "triton" / "client.py", DIGITS, MODEL,
        *words, "--protocol", protocol, "--url", url, given=given,
    )  # fmt: skip
    return [json.loads(line) for line in out.splitlines()]


def test_the_model_is_ready_and_says_what_it_is(server: Server) -> None:
    (model,) = json.loads(server.call("repository/index"))
    assert (model["name"], model["version"], model["state"]) == (MODEL, "1", "READY")
    config = json.loads(server.call(f"models/{MODEL}/config", "GET"))
    assert [each["batch_size"] for each in config["model_warmup"]] == [1, 2, 3, 4]
    assert int(config["dynamic_batching"]["max_queue_delay_microseconds"]) == OPTIONS.delay_us


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_golden_vectors_agree_and_recordings_are_named_as_in_python(
    server: Server, protocol: str, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", synthesize("bell", 44_100, 300_000, (1, 1)), 44_100)
    golden, line = ask(server, protocol, tmp_path / "a.wav", "--verify")
    assert golden["relative_error"] < 1e-5
    with gmme_edge.load("digits") as classifier:
        expected = classifier.classify_file(tmp_path / "a.wav")
    assert [p["label"] for p in line["predictions"]] == [p.label for p in expected]
    for ours, theirs in zip(line["predictions"], expected, strict=True):
        assert ours["probability"] == pytest.approx(theirs.probability, abs=1e-5)


def test_windows_that_wait_together_are_one_batch(server: Server, tmp_path: Path) -> None:
    """Seven windows at once are fewer runs of the network than requests."""
    soundfile.write(tmp_path / "a.wav", synthesize("bell", 16_000, 7 * 16_384, (1, 1)), 16_000)
    path = f"models/{MODEL}/stats"
    before = json.loads(server.call(path, "GET"))["model_stats"][0]
    ask(server, "grpc", tmp_path / "a.wav")
    after = json.loads(server.call(path, "GET"))["model_stats"][0]
    assert after["inference_count"] - before["inference_count"] == 7
    assert after["execution_count"] - before["execution_count"] < 7


def test_listening_through_the_stream_gives_pythons_events(server: Server) -> None:
    rate_hz = 16_000
    quiet = np.zeros(rate_hz, np.float32)
    sound = np.concatenate([quiet, synthesize("bell", rate_hz, 3 * rate_hz, (1, 2)), quiet, quiet])
    pcm = (sound * 32767).astype("<i2")
    found = ask(server, "stream", "--listen", rate_hz, given=pcm.tobytes())
    with gmme_edge.load("digits", threads=1) as classifier:
        stream = gmme_edge.Stream(classifier)
        expected = [e.to_dict() for e in (*stream.push(pcm, rate_hz), *stream.flush())]
    assert found
    counts = {"windows": 0, "computed": 0}
    assert difference({"events": found, **counts}, {"events": expected, **counts}) < 1e-5


def test_a_server_that_polls_takes_a_new_version_over(tmp_path: Path) -> None:
    needs_triton()
    models = tmp_path / "models"
    old = make_bundle(tmp_path / "bell")
    _state_limits(old)
    write_models(Bundle.open(old.path), models, OPTIONS)
    polling = ("--model-control-mode=poll", "--repository-poll-secs=1")
    with serving(models, tmp_path, *polling) as server:
        graph = (old.path / "model.fp32.onnx").read_bytes().replace(b"tiny", b"tint")
        new = make_bundle(tmp_path / "new" / "bell", graph=graph)
        _state_limits(new)
        (version,) = write_models(Bundle.open(new.path), models, OPTIONS)
        assert version.name == "2"
        end = time.monotonic() + 60
        while time.monotonic() < end:
            states = json.loads(server.call("repository/index"))
            ready = {each.get("version") for each in states if each.get("state") == "READY"}
            assert ready, states  # one of them always serves
            if ready == {"2"}:
                break
            time.sleep(0.05)
        assert ready == {"2"}
        assert "failed to load" not in server.log.read_text()


def test_a_changed_byte_keeps_the_model_from_being_ready(tmp_path: Path) -> None:
    needs_triton()
    models = tmp_path / "models"
    (version,) = write_models(Bundle.open("digits"), models, OPTIONS)
    change_a_byte(version / "bundle" / "model.safetensors")
    with serving(models, tmp_path, "--exit-on-error=false", "--strict-readiness=false") as server:
        (model,) = json.loads(server.call("repository/index"))
    assert model["state"] == "UNAVAILABLE"
    assert "SHA-256" in model["reason"]


def test_export_writes_the_models(tmp_path: Path) -> None:
    out, models = tmp_path / "my-bundle", tmp_path / "models"
    words = (
        sys.executable, "-m", "gmme_edge.cli.app", "export", "digits", "-o", out, "--precision",
        "fp32", "--opset", "17", "--triton", models,
    )  # fmt: skip
    shown = run(*words, "--triton-for", "cpu,tensorrt", "--triton-batch", "2")
    assert f"for Triton: {models / 'my-bundle-fp32-cpu' / '1'}" in shown
    assert sorted(p.name for p in models.iterdir()) == [
        "my-bundle-fp32-cpu", "my-bundle-fp32-tensorrt",
    ]  # fmt: skip


def _state_limits(bundle: Bundle) -> None:
    """As an export does; the small bundles of tests state none."""
    path = bundle.path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["parity"] = {"fp32": {"limit": 1e-3}}
    path.write_text(json.dumps(manifest))
    os.utime(path)
