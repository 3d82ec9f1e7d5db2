"""Where the time goes, on a real session."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gmme_edge.blocks import span_of
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.cli.app import app
from gmme_edge.errors import PlatformError, UsageError
from gmme_edge.profiling.latency import Contender, LatencySettings
from gmme_edge.profiling.layers import ENGINE_BLOCK, _read_trace, profile_layers
from tests.artifacts import small_checkpoint


@pytest.mark.parametrize("precision", ["fp32", "int8-ort"])
def test_every_block_and_every_node_is_timed(bundle: Path, precision: str) -> None:
    opened = Bundle.open(bundle)
    profile = profile_layers(Contender(opened, "ort-cpu", precision, 1), LatencySettings(1, 3))
    factors = len(opened.manifest.model.factors)
    stage1 = factors + (factors + 1) // 2
    blocks = [block for block in profile.blocks_ms() if block != ENGINE_BLOCK]
    assert blocks == [
        "input", "stem", *(f"stage1.{i}" for i in range(stage1)),
        *(f"stage2.{i}" for i in range(8)), "head",
    ]  # fmt: skip
    for sums in (profile.blocks_ms(), profile.operators_ms()):
        assert sum(sums.values()) == pytest.approx(profile.total_ms)
    operators = list(profile.operators_ms().values())
    assert operators == sorted(operators, reverse=True)
    assert len({layer.name for layer in profile.layers}) == len(profile.layers)


def test_a_lowered_network_keeps_its_blocks(root: Path, tmp_path: Path) -> None:
    checkpoint, out = small_checkpoint(root), tmp_path / "lowered"
    arguments = ["export", checkpoint, "-o", out, "--opset", 17, "--precision", "fp32"]
    assert CliRunner().invoke(app, [str(a) for a in arguments]).exit_code == 0
    blocks = profile_layers(
        Contender(Bundle.open(out), "ort-cpu", "fp32", 1), LatencySettings(1, 2)
    ).blocks_ms()
    assert {"input", "stem", "stage1", "stage1.0", "stage2.3", "stage2.7", "head"} <= set(blocks)


def test_no_repetition_is_refused(bundle: Path) -> None:
    with pytest.raises(UsageError, match="0 repetitions"):
        profile_layers(Contender(Bundle.open(bundle), "ort-cpu", "fp32"), LatencySettings(0, 0))


def test_another_backend_is_refused(bundle: Path) -> None:
    with pytest.raises(UsageError, match=r"Layers on ort-cuda.\nExpected: .*tensorrt"):
        profile_layers(Contender(Bundle.open(bundle), "ort-cuda", "fp32"), LatencySettings(0, 1))


@pytest.mark.parametrize(
    ("name", "block"),
    [("stage1.0.conv/Conv", "stage1.0"), ("PWN(stage2.3.act/Mul)", "stage2.3"),
     ("stage1.0.conv/Conv + stage1.0.act/PRelu", "stage1.0"),
     ("stem.conv/Conv + stage1.0.act/PRelu", "stem … stage1.0"),
     ("{ForeignNode[stage2.7.norm/Sub...classify/Gemm]}", "stage2.7 … head"),
     ("__myl_Fused_0x1f", ENGINE_BLOCK)],
)  # fmt: skip
def test_a_fused_layer_is_named_after_all_blocks_in_it(name: str, block: str) -> None:
    assert span_of(name, ENGINE_BLOCK) == block


def test_a_cut_off_trace_names_the_folder_to_free(tmp_path: Path) -> None:
    """ONNX Runtime writes what fits on a full disk and reports success."""
    trace = tmp_path / "scratch" / "profile.json"
    trace.parent.mkdir()
    trace.write_text('[{"cat": "Node", "na')
    with pytest.raises(PlatformError, match=f"free space in {tmp_path}"):
        _read_trace(trace)
    trace.unlink()
    with pytest.raises(PlatformError, match="TMPDIR"):
        _read_trace(trace)


@pytest.mark.parametrize("flag", [("--max-latency-p90-ms", "0.001"), ("--rebuild",)])
def test_layers_refuse_options_that_they_would_ignore(bundle: Path, flag: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, ["profile", str(bundle), "--layers", *flag])
    assert result.exit_code == 2 and f"{flag[0]} with --layers" in result.stderr


def test_command_writes_a_document_and_a_chart(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "layers.json"
    arguments = ["profile", bundle, "--layers", "--precision", "fp32", "--repetitions", 2]
    result = CliRunner().invoke(app, [str(a) for a in (*arguments, "-o", out)])
    assert result.exit_code == 0, result.output
    assert "stage2.7" in result.output and "slowest nodes" in result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    (profile,) = json.loads(out.read_text())["profiles"]
    assert profile["precision"] == "fp32" and profile["total_ms"] > 0
    bars = ET.parse(out.with_suffix(".svg")).findall(".//{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 1 + len(profile["blocks_ms"])


def test_command_refuses_other_backends(bundle: Path) -> None:
    result = CliRunner().invoke(app, ["profile", str(bundle), "--layers", "--backend", "abacus"])
    assert result.exit_code == 2
