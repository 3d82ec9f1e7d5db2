"""The trtexec line, against the flags that each version's trtexec parses."""

from __future__ import annotations

import io
import itertools
import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from gmme_edge.cli.views.export import describe_next
from gmme_edge.errors import UsageError
from gmme_edge.runtime.engines.info import EngineInfo
from gmme_edge.workflows.engines import trtexec_lines
from gmme_exporters.tensorrt.config import EngineOptions
from gmme_exporters.tensorrt.trtexec import trtexec_command

TABLE = json.loads(Path(__file__).with_name("tensorrt_trtexec_flags.json").read_text())
FLAGS: dict[str, list[str]] = TABLE["flags"]
SETTINGS: list[dict[str, Any]] = [
    {},
    {"min_batch": 2, "opt_batch": 4, "max_batch": 16, "workspace_mib": 256},
    {"optimization_level": 5, "timing_cache": "a b.cache", "version_compatible": True},
    {"compatibility": "ampere-plus"},
    {"max_batch": 1, "dla_core": 0},
]


def command(precision: str, version: str, **values: Any) -> list[str]:  # noqa: ANN401
    options = EngineOptions("tensorrt", **values)
    return trtexec_command(Path("m.onnx"), Path("m.engine"), precision, options, version, 16000)


@pytest.mark.parametrize("version", FLAGS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8-tensorrt"])
@pytest.mark.parametrize("values", SETTINGS, ids=str)
def test_each_trtexec_knows_every_flag(
    version: str, precision: str, values: dict[str, Any]
) -> None:
    program, *arguments = command(precision, version, **values)
    flags = [argument.partition("=")[0] for argument in arguments]
    assert program == "trtexec" and set(flags) <= set(FLAGS[version]), flags
    assert len(set(flags)) == len(flags)
    assert ("=" in arguments[0]) and all("= " not in argument for argument in arguments)


def test_the_flags_differ_between_versions_so_that_a_wrong_one_is_found() -> None:
    assert "--fp16" in command("fp16", "8.6") and "--fp16" not in FLAGS["11.1"]
    assert "--stronglyTyped" in command("fp16", "10.3") and "--stronglyTyped" not in FLAGS["8.6"]
    assert command("fp16", "11.1") == command("fp32", "11.1")
    assert "--int8" in command("int8-tensorrt", "8.6.2.3")


def test_what_the_line_says() -> None:
    line = shlex.join(command("fp16", "10.3.0.26", **SETTINGS[1]))
    assert line == (
        "trtexec --onnx=m.onnx --saveEngine=m.engine --stronglyTyped "
        "--minShapes=waveform:2x16000 --optShapes=waveform:4x16000 --maxShapes=waveform:16x16000 "
        "--profilingVerbosity=detailed --skipInference --memPoolSize=workspace:256"
    )
    assert "'--timingCacheFile=a b.cache'" in shlex.join(command("fp32", "10.3", **SETTINGS[2]))
    levels = ("ampere-plus", "same-compute-capability"), ("ampere+", "sameComputeCapability")
    for ours, theirs in zip(*levels, strict=True):
        assert f"--hardwareCompatibilityLevel={theirs}" in command(
            "fp32", "11.1", compatibility=ours
        )


def test_every_option_reaches_the_line() -> None:
    plain = set(command("fp16", "10.3", max_batch=1))
    changed = {
        "workspace_mib": 5, "optimization_level": 1, "timing_cache": "t", "compatibility":
        "ampere-plus", "version_compatible": True, "dla_core": 1,
    }  # fmt: skip
    lines = [set(command("fp16", "10.3", max_batch=1, **{k: v})) for k, v in changed.items()]
    assert all(line > plain for line in lines)
    assert not any(a == b for a, b in itertools.combinations(lines, 2))


def test_engines_that_trtexec_cannot_build() -> None:
    with pytest.raises(UsageError, match="builds no other"):
        options = EngineOptions("tensorrt-rtx")
        trtexec_command(Path("m.onnx"), Path("m.engine"), "fp32", options, "10.3", 16000)
    with pytest.raises(UsageError, match="no bfloat16"):
        command("bf16", "8.6")


def test_the_export_prints_a_line_per_engine(tmp_path: Path) -> None:
    files = []
    for precision in ("fp32", "int8-tensorrt"):
        engine = tmp_path / "engines" / f"model.{precision}.tensorrt.engine"
        EngineInfo(
            "a" * 64, "b" * 64, 1, "tensorrt", "8.6.2.3", "8.7", "Orin", "", "", precision,
            1, 1, 8, 7, 1.0,
        ).write(engine)  # fmt: skip
        path = f"engines/{engine.name}"
        files.append(SimpleNamespace(role="engine", precision=precision, path=path))
    manifest = SimpleNamespace(files=files, model=SimpleNamespace(n_samples=16000))
    bundle: Any = SimpleNamespace(
        path=tmp_path,
        manifest=manifest,
        find=lambda role, precision: SimpleNamespace(path=f"{role}.{precision}.onnx"),
    )
    exported: Any = SimpleNamespace(
        script=None,
        page=None,
        models=(),
        trtexec=trtexec_lines(bundle, (EngineOptions("tensorrt", workspace_mib=7),)),
    )
    console = Console(file=io.StringIO(), width=20)
    describe_next(exported, console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 2 and all("--memPoolSize=workspace:7" in line for line in lines)
    assert f"--onnx={tmp_path}/model.int8-tensorrt.onnx" in lines[1] and " --int8 " in lines[1]
    assert trtexec_lines(bundle, (EngineOptions("tensorrt-rtx"),)) == ()
