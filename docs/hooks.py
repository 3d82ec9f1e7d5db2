"""What the site builds from the code: the reference of the commands, and links into the source."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).parents[1]
_SOURCE = "https://github.com/gmme-edge/gmme-edge/blob/main/"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add ``reference/commands.md``: every command with its options, as ``--help`` tells them."""
    done = subprocess.run(
        [Path(sys.executable).with_name("typer"), "gmme_edge.cli.app", "utils", "docs",
         "--name", "gmme-edge", "--title", "Commands"],
        capture_output=True, text=True, check=True, cwd=_ROOT,
    )  # fmt: skip
    page = File.generated(config, "reference/commands.md", content=done.stdout)
    files.append(page)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to files outside ``docs/`` lead to the repository."""
    depth = page.file.src_uri.count("/")
    outside = re.compile(r"\]\(" + r"\.\./" * (depth + 1) + r"(?!\.\./)([^)#]+)")
    return outside.sub(lambda m: f"]({_SOURCE}{m[1]}", markdown)
