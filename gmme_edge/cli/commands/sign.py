"""`gmme-edge sign`: a bundle's manifest signed, or a new pair of keys."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gmme_edge.errors import UsageError


def sign(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle's folder.")] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            help="Your secret key, of --new-key or of minisign -G -W.", rich_help_panel="Keys"
        ),
    ] = None,
    new_key: Annotated[
        Path | None,
        typer.Option(
            help="Write a new secret key here, and its public key beside it.",
            rich_help_panel="Keys",
        ),
    ] = None,
    comment: Annotated[
        str,
        typer.Option(
            help="A line to be signed too; default the time and the hash.", rich_help_panel="Keys"
        ),
    ] = "",
) -> None:
    """Sign a bundle, so that `verify --trust PUBLIC_KEY` knows whose it is.

    Whatever changes the manifest, as `evaluate --record` does, comes before.
    """
    from gmme_edge.bundle.bundle import Bundle
    from gmme_edge.bundle.signing import make_key, sign_manifest
    from gmme_edge.cli.views.console import stdout, tell_written

    if new_key is not None and bundle is None and key is None and not comment:
        public = make_key(new_key)
        stdout.print(
            f"{new_key} is the secret key: keep it, and let nobody else read it.\n"
            f"{new_key}.pub is the public key; whoever is to check signatures needs this line:\n"
            f"{public}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        tell_written(new_key, shlex.join(["gmme-edge", "sign", "BUNDLE", "--key", str(new_key)]))
        return
    if bundle is None or key is None or new_key is not None:
        raise UsageError(
            "These options do not belong together, or one is missing.",
            "BUNDLE --key KEY, or --new-key KEY alone.",
        )
    opened = Bundle.open(bundle)
    opened.check_files()  # nobody signs for what is damaged
    path = sign_manifest(opened.path, key, comment)
    verify = ["gmme-edge", "verify", str(bundle), "--trust", f"{key}.pub"]
    tell_written(path, shlex.join(verify))
