"""Where the commands print: results on stdout, everything else on stderr.

Whatever is printed may come from a file: a label, a path, another library's message. So no text is
taken for markup, and what a terminal would obey or cannot show is written as an escape, ``\\x1b``.
Style goes through ``style=`` or a `rich.text.Text`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

# C0 and C1 controls but tab and newline, direction overrides, and halves of surrogate pairs.
_UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def make_visible(text: str) -> str:
    """`text` with terminal control characters and lone surrogates as escapes."""
    return _UNSHOWABLE.sub(lambda found: ascii(found[0])[1:-1], text)


class PlainConsole(Console):
    """A console that takes text as it is: no markup, no emoji codes, no control characters."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **style: Any) -> Text:  # noqa: ANN401 - as rich has it
        return super().render_str(make_visible(text), **style)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            plain = segment.control or not _UNSHOWABLE.search(segment.text)
            yield segment if plain else Segment(make_visible(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """The command ends as by any other error; rich would end the process, with code 1."""
        raise BrokenPipeError


class NoteConsole(PlainConsole):
    """stderr, which may be closed, full or unread: that ends the notes, never the work."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def print(self, *objects: Any, **how: Any) -> None:  # noqa: ANN401 - as rich has it
        try:
            super().print(*objects, **how)
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        self.quiet = True
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """What waits in its buffer, and what follows, goes nowhere: it can no longer be written."""
    with contextlib.suppress(OSError, ValueError):  # a stand-in without a descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


stdout = PlainConsole()
stderr = NoteConsole()  # `--quiet` silences it
errors = NoteConsole()


def tell_written(path: object, next_call: str = "") -> None:
    """Say on stderr what was written, and which call is of use next."""
    then = f"; next: {next_call}" if next_call else ""
    stderr.print(f"wrote {path}{then}", soft_wrap=True)


config_file: ContextVar[str] = ContextVar("config_file", default="")
"""The file that gave the running command options; empty where there is none."""


def emit_json(value: object) -> None:
    """Print `value` as the only thing on stdout, in ASCII, so that any encoding can carry it.

    An object also says, as `config`, which file gave options.
    """
    if isinstance(value, dict) and config_file.get():
        value = {**value, "config": config_file.get()}
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


class Bars(Progress):
    """Progress bars, below a table where there is one."""

    above: RenderableType | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.above is not None:
            yield self.above
        yield from super().get_renderables()


def progress() -> Bars:
    """A progress bar on stderr that disappears when done; none where stderr is no terminal."""
    return Bars(
        TextColumn("{task.description}", style="progress.description", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=stderr,
        transient=True,
        disable=stderr.quiet or not stderr.is_terminal,
    )
