"""The comparison as a Markdown page with a bar chart beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from gmme_edge.errors import UsageError
from gmme_edge.files import write_text
from gmme_edge.report.compare import Comparison
from gmme_edge.report.render.cells import (
    COST_HEADER,
    SIZE_HEADER,
    SPEED_HEADER,
    Cell,
    cost_cells,
    format_value,
    size_cells,
    speed_cells,
)
from gmme_edge.report.render.latency_chart import draw_latency_chart
from gmme_edge.report.render.terminal import group_by_setting, unique_sizes


def write_report(comparison: Comparison, path: Path, command: str) -> None:
    """Write `path` (.md) and, where there are latencies, the chart under the same name (.svg).

    Raises:
        UsageError: `path` does not end in .md.
    """
    if path.suffix != ".md":
        raise UsageError(f"The report cannot be {path}.", "a file name that ends in .md.")
    chart = None
    if any(entry.latency for entry in comparison.entries):
        chart = path.with_suffix(".svg")
        write_text(chart, draw_latency_chart(comparison))
    write_text(path, render_markdown(comparison, command, chart.name if chart else None))


def render_markdown(comparison: Comparison, command: str, chart: str | None) -> str:
    """The page's text; `command` made this report, `chart` is the picture's file name."""
    lines = [f"# Comparison with {_escape(comparison.baseline)}", ""]
    if chart:
        lines += [f"![Median latency per model and precision](<{chart}>)", ""]
    lines += ["## Size and compute", ""]
    lines += _table(SIZE_HEADER, map(size_cells, unique_sizes(comparison.entries)))
    lines += ["## Speed and accuracy", ""]
    for title, entries in group_by_setting(comparison.entries).items():
        lines += [f"### {_escape(title)}", ""]
        lines += _table(SPEED_HEADER, map(speed_cells, entries))
        if entries[0].latency:
            lines += _table(COST_HEADER, map(cost_cells, entries))
    lines += [f"- {_escape(note)}" for note in comparison.notes]
    lines += [
        "",
        "Latency ratios are medians of the ratios of calls that took turns, with a 95 % bootstrap "
        "interval; points are differences in accuracy.",
        "",
        *_describe_devices(comparison),
        "## Commands",
        "",
        "```",
        *dict.fromkeys([*(r.command for r in comparison.results if r.command), command]),
        "```",
        "",
    ]
    return "\n".join(lines)


def _describe_devices(comparison: Comparison) -> list[str]:
    """Each machine once, with the results that it gave; how busy it was is no fact of it."""
    sources: dict[str, list[str]] = {}
    for result in comparison.results:
        facts = {name: value for name, value in result.device.items() if name != "load_average"}
        text = "; ".join(f"{name} {format_value(value)}" for name, value in facts.items())
        sources.setdefault(text, []).append(result.source)
    lines = [f"- {_escape(', '.join(names))}: {_escape(text)}" for text, names in sources.items()]
    return ["## Devices", "", *lines, ""]


def _table(header: Sequence[Cell], rows: Iterable[Sequence[Cell]]) -> list[str]:
    lines = ["| " + " | ".join(" ".join(cell).strip() for cell in header) + " |"]
    lines.append("|---|" + "---:|" * (len(header) - 1))
    for row in rows:
        lines.append("| " + " | ".join(_escape(" ".join(cell).strip()) for cell in row) + " |")
    return [*lines, ""]


def _escape(text: str) -> str:
    """Keep a name from ending a table's cell or a line, or from being read as HTML."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
