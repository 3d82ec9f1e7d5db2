"""The comparison for other programs and for papers: CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re

from gmme_edge.report.compare import Comparison
from gmme_edge.report.entries import Entry
from gmme_edge.report.render.cells import format_interval, format_mj, format_ms, format_rate
from gmme_edge.report.render.terminal import group_by_setting

_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}  # fmt: skip


def render_csv(comparison: Comparison) -> str:
    """One line per entry, the columns of the JSON form; ratios are named ``ratio_…``."""
    rows = []
    for entry in comparison.entries:
        values = entry.to_dict()
        values |= {f"ratio_{name}": value for name, value in values.pop("ratio").items()}
        rows.append({name: _cell(value) for name, value in values.items()})
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _cell(value: object) -> object:
    """Intervals as ``low;high``; what a spreadsheet would take for a formula as text."""
    if isinstance(value, list | tuple):
        return ";".join(map(str, value))
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@" and value else value


def render_latex(comparison: Comparison) -> str:
    """A tabular in the shape of the paper's tables, with what a call takes behind the accuracy."""
    groups = group_by_setting(comparison.entries)
    lines = [
        *(f"% {note}" for note in comparison.notes),
        r"\begin{tabular}{lllrrrrrrrr}",
        r"\hline",
        r"Model & Set & Precision & \#D-Param (K) & \#T-Param (M) & Accuracy (\%) & "
        r"Latency (ms) & $\times$ base & Throughput (clips/s) & Memory (MB) & Energy (mJ) \\",
        r"\hline",
        *(line for title, entries in groups.items() for line in _latex_group(title, entries)),
        r"\end{tabular}",
        "",
    ]
    return "\n".join(lines)


def _latex_group(title: str, entries: list[Entry]) -> list[str]:
    """What was measured alike, under a line that says how."""
    heading = rf"\multicolumn{{11}}{{l}}{{{_escape(title)}}} \\"
    return [heading, *map(_latex_row, entries), r"\hline"]


def _latex_row(entry: Entry) -> str:
    row, accuracy, ratio = entry.latency, entry.accuracy, entry.ratio
    kernel = re.search(r"k(\d+)c(\d+)$", entry.model)
    model = _escape(entry.model[: kernel.start()].rstrip("-") if kernel else entry.model)
    name = _escape(entry.name)
    parts = [
        model if entry.name == entry.model else f"{model} ({name})",
        f"$K={kernel[1]}, C={kernel[2]}$" if kernel else "",
        _escape(entry.precision),
        f"{entry.d_params / 1e3:.1f}",
        f"{entry.t_params / 1e6:.2f}",
        f"{100 * accuracy.value:.2f}" if accuracy else "--",
        format_ms(row.median_ms) if row else "--",
        f"{ratio.latency:.2f} {format_interval(ratio.latency_interval)}" if ratio.latency else "--",
        format_rate(row.throughput_clips_per_s) if row else "--",
        f"{row.peak_memory_bytes / 1e6:.0f}" if row else "--",
        format_mj(entry.energy.mean_mj) if entry.energy else "--",
    ]
    return " & ".join(parts) + r" \\"


def _escape(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)
