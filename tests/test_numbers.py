"""Numbers that no machine type holds are refused by every group of settings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from gmme_edge.errors import UsageError
from gmme_edge.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class Numbers(Settings):
    count: int = setting(0, "A number without bounds of its own.")
    ratio: float = setting(0.0, "Another.")


@pytest.mark.parametrize(
    "given",
    [{"count": 2**63}, {"count": -(2**63) - 1}, {"count": 10**400}]
    + [{"ratio": value} for value in (math.nan, math.inf, -math.inf)],
)
def test_numbers_beyond_machine_types_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"--(count|ratio) is"):
        Numbers(**given)


@pytest.mark.parametrize("given", [{"count": 2**63 - 1}, {"count": -(2**63)}, {"ratio": 1e308}])
def test_numbers_within_machine_types_pass(given: dict[str, Any]) -> None:
    Numbers(**given)
