"""`gmme-edge verify`: is this bundle whole, and does it compute here what it computed there?"""

from __future__ import annotations

from typing import Annotated

import typer

from gmme_edge.cli.options.common import (
    BundleArgument,
    JsonOption,
    RebuildOption,
    ThreadsOption,
    make_rebuild,
)


def verify(
    bundle: BundleArgument,
    backend: Annotated[str, typer.Option(help="ort-cpu, ort-cuda, tensorrt, tensorrt-rtx.")] = (
        "ort-cpu"
    ),
    precision: Annotated[str | None, typer.Option(help="Default: all that the backend runs.")] = (
        None
    ),
    threads: ThreadsOption = None,
    rebuild: RebuildOption = False,
    json: JsonOption = False,
) -> None:
    """Check schema, hashes, and each precision's outputs against the golden vectors."""
    from gmme_edge.bundle.bundle import Bundle
    from gmme_edge.cli.views.console import emit_json, stdout
    from gmme_edge.cli.views.tables import parity_table
    from gmme_edge.runtime.backends import open_session, runnable_precisions
    from gmme_edge.runtime.parity import verify_bundle

    opened = Bundle.open(bundle)
    chosen = (
        tuple(name.strip() for name in precision.split(","))
        if precision
        else runnable_precisions(opened, backend, rebuild)
    )
    leave = make_rebuild(rebuild)
    results = verify_bundle(
        opened, lambda name: open_session(opened, backend, name, threads, leave), chosen
    )
    figures = {name: parity.to_dict() for name, parity in results.items()}
    if json:
        emit_json({"bundle": bundle, "backend": backend, "passed": True, "parity": figures})
        return
    stdout.print(parity_table(figures))
    stdout.print(
        f"{len(opened.manifest.files)} files intact; outputs agree on {backend}.", soft_wrap=True
    )
