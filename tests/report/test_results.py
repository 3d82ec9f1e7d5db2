from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gmme_edge.errors import InputError
from gmme_edge.report.documents import AccuracyResult, LatencyResult, load_result
from tests.report.factory import accuracy, row, write_accuracy, write_latency

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def test_latency_survives_the_file(tmp_path: Path) -> None:
    rows = (row(), row("eat-s-gmme-k32c8", threads=None, precision="int8-ort"))
    path = write_latency(tmp_path / "r.json", *rows, command="gmme-edge profile x")
    result = load_result(path)
    assert isinstance(result, LatencyResult)
    assert result.rows == rows
    assert (result.source, result.command) == (str(path), "gmme-edge profile x")
    document = json.loads(path.read_text())
    assert (document["schema"], document["kind"]) == (1, "latency")
    settings = {"warmup": 10, "repetitions": 100, "seed": 0}
    assert document["settings"] == {
        **settings, "stream": "single", "hop_s": None, "duration_s": None
    }  # fmt: skip
    assert document["rows"][0]["median_ms"] == 11


def test_accuracy_is_read(tmp_path: Path) -> None:
    result = load_result(write_accuracy(tmp_path / "a.json", fold=3))
    assert isinstance(result, AccuracyResult)
    assert (result.accuracy, result.fold, result.dataset) == (0.9, 3, "esc50")
    assert result.interval == pytest.approx((0.85, 0.95))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"schema": 2, "kind": "latency"}', '{"schema": 1}',
     '{"schema": 1, "kind": "energy"}', '{"schema": 1, "kind": []}',
     '{"schema": 1, "kind": "latency"}'],
)  # fmt: skip
def test_foreign_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"r\.json"):
        load_result(path)


def test_an_absent_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_result(tmp_path / "none.json")
    (tmp_path / "r.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="JSON"):
        load_result(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("name", "value"),
    [("samples_ms", []), ("samples_ms", [1.0, -1.0, 2.0]), ("samples_ms", [1.0, 2.0]),
     ("samples_ms", [1.0, float("nan"), 1.0]), ("samples_ms", "fast"), ("batch", 0),
     ("batch", True), ("threads", -1), ("gflops", 0), ("gflops", 10**400), ("model", ""),
     ("model", 3), ("clip_s", float("inf")), ("size_bytes", 1.5), ("d_params", None)],
)  # fmt: skip
def test_a_damaged_row_is_refused(tmp_path: Path, name: str, value: object) -> None:
    path = write_latency(tmp_path / "r.json", row(), row("other"))
    document = json.loads(path.read_text())
    document["rows"][1][name] = value
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="damaged latency result"):
        load_result(path)


@given(name=st.sampled_from(sorted(accuracy())), value=JSON)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
def test_any_accuracy_field_is_read_or_refused(tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**accuracy(), name: value}))
    try:
        load_result(path)
    except InputError:
        return


@given(values=JSON)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_any_json_in_the_rows_is_refused(tmp_path: Path, values: object) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"schema": 1, "kind": "latency", "device": {}, "rows": values}))
    with pytest.raises(InputError):
        load_result(path)
