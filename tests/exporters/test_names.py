"""Nodes of an exported graph are named after the modules of the network."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from gmme_edge.blocks import block_of
from gmme_edge.models.eat import EAT
from gmme_edge.spec import preset
from gmme_exporters.graphs.export import export_onnx


@pytest.mark.parametrize("opset", [16, pytest.param(18, marks=pytest.mark.slow)])
def test_every_node_is_named_after_its_block(tmp_path: Path, opset: int) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(EAT(preset("eat-s-gmme-k32c8", "speech-commands")).eval(), path, opset)
    graph = onnx.load(path).graph
    names = [node.name for node in graph.node]
    assert len(names) == len(set(names))
    stages = {f"stage1.{i}" for i in range(5)} | {f"stage2.{i}" for i in range(8)}
    assert {block_of(name) for name in names} == {"input", "stem", "head"} | stages
    convs = [node.name for node in graph.node if node.op_type == "Conv"]
    assert sum(block_of(name) == "stage2.3" for name in convs) == 4
    assert [block_of(name) for name in convs][:2] == ["stem", "stage1.0"]
    for node in graph.node:
        inner = [name for name in node.output if name not in {"logits", "embedding"}]
        assert all(block_of(name) == block_of(node.name) for name in inner)


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("stage2.3.conv_f/Conv", "stage2.3"),
        ("fused stage1.0.norm/Conv", "stage1.0"),
        ("stem/LeakyRelu:0_nchwc", "stem"),
        ("stage1.stem/LeakyRelu:0_nchwc", "stem"),
        ("stage1/Concat_2", "stage1"),
        ("encoder.3.expand/MatMul", "head"),
        ("ReorderOutput_token_12", "head"),
    ],
)
def test_block_of_names_that_an_engine_made(name: str, block: str) -> None:
    assert block_of(name) == block
