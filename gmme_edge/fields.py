"""Types of the fields of result files: what a published schema says, and what a reader checks."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

_MOST = 1e300  # keeps infinity out

Number = Annotated[float, Meta(ge=-_MOST, le=_MOST)]
Positive = Annotated[float, Meta(gt=0, le=_MOST)]
NotNegative = Annotated[float, Meta(ge=0, le=_MOST)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
Text = Annotated[str, Meta(min_length=1)]
Sha256 = Annotated[str, Meta(description="SHA-256 in hexadecimal; empty where it is not known.")]
