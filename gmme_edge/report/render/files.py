"""A comparison as a file; the name's ending chooses the form."""

from __future__ import annotations

from pathlib import Path

from gmme_edge.errors import UsageError
from gmme_edge.files import write_json, write_text
from gmme_edge.report.compare import Comparison

ENDINGS = (".md", ".html", ".json", ".csv", ".tex")


def check_ending(path: Path) -> None:
    """Raise `UsageError` where the form cannot be told, before anything is measured or read."""
    if path.suffix not in ENDINGS:
        raise UsageError(
            f"The report cannot be {path}.", f"a file name that ends in {', '.join(ENDINGS)}."
        )


def write_report(comparison: Comparison, path: Path, command: str) -> None:
    """Write `path`; a Markdown page has its chart beside it (.svg).

    Raises:
        UsageError: another ending than `ENDINGS`.
        MissingDependencyError: an HTML page without jinja2.
    """
    from gmme_edge.report.render import markdown, tables
    from gmme_edge.report.render.html import render_html

    check_ending(path)
    if path.suffix == ".md":
        markdown.write_report(comparison, path, command)
    elif path.suffix == ".json":
        write_json(path, comparison.to_dict())
    elif path.suffix == ".html":
        write_text(path, render_html(comparison, command))
    else:
        render = {".csv": tables.render_csv, ".tex": tables.render_latex}[path.suffix]
        write_text(path, render(comparison))
