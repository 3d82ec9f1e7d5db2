"""Which clips of a batch one process holds."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Rows `start` to `stop` - 1 of a batch of `total` clips that processes share.

    Random numbers are drawn for all rows and then cut with `of`, so that a clip's augmentation
    does not depend on how many processes there are.
    """

    total: int
    start: int
    stop: int

    @classmethod
    def all(cls, total: int) -> Rows:
        return cls(total, 0, total)

    def of(self, values: Tensor) -> Tensor:
        """This process's part of `values`, whose first axis is the whole batch."""
        return values[self.start : self.stop]
