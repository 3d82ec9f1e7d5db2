"""Options of `export` and `sensitivity` that mean nothing alone are refused, before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.errors import EngineError, UsageError
from gmme_edge.runtime.engines.info import EngineInfo
from gmme_edge.workflows.engines import engine_options
from gmme_edge.workflows.settings.engines import EngineSettings
from gmme_edge.workflows.settings.export import BundleSettings, ExportSettings
from gmme_exporters.tensorrt.config import EngineOptions
from tests.artifacts import small_checkpoint


@pytest.mark.parametrize(
    ("options", "partner"),
    [
        (("--auto-backend", "ort-cuda"), "--auto"),
        (("--min-accuracy", "0.5"), "--auto"),
        (("--min-batch", "2"), "--engine"),
        (("--opt-batch", "2"), "--engine"),
        (("--max-batch", "4"), "--engine"),
        (("--dla-core", "0"), "--engine"),
        (("--timing-cache", "t"), "--engine"),
        (("--equalize",), "INT8"),
        (("--no-equalize",), "INT8"),
        (("--bias-correction",), "INT8"),
        (("--calib-method", "mse"), "INT8"),
        (("--allow-seen",), "--calib-data"),
        (("--max-float-macs", "5"), "--max-accuracy-drop"),
        (("--opset", "0"), "13 to 22"),
    ],
)
def test_an_option_without_its_partner_is_refused(
    tmp_path: Path, options: tuple[str, ...], partner: str
) -> None:
    arguments = ["export", str(tmp_path / "none"), "-o", str(tmp_path / "out"), *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert options[0] in result.stderr and partner in result.stderr


def test_one_generation_named_twice_is_one_engine() -> None:
    twice = engine_options(EngineSettings(engine="tensorrt-rtx", sm="86,86,120"))
    assert [options.sm for options in twice] == [86, 120]


@pytest.mark.parametrize("sm", ["8.6", "ada", "", "86,", "-86", "8" * 5000])
def test_no_number_of_a_generation_says_what_to_write(sm: str) -> None:
    with pytest.raises(UsageError) as refused:
        EngineSettings(engine="tensorrt-rtx", sm=sm)
    assert "86,89,120" in refused.value.expected and "8.6 is 86" in refused.value.fix


def test_help_of_sensitivity_tells_its_own_options_and_defaults() -> None:
    command = get_command(app).commands["sensitivity"]  # type: ignore[attr-defined]
    options = {name: each for each in command.params for name in each.opts}
    assert options["--bias-correction"].default is True
    for option in options.values():
        for word in (option.help or "").split():
            named = word.strip("[].,;:")
            if named.startswith("--") and named != "--qat":
                assert named in options, named


def test_an_engine_for_tensorrt_prints_its_trtexec_line(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(
        source: Path, engine: Path, precision: str, options: EngineOptions, *_: object
    ) -> EngineInfo:
        engine.parent.mkdir(exist_ok=True)
        engine.write_bytes(b"plan")
        info = EngineInfo(
            "a" * 64, "b" * 64, 4, "tensorrt", "10.3.0", "8.7", "Orin", "", "", precision,
            1, 1, options.max_batch, 7, 1.0,
        )  # fmt: skip
        info.write(engine)
        return info

    monkeypatch.setattr("gmme_exporters.bundle.build_engine", build)
    out = tmp_path / "out"
    arguments = [
        "export", str(small_checkpoint(root)), "-o", str(out), "--precision", "fp32", "--opset",
        "17", "--engine", "tensorrt", "--max-batch", "4",
    ]  # fmt: skip
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("trtexec")]
    assert f"--onnx={out}/model.fp32.onnx" in line and "waveform:4x" in line


def test_a_verdict_without_an_engine_names_no_option_that_export_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from gmme_edge.workflows import judging

    def refuse(*_: object) -> Any:  # noqa: ANN401
        raise EngineError("No engine fits.", "one for this GPU.", "add --rebuild.")

    monkeypatch.setattr(judging, "open_predictor", refuse)
    with pytest.raises(EngineError) as refused:
        judging._score(None, _Bundle(), "tensorrt", "fp32", judging.SILENT)  # type: ignore[arg-type]
    assert "--rebuild" not in str(refused.value) and "--engine" in refused.value.fix


class _Bundle:
    manifest = None


def test_a_program_names_groups_and_gets_the_same_checks(tmp_path: Path) -> None:
    bundle = BundleSettings(output=tmp_path, precision="fp32,fp16")
    assert ExportSettings(bundle=bundle).precisions == ("fp32", "fp16")
    with pytest.raises(UsageError, match="for --untrained"):
        BundleSettings(output=tmp_path, task="esc50")
