"""The two graphs of a bundle that compute only the new part of a window, on ONNX Runtime."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import List  # noqa: UP035

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.bundle import INPUT, OUTPUTS, Bundle
from gmme_edge.bundle.manifest import INCREMENTAL, Role
from gmme_edge.bundle.precisions import REFERENCE
from gmme_edge.device.cpu import check_threads
from gmme_edge.errors import BundleError, OutputError, PlatformError, UsageError, require
from gmme_edge.runtime.fork import ForkGuard
from gmme_edge.runtime.ort_loading import (
    InferenceSession,
    load_checked,
    make_options,
    worth_spinning,
)
from gmme_edge.runtime.parity import RELATIVE_LIMITS, Parity, compare_logits
from gmme_edge.runtime.session import TensorFacts

SCALE, HOP = "scale", "hop_samples"
"""What the graphs call the factor of the samples, and their note of how far windows are apart."""

VERIFIED_WINDOWS = 4
"""The first as a whole, then three of which each hears the one before."""

_PEAK, _SILENCE = 0.95, 1e-30  # as in every exported graph

Frames = List[NDArray[np.float32]]  # noqa: UP006 - evaluated, and Python 3.8 has no other


class IncrementalGraphs:
    """Whole windows, and windows that follow one by `hop_samples`; for one thread at a time.

    Raises:
        UsageError: the bundle has no such graphs, or `threads` is below 1.
        BundleError: a file changed since the export, or is no such graph.
        MissingDependencyError: no onnxruntime.
        PlatformError: this onnxruntime cannot load them.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        check_threads(threads)
        spec = bundle.manifest.model
        self._n_classes, self._n_samples = spec.n_classes, spec.n_samples
        start, step = (_open(bundle, role, threads) for role in INCREMENTAL)
        self.hop_samples, self._kept = _check(bundle, start, step)
        self._start: InferenceSession | None = start
        self._step: InferenceSession | None = step
        self._guard = ForkGuard(start, step)

    def start(
        self, window: NDArray[np.float32], scale: float
    ) -> tuple[NDArray[np.float32], Frames]:
        """``(1, samples)`` and their factor → logits ``(1, n_classes)``, frames for the next."""
        return self._run(self._start, window, scale, [])

    def step(
        self, window: NDArray[np.float32], scale: float, kept: Frames
    ) -> tuple[NDArray[np.float32], Frames]:
        """As `start`, with the frames that the window one hop before gave."""
        return self._run(self._step, window, scale, kept)

    def follow(self, sound: NDArray[np.float32], scale: float, count: int) -> NDArray[np.float32]:
        """Logits of windows a hop apart from the sound's start on, all but the first by steps.

        Args:
            sound: ``(samples,)``; `count` is cut to the windows that it holds.

        Returns:
            ``(windows, n_classes)``.
        """
        found: list[NDArray[np.float32]] = []
        kept: Frames = []
        for window in self.windows(sound, count):
            logits, kept = self.step(window, scale, kept) if kept else self.start(window, scale)
            found.append(logits)
        return np.concatenate(found)

    def windows(self, sound: NDArray[np.float32], count: int) -> Iterator[NDArray[np.float32]]:
        """What `follow` hears, ``(1, samples)`` each."""
        last = len(sound) - self._n_samples
        for start in range(0, last + 1, self.hop_samples)[:count]:
            yield np.ascontiguousarray(sound[None, start : start + self._n_samples])

    def close(self) -> None:
        """Free both; calling it twice does no harm."""
        self._start = self._step = None
        self._guard.release()

    def _run(
        self,
        session: InferenceSession | None,
        window: NDArray[np.float32],
        scale: float,
        kept: Frames,
    ) -> tuple[NDArray[np.float32], Frames]:
        self._guard.check()
        assert session is not None
        given = {INPUT: window, SCALE: np.full((1, 1), scale, np.float32)}
        given.update(zip(self._kept, kept))  # noqa: B905 - as many as there are
        try:
            logits, *handed_on = session.run([OUTPUTS[0], *map(_next, self._kept)], given)
        except Exception as error:  # onnxruntime's classes share no base but Exception
            raise PlatformError(f"onnxruntime failed on a window: {error}") from error
        if logits.shape != (1, self._n_classes) or not np.isfinite(logits).all():
            raise OutputError(
                f"A window gave logits of shape {logits.shape}, or such as are not finite.",
                f"finite ones of shape (1, {self._n_classes}).",
            )
        return logits, handed_on


def has_incremental(bundle: Bundle) -> bool:
    """Whether it was exported with such graphs."""
    return any(file.role in INCREMENTAL for file in bundle.manifest.files)


def scale_for(peak: float) -> float:
    """The factor that ordinary graphs give samples of this peak: 0.95 of it; silence is left."""
    return _PEAK / peak if peak > _SILENCE else 1.0


def verify_incremental(bundle: Bundle, threads: int | None = None) -> Parity:
    """Whole windows against the golden logits, and steps against whole windows, on this machine.

    Raises:
        ParityError: they are too far from each other.
        BundleError, UsageError, PlatformError: as `IncrementalGraphs` raises.
    """
    golden = bundle.golden()
    clips = golden[INPUT]
    peaks = np.abs(clips).max(axis=1)
    sound, scale = np.resize(clips[:2], 2 * clips.shape[1]), scale_for(float(peaks.max()))
    graphs = IncrementalGraphs(bundle, threads)
    try:
        whole = [graphs.start(c[None], scale_for(float(p)))[0] for c, p in zip(clips, peaks)]  # noqa: B905
        steps = graphs.follow(sound, scale, VERIFIED_WINDOWS)
        alone = [graphs.start(w, scale)[0] for w in graphs.windows(sound, VERIFIED_WINDOWS)]
    finally:
        graphs.close()
    parity = compare_logits(
        np.concatenate([*whole, steps]),
        np.concatenate([golden["logits"], *alone]),
        RELATIVE_LIMITS[REFERENCE],
    )
    parity.check(f"{bundle.path}, its incremental graphs on ort-cpu")
    return parity


def kept_names(count: int) -> tuple[str, ...]:
    """What the graphs call the frames of each map that a window is given."""
    return tuple(f"kept.{index}" for index in range(count))


def next_names(count: int) -> tuple[str, ...]:
    """What they call those that it hands on."""
    return tuple(map(_next, kept_names(count)))


def _next(kept: str) -> str:
    return f"next.{kept}"


def _open(bundle: Bundle, role: Role, threads: int | None) -> InferenceSession:
    file = next((each for each in bundle.manifest.files if each.role == role), None)
    if file is None:
        raise UsageError(
            f"{bundle.path} has no graphs that compute windows incrementally.",
            "a bundle that was exported with them.",
            "export it again with --incremental-hop-ms, or listen without --incremental.",
        )
    ort = require("onnxruntime", "run the ort-cpu backend")
    options = make_options(ort, REFERENCE, threads, None, worth_spinning(bundle.manifest.model))
    content = bundle.checked_bytes(file)
    return load_checked(
        ort, content, {}, options, ("CPUExecutionProvider", {}), f"{bundle.path / file.path}"
    )


def _check(
    bundle: Bundle, start: InferenceSession, step: InferenceSession
) -> tuple[int, tuple[str, ...]]:
    """The hop in samples and the names of the kept frames, of two graphs that fit each other."""
    spec = bundle.manifest.model
    count = len(start.get_outputs()) - 1
    kept = kept_names(count)
    own = {INPUT: [1, spec.n_samples], SCALE: [1, 1]}
    result = {OUTPUTS[0]: [1, spec.n_classes]}
    frames = [list(each.shape) for each in start.get_outputs()[1:]]
    handed_on = dict(zip(next_names(count), frames))  # noqa: B905 - as many names as frames
    notes = [graph.get_modelmeta().custom_metadata_map.get(HOP, "") for graph in (start, step)]
    fits = (
        _shapes(start.get_inputs()) == own
        and _shapes(step.get_inputs()) == {**own, **dict(zip(kept, frames))}  # noqa: B905
        and _shapes(start.get_outputs()) == _shapes(step.get_outputs()) == {**result, **handed_on}
        and notes[0] == notes[1]
        and re.fullmatch("[0-9]{1,9}", notes[0])
        and 1 <= int(notes[0]) <= spec.n_samples
    )
    if not fits:
        raise BundleError(
            f"{bundle.path} has incremental graphs that do not fit each other or the manifest.",
            "two graphs of one network, with the same frames and the same hop.",
            "export the bundle again.",
        )
    return int(notes[0]), kept


def _shapes(tensors: Sequence[TensorFacts]) -> dict[str, list[object]]:
    """By name; an empty one where it is not of 32-bit numbers."""
    return {each.name: list(each.shape) if each.type == "tensor(float)" else [] for each in tensors}
