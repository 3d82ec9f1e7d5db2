from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from gmme_edge.complexity import count
from gmme_edge.errors import UsageError
from gmme_edge.profiling.latency import hash_labels
from gmme_edge.report.compare import Comparison, Ratio, compare_results
from gmme_edge.report.documents import load_result
from gmme_edge.spec import get_task, preset
from tests.report.factory import row, write_accuracy, write_latency

GMME = "eat-s-gmme-k32c8"


def _compare(*paths: Path, baseline: str | None = None) -> Comparison:
    return compare_results([load_result(path) for path in paths], baseline)


def _drifting(scale: float) -> Sequence[float]:
    """Twice as slow in the second half, as a machine that throttles."""
    return tuple(scale * np.repeat([1.0, 2.0], 50))


def test_ratios_to_the_baseline_of_the_same_run(tmp_path: Path) -> None:
    path = write_latency(
        tmp_path / "r.json",
        row(samples_ms=_drifting(10)),
        row(GMME, _drifting(12), d_params=200, t_params=4_000_000, gflops=3.0,
            size_bytes=10_000_000),
    )  # fmt: skip
    base, gmme = _compare(path).entries
    assert base.ratio == Ratio(1, 1, 1, 1, 1, (1, 1), 1, memory=1)
    assert gmme.ratio.d_params == pytest.approx(0.2)
    assert gmme.ratio.t_params == pytest.approx(0.8)
    assert gmme.ratio.gflops == pytest.approx(0.75)
    assert gmme.ratio.size == pytest.approx(0.5)
    assert gmme.ratio.latency == pytest.approx(1.2)
    # The drift hits both alike: paired repetitions leave no uncertainty.
    assert gmme.ratio.latency_interval == pytest.approx((1.2, 1.2))


def test_each_precision_has_its_own_baseline(tmp_path: Path) -> None:
    rows = [
        row(model, (ms, ms), precision=precision, threads=threads)
        for model, precision, threads, ms in (
            ("eat-s-aa", "fp32", 1, 10.0), ("eat-s-aa", "int8-ort", 1, 5.0),
            ("eat-s-aa", "fp32", 2, 6.0), (GMME, "fp32", 1, 20.0), (GMME, "int8-ort", 1, 20.0),
            (GMME, "fp32", 2, 3.0),
        )
    ]  # fmt: skip
    entries = _compare(write_latency(tmp_path / "r.json", *rows)).entries
    assert [entry.ratio.latency for entry in entries] == [1, 1, 1, 2, 4, 0.5]
    assert [entry.ratio.latency_to_fp32 for entry in entries] == [1, 0.5, 1, 2, 2, 0.5]


def test_latencies_of_different_files_are_not_related(tmp_path: Path) -> None:
    here = write_latency(tmp_path / "here.json", row())
    there = write_latency(tmp_path / "there.json", row(GMME, size_bytes=10_000_000))
    comparison = _compare(here, there)
    ratio = comparison.entries[1].ratio
    assert (ratio.latency, ratio.latency_interval, ratio.latency_to_fp32) == (None, None, None)
    assert ratio.size == 0.5
    assert len(comparison.notes) == 1
    assert "there.json has no eat-s-aa" in comparison.notes[0]


def test_another_task_is_not_related(tmp_path: Path) -> None:
    path = write_latency(tmp_path / "r.json", row(), row(GMME, clip_s=1.0, n_classes=35))
    assert _compare(path).entries[1].ratio == Ratio()


def test_accuracy_joins_its_model_and_precision(tmp_path: Path) -> None:
    rows = [row(), row(GMME), row(GMME, precision="int8-ort"), row(precision="int8-ort")]
    comparison = _compare(
        write_latency(tmp_path / "r.json", *rows),
        write_accuracy(tmp_path / "a.json", value=0.90),
        write_accuracy(tmp_path / "b.json", GMME, 0.925),
        write_accuracy(tmp_path / "c.json", GMME, 0.89, precision="int8-ort"),
    )
    assert [e.accuracy.value if e.accuracy else None for e in comparison.entries] == [
        0.90, 0.925, 0.89, None,
    ]  # fmt: skip
    points = [entry.ratio.accuracy_points for entry in comparison.entries]
    assert points == [0, pytest.approx(2.5), None, None]
    assert any("No accuracy of eat-s-aa" in note for note in comparison.notes)


def test_a_note_names_all_that_it_is_about(tmp_path: Path) -> None:
    settings = [(p, b) for b in ("ort-cpu", "openvino") for p in ("fp32", "int8-ort")]
    comparison = _compare(
        write_latency(
            tmp_path / "r.json",
            *(
                row(model, precision=p, backend=b)
                for p, b in settings
                for model in ("eat-s-aa", GMME)
            ),
        ),
        write_accuracy(tmp_path / "b.json", GMME, 0.925),
        write_accuracy(tmp_path / "c.json", GMME, 0.89, precision="int8-ort"),
    )
    both = f"{GMME} (fp32, int8-ort)."
    assert [note for note in comparison.notes if both in note] == [
        f"Accuracy beside openvino was measured on ort-cpu: {both}",
        f"No accuracy of eat-s-aa on the same test clips of esc50: {both}",
    ]


def test_the_accuracy_of_the_same_backend_is_preferred(tmp_path: Path) -> None:
    torch = write_accuracy(tmp_path / "t.json", value=0.91, backend="torch")
    ort = write_accuracy(tmp_path / "o.json", value=0.90)
    latency = write_latency(tmp_path / "r.json", row(), row(backend="ort-cuda"))
    cpu, cuda = _compare(latency, torch, ort).entries
    assert cpu.accuracy and cuda.accuracy
    assert (cpu.accuracy.backend, cuda.accuracy.backend) == ("ort-cpu", "torch")
    assert any("measured on torch" in note for note in _compare(latency, torch).notes)


def test_folds_are_pooled(tmp_path: Path) -> None:
    paths = [
        write_accuracy(tmp_path / f"{fold}.json", value=value, fold=fold, n=100)
        for fold, value in ((2, 0.8), (1, 0.9), (3, 1.0))
    ]
    (entry,) = _compare(*paths).entries
    assert entry.accuracy is not None
    assert entry.accuracy.value == pytest.approx(0.9)
    assert (entry.accuracy.n, entry.accuracy.folds) == (300, (1, 2, 3))
    # Wilson's interval of 270 of 300.
    assert entry.accuracy.interval == pytest.approx((0.8610, 0.9290), abs=2e-4)


def test_other_folds_are_no_baseline(tmp_path: Path) -> None:
    one = write_accuracy(tmp_path / "1.json", fold=1)
    two = write_accuracy(tmp_path / "2.json", GMME, 0.95, fold=2)
    comparison = _compare(one, two)
    assert comparison.entries[1].ratio.accuracy_points is None
    assert comparison.entries[1].ratio.d_params == 1


@pytest.mark.parametrize("other", [{}, {"dataset": "urbansound8k"}, {"split": "validation"}])
def test_accuracies_that_contradict_are_refused(tmp_path: Path, other: dict[str, str]) -> None:
    one, two = (
        write_accuracy(tmp_path / "1.json"),
        write_accuracy(tmp_path / "2.json", value=0.8, **other),
    )
    with pytest.raises(UsageError, match=r"1\.json.*2\.json"):
        _compare(one, two)


def test_one_baseline_twice_is_refused(tmp_path: Path) -> None:
    path = write_latency(tmp_path / "r.json", row(), row())
    with pytest.raises(UsageError, match="twice"):
        _compare(path)


def test_a_missing_baseline_names_the_models(tmp_path: Path) -> None:
    path = write_latency(tmp_path / "r.json", row(GMME), row("eat-m-aa"))
    with pytest.raises(UsageError, match=f"{GMME}, eat-m-aa"):
        _compare(path, baseline="eat-s-aa")
    assert _compare(path, baseline="eat-m-aa").baseline == "eat-m-aa"


def test_the_flat_form_has_every_key(tmp_path: Path) -> None:
    (entry,) = _compare(write_latency(tmp_path / "r.json", row())).entries
    values = entry.to_dict()
    assert set(values) >= {
        "model", "precision", "backend", "threads", "batch", "d_params", "t_params", "gflops",
        "size_bytes", "median_ms", "p90_ms", "throughput", "accuracy", "accuracy_interval", "ratio",
    }  # fmt: skip
    assert set(values["ratio"]) >= {
        "d_params", "t_params", "gflops", "size", "latency", "latency_interval",
        "accuracy_points",
    }  # fmt: skip
    assert values["median_ms"] == 11
    assert values["accuracy"] is None


def test_bundles_of_one_model_go_by_their_folders(tmp_path: Path) -> None:
    path = write_latency(
        tmp_path / "r.json", row(bundle="plain"), row(samples_ms=(5, 5.5, 6), bundle="lowered")
    )
    first, second = _compare(path).entries
    assert (first.name, second.name) == ("plain", "lowered")
    assert second.ratio.latency == pytest.approx(0.5)
    lowered = _compare(path, baseline="lowered").entries
    assert lowered[0].ratio.latency == pytest.approx(2)


def test_without_an_aa_network_the_first_row_is_the_base(tmp_path: Path) -> None:
    rows = (row(GMME), row("eat-s-gmme-lite-k32c8", (20.0, 22.0, 24.0)))
    comparison = _compare(write_latency(tmp_path / "r.json", *rows))
    assert comparison.baseline == GMME
    assert [entry.ratio.latency for entry in comparison.entries] == [1, 2]


def test_tasks_that_cannot_be_compared_are_named(tmp_path: Path) -> None:
    path = write_latency(
        tmp_path / "r.json", row(GMME, bundle="esc10"),
        row(GMME, clip_s=1.0, n_classes=10, bundle="digits"),
    )  # fmt: skip
    comparison = _compare(path)
    assert [entry.name for entry in comparison.entries] == ["esc10", "digits"]
    assert comparison.entries[1].ratio == Ratio()
    (tasks,) = [note for note in comparison.notes if "not comparable" in note]
    assert "1 s clips, 10 classes (digits)" in tasks
    assert any("clip length 5 s, not 1 s" in note for note in comparison.notes)


def test_the_notes_say_what_differs(tmp_path: Path) -> None:
    path = write_latency(tmp_path / "r.json", row(), row(GMME, batch=8, threads=2))
    (note,) = _compare(path).notes
    assert "threads 1, not 2; batch 1, not 8" in note


def test_another_network_of_the_same_shape_keeps_its_own_accuracy(tmp_path: Path) -> None:
    """Preset, precision and #T agree, and yet it is another network."""
    mine, other = "a" * 64, "b" * 64
    latency = write_latency(tmp_path / "r.json", row(weights_sha256=mine))
    theirs = write_accuracy(tmp_path / "other.json", value=0.99, weights_sha256=other)
    timed, alone = _compare(latency, theirs).entries
    assert timed.accuracy is None
    assert alone.accuracy and alone.accuracy.value == 0.99
    own = write_accuracy(tmp_path / "own.json", value=0.7, weights_sha256=mine)
    comparison = _compare(latency, theirs, own)
    assert comparison.entries[0].accuracy and comparison.entries[0].accuracy.value == 0.7
    assert not any("joined by name" in note for note in comparison.notes)


def test_other_labels_are_another_network(tmp_path: Path) -> None:
    labels = ["dog", "rain"]
    latency = write_latency(tmp_path / "r.json", row(labels_sha256=hash_labels(["one", "two"])))
    accuracy = write_accuracy(tmp_path / "a.json", labels=labels)
    assert _compare(latency, accuracy).entries[0].accuracy is None
    known = write_latency(tmp_path / "k.json", row(labels_sha256=hash_labels(labels)))
    assert _compare(known, accuracy).entries[0].accuracy is not None


def test_old_results_are_joined_by_name_and_say_so(tmp_path: Path) -> None:
    latency = write_latency(tmp_path / "r.json", row(weights_sha256="a" * 64))
    comparison = _compare(latency, write_accuracy(tmp_path / "old.json"))
    assert comparison.entries[0].accuracy is not None
    assert any("old.json" in note and "joined by name" in note for note in comparison.notes)


def test_a_cross_validation_is_one_accuracy(tmp_path: Path) -> None:
    spec = preset("eat-s-aa", get_task("esc50"))
    fold = {"accuracy": 0.5, "correct": 1, "n": 2, "wilson_95": [0.1, 0.9]}
    document = {
        "schema": 1, "kind": "cross-validation", "model": "eat-s-aa", "dataset": "esc50",
        "split": "test", "spec": spec.to_dict(), "labels": ["a", "b"],
        "pooled": {"accuracy": 0.75, "correct": 3, "n": 4, "wilson_95": [0.3, 0.95]},
        "folds": [{"fold": k, "checkpoint_sha256": c * 64, **fold} for k, c in enumerate("ab", 1)],
    }  # fmt: skip
    path = tmp_path / "cross-validation.json"
    path.write_text(json.dumps(document))
    (alone,) = _compare(path).entries
    assert alone.accuracy and (alone.accuracy.value, alone.accuracy.folds) == (0.75, (1, 2))
    t_params = count(spec).t_params
    of_fold_2 = row(weights_sha256="b" * 64, t_params=t_params)
    (joined,) = _compare(write_latency(tmp_path / "r.json", of_fold_2), path).entries
    assert joined.accuracy and joined.accuracy.n == 4


def test_the_paired_test_stands_where_predictions_are_known(tmp_path: Path) -> None:
    clips = [f"{i}.wav" for i in range(10)]

    def predictions(right: int) -> dict[str, list[str]]:
        answers = ["dog"] * right + ["cat"] * (10 - right)
        return {"clips": clips, "true": ["dog"] * 10, "predicted": answers}

    one = write_accuracy(tmp_path / "1.json", value=0.5, n=10, predictions=predictions(5))
    two = write_accuracy(tmp_path / "2.json", GMME, 1.0, n=10, predictions=predictions(10))
    base, gmme = _compare(one, two).entries
    assert base.ratio.accuracy_p is None
    assert gmme.ratio.accuracy_p == 2 / 2**5
    assert gmme.ratio.accuracy_points_interval is not None
    assert gmme.ratio.accuracy_points_interval[0] < 50 < gmme.ratio.accuracy_points_interval[1]
