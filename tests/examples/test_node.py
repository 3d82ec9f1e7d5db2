"""The Node example, and the streaming code that it shares with the browser's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

import gmme_edge
from gmme_edge.data.synthetic import synthesize
from tests.examples.streams import case, difference
from tests.examples.tools import (
    EXAMPLES,
    PACKAGES,
    PRETRAINED,
    VECTORS,
    change_a_byte,
    copy_of,
    needs,
    run,
)

pytestmark = pytest.mark.slow
NODE = EXAMPLES / "node"


@pytest.fixture(autouse=True)
def tools() -> None:
    needs("node", "npm:onnxruntime-node")


def test_the_shared_code_is_what_the_sources_give(tmp_path: Path) -> None:
    needs("npm:esbuild", "npm:typescript")
    run("node", PACKAGES / ".bin" / "tsc", "-p", EXAMPLES / "web")
    before = {path: path.read_bytes() for path in _built()}
    run("sh", EXAMPLES / "web" / "build.sh")
    assert {path: path.read_bytes() for path in _built()} == before


def _built() -> list[Path]:
    site = EXAMPLES.parent / "exporters" / "gmme_exporters" / "web" / "site"
    return [NODE / "gmme_edge.js", *sorted(site.glob("*.js"))]


def test_vectors_pass() -> None:
    assert run("node", NODE / "vectors.js", VECTORS) == "10 passed, 0 failed\n"


@pytest.mark.parametrize("seed", range(12))
def test_streams_give_pythons_events(seed: int) -> None:
    expected = case(seed)
    found = json.loads(run("node", NODE / "vectors.js", "--stream", given=json.dumps(expected)))
    assert difference(found, expected) < 1e-6


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000, 5_000])
def test_resampled_streams_give_pythons_events(rate_hz: int) -> None:
    expected = case(8, rate_hz)
    found = json.loads(run("node", NODE / "vectors.js", "--stream", given=json.dumps(expected)))
    assert difference(found, expected) < 1e-3


def test_chunks_of_a_sample_give_pythons_events() -> None:
    """Around the filter's reach, the resampler has its first output, and may not look ahead."""
    for input_hz, reach in ((48_000, 562), (44_100, 517)):
        expected = case(5, input_hz, [reach - 20, *[1] * 40, 5000, 9000])
        found = json.loads(run("node", NODE / "vectors.js", "--stream", given=json.dumps(expected)))
        assert difference(found, expected) < 1e-3


@pytest.mark.parametrize("name", ["esc10", "digits"])
def test_recordings_are_named_as_in_python(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / "a.wav", synthesize("bell", 48_000, 300_000, (1, 1)), 48_000)
    line = json.loads(run("node", NODE / "classify.js", PRETRAINED / name, tmp_path / "a.wav"))
    with gmme_edge.load(name) as classifier:
        expected = classifier.classify_file(tmp_path / "a.wav")
    assert [p["label"] for p in line["predictions"]] == [p.label for p in expected]
    for ours, theirs in zip(line["predictions"], expected, strict=True):
        assert ours["probability"] == pytest.approx(theirs.probability, abs=2e-3)


@pytest.mark.parametrize("file", ["model.fp32.onnx", "golden.npz", "model.safetensors"])
def test_a_changed_byte_is_noticed(tmp_path: Path, file: str) -> None:
    bundle = copy_of(PRETRAINED / "digits", tmp_path / "bundle")
    change_a_byte(bundle / file)
    assert "SHA-256" in run("node", NODE / "classify.js", bundle, code=1)
