"""`gmme-edge paired`: two result files, the same clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.scoring import Predictions

CLIPS = tuple(f"{i}.wav" for i in range(10))


def predictions(right: str, clips: tuple[str, ...] = CLIPS) -> dict[str, list[str]]:
    """One clip per character: ``+`` right, ``-`` wrong."""
    predicted = tuple("dog" if c == "+" else "cat" for c in right)
    return Predictions(clips, ("dog",) * len(clips), predicted).to_dict()


def write(path: Path, **values: Any) -> Path:  # noqa: ANN401
    path.write_text(json.dumps({"schema": 1, "kind": "accuracy", "fold": None, **values}))
    return path


def paired(*arguments: Path | str) -> Result:
    return CliRunner().invoke(app, ["paired", *map(str, arguments)])


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return write(tmp_path / "aa.json", model="aa", predictions=predictions("+++++-----"))


def test_lists_by_hand(tmp_path: Path, first: Path) -> None:
    """6 clips that one alone has right, all of them the second: p = 2 / 2**5 for 5, 0 against 5."""
    second = write(tmp_path / "g.json", model="gmme", predictions=predictions("++++++++++"))
    result = paired(first, second, "--json", "-o", tmp_path / "out.json")
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    pooled = printed["pooled"]
    assert (pooled["n"], pooled["difference"], pooled["mcnemar_exact_p"]) == (10, 0.5, 2 / 2**5)
    assert (pooled["only_first_right"], pooled["only_second_right"]) == (0, 5)
    assert printed["folds"] == [] and printed["folds_mean"] == {"difference": None, "t_95": None}
    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["kind"], written["pooled"]) == ("paired", pooled)
    text = paired(first, second)
    assert "Accuracy of gmme minus that of aa: +50.00 points on 10 clips" in text.stdout
    assert max(map(len, text.stdout.splitlines())) <= 80
    assert "aa 0 times, gmme 5 times" in text.stdout and "p = 0.0625" in text.stdout


def test_order_of_clips_does_not_matter(tmp_path: Path, first: Path) -> None:
    mirrored = predictions("-----+++++", CLIPS[::-1])
    second = write(tmp_path / "b.json", model="gmme", predictions=mirrored)
    pooled = json.loads(paired(first, second, "--json").stdout)["pooled"]
    assert (pooled["difference"], pooled["only_first_right"], pooled["mcnemar_exact_p"]) == (
        0.0, 0, 1.0,
    )  # fmt: skip


def folds(*parts: str) -> list[dict[str, Any]]:
    return [
        {"fold": k, "predictions": predictions(right, tuple(f"{k}-{i}" for i in range(len(right))))}
        for k, right in enumerate(parts, 1)
    ]


def test_folds_by_hand(tmp_path: Path) -> None:
    """Differences 0.25, 0.5, 0.75: mean 0.5, deviation 0.25; t(2) = 4.302653."""
    a = write(tmp_path / "a.json", model="net", kind="cross-validation",
              folds=folds("+---", "+---", "----"))  # fmt: skip
    b = write(tmp_path / "b.json", model="net", kind="cross-validation",
              folds=folds("++--", "+++-", "+++-"))  # fmt: skip
    printed = json.loads(paired(a, b, "--json").stdout)
    assert [fold["difference"] for fold in printed["folds"]] == [0.25, 0.5, 0.75]
    half = 4.302653 * 0.25 / 3**0.5
    assert printed["folds_mean"]["difference"] == 0.5
    assert printed["folds_mean"]["t_95"] == pytest.approx([0.5 - half, 0.5 + half])
    assert printed["pooled"]["difference"] == 0.5 and printed["pooled"]["only_second_right"] == 6
    text = paired(a, b).stdout
    assert "25.00" in text and "+75.00" in text and "Student's t" in text
    assert "b.json minus that of" in text.replace("\n", "")  # one model twice: its files


def test_other_clips_are_refused(tmp_path: Path, first: Path) -> None:
    shorter = write(tmp_path / "b.json", model="b", predictions=predictions("+" * 9, CLIPS[:9]))
    refused = paired(first, shorter)
    assert refused.exit_code == 3 and "10 and 9 clips" in refused.stderr
    assert "9.wav" in refused.stderr and "the same clips" in refused.stderr
    values = {**predictions("+" * 10), "true": ["fox"] * 10}
    relabelled = write(tmp_path / "c.json", model="c", predictions=values)
    refused = paired(first, relabelled)
    assert refused.exit_code == 3 and "'dog' in one file and 'fox'" in refused.stderr


@pytest.mark.parametrize(
    "values",
    [{"model": "m"}, {"model": "m", "predictions": []}, {"model": "m", "predictions": {}},
     {"model": "m", "folds": []}, {"model": "m", "folds": [{"fold": 1}]}, {"predictions": {}},
     {"model": "m", "predictions": {**predictions("+" * 10), "true": ["dog"]}},
     {"model": "m", "predictions": predictions("++", ("a", "b")) | {"clips": ["a", "a"]}}],
)  # fmt: skip
def test_damaged_results_are_named(tmp_path: Path, first: Path, values: dict[str, Any]) -> None:
    refused = paired(first, write(tmp_path / "bad.json", **values))
    assert refused.exit_code == 3 and "bad.json" in refused.stderr, refused
