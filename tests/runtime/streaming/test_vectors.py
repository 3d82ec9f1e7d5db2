from __future__ import annotations

import json

import pytest

from tests.runtime.streaming.make_vectors import PATH, make


def test_published_vectors_are_what_the_stream_gives() -> None:
    published = json.loads(PATH.read_text(encoding="utf-8"))
    made = json.loads(json.dumps(make()))
    for old, new in zip(published["events"], made["events"], strict=True):
        assert [e["start_sample"] for e in old["events"]] == [
            e["start_sample"] for e in new["events"]
        ]
    assert published["events"] == made["events"]
    old, new = published["gate"].pop("frames"), made["gate"].pop("frames")
    assert [f[2] for f in old] == [f[2] for f in new]
    assert [f[:2] for f in new] == [pytest.approx(f[:2], abs=1e-3) for f in old]
    assert published["gate"] == made["gate"]


def test_the_vectors_exercise_every_rule() -> None:
    cases = {case["name"]: case for case in json.loads(PATH.read_text())["events"]}
    assert all(case["events"] for case in cases.values())
    active = [f[2] for f in json.loads(PATH.read_text())["gate"]["frames"]]
    assert 0 < sum(active) < len(active)
