"""What `profile --remote` prints under ``--json``."""

from __future__ import annotations

from typing import TypedDict

from gmme_edge.fields import Text
from gmme_edge.report.documents import LatencyResult


class FleetRun(TypedDict):
    """What one machine made of one bundle: either an error or a result is null."""

    host: Text
    ssh: Text
    power_mode: int | None
    bundle: Text
    error: str | None
    result: LatencyResult | None


class Fleet(TypedDict):
    """`gmme-edge profile --remote --json`, kind ``fleet``."""

    schema: int
    kind: Text
    runs: list[FleetRun]
