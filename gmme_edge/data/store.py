"""Waveforms of a data set, decoded and resampled once and kept on disk as one memory map.

A cache entry is a folder named by a hash of what was decoded; it is whole or absent::

    samples.f32    all clips end to end, little-endian float32
    index.json     schema, crc32 of the samples, lengths_samples, silent, skipped (numbers are
                   positions among the clips)
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import AudioWarning, Recording, is_silent
from gmme_edge.data.cache import limit_bytes, mark_used, shrink
from gmme_edge.data.dataset import Clip
from gmme_edge.data.waveforms import LITTLE_ENDIAN
from gmme_edge.data.waveforms import WaveformStore as WaveformStore
from gmme_edge.data.waveforms import end_to_end as end_to_end
from gmme_edge.errors import AudioError, DatasetError, reason
from gmme_edge.files import replacing_folder, write_json
from gmme_edge.folders import default_cache as default_cache
from gmme_edge.inputs import read_json

_SCHEMA = 2


@dataclass(frozen=True)
class _Index:
    lengths: list[int]
    silent: list[int]
    skipped: dict[int, str]


_Entry = tuple[_Index, NDArray[np.float32]]


def load_waveforms(
    clips: Sequence[Clip],
    sample_rate_hz: int,
    cache: Path | None = None,
    skip_bad: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> WaveformStore:
    """Decode `clips` to mono float32 at `sample_rate_hz`, or take them from the cache.

    Args:
        cache: a folder that may be deleted at any time; the user's if None.
        skip_bad: leave out recordings that cannot be decoded, and list them in `skipped`.
        on_progress: called with (decoded, total) after each recording; not for a cache hit.

    Raises:
        AudioError: a recording that cannot be decoded, unless `skip_bad`.
        DatasetError: nothing to decode, nothing decodable, or a cache that cannot be written.
    """
    if not clips:
        raise DatasetError("There are no recordings to decode.", "at least one.")
    place, key = cache or default_cache(), _cache_key(clips, sample_rate_hz)
    entry = _read_entry(place / key, len(clips))
    if entry is None or (entry[0].skipped and not skip_bad):
        progress = on_progress or (lambda decoded, total: None)
        paths = [clip.path for clip in clips]
        entry = _write_entry(place / key, paths, sample_rate_hz, skip_bad, progress)
        if _cache_key(clips, sample_rate_hz) != key:
            shutil.rmtree(place / key, ignore_errors=True)
            raise DatasetError(
                "The recordings were changed while they were decoded.",
                "recordings that stay as they are.",
                "repeat the command when they are complete.",
            )
        shrink(place, limit_bytes(), keep=place / key)
    mark_used(place / key)
    index, samples = entry
    kept = [clip for i, clip in enumerate(clips) if i not in index.skipped]
    return WaveformStore(
        samples=samples,
        bounds=end_to_end(index.lengths),
        labels=np.array([clip.label for clip in kept], np.int64),
        paths=tuple(clip.path for clip in kept),
        silent=tuple(clips[i].path for i in index.silent),
        skipped=tuple((clips[i].path, reason) for i, reason in index.skipped.items()),
    )


def _cache_key(clips: Sequence[Clip], sample_rate_hz: int) -> str:
    files = []
    for path in (clip.path.absolute() for clip in clips):
        try:
            stat = path.stat()
        except OSError:  # the decoder reports it, or skips it
            files.append((str(path), -1, -1, -1, -1))
            continue
        # Size and time alone are the same after two files change places; the inode is not.
        which = (stat.st_ino, stat.st_ctime_ns)
        files.append((str(path), stat.st_size, stat.st_mtime_ns, *which))
    return hashlib.sha256(json.dumps([_SCHEMA, sample_rate_hz, files]).encode()).hexdigest()


def _decode_all(
    paths: Sequence[Path], sample_rate_hz: int
) -> Generator[Recording | AudioError, None, None]:
    """Each recording in order, decoded by threads (soundfile and soxr release the GIL)."""

    def decode(path: Path) -> Recording | AudioError:
        try:
            return Recording(path, sample_rate_hz)
        except AudioError as error:
            return error

    workers = min(8, os.cpu_count() or 1)
    pending: deque[Future[Recording | AudioError]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        for path in paths:
            pending.append(pool.submit(decode, path))
            if len(pending) > 2 * workers:  # so that memory holds a few recordings, not all
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _read_entry(folder: Path, total: int) -> _Entry | None:
    """The cache entry in `folder`, or None where it is absent, damaged or of another version."""
    try:
        values = read_json(folder / "index.json", "waveform cache", _SCHEMA, DatasetError)
        index = _Index(
            [int(length) for length in values["lengths_samples"]],
            [int(i) for i in values["silent"]],
            {int(i): str(reason) for i, reason in values["skipped"]},
        )
        if values["crc32"] != _checksum(folder / "samples.f32"):
            return None
        samples = _map_samples(folder)
    except (ArithmeticError, DatasetError, OSError, KeyError, TypeError, ValueError):
        return None
    positions = {*index.silent, *index.skipped}
    whole = (
        len(index.lengths) + len(index.skipped) == total
        and all(0 <= i < total for i in positions)
        and all(length > 0 for length in index.lengths)
        and sum(index.lengths) == len(samples)
    )
    return (index, samples) if whole else None


def _checksum(path: Path) -> int:
    """CRC-32 of a file: finds flipped bits, in a second per gigabyte."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _map_samples(folder: Path) -> NDArray[np.float32]:
    return np.memmap(folder / "samples.f32", dtype=LITTLE_ENDIAN, mode="r")


def _write_entry(
    folder: Path,
    paths: Sequence[Path],
    sample_rate_hz: int,
    skip_bad: bool,
    progress: Callable[[int, int], None],
) -> _Entry:
    """Decode everything into a cache entry, which appears under its name when complete."""
    entry = None
    try:
        with replacing_folder(folder) as temporary:
            index = _write_samples(temporary, paths, sample_rate_hz, skip_bad, progress)
            write_json(
                temporary / "index.json",
                {
                    "schema": _SCHEMA,
                    "crc32": _checksum(temporary / "samples.f32"),
                    "lengths_samples": index.lengths,
                    "silent": index.silent,
                    "skipped": list(index.skipped.items()),
                },
            )
            entry = index, _map_samples(temporary)
    except OSError as error:
        # Another process that published the same entry first is no failure: the map made above
        # stays valid although its file has no name any more.
        if entry is None or error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT):
            raise DatasetError(
                f"The cache of decoded recordings cannot be written to {folder.parent}: "
                f"{reason(error)}.",
                "a folder that may be written to, on a disk with room for the decoded recordings.",
                "name another one with --cache DIR.",
            ) from error
    return entry


def _write_blocks(file: BinaryIO, recording: Recording) -> tuple[int, bool]:
    """Its samples, block by block: how many they are, at least 1, and whether all are silent."""
    length, silent = 0, True
    for block in recording.blocks():
        file.write(block.astype(LITTLE_ENDIAN, copy=False).data)
        length += len(block)
        silent = silent and is_silent(block)
    if length == 0:  # resampling left nothing
        file.write(np.zeros(1, LITTLE_ENDIAN).data)
    for note in recording.notes:
        warnings.warn(f"{recording.name}: {note}", AudioWarning, stacklevel=2)
    return max(1, length), silent


def _write_samples(
    folder: Path,
    paths: Sequence[Path],
    sample_rate_hz: int,
    skip_bad: bool,
    progress: Callable[[int, int], None],
) -> _Index:
    index = _Index([], [], {})
    with (
        contextlib.closing(_decode_all(paths, sample_rate_hz)) as decoded,
        (folder / "samples.f32").open("wb") as file,
    ):
        for i, recording in enumerate(decoded):
            if isinstance(recording, AudioError):
                if not skip_bad:
                    raise recording
                # File names need not be UTF-8, and JSON must be.
                index.skipped[i] = str(recording).encode(errors="backslashreplace").decode()
            else:
                length, silent = _write_blocks(file, recording)
                index.lengths.append(length)
                if silent:
                    index.silent.append(i)
            progress(i + 1, len(paths))
        file.flush()
        os.fsync(file.fileno())
    if not index.lengths:
        raise DatasetError(
            f"None of the {len(paths)} recordings can be used; the first: {index.skipped[0]}",
            "at least one recording that can be decoded.",
        )
    return index
