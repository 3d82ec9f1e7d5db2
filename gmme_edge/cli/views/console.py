"""Where the commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.progress import Progress

stdout = Console()
stderr = Console(stderr=True)


def emit_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print `value` as the only thing on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def progress() -> Progress:
    """A progress bar on stderr that disappears when done; none where stderr is no terminal."""
    return Progress(console=stderr, transient=True, disable=not stderr.is_terminal)
