from __future__ import annotations

from pathlib import Path

import pytest

from gmme_calibration.cache import cached_ranges, ranges_key
from gmme_calibration.ranges import Ranges
from gmme_calibration.thresholds import Method
from gmme_edge.errors import DatasetError
from tests.calibration.graphs import OP_TYPES, two_convs

RANGES = {"a": (-0.1, 1 / 3), "b": (0.0, 1e-38)}


def never() -> Ranges:
    raise AssertionError("computed, although it is cached")


def cache_file(folder: Path) -> Path:
    return folder / "ranges" / "key.json"


def test_ranges_are_computed_once_and_come_back_exactly(tmp_path: Path) -> None:
    assert cached_ranges(tmp_path, "key", lambda: RANGES) == RANGES
    assert cached_ranges(tmp_path, "key", never) == RANGES
    other = {"a": (0.0, 1.0)}
    assert cached_ranges(tmp_path, "another", lambda: other) == other
    assert cached_ranges(tmp_path, "key", never) == RANGES


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-0.1", "-0.2"), ("-0.1", "NaN"), ('"ranges"', '"range"'), ('"schema": 1', '"schema": 2'),
        ("}", ""), ('"a"', '"c"'), ("1e-38\n", ""), ("{", "[" * 100_000),
    ],
)  # fmt: skip
def test_damage_is_computed_again(tmp_path: Path, old: str, new: str) -> None:
    cached_ranges(tmp_path, "key", lambda: RANGES)
    file = cache_file(tmp_path)
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    fresh = {"a": (0.0, 2.0)}
    assert cached_ranges(tmp_path, "key", lambda: fresh) == fresh
    assert cached_ranges(tmp_path, "key", never) == fresh


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[]", b'{"schema": 1, "ranges": {}}'])
def test_other_content_is_computed_again(tmp_path: Path, content: bytes) -> None:
    cache_file(tmp_path).parent.mkdir()
    cache_file(tmp_path).write_bytes(content)
    assert cached_ranges(tmp_path, "key", lambda: RANGES) == RANGES


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> Ranges:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_ranges(tmp_path, "key", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DatasetError, match="--cache DIR"):
        cached_ranges(tmp_path / "file", "key", lambda: RANGES)


def test_the_key_follows_weights_clips_and_method_and_no_path(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    model = two_convs(tmp_path / "model.onnx")
    key = ranges_key(model, "clips", OP_TYPES, Method())
    moved = two_convs(tmp_path / "elsewhere" / "moved.onnx")
    assert ranges_key(moved, "clips", OP_TYPES, Method()) == key
    others = {
        ranges_key(two_convs(tmp_path / "other.onnx", seed=1), "clips", OP_TYPES, Method()),
        ranges_key(model, "other clips", OP_TYPES, Method()),
        ranges_key(model, "clips", ("Conv", "Gemm"), Method()),
        ranges_key(model, "clips", OP_TYPES, Method("mse")),
        ranges_key(model, "clips", OP_TYPES, Method("percentile", 99.9)),
        ranges_key(model, "clips", OP_TYPES, Method("percentile", 99.99)),
    }
    assert len(others | {key}) == 7
