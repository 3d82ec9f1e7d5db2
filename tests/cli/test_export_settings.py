"""Settings of `export` and `sensitivity`, and what follows from them."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from gmme_calibration.selection import Source
from gmme_edge.cli.app import app
from gmme_edge.data.dataset import Clip
from gmme_edge.errors import DatasetError, DiskFullError, EngineError, UsageError
from gmme_edge.files import updating_folder
from gmme_edge.runtime.engines.info import EngineInfo
from gmme_edge.workflows.engines import engine_options
from gmme_edge.workflows.int8 import check_calibration_data
from gmme_edge.workflows.settings.engines import EngineSettings
from gmme_edge.workflows.settings.export import BundleSettings, ExportSettings
from gmme_exporters.tensorrt.config import EngineOptions
from tests.artifacts import small_checkpoint


def test_an_opset_that_no_engine_takes_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["export", str(tmp_path / "none"), "-o", str(out), "--opset", "0"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert "--opset" in result.stderr and "13 to 22" in result.stderr


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


def clips_of(split_fold: int, labels: tuple[str, ...] = ("dog", "rain")) -> Any:  # noqa: ANN401
    """A division of ESC-50 that tests on this fold."""
    training = tuple(Clip(Path(f"{i}.wav"), 0, "train") for i in range(3))
    return Source(f"esc50, all folds but {split_fold}, train", Path(), labels, training, ())


TRAINED: Any = SimpleNamespace(labels=("dog", "rain"), origin={"dataset": "esc50", "fold": 1})


def test_a_models_own_test_clips_calibrate_only_where_that_is_allowed() -> None:
    check_calibration_data(TRAINED, "esc50", 1, clips_of(1))
    with pytest.raises(UsageError, match="own test clips") as refused:
        check_calibration_data(TRAINED, "esc50", 2, clips_of(2))
    assert "--allow-seen" in refused.value.fix
    check_calibration_data(TRAINED, "esc50", 2, clips_of(2), allow_seen=True)


def test_sounds_of_no_class_of_the_model_do_not_calibrate_it_without_a_word() -> None:
    with pytest.raises(DatasetError, match="none of the model's classes") as refused:
        check_calibration_data(TRAINED, "esc50", 1, clips_of(1, labels=("one", "two")))
    assert "unlabelled" in refused.value.fix


def test_temporary_files_of_an_export_lie_beside_its_output(tmp_path: Path) -> None:
    """So a kill leaves nothing that the next export does not sweep."""
    before = tempfile.gettempdir()
    with updating_folder(tmp_path / "out", (), "last") as new:
        with tempfile.TemporaryDirectory() as folder:
            assert Path(folder).is_relative_to(tmp_path)
        (new / "last").write_text("done")
    assert tempfile.gettempdir() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_full_disk_is_named_by_where_it_is(tmp_path: Path) -> None:
    """The disk of temporary files may be another than that of the output."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    error = OSError(errno.ENOSPC, "No space left on device", str(elsewhere / "graph.onnx"))
    with (
        pytest.raises(DiskFullError, match=f"{elsewhere} has"),
        updating_folder(tmp_path / "out", (), "last"),
    ):
        raise error
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere"]
