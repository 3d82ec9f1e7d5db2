"""A sound in, the windows of an archive that are most like it out; needs `scan --embeddings`."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmme_edge.audio import Recording, Waveform
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import AudioError, BundleError, InputError, reason, require
from gmme_edge.inputs import read_json
from gmme_edge.observer import SILENT, Observer
from gmme_edge.public import public
from gmme_edge.runtime.classifier import load
from gmme_edge.workflows.archive.embeddings import INDEX, MATRIX, TABLE, Place, read_index
from gmme_edge.workflows.scanning import SCHEMA, SIDECAR
from gmme_edge.workflows.settings.searching import SearchSettings

_BLOCK = 16_384  # rows in memory
_MORE = 8  # candidates per answer at first, since neighbours of an answer are none

Vectors = NDArray[np.float32]
Scored = tuple[NDArray[np.float64], NDArray[np.int64]]  # similarities and rows, best first


@dataclass(frozen=True)
class Match:
    """A window of the archive; `similarity` is the cosine of the angle of two embeddings."""

    path: str
    start_s: float
    end_s: float
    start_utc: str
    similarity: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@public
def find_similar(
    folder: Path,
    query: Path,
    settings: SearchSettings | None = None,
    observer: Observer = SILENT,
) -> list[Match]:
    """The windows of the scan in `folder` that sound most like the recording `query`.

    The query's embedding is the mean of those of its windows that hold sound. Of windows that
    overlap only the most similar is told.

    Raises:
        AudioError: a query that cannot be decoded, or ends before `settings.start_s`.
        BundleError: the scan's network is gone or another one.
        InputError: no scan with embeddings.
    """
    settings = settings or SearchSettings()
    head = _read_head(folder)
    observer.stage("listen to the query")
    vector = _embed(head, query, settings)
    observer.stage("search")
    return search(folder, vector, settings.top)


@public
def search(folder: Path, vector: Vectors, top: int = 10) -> list[Match]:
    """As `find_similar`, for an embedding that is known; ``(width,)``.

    The archive's vectors are read a block at a time, so memory does not grow with their number.

    Raises:
        InputError: no scan with embeddings, or a vector of another width.
    """
    source = _open(folder)
    if np.shape(vector) != (source.width,):
        raise InputError(
            f"A vector of shape {np.shape(vector)}.", f"({source.width},), as the scan's."
        )
    try:
        return _best(source, vector, top)
    except (ValueError, LookupError, TypeError, NotImplementedError, csv.Error) as error:
        raise InputError(
            f"{folder} holds damaged embeddings: {error}", "what a scan wrote.", "scan it again."
        ) from error


def _best(source: _Source, vector: Vectors, top: int) -> list[Match]:
    wanted = _MORE * top
    while True:
        similarities, rows = _nearest(source.blocks(), vector, wanted)
        places = source.places(rows.tolist())
        found = _apart(
            Match(*places[row], similarity=round(float(value), 6))
            for value, row in zip(similarities, rows.tolist(), strict=True)
        )
        if len(found) >= top or len(rows) < wanted:
            return found[:top]
        wanted *= _MORE


def _read_head(folder: Path) -> dict[str, Any]:
    """What the scan in `folder` was made with."""
    path = folder / SIDECAR
    if not path.exists():
        raise _without_embeddings(
            folder, f"has no {SIDECAR}" if folder.exists() else "does not exist"
        )
    head = read_json(path, "scan's result", SCHEMA)
    if "embedding_width" not in head:
        raise _without_embeddings(folder, "holds no embeddings")
    parameters = head.get("parameters")
    backend = parameters.get("backend") if isinstance(parameters, dict) else None
    texts = [backend, *(head.get(name) for name in ("bundle", "precision", "model_sha256"))]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{path} is damaged.", "a scan's result.", "scan again.")
    return head


@dataclass(frozen=True)
class _Source:
    """Vectors on the disk, and where each lies in the archive."""

    width: int
    blocks: Callable[[], Iterator[Vectors]]
    places: Callable[[list[int]], dict[int, Place]]


def _open(folder: Path) -> _Source:
    matrix, table = folder / MATRIX, folder / TABLE
    if matrix.is_file() and (folder / INDEX).is_file():
        return _Source(
            width=int(_map(matrix).shape[1]),
            blocks=lambda: _mapped_blocks(matrix),
            places=lambda rows: read_index(folder / INDEX, rows),
        )
    if table.is_file():
        return _open_parquet(table)
    raise _without_embeddings(folder, "holds no embeddings")


def _without_embeddings(folder: Path, why: str) -> InputError:
    return InputError(
        f"{folder} {why}.",
        "the -o folder of a scan that has ended.",
        "gmme-edge scan RECORDINGS -o FOLDER --embeddings npy",
    )


def _map(matrix: Path) -> Vectors:
    try:
        found: Vectors = np.load(matrix, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        told = f"{matrix} cannot be read: {reason(error)}."
        raise InputError(told, "the matrix of a scan.") from error
    if found.ndim != 2 or found.dtype != np.float32:
        raise InputError(
            f"{matrix} holds {found.dtype} {found.shape}.", "float32 (windows, width)."
        )
    return found


def _mapped_blocks(matrix: Path) -> Iterator[Vectors]:
    """The rows in blocks; each is mapped anew, lest pages that were read stay with the process."""
    for start in range(0, len(_map(matrix)), _BLOCK):
        yield np.array(_map(matrix)[start : start + _BLOCK])


def _open_parquet(table: Path) -> _Source:
    parquet = require("pyarrow.parquet", "read Parquet")
    try:
        width = parquet.read_schema(table).field("embedding").type.list_size
    except (ValueError, LookupError, AttributeError) as error:
        told = f"{table} cannot be read: {reason(error)}."
        raise InputError(told, "the vectors of a scan.") from error

    def blocks() -> Iterator[Vectors]:
        with parquet.ParquetFile(table) as file:
            for batch in file.iter_batches(_BLOCK, columns=["embedding"]):
                flat = batch.column(0).flatten().to_numpy()
                yield flat.reshape(-1, width)

    def places(rows: list[int]) -> dict[int, Place]:
        wanted, found, first = np.sort(np.array(rows, np.int64)), {}, 0
        columns = ["path", "start_s", "end_s", "start_utc"]
        with parquet.ParquetFile(table) as file:
            for batch in file.iter_batches(_BLOCK, columns=columns):
                for row in wanted[(wanted >= first) & (wanted < first + len(batch))].tolist():
                    line = batch.slice(row - first, 1).to_pylist()[0]
                    found[row] = (line["path"], line["start_s"], line["end_s"], line["start_utc"])
                first += len(batch)
        return found

    return _Source(width, blocks, places)


def _nearest(blocks: Iterator[Vectors], vector: Vectors, count: int) -> Scored:
    """The `count` rows of the largest cosine, best first; of equal ones the first."""
    unit = vector.astype(np.float64) / (np.linalg.norm(vector.astype(np.float64)) or 1.0)
    best, rows, first = np.zeros(0), np.zeros(0, np.int64), 0
    for block in blocks:
        values = block.astype(np.float64)
        lengths = np.linalg.norm(values, axis=1)
        with np.errstate(invalid="ignore", over="ignore"):  # of damaged rows
            cosines = np.nan_to_num(values @ unit / np.where(lengths > 0, lengths, 1.0), nan=-1.0)
        best = np.concatenate([best, cosines])
        rows = np.concatenate([rows, np.arange(first, first + len(block))])
        kept = np.lexsort((rows, -best))[:count]
        best, rows, first = best[kept], rows[kept], first + len(block)
    return best, rows


def _apart(matches: Iterator[Match]) -> list[Match]:
    """Those that overlap none that is better."""
    taken: dict[str, list[tuple[float, float]]] = {}
    found = []
    for one in matches:
        others = taken.setdefault(one.path, [])
        if not any(one.start_s < end and start < one.end_s for start, end in others):
            others.append((one.start_s, one.end_s))
            found.append(one)
    return found


def _embed(head: dict[str, Any], query: Path, settings: SearchSettings) -> Vectors:
    bundle = settings.model or head["bundle"]
    opened = Bundle.open(bundle)
    if opened.find("model", head["precision"]).sha256 != head["model_sha256"]:
        raise BundleError(
            f"{bundle} is another network than the scan's.",
            f"SHA-256 {head['model_sha256'][:16]}….",
            "name the scan's bundle with --model.",
        )
    with load(bundle, head["parameters"]["backend"], head["precision"]) as classifier:
        recording = Recording(query, classifier.sample_rate_hz)
        sound = _cut(recording, settings)
        return classifier.embedding(sound, classifier.sample_rate_hz)


def _cut(recording: Recording, settings: SearchSettings) -> Waveform:
    """The stretch of the query that counts."""
    rate_hz = recording.sample_rate_hz
    first = round(settings.start_s * rate_hz)
    last = recording.n_samples if settings.end_s is None else round(settings.end_s * rate_hz)
    if first >= recording.n_samples:
        raise AudioError(
            f"{recording.name} ends after {recording.n_samples / rate_hz:.3f} s.",
            f"more than --start-s {settings.start_s:g}.",
        )
    parts, at = [], 0
    for block in recording.blocks():
        parts.append(block[max(0, first - at) : max(0, last - at)])
        at += len(block)
    return np.concatenate(parts)
