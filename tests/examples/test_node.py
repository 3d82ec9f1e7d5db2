"""The Node example, and the streaming code that it shares with the browser's."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import soundfile

from gmme_edge.data.synthetic import synthesize
from tests.examples.ports import StreamTests, Vectors, same_predictions
from tests.examples.tools import EXAMPLES, PACKAGES, PRETRAINED, change_a_byte, copy_of, needs, run

pytestmark = pytest.mark.slow
NODE = EXAMPLES / "node"


@pytest.fixture(autouse=True)
def tools() -> None:
    needs("node", "npm:onnxruntime-node")


@pytest.fixture
def vectors() -> Vectors:
    return partial(run, "node", NODE / "vectors.js")


class TestStreams(StreamTests):
    pass


def test_the_shared_code_is_what_the_sources_give(tmp_path: Path) -> None:
    needs("npm:esbuild", "npm:typescript")
    run("node", PACKAGES / ".bin" / "tsc", "-p", EXAMPLES / "web")
    before = {path: path.read_bytes() for path in _built()}
    run("sh", EXAMPLES / "web" / "build.sh")
    assert {path: path.read_bytes() for path in _built()} == before


def _built() -> list[Path]:
    site = EXAMPLES.parent / "exporters" / "gmme_exporters" / "web" / "site"
    return [NODE / "gmme_edge.js", *sorted(site.glob("*.js"))]


@pytest.mark.parametrize("name", ["esc10", "digits"])
def test_recordings_are_named_as_in_python(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / "a.wav", synthesize("bell", 48_000, 300_000, (1, 1)), 48_000)
    line = json.loads(run("node", NODE / "classify.js", PRETRAINED / name, tmp_path / "a.wav"))
    same_predictions(line["predictions"], name, tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "error: Usage: node classify.js BUNDLE FILE.wav…"),
        (("nowhere",), "error: ENOENT: no such file or directory, open 'nowhere/manifest.json'"),
        ((PRETRAINED / "digits", PRETRAINED / "digits" / "model.json"), "is no WAV file."),
    ],
)
def test_mistakes_are_told_in_a_line(words: tuple[object, ...], told: str) -> None:
    error = run("node", NODE / "classify.js", *words, code=1)
    assert told in error and "    at " not in error


@pytest.mark.parametrize("file", ["model.fp32.onnx", "golden.npz", "model.safetensors"])
def test_a_changed_byte_is_noticed(tmp_path: Path, file: str) -> None:
    bundle = copy_of(PRETRAINED / "digits", tmp_path / "bundle")
    change_a_byte(bundle / file)
    assert "SHA-256" in run("node", NODE / "classify.js", bundle, code=1)
