"""Is a bundle whole, whose is it, and does it compute here what it computed there?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.bundle.signing import PublicKey
from gmme_edge.public import public
from gmme_edge.runtime.backends import open_session, resolve_precision, runnable_precisions
from gmme_edge.runtime.engines.cache import Rebuild
from gmme_edge.runtime.incremental_graphs import has_incremental, verify_incremental
from gmme_edge.runtime.parity import Parity, Verified, verify_bundle
from gmme_edge.workflows.settings.verifying import VerifySettings


@dataclass(frozen=True)
class Verification:
    """What was checked of a bundle; all of it passed.

    Attributes:
        n_files: files whose hash is the manifest's.
        signed_by: the name of the key that was trusted and has signed; None where none was given.
        precisions: each precision's outputs, by its name.
        incremental: those of the graphs that compute only what is new, where the bundle has them
            and the backend runs them.
    """

    bundle: str
    backend: str
    n_files: int
    signed_by: str | None
    precisions: dict[str, Verified]
    incremental: Parity | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "bundle": self.bundle,
            "backend": self.backend,
            "passed": True,
            "signed_by": self.signed_by,
            "parity": {name: each.reference.to_dict() for name, each in self.precisions.items()},
            "repeat": {
                name: each.repeat.to_dict() if each.repeat else None
                for name, each in self.precisions.items()
            },
            "incremental": self.incremental.to_dict() if self.incremental else None,
        }


@public
def verify(
    bundle: str | Path, settings: VerifySettings | None = None, rebuild: Rebuild | None = None
) -> Verification:
    """Check schema, signature, hashes, and each precision's outputs on this machine.

    Args:
        bundle: its folder, or the name of a shipped model.
        rebuild: see `gmme_edge.load`.

    Raises:
        BundleError: a file is missing or changed, or the manifest is not signed by the trusted key.
        ParityError: outputs are not those of the export.
        UsageError: nothing to check on this backend.
    """
    settings = settings or VerifySettings()
    opened = Bundle.open(bundle, settings.trust, settings.sha256)
    signer = PublicKey.read(settings.trust).name if settings.trust else None
    backend = settings.backend
    chosen = (
        tuple(resolve_precision(name.strip(), backend) for name in settings.precision.split(","))
        if settings.precision
        else runnable_precisions(opened, backend, rebuild is not None)
    )
    results = verify_bundle(
        opened,
        lambda name: open_session(opened, backend, name, settings.threads, rebuild),
        chosen,
    )
    incremental = None
    if backend == "ort-cpu" and has_incremental(opened):
        incremental = verify_incremental(opened, settings.threads)
    n_files = len(opened.manifest.files)
    return Verification(str(bundle), backend, n_files, signer, results, incremental)
