"""Who watches a training: an `Observer` that hears of its steps too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gmme_edge.observer import Observer

if TYPE_CHECKING:
    from gmme_edge.training.run.loop import Progress, Trainer


class TrainingObserver(Observer):
    """This one ignores it; override what you want to show."""

    def joined(self, rank: int) -> None:
        """This is process number `rank` of those that share the run; number 0 speaks."""

    def began(self, trainer: Trainer, title: str) -> None:
        """A run begins, after the stages that prepare it."""

    def stepped(self, progress: Progress) -> None:
        """An optimizer step is done."""

    def ended(self) -> None:
        """The run is over, for better or worse; may be told more than once."""


class Tolerant(TrainingObserver):
    """Passes on what it hears; an observer that cannot write any more is left alone.

    A terminal that is gone, or a full disk behind stderr, must not cost a training.
    """

    def __init__(self, observer: TrainingObserver) -> None:
        self._observer: TrainingObserver | None = observer

    def _tell(self, tell: Callable[[TrainingObserver], None]) -> None:
        if self._observer is None:
            return
        try:
            tell(self._observer)
        except (OSError, ValueError):  # ValueError: the file is closed
            self._observer = None

    def stage(self, name: str) -> None:
        self._tell(lambda o: o.stage(name))

    def progress(self, what: str, done: int, total: int) -> None:
        self._tell(lambda o: o.progress(what, done, total))

    def note(self, text: str) -> None:
        self._tell(lambda o: o.note(text))

    def joined(self, rank: int) -> None:
        self._tell(lambda o: o.joined(rank))

    def began(self, trainer: Trainer, title: str) -> None:
        self._tell(lambda o: o.began(trainer, title))

    def stepped(self, progress: Progress) -> None:
        self._tell(lambda o: o.stepped(progress))

    def ended(self) -> None:
        self._tell(lambda o: o.ended())
