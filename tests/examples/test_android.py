"""The Android example: compiled against the platform, and what needs no device run on a desktop."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from tests.examples.ports import StreamTests, Vectors
from tests.examples.tools import (
    EXAMPLES,
    PACKAGES,
    PRETRAINED,
    ROOT,
    change_a_byte,
    copy_of,
    needs,
    needs_file,
    run,
)

pytestmark = pytest.mark.slow
RUNTIME = "com.github.asus4.onnxruntime"
PLATFORM = ROOT / ".android" / "android.jar"  # examples/android/platform.sh .android
JSON = Path("/usr/share/java/com.android.json.jar")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it compiled, warnings as errors: the app, its test on the device, the vectors."""
    needs("kotlinc", "java", "unzip", f"npm:{RUNTIME}")
    if not PLATFORM.is_file():  # from Debian's unstable suite, which not every mirror has
        pytest.skip(f"no {PLATFORM}: sh examples/android/platform.sh .android")
    needs_file(JSON)
    out = tmp_path_factory.mktemp("android")
    aar = PACKAGES / RUNTIME / "Plugins" / "Android" / "onnxruntime.aar"
    run("sh", EXAMPLES / "android" / "build.sh", PLATFORM, aar, JSON, out, timeout=900)
    return out


@pytest.fixture
def vectors(app: Path) -> Vectors:
    return partial(run, "java", "-cp", f"{app / 'vectors.jar'}:{JSON}", "gmme.edge.VectorsKt")


class TestStreams(StreamTests):
    pass


def test_the_app_and_its_test_are_compiled(app: Path) -> None:
    classes = run("unzip", "-Z1", app / "app.jar").split()
    for name in ("MainActivity", "Microphone", "OnnxNetwork", "GoldenTest"):
        assert f"gmme/edge/{name}.class" in classes


@pytest.mark.parametrize("name", ["esc10", "digits"])
def test_golden_vectors_are_read(vectors: Vectors, name: str) -> None:
    found = json.loads(vectors("--files", PRETRAINED / name, 0))
    assert found["relative_error"] == 0
    assert "golden" in vectors("--files", PRETRAINED / name, 0.01, code=2)


@pytest.mark.parametrize("file", ["model.fp32.onnx", "golden.npz", "model.safetensors"])
def test_a_changed_byte_is_noticed(vectors: Vectors, tmp_path: Path, file: str) -> None:
    bundle = copy_of(PRETRAINED / "digits", tmp_path / "bundle")
    change_a_byte(bundle / file)
    assert "SHA-256" in vectors("--files", bundle, 0, code=2)
