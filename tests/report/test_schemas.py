"""Every result file and every ``--json`` output follows its published schema.

The schemas come from msgspec; jsonschema, which knows nothing of our classes, judges by them.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import soundfile
from typer.main import get_command
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.profiling.latency import LatencyRow
from gmme_edge.report.schemas import COMMANDS, FOLDER, all_schemas
from tests.artifacts import sounds
from tests.bundles import make_bundle
from tests.report.factory import row, write_accuracy, write_latency
from tests.report.test_paired import predictions


def check(name: str, value: object) -> None:
    schema = json.loads((FOLDER / f"{name}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(value)


def run(*words: object) -> Any:  # noqa: ANN401 - any JSON value
    done = CliRunner().invoke(app, [str(word) for word in (*words, "--json")])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_published_schemas_are_those_of_the_classes() -> None:
    """Mend: python -m gmme_edge.report.schemas."""
    assert {path.stem for path in FOLDER.glob("*.json")} == set(all_schemas())
    for name, schema in all_schemas().items():
        published = json.loads((FOLDER / f"{name}.json").read_text())
        assert published == schema, name


def test_every_command_that_prints_json_has_a_schema() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    printing = {name for name, command in commands.items()
                if any("--json" in parameter.opts for parameter in command.params)}  # fmt: skip
    assert printing == set(COMMANDS)
    assert {name for names in COMMANDS.values() for name in names} <= set(all_schemas())


def test_models_and_doctor() -> None:
    check("models", run("models"))
    check("doctor", run("doctor"))


def test_cache_listen_scan_and_similar(tmp_path: Path) -> None:
    sound = tmp_path / "noise.wav"
    noise = np.random.default_rng(0).normal(0, 0.1, 48_000)
    soundfile.write(sound, noise, 16_000)
    check("cache", run("cache", "--cache", tmp_path / "none"))
    heard = CliRunner().invoke(
        app, ["listen", "digits", "--file", str(sound), "--on", "0.2", "--no-gate", "--json"]
    )
    assert heard.exit_code == 0, heard.output
    lines = [json.loads(line) for line in heard.stdout.splitlines()]
    assert lines
    for line in lines:
        check(line["kind"], line)
    keep = ("--embeddings", "npy", "--no-gate", "--workers", 1)
    check("scan", run("scan", sound, "-m", "digits", "-o", tmp_path / "out", *keep))
    found = run("similar", tmp_path / "out", sound)
    assert found[0]["path"] == str(sound)
    check("similar", found)


def test_profile_and_compare(tmp_path: Path) -> None:
    for name in ("eat-s-aa", "eat-s-gmme-k32c8"):
        make_bundle(tmp_path / name, name, ("fp32",))
    bundles, result = (tmp_path / "eat-s-aa", tmp_path / "eat-s-gmme-k32c8"), tmp_path / "r.json"
    quick = ("--repetitions", 2, "--warmup", 0)
    check("latency", run("profile", *bundles, *quick, "-o", result))
    check("latency", json.loads(result.read_text()))
    check("layers", run("profile", bundles[0], "--layers", *quick))
    accuracy = write_accuracy(tmp_path / "a.json")
    check("accuracy", json.loads(accuracy.read_text()))
    check("comparison", run("compare", result, accuracy))


def test_paired(tmp_path: Path) -> None:
    for name, right in (("a", "+++--"), ("b", "+++++")):
        answers = predictions(right, tuple("abcde"))
        write_accuracy(tmp_path / f"{name}.json", predictions=answers)
    out = tmp_path / "p.json"
    check("paired", run("paired", tmp_path / "a.json", tmp_path / "b.json", "-o", out))
    check("paired", json.loads(out.read_text()))


def test_verify_predict_and_the_manifest(bundle: Path, tmp_path: Path) -> None:
    check("verify", run("verify", bundle, "--precision", "fp32"))
    check("manifest", json.loads((bundle / "manifest.json").read_text()))
    check("calibration", json.loads((bundle / "calibration.json").read_text()))
    soundfile.write(tmp_path / "x.wav", sounds()[0], 8000)
    check("predict", run("predict", bundle, tmp_path / "x.wav"))


def test_a_wrong_value_does_not_pass(tmp_path: Path) -> None:
    """So that the tests above can fail."""
    document = json.loads(write_latency(tmp_path / "r.json", row()).read_text())
    document["rows"][0]["samples_ms"] = []
    with pytest.raises(jsonschema.ValidationError):
        check("latency", document)


def test_every_statistic_of_a_row_is_described() -> None:
    described = all_schemas()["latency"]["$defs"]["LatencyRow"]["properties"]
    assert set(row().to_dict()) == set(described)
    assert set(asdict(row())) <= set(described)
    assert LatencyRow.__doc__
