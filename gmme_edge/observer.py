"""Who watches a long call: one small interface between the work and whatever shows it."""

from __future__ import annotations

from collections.abc import Sequence


class Observer:
    """Hears what a workflow does; this one ignores it. Override what you want to show.

    All methods are called in the thread that does the work, and should return quickly.
    """

    def stage(self, name: str) -> None:
        """A stage begins, such as ``"write fp16"``; the one before has ended."""

    def progress(self, what: str, done: int, total: int) -> None:
        """`done` of `total` steps of `what` are finished, within the current stage."""

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Figures so far, which replace those of the call before; at most a few times a second."""

    def note(self, text: str) -> None:
        """Something that does not stop the work, and that its user should know."""


SILENT = Observer()


class ToldInterrupt(KeyboardInterrupt):
    """An interrupt of which the user was told what was done and what is left."""
