"""The options of `export` that say what the network is rewritten into."""

from __future__ import annotations

from typing import Annotated

import typer

from gmme_edge.errors import UsageError

TargetOption = Annotated[
    str | None,
    typer.Option(
        help="What the graphs are shaped for: ort-cpu, ort-arm, tensorrt or generic.  "
        "[default: tensorrt with --engine or --plan, else ort-cpu]"
    ),
]
LoweringOption = Annotated[
    bool,
    typer.Option(
        "--lowering/--no-lowering", help="Rewrite the network for the target, exactly; or don't."
    ),
]


def chosen_target(target: str | None, lowering: bool, plan: str | None) -> str:
    """The target that the options name; empty where the exporter is to choose.

    Raises:
        UsageError: a target, and no lowering.
    """
    if lowering:
        return target or ("tensorrt" if plan else "")
    if target not in (None, "generic"):
        raise UsageError(
            f"--target {target} with --no-lowering.", "one of them: generic is what is not lowered."
        )
    return "generic"
