"""What `cache` and commands that listen print under ``--json``; see `gmme_edge.report.outputs`."""

from __future__ import annotations

from typing import Any, TypedDict

from gmme_edge.fields import Count, NotNegative, Number, Share, Text


class CacheEntry(TypedDict):
    """One kept file; `used_at_s` counts seconds since 1970."""

    path: str
    kind: Text
    size_bytes: int
    used_at_s: NotNegative


class Cache(TypedDict):
    """`gmme-edge cache --json`."""

    folder: str
    removed: int
    entries: list[CacheEntry]


class Microphone(TypedDict):
    """A row of `gmme-edge listen --list-devices --json`."""

    device: int
    name: str
    channels: Count
    rate_hz: Count


class _Stretch(TypedDict):
    start_s: NotNegative
    end_s: NotNegative
    start_sample: int
    end_sample: int
    sample_rate_hz: Count


class _Dated(_Stretch, total=False):
    start_utc: str
    end_utc: str


class HeardEvent(_Dated):
    """A line of `gmme-edge listen --json`, kind ``event``."""

    kind: Text
    label: str
    peak: Share
    mean: Share
    first_window: int
    last_window: int
    windows: int


class HeardGap(_Dated):
    """A line of `gmme-edge listen --json`, kind ``gap``: sound that was lost."""

    kind: Text
    lost_samples: int


class ScanCounts(TypedDict):
    """Recordings by state, and what was found in them; segments of long ones in work."""

    heard: int
    failed: int
    left: int
    events: int
    duration_s: NotNegative
    segments_heard: int
    segments_left: int


class _Scanned(TypedDict):
    kind: Text
    schema: int
    counts: ScanCounts
    parameters: dict[str, Any]
    files: dict[str, str]


class Scanned(_Scanned, total=False):
    """`gmme-edge scan --json` and ``scan.json``, kind ``scan``; why, where ``auto`` chose."""

    backend_reason: str


class SimilarWindow(TypedDict):
    """A row of `gmme-edge similar --json`; `start_utc` is empty where it is not known."""

    path: str
    start_s: NotNegative
    end_s: NotNegative
    start_utc: str
    similarity: Number
