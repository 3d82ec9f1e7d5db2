"""Whatever an output folder holds: only the product's own files of the same kind are replaced."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.cli.app import app
from gmme_edge.errors import InputError, UsageError
from gmme_edge.ownership import claim_bundle, claim_checkpoint, claim_result
from gmme_exporters.bundle import export_bundle
from gmme_exporters.options import ExportOptions
from tests.artifacts import edit_manifest, open_checkpoint, small_checkpoint, sounds, write_words
from tests.test_files import listing

QUICK = ExportOptions(("fp32",), opset=17, embedding=False)  # torch's older exporter is quick


@pytest.fixture(scope="module")
def made(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "bundle"
    export_bundle(open_checkpoint(root), out, QUICK, sounds()[:1])
    return out


@pytest.fixture
def old(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "old")


@pytest.mark.parametrize(
    "manifest",
    ['{"name": "a web app", "icons": []}', "{", '{"schema": 99}', ""],
    ids=["web app", "broken", "other schema", "empty"],
)
@pytest.mark.parametrize("force", [False, True])
def test_a_strange_manifest_and_all_beside_it_stay(
    tmp_path: Path, manifest: str, force: bool
) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    (tmp_path / "index.html").write_text("mine")
    before = listing(tmp_path)
    with pytest.raises(UsageError, match="--force replaces no such file"):
        claim_bundle(tmp_path, None, "abc", ("manifest.json",), force)
    assert listing(tmp_path) == before


@pytest.mark.slow
def test_what_lies_beside_a_bundle_stays_when_it_is_replaced(root: Path, old: Path) -> None:
    (old / "results").mkdir()
    (old / "results" / "latency-board.json").write_text("measured")
    (old / "notes").mkdir()
    (old / "notes.txt").write_text("mine")
    (old / "link").symlink_to("notes.txt")
    export_bundle(open_checkpoint(root), old, QUICK, sounds()[:2])
    assert (old / "results" / "latency-board.json").read_text() == "measured"
    assert (old / "link").is_symlink() and (old / "link").read_text() == "mine"
    assert (old / "notes").is_dir()
    Bundle.open(old).check_files()
    assert [path.name for path in old.parent.iterdir()] == ["old"]


def test_another_models_bundle_needs_force(old: Path) -> None:
    with pytest.raises(UsageError, match="replace that bundle with --force"):
        claim_bundle(old, None, "0" * 64, ())
    assert "model.fp32.onnx" in claim_bundle(old, None, "0" * 64, (), force=True).owned
    noted = Bundle.open(old).manifest.provenance["checkpoint_sha256"]
    assert claim_bundle(old, None, noted, ()).folder == old.resolve()


@pytest.mark.parametrize("noted", [{}, [], ["x"], 1, True])
def test_a_manifest_that_notes_no_hash_is_another_models(old: Path, noted: object) -> None:
    edit_manifest(old, lambda v: v["provenance"].update(checkpoint_sha256=noted))
    with pytest.raises(UsageError, match="another model"):
        claim_bundle(old, None, "0" * 64, ["manifest.json"])


def test_the_only_weights_of_a_compact_bundle_are_never_deleted(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "compact"
    compact = ExportOptions(("fp32",), opset=17, compact=True, target="generic")
    export_bundle(open_checkpoint(root), out, compact, sounds()[:1])
    before = listing(out)
    for more in ([], ["--force"]):
        words = ["export", str(out), "-o", str(out), "--precision", "fp32", *more]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2 and "is the folder of the model" in result.stderr
        with pytest.raises(UsageError, match="weights of another model"):
            claim_bundle(out, None, "0" * 64, (), force=bool(more))
    assert listing(out) == before


@pytest.mark.slow
def test_a_link_is_followed(root: Path, old: Path) -> None:
    link = old.parent / "link"
    link.symlink_to(old)
    export_bundle(open_checkpoint(root), link, QUICK, sounds()[:2])
    assert link.is_symlink() and not old.is_symlink()
    assert len(Bundle.open(old).golden()["waveform"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("in_bundle", [False, True])
def test_a_bundle_is_written_to_the_current_folder(
    root: Path, old: Path, monkeypatch: pytest.MonkeyPatch, in_bundle: bool
) -> None:
    here = old if in_bundle else old.parent / "empty"
    here.mkdir(exist_ok=True)
    monkeypatch.chdir(here)
    export_bundle(open_checkpoint(root), Path(), QUICK, sounds()[:2])
    Bundle.open(Path()).check_files()
    assert Path.cwd() == here and (here / "manifest.json").is_file()


def test_files_of_the_same_names_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "golden.npz").write_text("mine")
    with pytest.raises(UsageError, match=r"holds golden\.npz"):
        claim_bundle(tmp_path, None, "abc", ("golden.npz",), force=True)


def test_a_checkpoint_is_replaced_only_where_that_was_allowed(root: Path, tmp_path: Path) -> None:
    finished = small_checkpoint(root)
    with pytest.raises(UsageError, match="replace that checkpoint with --restart"):
        claim_checkpoint(finished, flag="--restart")
    assert claim_checkpoint(finished, allowed=True) == finished.resolve()
    (tmp_path / "model.safetensors").write_text("another project's")
    with pytest.raises(UsageError, match="something else"):
        claim_checkpoint(tmp_path, allowed=True)
    (tmp_path / "model.safetensors").rename(tmp_path / "manifest.json")
    with pytest.raises(UsageError, match="it is a bundle"):
        claim_checkpoint(tmp_path, allowed=True)


@pytest.mark.slow
def test_a_bad_int8_precision_leaves_the_others(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"fp32": 1e-3, "fp16": 3e-2, "int8-ort": 1.0, "int8-tensorrt": 1e-9}
    monkeypatch.setattr("gmme_exporters.bundle.RELATIVE_LIMITS", limits)
    words, out = write_words(tmp_path / "words", clips_per_class=4), tmp_path / "out"
    options = [
        "export", str(small_checkpoint(root)), "-o", str(out), "--precision", "fp32,int8",
        "--calib-dataset", "speech-commands", "--calib-data", str(words), "--calib-size", "10",
        "--cache", str(tmp_path / "cache"), "--target", "generic", "--opset", "17",
    ]  # fmt: skip
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 9, result.output
    assert "without int8-tensorrt" in result.stderr and "Fix:" in result.stderr
    bundle = Bundle.open(out)
    bundle.check_files()
    assert bundle.precisions == ("fp32", "int8-ort")
    assert list(bundle.manifest.provenance["left_out"]) == ["int8-tensorrt"]
    golden = bundle.golden()
    kept = {name for name in golden if name.startswith("logits.")}
    assert kept == {"logits.fp32", "logits.int8-ort"}
    assert golden["logits.int8-ort"].shape == golden["logits"].shape
    assert json.loads((out / "manifest.json").read_text())["provenance"]["data"] == {}


def test_a_link_that_leads_to_itself_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("out")
    for claim in (claim_checkpoint, lambda out: claim_bundle(out, None, "", ())):
        with pytest.raises((InputError, UsageError)):
            claim(tmp_path / "out")
    (folder,) = tmp_path.iterdir()
    assert folder.is_symlink()


@pytest.mark.parametrize("name", ["manifest.json", "model.json", "notes.txt"])
def test_a_result_replaces_only_a_result(made: Path, tmp_path: Path, name: str) -> None:
    """`evaluate BUNDLE -o BUNDLE/manifest.json` would be the end of the bundle."""
    bundle = Path(shutil.copytree(made, tmp_path / "bundle"))
    (bundle / "model.json").write_text(json.dumps({"schema": 1, "model": {}}))
    (bundle / "notes.txt").write_text("mine")
    before = listing(bundle)
    words = ["profile", str(bundle), "--repetitions", "1", "-o", str(bundle / name)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2 and "no result of a measurement" in done.stderr
    assert listing(bundle) == before
    for content in ("", json.dumps({"schema": 1, "kind": "latency"})):
        (tmp_path / "result.json").write_text(content)
        claim_result(tmp_path / "result.json")
