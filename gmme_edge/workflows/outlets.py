"""What an export writes beside the bundle: a page for browsers, models for a Triton server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gmme_edge.workflows.settings.export import ExportSettings, WebSettings
from gmme_edge.workflows.settings.triton import TritonSettings

if TYPE_CHECKING:
    from gmme_edge.bundle.bundle import Bundle


def check_page(asked: WebSettings) -> None:
    """Before torch is loaded: the page has its runtime, and a place.

    Raises:
        UsageError, MissingDependencyError: it has not.
    """
    from gmme_exporters.web.site import claim_site, find_runtime

    if asked.web:
        find_runtime(asked.ort_web)
        claim_site(asked.web)


def check_models(settings: ExportSettings) -> None:
    """Before anything is computed: the repository can take the models.

    Raises:
        UsageError: it cannot.
    """
    from gmme_exporters.triton.repository import check_repository, model_names

    if settings.triton.triton:
        name = settings.bundle.output.resolve().name
        names = model_names(name, settings.precisions, settings.triton.kinds)
        check_repository(settings.triton.triton, names)


def write_page(bundle: Bundle, asked: WebSettings) -> Path | None:
    """The page's first file; None where none was asked for."""
    from gmme_exporters.web.site import find_runtime, write_site

    return write_site(bundle, asked.web, find_runtime(asked.ort_web)) if asked.web else None


def write_triton(bundle: Bundle, asked: TritonSettings) -> tuple[Path, ...]:
    """The newest version of each model; none where no repository was asked for."""
    from gmme_exporters.triton.config import TritonOptions
    from gmme_exporters.triton.repository import write_models

    if asked.triton is None:
        return ()
    options = TritonOptions(
        kinds=asked.kinds,
        largest_batch=asked.triton_batch,
        instances=asked.triton_instances,
        threads=asked.triton_threads,
        delay_us=asked.triton_delay_us,
    )
    return write_models(bundle, asked.triton, options)
