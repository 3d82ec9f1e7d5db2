"""`gmme-edge models`: the models that come with the package, and the presets with their costs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gmme_edge.cli.options.common import JsonOption
from gmme_edge.errors import UsageError


def models(
    name: Annotated[
        str | None, typer.Argument(help="A shipped model: show its model card instead.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Only this task.", rich_help_panel="List")
    ] = None,
    json: JsonOption = False,
) -> None:
    """List the shipped models with their accuracy, and the presets with their parameters.

    A shipped model's name stands for its folder wherever a bundle or a checkpoint is asked for.
    """
    from gmme_edge.cli.views.console import emit_json
    from gmme_edge.spec import TASKS, get_task
    from gmme_edge.workflows.listing import list_presets, list_shipped

    if name:
        if task or json:
            flag = "--task" if task else "--json"
            raise UsageError(f"{flag} with a model's name.", "the list, or the card of one model.")
        _show_card(name)
        return
    tasks = [get_task(task)] if task else list(TASKS.values())
    shipped, presets = list_shipped(tasks), list_presets(tasks)
    if json:
        emit_json({"shipped": shipped, "presets": presets})
    else:
        _show(shipped, presets)


def _show_card(name: str) -> None:
    from rich.markdown import Markdown

    from gmme_edge.bundle.bundle import Bundle
    from gmme_edge.cli.views.console import stdout
    from gmme_edge.errors import BundleError
    from gmme_edge.inputs import read_text

    bundle = Bundle.open(name)
    card = bundle.path / "README.md"
    if not card.is_file():
        raise BundleError(f"{card} does not exist.", "a bundle with a model card.")
    stdout.print(Markdown(read_text(card)))
    if bundle.restriction:
        stdout.print(f"\nnote: {bundle.restriction}")


def _show(shipped: list[dict[str, Any]], presets: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from gmme_edge.cli.views.console import stdout

    if shipped:
        table = Table("shipped")
        table.add_column("model", overflow="fold")  # --model wants it whole
        table.add_column("hears")
        table.add_column("accuracy")
        table.add_column("MB", justify="right")
        for row in shipped:
            table.add_row(
                row["name"],
                row["model"],
                _shorten(row["labels"]) + f"; data: {row['data_license'] or 'no licence stated'}",
                _accuracy(row["accuracy"]),
                f"{row['size_bytes'] / 1e6:.1f}",
            )
        stdout.print(table)
    for task in dict.fromkeys(row["task"] for row in presets):
        table = Table(title=task, caption="#D: stage 2's down-sampling blocks; #T: all")
        table.add_column("name", no_wrap=True)  # --model wants it whole
        for heading in ("#D", "#T", "GFLOPs", "tokens"):
            table.add_column(heading, justify="right")
        for row in presets:
            if row["task"] == task:
                figures = (f"{row['d_params']:,}", f"{row['t_params']:,}", f"{row['gflops']:.2f}")
                table.add_row(row["name"], *figures, str(row["tokens"]))
        stdout.print(table)


def _shorten(labels: list[str]) -> str:
    return f"{len(labels)} classes: {', '.join(labels[:3])}" + (", …" if len(labels) > 3 else "")


def _accuracy(measured: dict[str, Any] | None) -> str:
    """What `evaluate --record` noted, as text."""
    if not measured:
        return "not measured"
    low, high = measured["interval"]
    fold = f" fold {measured['fold']}" if measured["fold"] else ""
    return (
        f"{measured['accuracy']:.2%} ({low:.1%} to {high:.1%}) on {measured['n']} clips of "
        f"{measured['dataset']} {measured['split']}{fold}"
    )
