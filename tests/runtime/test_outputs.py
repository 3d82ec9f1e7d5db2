"""A graph is held against the manifest, and what it gives against what numbers may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gmme_edge.errors import BundleError, OutputError, ParityError, UsageError
from gmme_edge.runtime.backends import open_session
from gmme_edge.runtime.parity import verify_bundle
from tests.bundles import TINY, WEIGHTS, WIDTH, make_bundle, tiny_graph

CLIPS = np.ones((2, TINY.n_samples), np.float32)


def wide(n_outputs: int) -> onnx.ModelProto:
    """The tiny graph with another number of outputs."""
    model = tiny_graph()
    (weights,) = [each for each in model.graph.initializer if each.name == "weights"]
    values = np.resize(WEIGHTS, (WIDTH, n_outputs)).astype(np.float32)
    weights.CopyFrom(numpy_helper.from_array(values, "weights"))
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", n_outputs])
    )
    return model


def reshaped(shape: list[int], stated: list[object]) -> onnx.ModelProto:
    """The tiny graph with logits of another rank."""
    model = tiny_graph(output_name="plain")
    model.graph.node.append(helper.make_node("Reshape", ["plain", "other"], ["logits"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), "other"))
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, stated)
    )
    return model


def half() -> onnx.ModelProto:
    model = tiny_graph(output_name="plain")
    cast = helper.make_node("Cast", ["plain"], ["logits"], to=TensorProto.FLOAT16)
    model.graph.node.append(cast)
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("logits", TensorProto.FLOAT16, ["batch", 3])
    )
    return model


def shorter() -> onnx.ModelProto:
    model = tiny_graph()
    model.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", 4096])
    )
    return model


def with_weights(value: float) -> onnx.ModelProto:
    model = tiny_graph()
    (weights,) = [each for each in model.graph.initializer if each.name == "weights"]
    values = WEIGHTS.copy()
    values[0, 1] = value
    weights.CopyFrom(numpy_helper.from_array(values, "weights"))
    return model


@pytest.mark.parametrize(
    "graph",
    [
        wide(20),
        wide(2),
        reshaped([0, 3, 1], ["batch", 3, 1]),
        reshaped([-1], ["values"]),
        half(),
        shorter(),
    ],
    ids=["20 outputs", "2 outputs", "rank 3", "rank 1", "float16", "half the input"],
)
def test_a_graph_of_other_shapes_or_types_than_the_manifest_is_not_opened(
    tmp_path: Path, graph: onnx.ModelProto
) -> None:
    with pytest.raises(BundleError, match="as the manifest says"):
        open_session(make_bundle(tmp_path, graph=graph))


def test_logits_of_another_shape_are_found_where_the_graph_hides_it(tmp_path: Path) -> None:
    """One row for all clips: ONNX Runtime knows neither number before it runs."""
    graph = reshaped([1, -1], ["batch", "classes"])
    session = open_session(make_bundle(tmp_path, graph=graph))
    with pytest.raises(OutputError, match=r"\(1, 6\)"):
        session.run(CLIPS)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_are_an_error(tmp_path: Path, value: float) -> None:
    bundle = make_bundle(tmp_path, graph=with_weights(value))
    session = open_session(bundle)
    with pytest.raises(OutputError, match="NaN or infinite") as caught:
        session.run(CLIPS)
    assert caught.value.exit_code == 7
    with pytest.raises(ParityError, match="NaN or infinite"):
        verify_bundle(bundle, lambda _: session, ("fp32",))


def test_what_the_machine_refuses_is_not_answered_with_an_upgrade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path)
    for told, fix in (
        ("pthread_create failed, error code: 11 Resource temporarily unavailable", "--threads 1"),
        ("std::bad_alloc", "free memory"),
    ):

        def refuse(*_: object, told: str = told, **__: object) -> None:
            raise RuntimeError(told)

        monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
        with pytest.raises(Exception, match=fix) as caught:
            open_session(bundle)
        assert "upgrade" not in str(caught.value) and not isinstance(caught.value, UsageError)
