"""What a workflow tells, shown in the terminal: a spinner, bars and notes on stderr."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.progress import TaskID
from rich.table import Table
from rich.text import Text

from gmme_edge.cli.views.console import Bars, make_visible, progress, stderr
from gmme_edge.observer import Observer

_NAME_COLUMNS = 40
_TOLD_S = 1.0


class ConsoleObserver(Observer):
    """One line for the current stage, and one bar for what counts within it.

    A stage of a second or more leaves a line with its time. Where stderr is no terminal nothing is
    drawn; such lines and notes are printed all the same.
    """

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._stage: TaskID | None = None
        self._steps: TaskID | None = None
        self._name, self._began_s = "", 0.0

    def stage(self, name: str) -> None:
        self.end_stage()
        self._name, self._began_s = name, time.monotonic()
        if self._stage is None:
            self._stage = self._bars.add_task("", total=None)
        self._bars.update(self._stage, description=make_visible(name))
        if self._steps is not None:  # a bar that was full would keep its remaining time of zero
            self._bars.reset(self._steps, total=None, visible=False)

    def end_stage(self) -> None:
        """Say how long the current stage took, if there is one that took a while."""
        took_s = time.monotonic() - self._began_s
        if self._name and took_s >= _TOLD_S:
            self.note(f"{self._name}: {took_s:.1f} s")
        self._name = ""

    def progress(self, what: str, done: int, total: int) -> None:
        if self._steps is None:
            self._steps = self._bars.add_task("", total=None)
        description = make_visible(f"  {what}")[:_NAME_COLUMNS]
        self._bars.update(
            self._steps, description=description, completed=done, total=total, visible=True
        )

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for index, head in enumerate(header):
            shown.add_column(Text(head), justify="right" if index else "left")
        for row in rows:
            shown.add_row(*(Text(make_visible(cell)) for cell in row))
        self._bars.above = shown

    def note(self, text: str) -> None:
        stderr.print(text, soft_wrap=True)


@contextmanager
def watch() -> Iterator[ConsoleObserver]:
    """An observer for one call; what it drew disappears at the end.

    What the warnings of the package say are notes, without the line of code that Python adds.
    """
    with progress() as bars:
        observer = ConsoleObserver(bars)
        with warnings_as_notes(observer.note):
            yield observer
            observer.end_stage()


@contextmanager
def warnings_as_notes(note: Callable[[str], object]) -> Iterator[None]:
    """What an `AudioWarning` or a `LicenseWarning` says goes to `note`."""
    from gmme_edge.audio.samples import AudioWarning
    from gmme_edge.licenses import LicenseWarning

    own = AudioWarning, LicenseWarning
    with warnings.catch_warnings():
        for each in own:
            warnings.simplefilter("always", each)
        show = warnings.showwarning

        def tell(message: Warning | str, category: type[Warning], *where: Any) -> None:  # noqa: ANN401 - as Python calls it
            if issubclass(category, own):
                note(f"note: {message}")
            else:
                show(message, category, *where)

        warnings.showwarning = tell  # type: ignore[assignment]  # `where` is passed on as it is
        yield
