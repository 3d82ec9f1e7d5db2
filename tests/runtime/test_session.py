from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gmme_edge.bundle.bundle import Bundle, BundleFile
from gmme_edge.bundle.precisions import precisions_of
from gmme_edge.errors import MissingDependencyError, UsageError
from gmme_edge.runtime.backends import (
    BACKENDS,
    open_session,
    resolve_precision,
    runnable_precisions,
    why_unavailable,
)
from gmme_edge.runtime.session import check_batch

# Scripts, results and bundles have these names; a new backend brings tests of its own.
PUBLISHED = ("ort-cpu", "ort-cuda", "openvino", "openvino-gpu", "tensorrt", "tensorrt-rtx")


@pytest.mark.parametrize(
    ("backend", "dialect"),
    [
        ("ort-cpu", "int8-ort"),
        ("ort-cuda", "int8-ort"),
        ("openvino", "int8-ort"),
        ("tensorrt", "int8-tensorrt"),
        ("tensorrt-rtx", "int8-tensorrt"),
    ],
)
def test_int8_stands_for_the_backends_dialect(backend: str, dialect: str) -> None:
    assert resolve_precision("int8", backend) == dialect
    for precision in ("fp32", "fp16", "int8-ort", "int8-tensorrt"):
        assert resolve_precision(precision, backend) == precision


def engine(precision: str, target: str) -> BundleFile:
    return BundleFile(f"engines/{precision}.{target}", "engine", "", 0, precision, target)


def test_what_a_backend_can_run(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert runnable_precisions(opened, "ort-cpu") == ("fp32", "fp16", "int8-ort")
    assert runnable_precisions(opened, "tensorrt") == ()
    engines = (
        engine("int8-tensorrt", "tensorrt-rtx-sm89"),
        engine("fp16", "tensorrt-rtx-sm120"),
        engine("fp16", "tensorrt-rtx-sm89"),
        engine("fp32", "tensorrt-sm87"),
    )
    files = (*opened.manifest.files, *engines)
    built = Bundle(bundle, replace(opened.manifest, files=files))
    assert runnable_precisions(built, "tensorrt-rtx") == ("fp16", "int8-tensorrt")
    assert runnable_precisions(built, "tensorrt") == ("fp32",)
    assert runnable_precisions(built, "ort-cuda") == ("fp32", "fp16", "int8-ort")


@pytest.mark.parametrize("backend", PUBLISHED)
def test_a_session_of_each_backend_is_looked_for(
    bundle: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[object, ...]] = []
    for name, kind in (
        ("onnxruntime", "OnnxRuntimeSession"),
        ("engines.session", "TensorRTSession"),
        ("openvino", "OpenVinoSession"),
    ):
        monkeypatch.setattr(
            f"gmme_edge.runtime.{name}.{kind}",
            lambda *a, name=name, **_: opened.append((name, *a)),
        )
    made = Bundle.open(bundle)
    open_session(made, backend, "int8", threads=3)
    if not backend.startswith("tensorrt"):
        module = "onnxruntime" if backend.startswith("ort") else "openvino"
        assert opened == [(module, made, backend, "int8-ort", 3)]
    else:
        assert opened == [("engines.session", made, backend, "int8-tensorrt", None, False)]


def test_an_unknown_backend(bundle: Path) -> None:
    with pytest.raises(UsageError, match="one of ort-cpu, ort-cuda, openvino, "):
        open_session(Bundle.open(bundle), "ort-npu")


def test_a_batch_becomes_contiguous_float32() -> None:
    columns = np.arange(12, dtype=np.float64).reshape(4, 3).T
    batch = check_batch(columns, 4)  # type: ignore[arg-type]
    assert batch.flags.c_contiguous and batch.dtype == np.float32
    np.testing.assert_array_equal(batch, columns)
    same = np.zeros((2, 4), np.float32)
    assert check_batch(same, 4) is same


@pytest.mark.parametrize("shape", [(4,), (0, 4), (1, 5), (1, 1, 4), ()])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"\(batch, 4\)"):
        check_batch(np.zeros(shape, np.float32), 4)


def test_why_a_backend_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_unavailable("ort-cpu") is None

    def missing(_: str) -> None:
        raise MissingDependencyError("tensorrt is not installed.", fix="pip install it")

    monkeypatch.setattr("gmme_edge.runtime.engines.session.check_device", missing)
    assert why_unavailable("tensorrt") == "tensorrt is not installed.\nFix: pip install it"


def test_the_published_backends_are_there_with_all_that_a_module_must_hold() -> None:
    assert set(PUBLISHED) <= set(BACKENDS)
    for row in BACKENDS.values():
        for name in ("open_session", "check", "supports"):
            assert callable(getattr(row.opener, name))
        assert precisions_of(row.engine), f"no precision names {row.engine}"
