"""The one table of precisions, and what its questions answer."""

from __future__ import annotations

import pytest

from gmme_edge.bundle.precisions import (
    FAMILIES,
    ONNX_RUNTIME,
    PRECISIONS,
    TENSORRT,
    expand_precisions,
    find_precision,
    in_table_order,
    resolve_family,
    runs_on,
)
from gmme_edge.errors import UsageError


def test_every_engine_has_one_precision_of_each_family() -> None:
    for engine in (ONNX_RUNTIME, TENSORRT):
        for family in FAMILIES:
            fitting = [
                p for p in PRECISIONS.values() if p.family == family and runs_on(p.name, engine)
            ]
            assert [p.name for p in fitting] == [resolve_family(family, engine)]


def test_files_are_named_as_they_were() -> None:
    assert find_precision("int8-ort").file_name == "model.int8-ort.onnx"


def test_what_a_precision_repeats_is_never_laxer_than_its_distance_from_torch() -> None:
    assert all(0 < p.repeat_limit <= p.limit <= 1 for p in PRECISIONS.values())


def test_precisions_are_sorted_from_exact_to_coarse() -> None:
    assert in_table_order(["int8-ort", "odd", "fp16", "fp32"]) == (
        "fp32",
        "fp16",
        "int8-ort",
        "odd",
    )


@pytest.mark.parametrize("name", ["fp8", "", "int8"])
def test_an_unknown_precision_names_all(name: str) -> None:
    with pytest.raises(UsageError, match="int8-tensorrt"):
        find_precision(name)
    assert not runs_on(name, ONNX_RUNTIME)


@pytest.mark.parametrize("names", ["", ",", "fp32,int4", "INT8"])
def test_unknown_names_are_refused(names: str) -> None:
    with pytest.raises(UsageError, match="fp32, fp16, int8, int8-ort, int8-tensorrt"):
        expand_precisions(names)
