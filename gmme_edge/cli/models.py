"""`gmme-edge models`: the presets and what they cost."""

from __future__ import annotations

from typing import Annotated

import typer

from gmme_edge.cli.options import JsonOption


def models(
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    json: JsonOption = False,
) -> None:
    """List the presets with parameters (#D, #T), GFLOPs and tokens."""
    from rich.table import Table

    from gmme_edge.cli.console import emit_json, stdout
    from gmme_edge.complexity import count
    from gmme_edge.spec import PRESETS, TASKS, get_task, preset

    tasks = [get_task(task).name] if task else list(TASKS)
    specs = [(name, preset(model, name)) for name in tasks for model in PRESETS]
    counts = [(name, spec, count(spec)) for name, spec in specs]
    if json:
        emit_json(
            [
                {
                    "name": spec.name,
                    "task": name,
                    "d_params": c.d_params,
                    "t_params": c.t_params,
                    "gflops": round(c.gflops, 4),
                    "tokens": spec.tokens,
                }
                for name, spec, c in counts
            ]
        )
        return
    table = Table("name", "task", caption="#D: stage 2's down-sampling blocks; #T: all")
    for heading in ("#D", "#T", "GFLOPs", "tokens"):
        table.add_column(heading, justify="right")
    for name, spec, c in counts:
        table.add_row(
            spec.name, name, f"{c.d_params:,}", f"{c.t_params:,}", f"{c.gflops:.2f}",
            str(spec.tokens),
        )  # fmt: skip
    stdout.print(table)
