"""HTML pages of the templates in ``templates/``: in one file, and every value escaped."""

from __future__ import annotations

from pathlib import Path

from gmme_edge.errors import require

_TEMPLATES = Path(__file__).with_name("templates")


def require_templates() -> None:
    """Raise `MissingDependencyError` unless pages can be written."""
    require("jinja2", "write an HTML page")


def render_page(template: str, **values: object) -> str:
    """The page that `template` makes of the values.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    jinja2 = require("jinja2", "write an HTML page")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    page: str = environment.get_template(template).render(**values)
    return page
