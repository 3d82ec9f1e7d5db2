"""A bundle as a function: a waveform of any rate and length in, labels and probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import read_audio, resample, split_windows, to_mono
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import UsageError
from gmme_edge.runtime.backends import open_session
from gmme_edge.runtime.engines.cache import Rebuild
from gmme_edge.runtime.parity import run_in_batches
from gmme_edge.runtime.session import Outputs, Session
from gmme_edge.scoring import pool_windows


@dataclass(frozen=True)
class Prediction:
    """One class and its probability, 0 to 1."""

    label: str
    probability: float


class Classifier:
    """A network ready to listen. Use it as a context manager, or `close()` it.

    Attributes:
        labels: class names in the order of `probabilities`.
        sample_rate_hz: the model's own rate; other rates are resampled to it.
        precision: the one that runs, such as ``int8-ort``.
    """

    def __init__(self, bundle: Bundle, session: Session) -> None:
        self._session = session
        self._n_samples = bundle.manifest.model.n_samples
        self.labels = bundle.manifest.labels
        self.sample_rate_hz = bundle.manifest.model.sample_rate_hz
        self.precision = session.precision

    def probabilities(
        self, waveform: NDArray[np.floating], sample_rate_hz: int
    ) -> NDArray[np.float64]:
        """Probability per class, shape ``(n_classes,)``.

        Args:
            waveform: ``(samples,)`` or ``(samples, channels)`` in floating point; any level,
                since the graph scales each window to its peak. Shorter ones are zero-padded;
                for longer ones the probabilities of equally spaced windows are averaged.

        Raises:
            AudioError: empty, another number of axes, or NaN or infinite samples.
            UsageError: integers; divide 16-bit samples by 32768 first.
        """
        return pool_windows(self._run(waveform, sample_rate_hz)["logits"])

    def __call__(
        self, waveform: NDArray[np.floating], sample_rate_hz: int, top_k: int = 5
    ) -> list[Prediction]:
        """The `top_k` most probable classes, best first; arguments as for `probabilities`."""
        return self._rank(self.probabilities(waveform, sample_rate_hz), top_k)

    def classify_file(self, path: str | Path, top_k: int = 5) -> list[Prediction]:
        """As a call, for any file that libsndfile reads."""
        waveform = read_audio(Path(path), self.sample_rate_hz)
        return self(waveform, self.sample_rate_hz, top_k)

    def embedding(self, waveform: NDArray[np.floating], sample_rate_hz: int) -> NDArray[np.float32]:
        """The class token before the last layer, averaged over windows; ``(embed_dim,)``."""
        outputs = self._run(waveform, sample_rate_hz)
        if "embedding" not in outputs:
            raise UsageError(
                "This bundle has no embedding output.", fix="export again without --no-embedding."
            )
        return np.asarray(outputs["embedding"].mean(axis=0))

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def _run(self, waveform: NDArray[np.floating], sample_rate_hz: int) -> Outputs:
        samples = np.asarray(waveform)
        if not np.issubdtype(samples.dtype, np.floating):
            raise UsageError(
                f"The waveform's samples are {samples.dtype}.", "floating point from -1 to 1.",
                "divide 16-bit samples by 32768.",
            )  # fmt: skip
        mono = resample(to_mono(samples), sample_rate_hz, self.sample_rate_hz)
        return run_in_batches(self._session, split_windows(mono, self._n_samples))

    def _rank(self, probabilities: NDArray[np.float64], top_k: int) -> list[Prediction]:
        if top_k < 1:
            raise UsageError(f"top_k is {top_k}.", "at least 1.")
        best = np.argsort(-probabilities, kind="stable")[:top_k]
        return [Prediction(self.labels[i], float(probabilities[i])) for i in best]


def load(
    bundle: str | Path,
    backend: str = "ort-cpu",
    precision: str | None = None,
    threads: int | None = None,
    rebuild: Rebuild | None = None,
) -> Classifier:
    """Open a bundle for classification; needs numpy and the backend's library only.

    Args:
        bundle: its folder, or the name of a shipped model, such as ``esc10``.
        precision: default what `gmme-edge export --auto` recommended for `backend`; where it did
            not, fp32, or the bundle's first if it has no fp32.
        threads: CPU threads of one call; None lets the engine choose.
        rebuild: leave to build a TensorRT engine on this machine where the bundle has none that
            fits it: `gmme_exporters.tensorrt.rebuild.allow_rebuild()`.

    Raises:
        BundleError: no bundle, or a damaged one.
        MissingDependencyError, PlatformError: the backend cannot run here.
    """
    opened = Bundle.open(bundle)
    chosen = precision or opened.recommended_precision(backend)
    return Classifier(opened, open_session(opened, backend, chosen, threads, rebuild))
