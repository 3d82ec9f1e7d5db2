"""What is being heard, drawn: a bar per label, and a line per event."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from rich.live import Live
from rich.table import Table
from rich.text import Text

from gmme_edge.cli.views.console import stderr, stdout
from gmme_edge.runtime.streaming.events import Event, Gap
from gmme_edge.runtime.streaming.stream import Stream

_BARS, _BAR_COLUMNS = 5, 30
_REFRESH_HZ = 10


class ListeningView:
    """Events on stdout as lines or JSON lines; bars below them where a person watches."""

    def __init__(self, as_json: bool, live: Live | None) -> None:
        self._as_json, self._live, self._events = as_json, live, 0

    def show(self, stream: Stream, heard: list[Event | Gap]) -> None:
        for one in heard:
            self._events += isinstance(one, Event)
            if self._as_json:
                sys.stdout.write(json.dumps(one.to_dict()) + "\n")
                sys.stdout.flush()
            else:
                stdout.print(_line(one), soft_wrap=True)
        if self._live is not None:
            self._live.update(_bars(stream))

    def sum_up(self, stream: Stream, in_part: int | None = None) -> None:
        """What was heard; `in_part` of the computed windows incrementally, where asked for."""
        spared = stream.windows - stream.computed
        part = "" if in_part is None else f" ({in_part} of them in part)"
        stderr.print(
            f"{stream.position_s:.1f} s heard; {stream.computed} of {stream.windows} windows "
            f"computed{part}, {spared} without activity; {self._events or 'no'} "
            f"event{'s' * (self._events != 1)}.",
            highlight=False,
        )


@contextmanager
def watch_stream(as_json: bool) -> Iterator[ListeningView]:
    """A view for one call; the bars disappear at its end."""
    if as_json or not stdout.is_terminal:
        yield ListeningView(as_json, None)
        return
    with Live(console=stdout, refresh_per_second=_REFRESH_HZ, transient=True) as live:
        yield ListeningView(as_json, live)


def _line(one: Event | Gap) -> Text:
    times = f"{_clock(one.start_s)} – {_clock(one.end_s)}  "
    if isinstance(one, Gap):
        return Text(times + f"{one.lost_samples} samples lost", style="yellow")
    return Text.assemble(times, (one.label, "bold"), f"  {one.peak:.0%}")


def _clock(seconds: float) -> str:
    tenths = round(seconds * 10)
    return f"{tenths // 36_000:02d}:{tenths // 600 % 60:02d}:{tenths / 10 % 60:04.1f}"


def _bars(stream: Stream) -> Table:
    latest = np.zeros(len(stream.labels)) if stream.latest is None else stream.latest
    open_now = {event.label for event in stream.open_events}
    table = Table(box=None, show_header=False)
    for index in np.argsort(-latest, kind="stable")[:_BARS]:
        label, value = stream.labels[index], float(latest[index])
        style = "bold green" if label in open_now else ""
        bar = "█" * round(value * _BAR_COLUMNS)
        table.add_row(Text(label, style=style), f"{value:4.0%}", Text(bar, style=style))
    table.caption = _clock(stream.position_s)
    return table
