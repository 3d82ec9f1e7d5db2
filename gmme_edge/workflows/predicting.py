"""Recordings to labels, one file after the other; a bad one does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gmme_edge.audio import AUDIO_SUFFIXES, FOREIGN_SUFFIXES, Recording, Waveform
from gmme_edge.errors import AudioError, BundleError, UsageError
from gmme_edge.observer import SILENT, Observer
from gmme_edge.pretrained import resolve
from gmme_edge.public import own_errors, public
from gmme_edge.runtime.analysis import Analysis
from gmme_edge.runtime.classifier import load
from gmme_edge.runtime.engines.cache import Rebuild
from gmme_edge.workflows.clips import tell_foreign
from gmme_edge.workflows.settings.predicting import PredictionSettings

_PARTS = 1000  # of a recording, so that the bar of a long one does not stand still


@dataclass(frozen=True)
class Heard:
    """One recording: what was found, or why it could not be heard."""

    path: Path
    analysis: Analysis | None = None
    error: AudioError | None = None

    def to_dict(self, top_k: int) -> dict[str, Any]:
        if self.analysis is None:
            return {"file": str(self.path), "error": str(self.error)}
        return {"file": str(self.path), **describe_analysis(self.analysis, top_k)}


def describe_analysis(found: Analysis, top_k: int) -> dict[str, Any]:
    """A recording as JSON values: its classes, and its windows where there are several."""
    values: dict[str, Any] = {
        "duration_s": found.duration_s,
        "silent": found.silent,
        "predictions": [each.to_dict() for each in found.rank(top_k)],
        "notes": list(found.notes),
    }
    if len(found.starts_s) > 1:
        values["windows"] = [_window(found, i) for i in range(len(found.starts_s))]
    return values


def _window(found: Analysis, i: int) -> dict[str, Any]:
    best = found.rank_window(i)
    start_s = float(found.starts_s[i])
    end_s = min(start_s + found.window_s, found.duration_s)
    return {"start_s": start_s, "end_s": end_s, "silent": best.silent, **best[0].to_dict()}


@public
def list_recordings(
    paths: Sequence[Path], recursive: bool = False, observer: Observer = SILENT
) -> list[Path]:
    """Files as they are given, and the recordings in folders, sorted; hidden ones are left out.

    The observer hears of recordings in formats that cannot be decoded.

    Raises:
        UsageError: a folder without recordings.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(path.rglob("*") if recursive else path.iterdir())
        recordings = [each for each in inside if _is_of(AUDIO_SUFFIXES, each, path)]
        tell_foreign([each for each in inside if _is_of(FOREIGN_SUFFIXES, each, path)], observer)
        if not recordings:
            raise UsageError(
                f"{path} holds no recordings.",
                f"files that end in {', '.join(sorted(AUDIO_SUFFIXES))}.",
                "" if recursive else "add --recursive if they are in folders of it.",
            )
        found += recordings
    return found


def _is_of(suffixes: frozenset[str], path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return not hidden and path.suffix.lower() in suffixes and path.is_file()


@public
def predict(
    bundle: str | Path,
    recordings: Sequence[Path],
    settings: PredictionSettings | None = None,
    observer: Observer = SILENT,
    rebuild: Rebuild | None = None,
) -> Iterator[Heard]:
    """Listen to `recordings` in turn; each result comes as soon as it is there.

    Args:
        bundle: its folder, or the name of a shipped model.
        rebuild: see `gmme_edge.load`.

    Raises:
        BundleError: no bundle, or a damaged one.
    """
    with own_errors():
        yield from _listen(bundle, recordings, settings or PredictionSettings(), observer, rebuild)


def _listen(
    bundle: str | Path,
    recordings: Sequence[Path],
    settings: PredictionSettings,
    observer: Observer,
    rebuild: Rebuild | None,
) -> Iterator[Heard]:
    _refuse_checkpoint(bundle)
    with load(bundle, settings.backend, settings.precision, settings.threads, rebuild) as listener:
        if listener.backend_reason:
            observer.note(f"note: {listener.backend_reason}")
        observer.stage("listen")
        for i, path in enumerate(recordings):
            tell = partial(_tell_share, observer, i, len(recordings))
            tell(0.0)
            try:
                with own_errors():
                    recording = _Watched(path, listener.sample_rate_hz, tell)
                    heard = Heard(path, listener.analyze_recording(recording))
            except AudioError as error:
                heard = Heard(path, error=error)
            tell(1.0)
            yield heard


class _Watched(Recording):
    """A recording that tells which share of it was given to the network."""

    def __init__(self, path: Path, rate_hz: int, tell: Callable[[float], None]) -> None:
        self._tell = tell
        super().__init__(path, rate_hz)

    def blocks(self) -> Iterator[Waveform]:
        given = 0
        for block in super().blocks():
            for start in range(0, len(block), step := self.sample_rate_hz):
                yield block[start : start + step]
                given += len(block[start : start + step])
                self._tell(given / max(self.n_given, 1))


def _tell_share(observer: Observer, done: int, total: int, share: float) -> None:
    observer.progress("recordings", round((done + share) * _PARTS), total * _PARTS)


def _refuse_checkpoint(bundle: str | Path) -> None:
    folder = resolve(bundle)
    if (folder / "model.json").is_file() and not (folder / "manifest.json").is_file():
        raise BundleError(
            f"{folder} is a checkpoint, not a bundle.",
            "a bundle.",
            f"export it first: gmme-edge export {folder} -o my-bundle",
        )
