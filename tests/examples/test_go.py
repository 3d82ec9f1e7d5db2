"""The Go example: built, and against Python."""

from __future__ import annotations

import json
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
GO = EXAMPLES / "go"
HEADERS = "com.github.asus4.onnxruntime"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    needs("go", "gcc", f"npm:{HEADERS}")
    folder = tmp_path_factory.mktemp("go")
    capi = Path(onnxruntime.__file__).parent / "capi"
    library = folder / "libonnxruntime.so.1"  # the wheel's own has its version in its name
    library.symlink_to(next(capi.glob("libonnxruntime.so.*")))
    header = next((PACKAGES / HEADERS).rglob("onnxruntime_c_api.h"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CGO_CFLAGS", f"-I{header.parent} -Wall -Werror")
        patch.setenv("CGO_LDFLAGS", f"{library} -Wl,-rpath,{folder}")
        patch.setenv("GOCACHE", str(folder / "cache"))
        patch.setenv("GOPROXY", "off")  # the standard library is enough
        for command in ("vet .", f"build -buildvcs=false -o {folder}/app ."):
            run("sh", "-c", f"cd {GO} && go {command}", timeout=480)
    assert run("gofmt", "-l", GO) == ""
    return folder / "app"


def test_vectors_pass(app: Path) -> None:
    assert run(app, "vectors", VECTORS) == "10 passed, 0 failed\n"


@pytest.mark.parametrize("seed", range(12))
def test_streams_give_pythons_events(app: Path, seed: int) -> None:
    expected = case(seed)
    found = json.loads(run(app, "vectors", "--stream", given=json.dumps(expected)))
    assert difference(found, expected) < 1e-6


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000, 5_000])
def test_resampled_streams_give_pythons_events(app: Path, rate_hz: int) -> None:
    expected = case(8, rate_hz)
    found = json.loads(run(app, "vectors", "--stream", given=json.dumps(expected)))
    assert difference(found, expected) < 1e-3


def test_chunks_of_a_sample_give_pythons_events(app: Path) -> None:
    """Around the filter's reach, the resampler has its first output, and may not look ahead."""
    for input_hz, reach in ((48_000, 562), (44_100, 517)):
        expected = case(5, input_hz, [reach - 20, *[1] * 40, 5000, 9000])
        found = json.loads(run(app, "vectors", "--stream", given=json.dumps(expected)))
        assert difference(found, expected) < 1e-3


@pytest.mark.parametrize("name", ["esc10", "digits"])
def test_golden_vectors_agree(app: Path, name: str) -> None:
    assert json.loads(run(app, "verify", PRETRAINED / name))["relative_error"] < 1e-5


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
    silence = np.zeros(rate_hz, np.float32)
    sound = np.concatenate([silence, synthesize("bell", rate_hz, 3 * rate_hz, (1, 2)), silence])
    pcm = (sound * 32_767).astype("<i2")
    (tmp_path / "rules.json").write_text('{"on": 0.3, "off": 0.2}')
    out = run(app, "listen", PRETRAINED / "digits", rate_hz, tmp_path / "rules.json",
              given=pcm.tobytes())  # fmt: skip
    with gmme_edge.load("digits", threads=1) as classifier:
        stream = gmme_edge.Stream(classifier, rules=gmme_edge.EventRules(0.3, 0.2))
        expected = [e.to_dict() for e in (*stream.push(pcm, rate_hz), *stream.flush())]
    found = {"events": [json.loads(line) for line in out.splitlines()], "windows": 0, "computed": 0}
    assert found["events"]
    assert difference(found, {"events": expected, "windows": 0, "computed": 0}) < 1e-4


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["verify", "nowhere"], "no such file"),
        (["classify"], "usage"),
        (["listen", str(PRETRAINED / "digits"), "fast"], "a rate of"),
        (["classify", str(PRETRAINED / "digits"), str(VECTORS)], "no WAV file"),
    ],
)
def test_mistakes_are_told_in_a_line(app: Path, words: list[str], text: str) -> None:
    told = run(app, *words, code=2)
    assert told.startswith("error: ") and text in told and told.count("\n") == 1
