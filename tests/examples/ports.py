"""What every port of the runtime is tested for: the vectors, and a program like the command line.

A module of tests subclasses these. Its fixture `vectors` runs the port's vectors with further words
and returns what they print; its fixture `app` is the program.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import gmme_edge
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.data.synthetic import synthesize
from tests.bundles import make_bundle
from tests.examples.streams import case, difference
from tests.examples.tools import PRETRAINED, VECTORS, admit, change_a_byte, copy_of, run
from tests.runtime.streaming.make_vectors import STREAMS, stream_sound

Vectors = Callable[..., str]


def same_predictions(found: list[dict[str, object]], bundle: str, recording: Path) -> None:
    """Hold a port's predictions to Python's."""
    with gmme_edge.load(bundle) as classifier:
        expected = classifier.classify_file(recording)
    assert [p["label"] for p in found] == [p.label for p in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["probability"] == pytest.approx(theirs.probability, abs=2e-3)


class StreamTests:
    """The streams that Python's own make, with their chunks, rates and rules."""

    def test_vectors_pass(self, vectors: Vectors) -> None:
        assert vectors(VECTORS) == "10 passed, 0 failed\n"

    @pytest.mark.parametrize("name", STREAMS)
    def test_chunks_in_events_out(self, vectors: Vectors, name: str) -> None:
        """The cases of the vectors' file, with the chunks written out."""
        streams = json.loads(VECTORS.read_text())["streams"]
        (expected,) = (stream for stream in streams if stream["name"] == name)
        sound = stream_sound(expected["steps"], expected["channels"])
        steps = [part if isinstance(part, int) else part.ravel().tolist() for part in sound]
        found = json.loads(vectors("--stream", given=json.dumps({**expected, "steps": steps})))
        same_rate = expected["input_hz"] == expected["sample_rate_hz"]
        assert difference(found, expected) < (1e-6 if same_rate else 1e-3)

    @pytest.mark.parametrize("seed", range(24))
    def test_streams_give_pythons_events(self, vectors: Vectors, seed: int) -> None:
        expected = case(seed)
        found = json.loads(vectors("--stream", given=json.dumps(expected)))
        assert difference(found, expected) < 1e-6

    @pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000, 5_000])
    def test_resampled_streams_give_pythons_events(self, vectors: Vectors, rate_hz: int) -> None:
        """Filters differ by -60 dB of full scale at most, at the edge of the pass band."""
        expected = case(8, rate_hz)
        found = json.loads(vectors("--stream", given=json.dumps(expected)))
        assert difference(found, expected) < 1e-3

    def test_chunks_of_a_sample_give_pythons_events(self, vectors: Vectors) -> None:
        """Around the filter's reach, the resampler has its first output, and may not look ahead."""
        for input_hz, reach in ((48_000, 562), (44_100, 517)):
            expected = case(5, input_hz, [reach - 20, *[1] * 40, 5000, 9000])
            found = json.loads(vectors("--stream", given=json.dumps(expected)))
            assert difference(found, expected) < 1e-3


class AppTests:
    """``verify BUNDLE``, ``classify BUNDLE WAV`` and ``listen BUNDLE …`` of a compiled program."""

    def listening(self, rate_hz: int, rules: Path) -> list[object]:
        """The words after ``listen BUNDLE``."""
        raise NotImplementedError

    @pytest.mark.parametrize("name", ["esc10", "digits"])
    def test_golden_vectors_agree(self, app: Path, name: str) -> None:
        assert json.loads(run(app, "verify", PRETRAINED / name))["relative_error"] < 1e-5

    @pytest.mark.parametrize("file", ["model.fp32.onnx", "golden.npz", "model.safetensors"])
    def test_a_changed_byte_is_noticed(self, app: Path, tmp_path: Path, file: str) -> None:
        bundle = copy_of(PRETRAINED / "digits", tmp_path / "bundle")
        change_a_byte(bundle / file)
        assert "SHA-256" in run(app, "verify", bundle, code=2)

    @pytest.mark.parametrize("name", ["schema", "sample_rate_hz", "n_samples", "n_classes"])
    def test_numbers_that_no_export_writes_are_refused(
        self, app: Path, tmp_path: Path, name: str
    ) -> None:
        bundle = copy_of(PRETRAINED / "digits", tmp_path / "bundle")
        manifest = json.loads((bundle / "manifest.json").read_text())
        for number in (1e76, 2**64 - 1, -1, 0.5):
            changed = manifest if name in manifest else manifest["model"]
            changed[name] = number
            (bundle / "manifest.json").write_text(json.dumps(manifest))
            assert "manifest.json" in run(app, "verify", bundle, code=2)

    def test_other_outputs_than_the_golden_ones_are_refused(
        self, app: Path, tmp_path: Path
    ) -> None:
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
        self, app: Path, tmp_path: Path, kind: tuple[int, int, str]
    ) -> None:
        rate_hz, channels, subtype = kind
        path = tmp_path / "a.wav"
        sound = synthesize("bell", rate_hz, 7 * rate_hz, (1, 1))
        soundfile.write(path, np.repeat(sound[:, None], channels, 1), rate_hz, subtype)
        line = json.loads(run(app, "classify", PRETRAINED / "esc10", path))
        same_predictions(line["predictions"], "esc10", path)

    def test_a_file_that_cannot_be_heard_is_named(self, app: Path, tmp_path: Path) -> None:
        (tmp_path / "notes.wav").write_text("no sound at all")
        soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), 8_000)
        for name in ("notes.wav", "empty.wav", "absent.wav"):
            path = tmp_path / name
            assert str(path) in run(app, "classify", PRETRAINED / "digits", path, code=2)
        assert "needs a WAV file" in run(app, "classify", PRETRAINED / "digits", code=2)

    def test_rules_without_sense_are_refused(self, app: Path, tmp_path: Path) -> None:
        rules = tmp_path / "rules.json"
        for text in ('{"on": 2}', '{"merge_gap_s": -1}', '{"max_duration_s": 1e300}'):
            rules.write_text(text)
            words = ["listen", PRETRAINED / "digits", *self.listening(8000, rules)]
            assert "rule" in run(app, *words, given=b"", code=2)

    def test_listening_gives_pythons_events(self, app: Path, tmp_path: Path) -> None:
        rate_hz = Bundle.open("digits").manifest.model.sample_rate_hz
        silence = np.zeros(rate_hz, np.float32)
        bell = synthesize("bell", rate_hz, 3 * rate_hz, (1, 2))
        pcm = (np.concatenate([silence, bell, silence, silence]) * 32_767).astype("<i2")
        rules = tmp_path / "rules.json"
        rules.write_text('{"on": 0.3, "off": 0.2}')
        words = ["listen", PRETRAINED / "digits", *self.listening(rate_hz, rules)]
        out = run(app, *words, given=pcm.tobytes())
        with gmme_edge.load("digits", threads=1) as classifier:
            stream = gmme_edge.Stream(classifier, rules=gmme_edge.EventRules(0.3, 0.2))
            expected = [e.to_dict() for e in (*stream.push(pcm, rate_hz), *stream.flush())]
        found = [json.loads(line) for line in out.splitlines()]
        assert found
        rest = {"windows": 0, "computed": 0}
        assert difference({"events": found, **rest}, {"events": expected, **rest}) < 1e-4
