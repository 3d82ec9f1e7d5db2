"""What `evaluate` judges, on which clips, and what it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gmme_edge.runtime.backends import BACKEND_NAMES
from gmme_edge.settings import Settings, setting
from gmme_edge.workflows.settings.clips import LabelledClips
from gmme_edge.workflows.settings.running import MOST_THREADS, refuse_threads_on_gpus

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class EvaluationClips(LabelledClips):
    """The labelled clips."""

    split: str = setting("test", "The part of the data set.", choices=SPLITS)
    allow_seen: bool = setting(
        False,
        "Go on where the model was trained on these clips; the result says so.",
        "--allow-seen",
    )


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(Settings):
    """What runs, and where the results go."""

    panel = "Backend"

    precision: str | None = setting(
        None, "Of a bundle; default fp32. After the first of fp32,int8 come label flips."
    )
    backend: str | None = setting(
        None,
        f"Of a bundle, one of {BACKEND_NAMES}; default ort-cpu. A checkpoint runs on torch; "
        "what is both does so with --backend torch.",
    )
    threads: int | None = setting(
        None, "CPU threads; default: all cores of this machine.", least=1, most=MOST_THREADS
    )
    against: Path | None = setting(
        None, "A result on the same clips, to count label flips against instead.", panel="Output"
    )
    output: Path | None = setting(
        None,
        "Result JSON; of several precisions each has a file of its own.",
        "-o",
        "--output",
        panel="Output",
    )
    record: bool = setting(
        False, "Also note the accuracy in the bundle's manifest.", "--record", panel="Output"
    )

    def check(self) -> None:
        if self.threads is not None and self.backend is not None:
            refuse_threads_on_gpus((self.backend,))


@dataclass(frozen=True, kw_only=True)
class AccuracyGate(Settings):
    """A limit that makes a command fail."""

    panel = "Gate"

    min_accuracy: float | None = setting(
        None, "Fail (exit 6) where an accuracy, 0 to 1, is below.", least=0, most=1
    )
