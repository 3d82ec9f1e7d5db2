"""`gmme-edge serve`: a bundle as a network service."""

from __future__ import annotations

import functools

from gmme_edge.cli.options.common import BundleArgument, RebuildOption, make_rebuild
from gmme_edge.cli.options.signature import with_options
from gmme_edge.errors import require
from gmme_edge.workflows.settings.running import BackendSettings
from gmme_edge.workflows.settings.serving import BatchSettings, LimitSettings, ServeSettings

_PACKAGES = ("starlette", "uvicorn", "websockets", "prometheus_client")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@with_options
def serve(
    bundle: BundleArgument,
    network: BackendSettings,
    settings: ServeSettings,
    batches: BatchSettings,
    limits: LimitSettings,
    rebuild: RebuildOption = False,
) -> None:
    """Answer HTTP requests and streams until Ctrl-C or SIGTERM."""
    for package in _PACKAGES:
        require(package, "run a service")
    from gmme_edge.cli.views.console import stderr
    from gmme_edge.cli.views.observer import warnings_as_notes
    from gmme_edge.service import server
    from gmme_edge.service.listener import open_listener

    settings.token()  # a wrong one is told before the network is opened
    if settings.host not in _LOOPBACK and settings.token_file is None:
        stderr.print(f"note: anyone who reaches {settings.host} may use it; see --token-file")
    allowed = make_rebuild(rebuild, network.backend)
    with warnings_as_notes(functools.partial(stderr.print, soft_wrap=True)):
        listener = open_listener(bundle, network, batches, limits, allowed)
    if listener.facts["backend_reason"]:
        stderr.print(f"note: {listener.facts['backend_reason']}", soft_wrap=True)
    try:
        server.serve(listener, settings, lambda address: print(address, flush=True))
    finally:
        listener.close()
