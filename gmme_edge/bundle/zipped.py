"""One file of a zipped bundle."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

_ZIP_ERRORS = (  # what zipfile lets through of a damaged file
    zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError,
    zlib.error, lzma.LZMAError, struct.error, OverflowError,
)  # fmt: skip


def read_member(path: Path, name: str, most_bytes: int) -> bytes:
    """Up to one byte over `most_bytes` of a member.

    Raises:
        FileNotFoundError: there is no such member.
        OSError: the archive is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_member(archive, name)) as file:
            return file.read(most_bytes + 1)
    except KeyError:
        raise FileNotFoundError(f"{path} holds no {name}") from None
    except _ZIP_ERRORS as error:
        raise OSError(f"{path} is damaged at {name}: {error}") from error


def _member(archive: zipfile.ZipFile, name: str) -> str:
    """The name in the archive: a zip file of a folder holds that folder as well."""
    names = archive.namelist()
    tops = {PurePosixPath(each).parts[0] for each in names if PurePosixPath(each).parts}
    nested = f"{next(iter(tops))}/{name}" if len(tops) == 1 else name
    return nested if nested in names else name
