"""How the precision to recommend is found, and what it must keep to."""

from __future__ import annotations

from dataclasses import dataclass

from gmme_edge.runtime.backends import BACKEND_NAMES
from gmme_edge.settings import Settings, setting
from gmme_edge.workflows.settings.clips import LabelledClips
from gmme_edge.workflows.settings.profiling import MOST_MS

_PANEL = "Verdict"
_MAX_DROP_POINTS = 0.5


@dataclass(frozen=True, kw_only=True)
class JudgingClips(LabelledClips):
    """The data set whose validation clips judge; of one without, some training clips do."""


@dataclass(frozen=True, kw_only=True)
class JudgingSettings(Settings):
    """What a precision may lose, where it is measured, and the gates of the one recommended."""

    max_drop_points: float = setting(
        _MAX_DROP_POINTS, "Points of accuracy that it may lose against fp32.", least=0, most=100
    )
    backend: str = setting("ort-cpu", "Where to measure.")
    min_accuracy: float | None = setting(None, "Fail where its accuracy is below.", least=0, most=1)
    max_latency_p90_ms: float | None = setting(
        None, "Fail where its 90th percentile is above.", least=0, most=MOST_MS
    )


@dataclass(frozen=True, kw_only=True)
class VerdictSettings(Settings):
    """The same as options of `export`."""

    auto: bool = setting(
        False,
        "Export fp32, fp16 and int8, measure accuracy (validation clips of --calib-dataset) and "
        "latency here, and recommend one to the runtime.",
        "--auto",
        panel=_PANEL,
    )
    auto_backend: str = setting(
        "ort-cpu",
        f"Where --auto measures: {BACKEND_NAMES}.",
        needs="auto",
        panel=_PANEL,
    )
    min_accuracy: float | None = setting(
        None,
        "Fail (exit 6) where an accuracy, 0 to 1, is below.",
        least=0,
        most=1,
        needs="auto",
        panel=_PANEL,
    )
    max_latency_p90_ms: float | None = setting(
        None,
        "Fail (exit 8) where a 90th percentile is above.",
        least=0,
        most=MOST_MS,
        needs="auto",
        panel=_PANEL,
    )

    def judging(self, max_drop_points: float | None) -> JudgingSettings:
        """What `judge` is asked for."""
        return JudgingSettings(
            max_drop_points=_MAX_DROP_POINTS if max_drop_points is None else max_drop_points,
            backend=self.auto_backend,
            min_accuracy=self.min_accuracy,
            max_latency_p90_ms=self.max_latency_p90_ms,
        )
