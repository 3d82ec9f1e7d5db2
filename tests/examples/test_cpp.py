"""The C++ example: built with warnings as errors and sanitizers, and against Python."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import soundfile

import gmme_edge
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.data.synthetic import synthesize
from tests.bundles import make_bundle
from tests.examples.streams import case, difference
from tests.examples.tools import (
    EXAMPLES,
    PACKAGES,
    PRETRAINED,
    VECTORS,
    admit,
    change_a_byte,
    copy_of,
    needs,
    run,
)

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


def test_vectors_pass(built: Path) -> None:
    assert run(built / "vectors", VECTORS) == "10 passed, 0 failed\n"


@pytest.mark.parametrize("seed", range(24))
def test_streams_give_pythons_events(built: Path, seed: int) -> None:
    expected = case(seed)
    found = json.loads(run(built / "vectors", "--stream", given=json.dumps(expected)))
    assert difference(found, expected) < 1e-6


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000, 5_000])
def test_resampled_streams_give_pythons_events(built: Path, rate_hz: int) -> None:
    """Filters differ by -60 dB of full scale at most, at the edge of the pass band."""
    expected = case(8, rate_hz)
    found = json.loads(run(built / "vectors", "--stream", given=json.dumps(expected)))
    assert difference(found, expected) < 1e-3


def test_chunks_of_a_sample_give_pythons_events(built: Path) -> None:
    """Around the filter's reach, the resampler has its first output, and may not look ahead."""
    for input_hz, reach in ((48_000, 562), (44_100, 517)):
        expected = case(5, input_hz, [reach - 20, *[1] * 40, 5000, 9000])
        found = json.loads(run(built / "vectors", "--stream", given=json.dumps(expected)))
        assert difference(found, expected) < 1e-3


def test_tensorrt_compiles_against_its_headers(tmp_path: Path) -> None:
    """They are in no package index: docs/guides/cpp.md says how to run this."""
    folders = [os.environ.get(name, "") for name in ("TENSORRT_INCLUDE", "CUDA_INCLUDE")]
    if not all(folders):
        pytest.skip("TENSORRT_INCLUDE and CUDA_INCLUDE name no headers")
    _build(
        tmp_path, ("app",), "-DGMME_EDGE_TENSORRT=ON", f"-DTENSORRT_INCLUDE={folders[0]}",
        f"-DCUDA_INCLUDE={folders[1]}", *QUICK,
    )  # fmt: skip


def test_an_engine_without_tensorrt_is_told(app: Path, tmp_path: Path) -> None:
    words = ("verify", PRETRAINED / "digits", "--engine", tmp_path / "a.engine")
    assert "GMME_EDGE_TENSORRT" in run(app, *words, code=2)


@pytest.mark.parametrize("name", ["esc10", "digits"])
def test_golden_vectors_agree(app: Path, name: str) -> None:
    found = json.loads(run(app, "verify", PRETRAINED / name))
    assert found["relative_error"] < 1e-5


@pytest.mark.parametrize("file", ["model.fp32.onnx", "golden.npz", "model.safetensors"])
def test_a_changed_byte_is_noticed(app: Path, tmp_path: Path, file: str) -> None:
    bundle = copy_of(PRETRAINED / "digits", tmp_path / "bundle")
    change_a_byte(bundle / file)
    assert "SHA-256" in run(app, "verify", bundle, code=2)


def test_other_outputs_than_the_golden_ones_are_refused(app: Path, tmp_path: Path) -> None:
    """Hashes alone would not tell that this library computes something else."""
    bundle = make_bundle(tmp_path / "bundle")
    admit(bundle.path, "golden.npz")
    run(app, "verify", bundle.path)
    arrays = {**bundle.golden(), "logits": bundle.golden()["logits"] + 1}
    np.savez(bundle.path / "golden.npz", **arrays)
    admit(bundle.path, "golden.npz")
    assert "golden" in run(app, "verify", bundle.path, code=2)


@pytest.mark.parametrize(
    "kind", [(22_050, 1, "PCM_16"), (48_000, 2, "PCM_24"), (44_100, 1, "FLOAT")]
)
def test_recordings_are_named_as_in_python(
    app: Path, tmp_path: Path, kind: tuple[int, int, str]
) -> None:
    rate_hz, channels, subtype = kind
    sound = synthesize("bell", rate_hz, 7 * rate_hz, (1, 1))
    soundfile.write(tmp_path / "a.wav", np.repeat(sound[:, None], channels, 1), rate_hz, subtype)
    line = json.loads(run(app, "classify", PRETRAINED / "esc10", tmp_path / "a.wav"))
    with gmme_edge.load("esc10") as classifier:
        expected = classifier.classify_file(tmp_path / "a.wav")
    assert [p["label"] for p in line["predictions"]] == [p.label for p in expected]
    for ours, theirs in zip(line["predictions"], expected, strict=True):
        assert ours["probability"] == pytest.approx(theirs.probability, abs=2e-3)


def test_listening_gives_pythons_events(app: Path, tmp_path: Path) -> None:
    rate_hz = Bundle.open("digits").manifest.model.sample_rate_hz
    sound = np.concatenate(
        [np.zeros(rate_hz, np.float32), synthesize("bell", rate_hz, 3 * rate_hz, (1, 2)),
         np.zeros(2 * rate_hz, np.float32)]
    )  # fmt: skip
    pcm = (sound * 32767).astype("<i2")
    (tmp_path / "rules.json").write_text('{"on": 0.3, "off": 0.2}')
    out = run(app, "listen", PRETRAINED / "digits", "--rate", rate_hz, "--rules",
              tmp_path / "rules.json", given=pcm.tobytes())  # fmt: skip
    with gmme_edge.load("digits", threads=1) as classifier:
        stream = gmme_edge.Stream(classifier, rules=gmme_edge.EventRules(0.3, 0.2))
        expected = [e.to_dict() for e in (*stream.push(pcm, rate_hz), *stream.flush())]
    found = {"events": [json.loads(line) for line in out.splitlines()], "windows": 0, "computed": 0}
    assert found["events"]
    assert difference(found, {"events": expected, "windows": 0, "computed": 0}) < 1e-4


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
    for kind, file in zip(b"\0\1\2\2", files, strict=True):
        (seeds / file.name).write_bytes(bytes([kind]) + file.read_bytes())
    run(build / "fuzz", seeds, "-max_total_time=15", "-timeout=10", "-rss_limit_mb=2048",
        "-max_len=20000", f"-artifact_prefix={tmp_path}/")  # fmt: skip
