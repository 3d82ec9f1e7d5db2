"""`gmme-edge doctor`: what is installed, what this machine is, and which backends work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

_NO_ENGINES = ("soundfile", "soxr", "onnx")


def doctor(
    json: Annotated[
        bool, typer.Option("--json", help="Print the findings as JSON.", rich_help_panel="Output")
    ] = False,
) -> None:
    """Show what is installed, the machine, and why a backend does not work here."""
    from gmme_edge.cli.views.console import emit_json, stdout

    findings = examine()
    if json:
        emit_json(findings)
    else:
        stdout.print(_render(findings))


def examine() -> dict[str, Any]:
    """The findings as JSON values; a backend's `problem` is null where it works."""
    from gmme_edge.device.facts import LIBRARIES, describe_device, installed_versions
    from gmme_edge.runtime.backends import BACKENDS, why_unavailable
    from gmme_edge.runtime.choosing import remembered_choices

    packages = (*LIBRARIES, *_NO_ENGINES)
    versions = installed_versions(packages)
    return {
        "packages": {name: versions.get(name) for name in packages},
        "device": describe_device(),
        "backends": [{"name": name, "problem": why_unavailable(name)} for name in BACKENDS],
        "chosen": [choice._asdict() for choice in remembered_choices()],
        "warnings": find_conflicts(versions),
    }


def find_conflicts(versions: dict[str, str]) -> list[str]:
    """Installed distributions that overwrite each other's files."""
    if "onnxruntime" in versions and "onnxruntime-gpu" in versions:
        from gmme_edge.installation import install_command, pip_command

        both = pip_command("uninstall", "onnxruntime", "onnxruntime-gpu")
        return [
            "onnxruntime and onnxruntime-gpu are both installed and share one folder: the later "
            f"one wins, often without CUDA. Fix: {both}, then {install_command('gpu')}."
        ]
    return []


def _render(findings: dict[str, Any]) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from gmme_edge.report.render.cells import format_value

    def table(title: str, rows: list[tuple[str, str]]) -> Table:
        made = Table(title=title, title_justify="left", box=box.SIMPLE, show_header=False)
        made.add_column(no_wrap=True)
        made.add_column(overflow="fold")
        for name, value in rows:
            made.add_row(Text(name), Text(value))
        return made

    return Group(
        table("Packages", [(n, v or "not installed") for n, v in findings["packages"].items()]),
        table("Machine", [(n, format_value(v)) for n, v in findings["device"].items()]),
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
