"""Where a file is to be written: behind links, or into a pipe or a device."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gmme_edge.errors import InputError, reason


def is_stream(path: Path) -> bool:
    """Whether `path` is a pipe or a device."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


@contextlib.contextmanager
def pouring_into(stream: Path) -> Iterator[Path]:
    """A temporary path whose content goes into a pipe or device when the block ends."""
    if stream.is_block_device():
        raise OSError(errno.EINVAL, "it is a whole disk", str(stream))
    with tempfile.TemporaryDirectory() as scratch:
        temporary = Path(scratch, stream.name)
        yield temporary
        # With O_NONBLOCK a pipe that nobody reads is an error, not waited for.
        target = os.open(stream, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        os.set_blocking(target, True)
        with os.fdopen(target, "wb") as file, temporary.open("rb") as content:
            shutil.copyfileobj(content, file)


def behind_links(path: Path) -> Path:
    """The file that is meant; raises `OSError` for a link that leads to itself."""
    if not path.is_symlink():
        return path
    with contextlib.suppress(FileNotFoundError):
        path.stat()
    return Path(os.path.realpath(path))


def refuse_unwritable(path: Path | None) -> None:
    """Say before the work, not after it, that its result cannot be written to the file `path`.

    Raises:
        OSError: `path` is a folder, or the folder that it is to lie in cannot be written to.
    """
    if path is None or is_stream(path):
        return
    path = behind_links(path)
    folder = next(each for each in path.absolute().parents if each.exists())
    number = errno.EISDIR if path.is_dir() else errno.ENOTDIR if not folder.is_dir() else 0
    if not number and not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EACCES
    if number:
        raise OSError(number, os.strerror(number), str(path))


def real_folder(path: Path) -> Path:
    """`path` behind its links; raises `InputError` where they lead nowhere."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # before Python 3.13 a loop is the second
        raise InputError(f"{path} leads nowhere: {reason(error)}.", "a folder.") from error
