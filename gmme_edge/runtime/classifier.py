"""A bundle as a function: a waveform of any rate and length in, labels and probabilities out."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import (
    Waveform,
    check_rate,
    resample,
    sound_share,
    stream_windows,
    to_mono,
    to_samples,
    window_starts,
)
from gmme_edge.audio.windows import tame
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import UsageError, shorten
from gmme_edge.public import own_errors, public
from gmme_edge.runtime.analysis import Analysis, Prediction, Ranking
from gmme_edge.runtime.backends import AUTO, BACKENDS, open_session
from gmme_edge.runtime.session import Outputs, Session

if TYPE_CHECKING:
    from gmme_edge.audio import Recording
    from gmme_edge.runtime.engines.cache import Rebuild

__all__ = ["Analysis", "Classifier", "Prediction", "Ranking", "load"]

_BATCH = 4  # windows of one call of the engine


class Classifier:
    """A network ready to listen. Use it as a context manager, or `close()` it.

    It may be called from several threads at once, and awaited (`aclassify`). A waveform is
    ``(samples,)`` or ``(samples, channels)``: floating point of any level, or integers, which are
    scaled by their type. Shorter ones than a window are zero-padded; longer ones become equally
    spaced windows, and those that hold sound are averaged (`gmme_edge.pooling.pool_windows`).

    Attributes:
        labels: class names in the order of `probabilities`.
        sample_rate_hz: the model's own rate; other rates are resampled to it.
        window_samples: what the network sees at once, at `sample_rate_hz`.
        hop: how far windows of a long recording are apart at most, in samples.
        precision: the one that runs, such as ``int8-ort``.
        backend: what runs it, such as ``ort-cpu``.
        backend_reason: why, where ``auto`` chose it; else empty.
        data_license: of the recordings it was trained on, such as ``CC-BY-4.0``, as far as it is
            stated.

    Every call raises:
        AudioError: a waveform that is empty, has other axes, or NaN or infinite samples.
        UsageError: no waveform at all, or a rate that is no number.
    """

    def __init__(self, bundle: Bundle, session: Session, backend_reason: str = "") -> None:
        spec = bundle.manifest.model
        self._session, self._name = session, spec.name
        # ONNX Runtime serves several threads at once; other engines one after the other.
        row = BACKENDS.get(session.backend)
        concurrent = getattr(session, "is_concurrent", row is not None and row.concurrent)
        self._lock = nullcontext() if concurrent else Lock()
        self.labels = bundle.manifest.labels
        self.sample_rate_hz = spec.sample_rate_hz
        self.window_samples = self.hop = spec.n_samples
        self.precision, self.backend = session.precision, session.backend
        self.backend_reason = backend_reason
        self.data_license = bundle.manifest.data_license

    def __repr__(self) -> str:
        return (
            f"<Classifier {self._name}: {len(self.labels)} classes, {self.precision} on "
            f"{self._session.backend}, windows of {self.window_samples} samples at "
            f"{self.sample_rate_hz} Hz>"
        )

    def __call__(self, waveform: object, sample_rate_hz: int, top_k: int = 5) -> Ranking:
        """The `top_k` most probable classes, best first; `Ranking.silent` flags silence."""
        return self.analyze(waveform, sample_rate_hz).rank(top_k)

    async def aclassify(self, waveform: object, sample_rate_hz: int, top_k: int = 5) -> Ranking:
        """As a call, in another thread, so that an event loop goes on meanwhile."""
        import asyncio  # half as long to load as numpy; whoever awaits has it already

        work = functools.partial(self, waveform, sample_rate_hz, top_k)
        return await asyncio.get_running_loop().run_in_executor(None, work)

    def batch(
        self, waveforms: Sequence[object], sample_rate_hz: int, top_k: int = 5
    ) -> list[Ranking]:
        """Several recordings of one rate, each as a call; their windows share the engine's runs."""
        return [found.rank(top_k) for found in self._analyze_all(waveforms, sample_rate_hz)]

    def probabilities(self, waveform: object, sample_rate_hz: int) -> NDArray[np.float64]:
        """Probability per class, shape ``(n_classes,)``."""
        return self.analyze(waveform, sample_rate_hz).probabilities

    def embedding(self, waveform: object, sample_rate_hz: int) -> NDArray[np.float32]:
        """The class token before the last layer, averaged over windows; ``(embed_dim,)``."""
        return self.analyze(waveform, sample_rate_hz).embedding

    def embed(self, waveforms: Sequence[object], sample_rate_hz: int) -> NDArray[np.float32]:
        """`embedding` of several recordings of one rate; ``(n, embed_dim)``."""
        return np.stack([a.embedding for a in self._analyze_all(waveforms, sample_rate_hz)])

    def analyze(self, waveform: object, sample_rate_hz: int) -> Analysis:
        """Everything that is found, window by window."""
        return self._analyze_all([waveform], sample_rate_hz)[0]

    def classify_file(self, path: str | Path, top_k: int = 5) -> Ranking:
        """As a call, for any file that libsndfile reads."""
        return self.analyze_file(path).rank(top_k)

    def analyze_file(self, path: str | Path) -> Analysis:
        """As `analyze`; the file is decoded in blocks, so memory does not grow with its length."""
        from gmme_edge.audio import Recording

        if not isinstance(path, (str, Path)):
            raise UsageError(f"The recording is {shorten(path)}.", "the path of a file.")
        with own_errors():
            return self.analyze_recording(Recording(Path(path), self.sample_rate_hz))

    def analyze_recording(self, recording: Recording) -> Analysis:
        """As `analyze`, for a recording at the model's rate."""
        windows = stream_windows(recording.blocks(), recording.n_samples, self.window_samples)
        return self._analysis(recording.n_samples, *self._run(windows), tuple(recording.notes))

    def close(self) -> None:
        self._session.close()

    def __enter__(self) -> Classifier:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _analyze_all(self, waveforms: Sequence[object], sample_rate_hz: int) -> list[Analysis]:
        with own_errors():
            return self._analyze_each(waveforms, sample_rate_hz)

    def _analyze_each(self, waveforms: Sequence[object], sample_rate_hz: int) -> list[Analysis]:
        rate_hz = check_rate(sample_rate_hz)
        if isinstance(waveforms, (str, bytes)) or not isinstance(waveforms, Iterable):
            raise UsageError(f"The waveforms are {shorten(waveforms)}.", "several, such as a list.")
        if getattr(waveforms, "ndim", 2) == 1:
            raise UsageError(
                f"The waveforms are one array of shape {waveforms.shape}.",  # type: ignore[attr-defined]
                "several, such as a list.",
                "call the classifier, `analyze` or `embedding` for one recording.",
            )
        mono = [resample(to_mono(to_samples(w)), rate_hz, self.sample_rate_hz) for w in waveforms]
        if not mono:
            raise UsageError("There are no waveforms.", "at least one.")
        windows = (w for m in mono for w in stream_windows([m], len(m), self.window_samples))
        outputs, sound = self._run(windows)
        counts = [len(window_starts(len(m), self.window_samples)) for m in mono]
        ends = np.cumsum(counts)
        return [
            self._analysis(
                len(m),
                {name: v[end - n : end] for name, v in outputs.items()},
                sound[end - n : end],
            )
            for m, n, end in zip(mono, counts, ends)  # noqa: B905
        ]

    def _run(self, windows: Iterator[Waveform]) -> tuple[Outputs, NDArray[np.float64]]:
        """All outputs for windows that arrive one by one, and how much of each is sound."""
        found: dict[str, list[NDArray[np.float32]]] = {}
        sound: list[NDArray[np.float64]] = []
        while batch := list(islice(windows, _BATCH)):
            stacked = np.stack(batch)
            sound.append(sound_share(stacked))
            with self._lock:
                outputs = self._session.run(tame(stacked))
            for name, values in outputs.items():
                found.setdefault(name, []).append(values)
        return {name: np.concatenate(v) for name, v in found.items()}, np.concatenate(sound)

    def _analysis(
        self, length: int, outputs: Outputs, sound: NDArray[np.float64], notes: Iterable[str] = ()
    ) -> Analysis:
        return Analysis(
            labels=self.labels,
            starts_s=window_starts(length, self.window_samples) / self.sample_rate_hz,
            window_s=self.window_samples / self.sample_rate_hz,
            duration_s=length / self.sample_rate_hz,
            sound_share=sound,
            logits=outputs["logits"],
            embeddings=outputs.get("embedding"),
            notes=tuple(notes),
        )


@public
def load(
    bundle: str | Path,
    backend: str = "ort-cpu",
    precision: str | None = None,
    threads: int | None = None,
    rebuild: Rebuild | None = None,
    trust: str | Path | None = None,
    sha256: str | None = None,
) -> Classifier:
    """Open a bundle for classification; needs numpy and the backend's library only.

    A `LicenseWarning` says where the licence of its data restricts commercial use.

    Args:
        bundle: its folder, a zip file of it, or the name of a shipped model, such as ``esc10``.
        backend: ``auto`` takes the fastest that agrees with the golden vectors on this machine. The
            first time it measures them all; the cache folder remembers the choice.
        precision: default what `gmme-edge export --auto` recommended for `backend`; where it did
            not, fp32, or the bundle's first if it has no fp32.
        threads: CPU threads of one call; None lets the engine choose.
        rebuild: leave to build a TensorRT engine on this machine where the bundle has none that
            fits it: `gmme_exporters.tensorrt.rebuild.allow_rebuild()`.
        trust: a public key, or the file of one, with which the manifest must be signed.
        sha256: what the SHA-256 of the manifest must be.

    Raises:
        BundleError: no bundle, a damaged one, or none to be trusted.
        MissingDependencyError, PlatformError: the backend cannot run here.
    """
    opened = Bundle.open(bundle, trust, sha256)
    opened.warn_of_license(stacklevel=3)
    return open_classifier(opened, backend, precision, threads, rebuild)


def open_classifier(
    opened: Bundle,
    backend: str,
    precision: str | None = None,
    threads: int | None = None,
    rebuild: Rebuild | None = None,
) -> Classifier:
    """As `load`, of an open bundle, and without its warning."""
    why = ""
    if backend == AUTO:
        from gmme_edge.runtime.choosing import choose_backend

        backend, why, _ = choose_backend(opened, precision, threads, rebuild)
    chosen = precision or opened.recommended_precision(backend)
    session = open_session(opened, backend, chosen, threads, rebuild)
    return Classifier(opened, session, why)
