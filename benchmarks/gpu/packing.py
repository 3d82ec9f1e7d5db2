"""What a lent machine may send back: a few tar files of bounded size, most needed files first."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path

_BLOCK = 512


def pack(
    root: Path, files: Sequence[Path], out: Path, piece_bytes: int, pieces: int
) -> tuple[list[Path], list[Path]]:
    """Put `files` of `root`, in their order of need, into ``out/pack-N.tar``.

    Returns:
        The files that are packed, and those for which there was no room.
    """
    out.mkdir(parents=True, exist_ok=True)
    room = [piece_bytes - 20 * _BLOCK] * pieces  # the end of a tar file is padded
    content: list[list[Path]] = [[] for _ in range(pieces)]
    left_out = []
    for file in files:
        size = file.stat().st_size + 3 * _BLOCK
        place = next((i for i, free in enumerate(room) if size <= free), None)
        if place is None:
            left_out.append(file)
            continue
        room[place] -= size
        content[place].append(file)
    for number, group in enumerate(content, 1):
        if group:
            with tarfile.open(out / f"pack-{number}.tar", "w") as archive:
                for file in group:
                    archive.add(file, str(file.relative_to(root)))
    return [file for group in content for file in group], left_out


def unpack(folder: Path, root: Path) -> None:
    """The contents of all packs of `folder`, put back under `root`."""
    for path in sorted(folder.glob("pack-*.tar")):
        with tarfile.open(path) as archive:
            archive.extractall(root, filter="data")
