"""Where the toolkit keeps what it can make again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from gmme_edge.errors import InputError, require

_NAME = "gmme-edge"


def default_cache() -> Path:
    """The user's cache folder for this project; it need not exist.

    That is ``$XDG_CACHE_HOME/gmme-edge`` or ``~/.cache/gmme-edge`` on Linux, and the usual place
    elsewhere. Without a home (a container with an unknown user) it is a private folder among the
    temporary files.

    Raises:
        InputError: that private folder belongs to someone else.
    """
    directories = require("platformdirs", "find the cache folder")
    try:
        found = Path(directories.user_cache_dir(_NAME, appauthor=False))
        if not found.is_absolute():  # a relative $XDG_CACHE_HOME means nothing, says its standard
            found = Path.home() / ".cache" / _NAME
    except RuntimeError:  # no home is known
        return _private_folder()
    return found if found.is_absolute() else _private_folder()


def _private_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / f"{_NAME}-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise InputError(
            f"{folder} belongs to someone else.",
            "a cache folder of one's own.",
            "set XDG_CACHE_HOME to a folder that you may write to.",
        )
    return folder
