"""`gmme-edge sensitivity`, and the limit on INT8's loss in `export`, on a small trained network."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import Result
from typer.testing import CliRunner

from gmme_edge.blocks import block_of
from gmme_edge.cli.app import app
from gmme_edge.models.checkpoint import load_checkpoint
from gmme_edge.workflows.int8 import make_refiner
from gmme_edge.workflows.settings.int8 import Int8Settings
from tests.artifacts import small_checkpoint, write_words


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "80"})


def run(command: str, root: Path, *options: object) -> Result:
    return invoke(command, small_checkpoint(root), *options)


@pytest.fixture
def words(tmp_path: Path) -> Path:
    return write_words(tmp_path / "words", clips_per_class=4)


@pytest.mark.slow
def test_every_block_in_a_table_a_chart_and_json(root: Path, tmp_path: Path, words: Path) -> None:
    out = tmp_path / "out"
    result = run(
        "sensitivity", root, "--dataset", "speech-commands", "--data", words, "-o", out,
        "--calib-size", 10, "--cache", tmp_path / "cache", "--target", "generic",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    table = result.stdout[: result.stdout.index(str(out))]
    assert max(map(len, table.splitlines())) <= 80
    document = json.loads((out / "sensitivity.json").read_text(encoding="utf-8"))
    parts = [effect["part"] for effect in document["effects"]]
    assert parts[0] == "stem" and parts[-1] == "head" and "stage2.3" in parts
    assert sum(effect["macs"] for effect in document["effects"]) == pytest.approx(1)
    assert document["n_validation"] == 10
    for effect in document["effects"]:
        assert effect["part"] in result.stdout
        assert 0 < effect["sqnr_alone_db"] < 100
        assert 0 <= effect["accuracy_alone"] <= 1
    # One part adds less noise than all the others do together.
    quieter = [e["sqnr_alone_db"] > e["sqnr_others_db"] for e in document["effects"]]
    assert sum(quieter) > len(quieter) / 2
    bars = ElementTree.parse(out / "sensitivity.svg").getroot().findall("{*}rect")
    assert len(bars) == 2 * len(parts) + 1


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (("--precision", "fp32", "--max-accuracy-drop", 1), 2, "without INT8"),
        (("--precision", "int8", "--max-accuracy-drop", 1), 2, "clips to measure it on"),
        (("--precision", "fp16", "--int8-float", "none"), 2, "--int8-float without INT8"),
        (
            ("--precision", "int8", "--int8-float", "none", "--max-accuracy-drop", 1),
            2, "one of them",
        ),
        (
            ("--precision", "int8", "--max-accuracy-drop", 1, "--calib-dataset", "unlabelled"),
            2, "unlabelled recordings",
        ),
    ],
)  # fmt: skip
def test_a_limit_needs_something_to_measure(
    root: Path, tmp_path: Path, words: Path, options: tuple[object, ...], code: int, reason: str
) -> None:
    more = ("--calib-data", words) if "--calib-dataset" in options else ()
    result = run("export", root, "-o", tmp_path / "out", *options, *more)
    assert result.exit_code == code and reason in result.stderr
    assert not (tmp_path / "out").exists()


def limited(checkpoint: Path, tmp_path: Path, words: Path, *options: object) -> Result:
    return invoke(
        "export", checkpoint, "-o", tmp_path / "out", "--precision", "int8-ort", "--opset", 17,
        "--target", "generic", "--calib-dataset", "speech-commands", "--calib-data", words,
        "--calib-size", 10, "--cache", tmp_path / "cache", *options,
    )  # fmt: skip


@pytest.mark.slow
def test_exceptions_are_in_the_manifest(root: Path, tmp_path: Path, words: Path) -> None:
    result = limited(small_checkpoint(root), tmp_path, words, "--max-accuracy-drop", 100)
    assert result.exit_code == 0, result.output
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    noted = manifest["provenance"]["quantization"]["int8-ort"]
    assert noted["float_layers"] == [] and noted["float_macs"] == 0
    assert noted["corrected_biases"] > 20 and noted["equalized"]
    search = noted["search"]
    assert search["met"] and search["budget"]["max_drop_points"] == 100
    assert search["trials"] == [search["chosen"]]


@pytest.mark.parametrize(
    ("options", "recipe", "expected"),
    [
        (("--int8-float", "none"), {}, set()),
        (("--int8-float", "stem, head"), {}, {"stem", "head"}),
        ((), {"qat": "int8-ort", "qat_float": "stem"}, {"stem"}),
        ((), {"qat": "off", "qat_float": "stem"}, {"stem", "stage1.0", "stage1.1", "stage1.2"}),
    ],
)
def test_named_blocks_stay_in_float(
    root: Path, tmp_path: Path, words: Path, options: tuple[str, ...], recipe: dict[str, str],
    expected: set[str],
) -> None:  # fmt: skip
    trained = shutil.copytree(small_checkpoint(root), tmp_path / "trained")
    described = json.loads((trained / "model.json").read_text(encoding="utf-8"))
    del described["sha256"]
    described["training"]["recipe"] = recipe
    (trained / "model.json").write_text(json.dumps(described), encoding="utf-8")
    result = limited(trained, tmp_path, words, *options)
    assert result.exit_code == 0, result.output
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    layers = manifest["provenance"]["quantization"]["int8-ort"]["float_layers"]
    assert {block_of(layer) for layer in layers} >= expected
    assert bool(layers) == bool(expected)
    if options:
        assert {block_of(layer) for layer in layers} == expected


@pytest.mark.parametrize(
    ("corrected", "asked", "qat", "expected"),
    [
        (False, None, "off", False),
        (True, None, "off", True),
        (True, None, "int8-ort", False),
        (True, True, "int8-ort", True),
        (True, False, "off", False),
    ],
)
def test_what_qat_trained_is_not_equalized_unasked(
    root: Path, corrected: bool, asked: bool | None, qat: str, expected: bool
) -> None:
    recipe = {"qat": qat, "qat_float": "stem"}
    trained = replace(load_checkpoint(small_checkpoint(root)), training={"recipe": recipe})
    assert (
        make_refiner(trained, Int8Settings(bias_correction=corrected, equalize=asked)).equalize
        is expected
    )


def test_a_block_that_is_not_there(root: Path, tmp_path: Path, words: Path) -> None:
    result = limited(small_checkpoint(root), tmp_path, words, "--int8-float", "stage9.9")
    assert result.exit_code == 2
    assert "no block stage9.9" in result.stderr and "stage1.0" in result.stderr
    assert not (tmp_path / "out").exists()


def test_out_of_budget_is_exit_code_6(
    root: Path, tmp_path: Path, words: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = iter([1.0, 0.5, 0.4, 0.6])
    monkeypatch.setattr(
        "gmme_edge.workflows.int8.accuracy_on", lambda *_: lambda _path: next(worse)
    )
    options = ("--max-accuracy-drop", 1, "--max-float-macs", 0)
    result = limited(small_checkpoint(root), tmp_path, words, *options)
    assert result.exit_code == 6
    assert "loses 50.00 points" in result.stderr and "No bundle was written" in result.stderr
    assert not (tmp_path / "out").exists()
