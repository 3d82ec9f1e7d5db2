"""`gmme-edge verify`: is this bundle whole, and does it compute here what it computed there?"""

from __future__ import annotations

from gmme_edge.cli.options.common import BundleArgument, JsonOption, RebuildOption, make_rebuild
from gmme_edge.cli.options.signature import with_options
from gmme_edge.workflows.settings.verifying import VerifySettings


@with_options
def verify(
    bundle: BundleArgument,
    settings: VerifySettings,
    rebuild: RebuildOption = False,
    json: JsonOption = False,
) -> None:
    """Check hashes, a signature if asked, and that each precision computes what it did there."""
    from gmme_edge.cli.views.console import emit_json
    from gmme_edge.cli.views.verification import show_verification
    from gmme_edge.workflows import verifying

    found = verifying.verify(bundle, settings, make_rebuild(rebuild, settings.backend))
    if json:
        emit_json(found.to_dict())
    else:
        show_verification(found)
