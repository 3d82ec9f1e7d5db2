"""What `predict` prints: classes by recording, and by time where one is longer than a window."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from gmme_edge.runtime.analysis import Analysis
    from gmme_edge.workflows.predicting import Heard

_SHOWN_STRETCHES = 20
_SILENCE = "(silence)"


def predictions_table(found: Sequence[Heard], top_k: int) -> Table:
    """One block of rows a recording, named by its path below the folder that all share."""
    from rich.table import Table
    from rich.text import Text

    from gmme_edge.evaluation import clip_names

    table = Table()
    for heading in ("file", "time", "label", "probability"):
        table.add_column(heading, overflow="fold")
    for heard, name in zip(found, clip_names([each.path for each in found]), strict=True):
        if heard.analysis is None:
            table.add_row(Text(name), "", Text("(cannot be heard)"), "")
            continue
        rows = _rows(heard.analysis, top_k)
        for i, (time, label, probability) in enumerate(rows):
            table.add_row(Text(name if i == 0 else ""), time, Text(label), probability)
    return table


def _rows(analysis: Analysis, top_k: int) -> list[tuple[str, str, str]]:
    ranking = analysis.rank(top_k)
    rows = [("", each.label, f"{each.probability:.1%}") for each in ranking]
    if ranking.silent:
        rows.insert(0, ("", f"{_SILENCE}: these say nothing", ""))
    if len(analysis.starts_s) > 1:
        stretches = _stretches(analysis)
        rows += stretches[:_SHOWN_STRETCHES]
        if len(stretches) > _SHOWN_STRETCHES:
            more = len(stretches) - _SHOWN_STRETCHES
            rows.append(("…", f"{more} more stretches; --json has all", ""))
    return rows


def _stretches(analysis: Analysis) -> list[tuple[str, str, str]]:
    """Neighbouring windows of one label as one row, with their mean probability."""
    best = [analysis.rank_window(i) for i in range(len(analysis.starts_s))]
    labels = [_SILENCE if each.silent else each[0].label for each in best]
    rows = []
    for label, group in groupby(range(len(best)), key=labels.__getitem__):
        windows = list(group)
        end_s = min(analysis.starts_s[windows[-1]] + analysis.window_s, analysis.duration_s)
        time = f"{_clock(analysis.starts_s[windows[0]])}–{_clock(end_s)}"
        mean = sum(best[i][0].probability for i in windows) / len(windows)
        rows.append((time, label, "" if label == _SILENCE else f"{mean:.1%}"))
    return rows


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(float(seconds), 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"
