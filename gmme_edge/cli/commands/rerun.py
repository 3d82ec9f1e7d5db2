"""`gmme-edge rerun`: make a result or a bundle once more, by the call that it records."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

# Options and arguments of the repeatable commands that name what is read.
_INPUTS = (
    "bundles", "artifact", "source", "checkpoint", "results", "first", "second",
    "data", "against", "calib_data", "calib_clips", "init", "teacher",
)  # fmt: skip


def rerun(
    context: typer.Context,
    made: Annotated[Path, typer.Argument(help="A result file, a bundle or its manifest.")],
    more: Annotated[
        list[str] | None, typer.Argument(help="Behind --: options to change in the recorded call.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Where to write; default: as recorded, or only on the screen.",
            rich_help_panel="Output",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the call and whether its inputs are there.",
            rich_help_panel="Output",
        ),
    ] = False,
) -> None:
    """Repeat the call that made a result or a bundle, with the same options.

    Paths are relative to the current folder, as they were then. gmme-edge.toml is not read: what it
    said then is part of the recorded call.
    """
    from gmme_edge.cli.views.console import stderr, stdout
    from gmme_edge.workflows.repeating import PROGRAM, check_inputs, recorded_command

    words = [*recorded_command(made), *(["-o", str(output)] if output else []), *(more or ())]
    group = context.find_root().command
    check_inputs(made, _inputs(context, words))
    said = shlex.join([PROGRAM, *words])
    if dry_run:
        stdout.print(said, soft_wrap=True)
        return
    stderr.print(said, soft_wrap=True)
    code = repeat(group, words)
    if code:
        raise typer.Exit(code)


def repeat(group: Any, words: Sequence[str]) -> int:  # noqa: ANN401 - click's or typer's
    """Run a call of the program in this process; its exit code."""
    code = group.main(list(words), prog_name="gmme-edge", standalone_mode=False, default_map={})
    return code if isinstance(code, int) else 0


def _inputs(context: typer.Context, words: Sequence[str]) -> list[str]:
    """What the call reads; whatever is wrong with it is a usage error, as if it were typed."""
    root = context.find_root()
    command = root.command.commands[words[0]]  # type: ignore[attr-defined] # it is a group
    parsed = command.make_context(words[0], list(words[1:]), parent=root)
    given: Mapping[str, Any] = parsed.params
    found: list[str] = []
    for name in _INPUTS:
        value = given.get(name)
        if name == "source" and given.get("untrained"):
            continue  # a preset
        found += map(str, value if isinstance(value, list | tuple) else [value] if value else [])
    return found
