from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import BundleError, ParityError, UsageError
from gmme_edge.runtime.backends import open_session
from gmme_edge.runtime.parity import Parity, compare_logits, run_in_batches, verify_bundle
from tests.artifacts import FakeSession, copy_bundle, edit_manifest

REFERENCE = np.array([[1.0, -4.0, 2.0], [0.5, 0.25, 0.0]], np.float32)


def test_figures_by_hand() -> None:
    logits = np.array([[1.0, -3.5, 2.25], [0.0, 0.25, 0.0]], np.float32)
    # Errors 0, 0.5, 0.25 and 0.5, 0, 0; the largest reference logit is 4.
    parity = compare_logits(logits, REFERENCE, limit=0.125)
    assert parity == Parity(0.5, 1.25 / 6, 0.125, 0.125, 0.5, 2)
    assert parity.passed
    parity.check("This")
    assert parity.to_dict()["top1_agreement"] == 0.5


def test_over_the_limit_by_a_little() -> None:
    parity = compare_logits(REFERENCE + np.float32(0.5), REFERENCE, limit=0.124)
    assert not parity.passed
    with pytest.raises(ParityError, match=r"^That disagrees .*1\.25e-01.*\n.*at most 1e-01"):
        parity.check("That")


@pytest.mark.parametrize("limit", [1.0, np.inf])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["logits", "reference", "both"])
def test_what_is_not_finite_never_passes(value: float, where: str, limit: float) -> None:
    spoilt = REFERENCE.copy()
    spoilt[1, 1] = value
    logits, reference = {
        "logits": (spoilt, REFERENCE),
        "reference": (REFERENCE, spoilt),
        "both": (spoilt, spoilt),
    }[where]
    parity = compare_logits(logits, reference, limit)
    assert not parity.passed
    with pytest.raises(ParityError):
        parity.check("It")


def test_a_reference_of_zeros() -> None:
    zeros = np.zeros((2, 3), np.float32)
    assert compare_logits(zeros, zeros, 0.0).passed
    assert not compare_logits(zeros + 1e-6, zeros, 1e-3).passed


@pytest.mark.parametrize("shape", [(1, 3), (2, 1), (3, 2), (2, 3, 1)])
def test_other_shapes_do_not_broadcast(shape: tuple[int, ...]) -> None:
    with pytest.raises(ParityError, match=r"\(2, 3\)"):
        compare_logits(np.ones(shape, np.float32), np.ones((2, 3), np.float32), 10.0)


def test_batches_are_joined_in_order() -> None:
    session = FakeSession(lambda x: x[:, :2] * 10, embedding=lambda x: x[:, 1:])
    waveforms = np.arange(27, dtype=np.float32).reshape(9, 3)
    outputs = run_in_batches(session, waveforms, batch_size=4)
    assert [len(batch) for batch in session.batches] == [4, 4, 1]
    np.testing.assert_array_equal(outputs["logits"], waveforms[:, :2] * 10)
    np.testing.assert_array_equal(outputs["embedding"], waveforms[:, 1:])


class TestVerify:
    def test_every_precision_agrees_with_the_golden_vectors(self, bundle: Path) -> None:
        opened = Bundle.open(bundle)
        names = ("fp32", "fp16", "int8-ort")
        results = verify_bundle(opened, lambda p: open_session(opened, precision=p), names)
        assert tuple(results) == names
        assert results["fp32"].reference.relative < 1e-5 < results["fp16"].reference.relative
        assert [results[name].reference.limit for name in names] == [1e-3, 3e-2, 1.0]
        assert results["fp32"].reference.n_clips == 4

    def test_other_logits_fail_and_the_session_is_closed(self, bundle: Path) -> None:
        opened = Bundle.open(bundle)
        shifted = FakeSession(lambda _: opened.golden()["logits"] * 1.01)
        with pytest.raises(ParityError, match=r"fp32 on fake .*1\.00e-02"):
            verify_bundle(opened, lambda _: shifted, ("fp32",))
        assert shifted.closed

    def test_a_failing_session_is_closed(self, bundle: Path) -> None:
        session = FakeSession(lambda _: 1 / np.zeros(0)[0])
        with pytest.raises(IndexError):
            verify_bundle(Bundle.open(bundle), lambda _: session, ("fp32",))
        assert session.closed

    def test_nothing_to_compare_is_no_success(self, bundle: Path) -> None:
        with pytest.raises(UsageError, match="nothing was compared"):
            verify_bundle(Bundle.open(bundle), open_session, ())  # type: ignore[arg-type]

    @pytest.mark.parametrize("limit", [None, "0.1", []])
    def test_a_manifest_without_a_limit(self, bundle: Path, tmp_path: Path, limit: object) -> None:
        copy = copy_bundle(bundle, tmp_path / "copy")
        edit_manifest(copy, lambda values: values["parity"]["fp32"].update(limit=limit))
        opened = Bundle.open(copy)
        session = FakeSession(lambda _: opened.golden()["logits"])
        with pytest.raises(BundleError, match="no parity limit for fp32"):
            verify_bundle(opened, lambda _: session, ("fp32",))

    def test_files_are_checked_before_anything_runs(self, bundle: Path, tmp_path: Path) -> None:
        copy = copy_bundle(bundle, tmp_path / "copy")
        shutil.copy(copy / "model.fp16.onnx", copy / "model.int8-ort.onnx")
        with pytest.raises(BundleError, match="int8-ort"):
            verify_bundle(Bundle.open(copy), open_session, ("fp32",))  # type: ignore[arg-type]
