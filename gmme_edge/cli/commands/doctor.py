"""`gmme-edge doctor`: what is installed, what this machine is, and which backends work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType


def doctor(
    json: Annotated[
        bool, typer.Option("--json", help="Print the findings as JSON.", rich_help_panel="Output")
    ] = False,
) -> None:
    """Show what is installed, the machine, and why a backend does not work here."""
    from gmme_edge.cli.views.console import emit_json, stdout
    from gmme_edge.workflows.examining import examine

    findings = examine()
    if json:
        emit_json(findings)
    else:
        stdout.print(_render(findings))


def _render(findings: dict[str, Any]) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    def table(title: str, rows: list[tuple[str, str]]) -> Table:
        made = Table(title=title, title_justify="left", box=box.SIMPLE, show_header=False)
        made.add_column(no_wrap=True)
        made.add_column(overflow="fold")
        for name, value in rows:
            made.add_row(Text(name), Text(value))
        return made

    return Group(
        table("Packages", [(n, v or "not installed") for n, v in findings["packages"].items()]),
        table("Machine", [_machine_row(*found) for found in findings["device"].items()]),
        table(
            "Backends",
            [(b["name"], b["problem"] or "works") for b in findings["backends"]],
        ),
        *(
            table(title, [(one["bundle"], one["reason"]) for one in findings["chosen"]])
            for title in ("Chosen by --backend auto",) * bool(findings["chosen"])
        ),
        *(Text(f"warning: {warning}", "yellow") for warning in findings["warnings"]),
    )


def _machine_row(name: str, value: Any) -> tuple[str, str]:  # noqa: ANN401 - of JSON
    from gmme_edge.report.render.cells import format_bytes, format_value

    if name.endswith("_bytes") and isinstance(value, int):
        return name.removesuffix("_bytes"), format_bytes(value)
    return name, format_value(value)
