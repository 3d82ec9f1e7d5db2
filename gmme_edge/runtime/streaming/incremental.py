"""A network that listens to one stream and computes only what is new in each window.

Frames can be handed from window to window only while the samples are scaled alike, but the network
was trained with every window at a peak of 0.95. So the factor is held while the window's own peak
stays near the one that it was made for; where it does not, the whole window is computed anew:

    peak of the window   ┄┄┄┄╮     ╭┄┄┄┄┄┄┄┄   within ± hold_db: only the new part
                             ╰┄┄┄┄┄╯           beyond: the whole, with a new factor
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio.windows import tame
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import UsageError
from gmme_edge.pooling import softmax
from gmme_edge.public import own_errors, public
from gmme_edge.runtime.incremental_graphs import Frames, IncrementalGraphs, scale_for
from gmme_edge.runtime.streaming.rules import check_number

HOLD_DB = 1.0
_MOST_HOLD_DB = 60.0


class HeldPeak:
    """The peak that samples are scaled by, held while that of the window is near it.

    Args:
        hold_db: how near, 0 to 60.
    """

    def __init__(self, hold_db: float) -> None:
        check_number("hold_db", hold_db)
        if not 0 <= hold_db <= _MOST_HOLD_DB:
            raise UsageError(f"hold_db is {hold_db}.", f"0 to {_MOST_HOLD_DB:g} dB.")
        self.hold_db, self.peak = hold_db, 0.0

    def fits(self, peak: float) -> bool:
        """Whether a window of this peak is scaled as the one before."""
        low, high = sorted((peak, self.peak))
        return high <= low * 10 ** (self.hold_db / 20)

    @property
    def scale(self) -> float:
        """Of the samples."""
        return scale_for(self.peak)


class IncrementalClassifier:
    """A network that computes only what is new in each window; for one stream and one thread.

    Use it as a context manager, or `close()` it. `gmme_edge.Stream` asks it window by window.

    Attributes:
        labels: class names in the order of the probabilities.
        sample_rate_hz: the model's own rate.
        window_samples, hop_samples: what the network sees at once; how far windows are apart.
        data_license: as `Classifier.data_license`.
        whole, in_part: how many windows were computed so.
    """

    precision, backend, backend_reason = "fp32", "ort-cpu", ""

    def __init__(
        self, bundle: Bundle, threads: int | None = None, hold_db: float = HOLD_DB
    ) -> None:
        self._held = HeldPeak(hold_db)
        spec, self.labels = bundle.manifest.model, bundle.manifest.labels
        self.sample_rate_hz, self.window_samples = spec.sample_rate_hz, spec.n_samples
        self.data_license = bundle.manifest.data_license
        self._graphs = IncrementalGraphs(bundle, threads)
        self.hop_samples = self._graphs.hop_samples
        self.whole = self.in_part = 0
        self.reset()

    def __repr__(self) -> str:
        return (
            f"<IncrementalClassifier: {len(self.labels)} classes, windows of "
            f"{self.window_samples} samples, {self.hop_samples} apart, at "
            f"{self.sample_rate_hz} Hz>"
        )

    @property
    def hold_db(self) -> float:
        """How far a window's peak may be from the one that the samples are scaled by."""
        return self._held.hold_db

    def reset(self) -> None:
        """What comes next follows nothing."""
        self._kept: Frames | None = None
        self._stream: object = None
        self._start = 0

    def probabilities(self, waveform: object, sample_rate_hz: int) -> NDArray[np.float64]:
        """Of a window that follows nothing and that nothing follows; ``(n_classes,)``.

        Raises:
            UsageError: it is not one window at the model's rate.
        """
        window = np.asarray(waveform)
        if window.shape != (self.window_samples,) or sample_rate_hz != self.sample_rate_hz:
            raise UsageError(
                f"A waveform of shape {window.shape} at {sample_rate_hz} Hz.",
                f"one window of {self.window_samples} samples at {self.sample_rate_hz} Hz.",
                "push sound of any length and rate into a gmme_edge.Stream of this classifier.",
            )
        self.reset()
        found = self.probabilities_at(window.astype(np.float32), 0)
        self.reset()
        return found

    def probabilities_at(
        self, window: NDArray[np.float32], start: int, stream: object = None
    ) -> NDArray[np.float64]:
        """Of the window that begins at sample `start` of the stream; ``(n_classes,)``.

        Args:
            window: ``(window_samples,)`` at the model's rate, finite. Where it lies one hop behind
                the last of this stream and is about as loud, only its new part is computed.
            stream: whose window it is; after one of another stream it is computed as a whole.

        Raises:
            OutputError: the network gave NaN or infinite logits.
            PlatformError: the engine failed.
        """
        with own_errors():
            given = window[None]
            tamed = tame(given)
            peak, kept = float(np.abs(tamed).max()), self._kept
            follows = stream is self._stream and start == self._start + self.hop_samples
            self._kept, self._stream = None, stream  # should the engine fail
            if kept and follows and self._held.fits(peak):
                logits, kept = self._graphs.step(tamed, self._held.scale, kept)
                self.in_part += 1
            else:
                self._held.peak = peak
                logits, kept = self._graphs.start(tamed, self._held.scale)
                self.whole += 1
            if tamed is given:  # else the next window has not the same samples
                self._kept, self._start = kept, start
            return softmax(logits[0])

    def close(self) -> None:
        self._graphs.close()

    def __enter__(self) -> IncrementalClassifier:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@public
def load_incremental(
    bundle: str | Path,
    threads: int | None = None,
    hold_db: float = HOLD_DB,
    trust: str | Path | None = None,
    sha256: str | None = None,
) -> IncrementalClassifier:
    """Open a bundle's graphs that compute only what is new; for `gmme_edge.Stream`, on a CPU.

    A `LicenseWarning` says where the licence of its data restricts commercial use.

    Args:
        bundle: as `gmme_edge.load` takes it, exported with ``--incremental-hop-ms``.
        threads: CPU threads of one call; None lets the engine choose.
        hold_db: how far a window's peak may be from the one that the samples are scaled for, before
            the whole window is computed anew; 0 to 60.
        trust, sha256: as for `gmme_edge.load`.

    Raises:
        BundleError: no bundle, a damaged one, or none to be trusted.
        UsageError: it was exported without such graphs.
        MissingDependencyError, PlatformError: ONNX Runtime cannot run them here.
    """
    opened = Bundle.open(bundle, trust, sha256)
    opened.warn_of_license(stacklevel=3)
    return IncrementalClassifier(opened, threads, hold_db)
