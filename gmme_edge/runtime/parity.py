"""How far two sets of outputs may be apart, and how far they are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.bundle import INPUT, Bundle
from gmme_edge.bundle.precisions import PRECISIONS, find_precision, graph_of, is_int8
from gmme_edge.errors import BundleError, OutputError, ParityError, UsageError
from gmme_edge.runtime.session import Outputs, Session

RELATIVE_LIMITS = {row.name: row.limit for row in PRECISIONS.values()}


@dataclass(frozen=True)
class Parity:
    """Logits of one precision against the reference's.

    Attributes:
        relative: `max_abs` over the largest absolute reference logit.
        limit: what `relative` may be.
        top1_agreement: share of clips with the same best class, 0 to 1.
    """

    max_abs: float
    mean_abs: float
    relative: float
    limit: float
    top1_agreement: float
    n_clips: int

    @property
    def passed(self) -> bool:
        return math.isfinite(self.relative) and self.relative <= self.limit

    def to_dict(self) -> dict[str, float]:
        return asdict(self)

    def check(self, what: str, reference: str = "its reference", fix: str = "") -> None:
        """Raise `ParityError`, with what to do about it, where the limit is passed."""
        if not self.passed:
            raise ParityError(
                f"{what} disagrees with {reference}: relative error {self.relative:.2e} "
                f"(max {self.max_abs:.2e}, mean {self.mean_abs:.2e}, top-1 agreement "
                f"{self.top1_agreement:.1%} of {self.n_clips} clips).",
                f"a relative error of at most {self.limit:.0e}.",
                fix,
            )


def compare_logits(
    logits: NDArray[np.floating], reference: NDArray[np.floating], limit: float
) -> Parity:
    """Both of shape ``(clips, classes)``; an output that is not finite never passes.

    Raises:
        ParityError: the shapes differ.
    """
    if logits.shape != reference.shape:
        raise ParityError(f"The logits have the shape {logits.shape}.", f"{reference.shape}.")
    with np.errstate(invalid="ignore"):  # inf - inf
        error = np.abs(logits.astype(np.float64) - reference.astype(np.float64))
    scale = max(float(np.abs(reference).max()), 1e-12)
    agreement = float((logits.argmax(axis=1) == reference.argmax(axis=1)).mean())
    largest = float(error.max())
    return Parity(largest, float(error.mean()), largest / scale, limit, agreement, len(reference))


def run_in_batches(
    session: Session, waveforms: NDArray[np.float32], batch_size: int = 4
) -> Outputs:
    """All outputs for ``(clips, samples)``, a few clips at a time.

    Raises:
        ParityError: they are NaN, infinite or of another shape, which no reference is.
    """
    starts = range(0, len(waveforms), batch_size)
    try:
        parts = [session.run(waveforms[start : start + batch_size]) for start in starts]
    except OutputError as error:
        raise ParityError(error.got, error.expected) from error
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@dataclass(frozen=True)
class Verified:
    """The outputs of one precision on this machine.

    Attributes:
        reference: against the network in floating point, as torch computed it; what INT8 costs
            shows here as well.
        repeat: against what this very graph gave when it was exported; None for bundles of older
            exporters, which do not hold that.
    """

    reference: Parity
    repeat: Parity | None


def verify_bundle(
    bundle: Bundle, sessions: Callable[[str], Session], precisions: tuple[str, ...]
) -> dict[str, Verified]:
    """Hashes of every file, then each precision against the golden vectors.

    Args:
        sessions: opens one precision.

    Raises:
        UsageError: no precision to check.
        BundleError: a file is missing or changed, or the manifest states no limit.
        ParityError: an output is too far from the golden one.
    """
    bundle.check_files()
    if not precisions:
        raise UsageError(
            f"{bundle.path} has no precision for this backend, so nothing was compared.",
            "at least one graph, or for TensorRT an engine.",
            "export it with another --precision, or with --engine for TensorRT.",
        )
    golden = bundle.golden()
    found = {}
    for name in precisions:
        session = sessions(name)
        try:
            found[name] = verify_session(bundle, session, golden)
        finally:
            session.close()
    return found


def verify_session(
    bundle: Bundle, session: Session, golden: Mapping[str, NDArray[np.float32]]
) -> Verified:
    """One open session against the golden vectors; raises as `verify_bundle` does."""
    precision = session.precision
    logits = run_in_batches(session, golden[INPUT])["logits"]
    if graph_of(precision) != precision:  # not exported, so not in the manifest
        limit: object = find_precision(precision).limit
    else:
        limit = bundle.manifest.parity.get(precision, {}).get("limit")
    if not isinstance(limit, (int, float)):
        raise BundleError(
            f"The manifest of {bundle.path} gives no parity limit for {precision}.",
            "the figures that the export wrote.",
            "export the bundle again.",
        )
    what = f"{bundle.path} in {precision} on {session.backend}"
    fix = _other_choice(bundle, precision, session.backend)
    own = golden.get(f"logits.{precision}")
    repeat = None
    if own is not None:
        repeat = compare_logits(logits, own, find_precision(precision).repeat_limit)
        repeat.check(what, "what the same graph gave when it was exported", fix)
    reference = compare_logits(logits, golden["logits"], limit)
    reference.check(what, fix=fix)
    return Verified(reference, repeat)


def _other_choice(bundle: Bundle, precision: str, backend: str) -> str:
    """What to do where a backend computes something else than the export did."""
    use = ["--precision fp32"] if "fp32" in bundle.precisions and precision != "fp32" else []
    use += ["--backend ort-cpu"] if backend != "ort-cpu" else []
    choice = f"use {' or '.join(use)} here" if use else "use another machine or library version"
    if not is_int8(precision):
        return f"{choice}."
    return (
        f"{choice}; or see with `gmme-edge evaluate … --backend {backend} --precision "
        f"{precision}` what it costs. A network that is barely trained makes much of each rounding."
    )
