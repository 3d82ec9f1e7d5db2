"""What `similar` looks for, and how much it tells."""

from __future__ import annotations

from dataclasses import dataclass

from gmme_edge.errors import UsageError
from gmme_edge.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class SearchSettings(Settings):
    """The part of the query that counts, and the number of answers."""

    panel = "Search"

    start_s: float = setting(
        0.0, "Where the sound begins in the query, in seconds.", least=0, most=1e9
    )
    end_s: float | None = setting(
        None, "Where it ends, in seconds.  [default: with the recording]", least=0, most=1e9
    )
    top: int = setting(10, "Windows to show.", "-n", "--top", least=1, most=100_000)
    model: str | None = setting(
        None, "The scan's bundle, where it lies elsewhere now.", "-m", "--model"
    )

    def check(self) -> None:
        if self.end_s is not None and self.end_s <= self.start_s:
            raise UsageError(
                f"--end-s {self.end_s:g} is not after --start-s {self.start_s:g}.",
                "a stretch of the query.",
            )
