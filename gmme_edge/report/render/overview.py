"""An archive as one HTML file that needs no network: what was heard when, and its sound."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gmme_edge import __version__
from gmme_edge.report.render.page import render_page


@dataclass(frozen=True)
class Timeline:
    """How many events of each label began in each stretch of time.

    Attributes:
        columns: the stretches' names.
        recorded_h: hours of recordings in each.
        counts: label → events in each.
    """

    title: str
    columns: Sequence[str]
    recorded_h: Sequence[float]
    counts: Mapping[str, Sequence[int]]

    @property
    def most(self) -> int:
        return max((count for row in self.counts.values() for count in row), default=0) or 1


@dataclass(frozen=True)
class Clip:
    """An event to look at and to hear; `sound` is empty where the recording is gone."""

    path: str
    start_s: float
    end_s: float
    start_utc: str
    confidence: float
    seconds: float
    top_khz: float
    picture: bytes
    sound: bytes
    sound_type: str

    @property
    def picture_uri(self) -> str:
        return _data_uri("image/png", self.picture)

    @property
    def sound_uri(self) -> str:
        return _data_uri(self.sound_type, self.sound)


@dataclass(frozen=True)
class Overview:
    """All that the page shows.

    Attributes:
        facts: name → value, at the top.
        labels: label → its number of events, the most frequent first.
        clips: label → its most confident events; labels without any are missing.
    """

    facts: Mapping[str, str]
    labels: Mapping[str, int]
    timelines: Sequence[Timeline]
    clips: Mapping[str, Sequence[Clip]]


def render_overview(overview: Overview) -> str:
    """The page; names and paths are escaped by the template.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    return render_page("overview.html.j2", overview=overview, version=__version__)


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
