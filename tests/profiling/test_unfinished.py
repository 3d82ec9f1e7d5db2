"""A measurement that was cut short goes on, and only where it is the same one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gmme_edge.errors import InputError
from gmme_edge.profiling.latency import Contender, LatencySettings
from gmme_edge.profiling.rounds import Samples
from gmme_edge.profiling.unfinished import open_unfinished
from tests.bundles import make_bundle


@pytest.fixture
def contenders(tmp_path: Path) -> list[Contender]:
    bundle = make_bundle(tmp_path / "b", precisions=("fp32", "int8-ort"))
    return [Contender(bundle, "ort-cpu", precision, 1) for precision in ("fp32", "int8-ort")]


def test_samples_come_back_and_more_repetitions_may_be_asked_for(
    tmp_path: Path, contenders: list[Contender]
) -> None:
    output = tmp_path / "r.json"
    first = open_unfinished(output, contenders, LatencySettings(5, 100))
    first.save()
    assert not (tmp_path / "r.json.part").exists()  # nothing was timed yet
    first.samples.ms[0].append(2.5)
    first.samples.ms[1].append(1.5)
    first.samples.rounds, first.samples.elapsed_s = 1, 0.004
    first.reasons.append("hot")
    first.save()
    again = open_unfinished(output, contenders, LatencySettings(5, 300))
    assert again.samples == Samples([[2.5], [1.5]], [0, 0], 1, 0.004)
    assert again.reasons == ["hot"]
    assert open_unfinished(output, contenders, LatencySettings(5), restart=True).samples.rounds == 0
    again.remove()
    again.remove()
    assert open_unfinished(output, contenders, LatencySettings(5)).samples.rounds == 0


def test_other_settings_targets_or_machines_are_refused(
    tmp_path: Path, contenders: list[Contender], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, settings = tmp_path / "r.json", LatencySettings()
    begun = open_unfinished(output, contenders, settings)
    begun.samples = Samples([[1.0], [1.0]], [0, 0], 1)
    begun.save()
    for others, how in (
        (contenders[:1], settings),
        ([contenders[0], replace(contenders[1], batch=2)], settings),
        (contenders, LatencySettings(stream="offline")),
    ):
        with pytest.raises(InputError, match="--restart"):
            open_unfinished(output, others, how)
    monkeypatch.setattr(
        "gmme_edge.profiling.unfinished.describe_device", lambda: {"cpu": "another"}
    )
    with pytest.raises(InputError, match="another machine"):
        open_unfinished(output, contenders, settings)


@pytest.mark.parametrize(
    "samples",
    [None, {}, {"ms": [[1.0]], "misses": [0, 0], "rounds": 1, "elapsed_s": 1},
     {"ms": [[1.0], [1.0, 2.0]], "misses": [0, 0], "rounds": 1, "elapsed_s": 1},
     {"ms": [[1.0], [-1.0]], "misses": [0, 0], "rounds": 1, "elapsed_s": 1},
     {"ms": [[1.0], ["x"]], "misses": [0, 0], "rounds": 1, "elapsed_s": 1}],
)  # fmt: skip
def test_a_damaged_file_is_refused(
    tmp_path: Path, contenders: list[Contender], samples: object
) -> None:
    output = tmp_path / "r.json"
    begun = open_unfinished(output, contenders, LatencySettings())
    part = {"schema": 1, "key": begun.key, "samples": samples, "reasons": []}
    (tmp_path / "r.json.part").write_text(json.dumps(part))
    with pytest.raises(InputError, match="damaged"):
        open_unfinished(output, contenders, LatencySettings())
