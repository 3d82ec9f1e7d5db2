"""The C++ example: built with warnings as errors and sanitizers, and against Python."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile

from tests.bundles import make_bundle
from tests.examples.ports import AppTests, StreamTests, Vectors
from tests.examples.tools import EXAMPLES, PACKAGES, PRETRAINED, needs, run

pytestmark = pytest.mark.slow
HEADERS = "com.github.asus4.onnxruntime"
QUICK = ("-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0")  # to compile, not to run


def _build(folder: Path, targets: tuple[str, ...], *options: str) -> Path:
    run("cmake", "-S", EXAMPLES / "cpp", "-B", folder, *options)
    run("cmake", "--build", folder, "--target", *targets, timeout=480)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("cmake", "g++", f"npm:{HEADERS}")
    folder = tmp_path_factory.mktemp("cpp")
    header = next((PACKAGES / HEADERS).rglob("onnxruntime_cxx_api.h"))
    capi = Path(onnxruntime.__file__).parent / "capi"
    library = folder / "libonnxruntime.so.1"  # the wheel's own has its version in its name
    library.symlink_to(next(capi.glob("libonnxruntime.so.*")))
    return _build(
        folder / "build", ("vectors", "gmme-edge-app"), f"-DORT_INCLUDE={header.parent}",
        f"-DORT_LIBRARY={library}", "-DGMME_EDGE_SANITIZE=ON", *QUICK,
    )  # fmt: skip


@pytest.fixture(scope="module")
def app(built: Path) -> Path:
    return built / "gmme-edge-app"


@pytest.fixture
def vectors(built: Path) -> Vectors:
    return partial(run, built / "vectors")


class TestStreams(StreamTests):
    pass


class TestApp(AppTests):
    def listening(self, rate_hz: int, rules: Path) -> list[object]:
        return ["--rate", rate_hz, "--rules", rules]


def test_tensorrt_compiles_against_its_headers(tmp_path: Path) -> None:
    """They are in no package index: docs/guides/cpp.md says how to run this."""
    folders = [os.environ.get(name, "") for name in ("TENSORRT_INCLUDE", "CUDA_INCLUDE")]
    if not all(folders):
        pytest.skip("TENSORRT_INCLUDE and CUDA_INCLUDE name no headers")
    _build(
        tmp_path, ("app",), "-DGMME_EDGE_TENSORRT=ON", f"-DTENSORRT_INCLUDE={folders[0]}",
        f"-DCUDA_INCLUDE={folders[1]}", *QUICK,
    )  # fmt: skip


def test_cmake_says_which_half_of_onnx_runtime_is_missing(tmp_path: Path) -> None:
    needs("cmake", "g++")
    (tmp_path / "onnxruntime_cxx_api.h").touch()
    words = ["cmake", "-S", EXAMPLES / "cpp", "-B", tmp_path / "b", f"-DORT_INCLUDE={tmp_path}"]
    assert "only the test vectors" in run(*words[:-1])
    assert "'' is not there." in run(*words, code=1)
    assert "'/gone.so' is not there." in run(*words, "-DORT_LIBRARY=/gone.so", code=1)


def test_an_engine_without_tensorrt_is_told(app: Path, tmp_path: Path) -> None:
    words = ("verify", PRETRAINED / "digits", "--engine", tmp_path / "a.engine")
    assert "GMME_EDGE_TENSORRT" in run(app, *words, code=2)


@pytest.mark.parametrize("words", [["verify", "nowhere"], ["classify"], ["listen", "x", "--rate"]])
def test_mistakes_are_told_in_a_line(app: Path, words: list[str]) -> None:
    assert run(app, *words, code=2).startswith("error: ")


def test_readers_survive_fuzzing(tmp_path: Path) -> None:
    needs("cmake", "clang++")
    build = _build(
        tmp_path / "build", ("fuzz",), "-DCMAKE_CXX_COMPILER=clang++", "-DGMME_EDGE_FUZZ=ON"
    )
    seeds = tmp_path / "seeds"
    seeds.mkdir()
    bundle = make_bundle(tmp_path / "bundle").path
    soundfile.write(tmp_path / "a.wav", np.zeros(50, np.float32), 8000)
    np.savez(tmp_path / "a.npz", logits=np.ones((2, 3), np.float32))
    np.savez_compressed(tmp_path / "b.npz", logits=np.ones((2, 3), np.float32))
    files = (tmp_path / "a.wav", bundle / "manifest.json", tmp_path / "a.npz", tmp_path / "b.npz")
    (tmp_path / "rules.json").write_text('{"on": 0.3, "per_label": {"a": {"off": 0.2}}}')
    for kind, file in zip(b"\0\1\2\2\3", (*files, tmp_path / "rules.json"), strict=True):
        (seeds / file.name).write_bytes(bytes([kind]) + file.read_bytes())
    # As many runs on every machine, from the same seed: docs/guides/cpp.md has the long search.
    run(build / "fuzz", seeds, "-runs=60000", "-seed=1", "-timeout=10", "-rss_limit_mb=2048",
        "-max_len=20000", f"-artifact_prefix={tmp_path}/", timeout=480)  # fmt: skip
