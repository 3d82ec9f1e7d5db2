"""Operations and bytes of nodes, and a machine's peaks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import UsageError
from gmme_edge.profiling import peaks
from gmme_edge.profiling.fma import measure_fma
from gmme_edge.profiling.latency import Contender, LatencySettings
from gmme_edge.profiling.peaks import Peaks
from gmme_edge.profiling.roofline import profile_roofline, work_of
from gmme_edge.report.render.roofline import draw_roofline
from tests.bundles import make_bundle

PEAKS = Peaks(1, {"numpy": 50.0, "onnxruntime": 80.0}, 10.0, 40.0)


def node(operator: str, inputs: list[list[int]], output: list[int], *sizes: int) -> dict[str, Any]:
    activation, parameter, out = sizes
    return {
        "op_name": operator,
        "input_type_shape": [{"float": shape} for shape in inputs],
        "output_type_shape": [{"float": output}],
        "activation_size": str(activation), "parameter_size": str(parameter),
        "output_size": str(out),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("args", "flops", "n_bytes"),
    [
        # 16 filters of 1×7 over 3 channels, at 2×1792 places
        (node("Conv", [[1, 3, 2, 1798], [16, 3, 1, 7]], [1, 16, 2, 1792], 100, 10, 1000),
         2 * 16 * 2 * 1792 * 3 * 7, 1110),
        # depthwise: a filter sees one channel
        (node("Conv", [[1, 32, 448], [32, 1, 5]], [1, 32, 448], 1, 2, 3), 2 * 32 * 448 * 5, 6),
        (node("MatMul", [[4, 4], [1, 4, 28672]], [1, 4, 28672], 1, 2, 3), 2 * 4 * 4 * 28672, 6),
        # packed weights are missing from the trace: 128×10 of them
        (node("Gemm", [[1, 128], [10]], [1, 10], 512, 40, 40), 2 * 128 * 10, 592 + 4 * 128 * 10),
        (node("MatMul", [[1, 113, 128]], [1, 113, 512], 0, 0, 0), 2 * 113 * 128 * 512,
         4 * 128 * 512),
        (node("Sigmoid", [[1, 4]], [1, 4], 16, 0, 16), 0, 32),
    ],
)  # fmt: skip
def test_operations_and_bytes_follow_from_the_shapes(
    args: dict[str, Any], flops: float, n_bytes: float
) -> None:
    assert work_of(args) == (flops, n_bytes)


def test_the_graph_of_a_product_computes_it() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 160, 160), dtype=np.float32)
    session = onnxruntime.InferenceSession(
        peaks._product_graph(b), providers=["CPUExecutionProvider"]
    )
    np.testing.assert_allclose(session.run(None, {"a": a})[0], a @ b, atol=1e-3)


def test_the_best_library_is_the_peak_and_absent_ones_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert PEAKS.gflop_per_s == 80
    told = {"numpy": 5.0, "onnxruntime": 7.0, "torch": 0.0, "memory": 3.0, "cache": 9.0}
    monkeypatch.setattr(peaks, "_measure", lambda what, threads: told[what])
    monkeypatch.setattr(peaks, "measure_fma", lambda threads: 0.0)
    assert peaks.measure_peaks(2) == Peaks(2, {"numpy": 5.0, "onnxruntime": 7.0}, 3.0, 9.0)
    monkeypatch.setattr(peaks, "measure_fma", lambda threads: 8.0)
    assert peaks.measure_peaks(2).gflop_per_s == 8
    monkeypatch.undo()
    assert peaks._measure("no such library", 1) == 0


def test_a_copy_is_measured_in_a_process_of_its_own() -> None:
    assert 0.01 < peaks._measure("cache", 1) < 1e4


def test_multiply_adds_are_compiled_where_there_is_a_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = measure_fma(1)
    assert found > 0.1 if shutil.which("cc") else found == 0
    monkeypatch.setenv("PATH", "/nowhere")
    assert measure_fma(1) == 0


def test_blocks_of_a_network(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "net", precisions=("fp32", "int8-ort"))
    done = profile_roofline(Contender(bundle, "ort-cpu", "fp32"), LatencySettings(1, 3), PEAKS)
    assert done.threads == 1 and done.bundle_sha256
    for block in done.blocks:
        assert block.ideal_ms == pytest.approx(
            max(block.gflop / 80 * 1000, block.megabytes / 40), rel=1e-6
        )
        assert block.lost_ms == pytest.approx(max(0, block.ms - block.ideal_ms))
    assert sum(block.megabytes for block in done.blocks) > 0
    assert "GFLOP/s" in draw_roofline([done]) or "memory" in draw_roofline([done])
    with pytest.raises(UsageError, match="--precision fp32"):
        profile_roofline(Contender(bundle, "ort-cpu", "int8-ort"), LatencySettings(), PEAKS)


def test_a_shipped_networks_operations_are_those_of_its_spec() -> None:
    """Counted from shapes, they are at least the closed form's; fills of lanes come on top."""
    bundle = Bundle.open("esc10")
    done = profile_roofline(Contender(bundle, "ort-cpu", "fp32"), LatencySettings(0, 1), PEAKS)
    from gmme_edge.complexity import count

    counted, closed = sum(block.gflop for block in done.blocks), count(bundle.manifest.model).gflops
    assert 0.9 * closed < counted < 2.5 * closed
