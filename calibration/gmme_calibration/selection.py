"""Where calibration clips come from, and a selection that is replayed: its file names and hashes.

A selection is the ``clips`` of a ``calibration.json``; what else stands there is passed over. So
a bundle's own file replays, and so does the short one that `save_selection` writes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from gmme_calibration.sample import CalibrationSet, Windows, describe_clips, sample_clips
from gmme_edge.audio import AUDIO_SUFFIXES
from gmme_edge.bundle.bundle import MANIFEST, Bundle
from gmme_edge.data.dataset import Clip, LeftOut
from gmme_edge.data.folder import why_no_recording
from gmme_edge.data.holdout import with_validation
from gmme_edge.data.levels import level_edges
from gmme_edge.data.registry import open_dataset, tell_left_out
from gmme_edge.data.store import WaveformStore
from gmme_edge.data.tables import check_folder, locate_recordings, read_table
from gmme_edge.errors import DatasetError, UsageError
from gmme_edge.files import sha256_of, write_json
from gmme_edge.inputs import read_json
from gmme_edge.observer import SILENT, Observer

UNLABELLED = "unlabelled"
_SCHEMA, _OF_BUNDLES = 1, "calibration.json"
_CANDIDATES_PER_CLIP = 4  # decoded to learn their levels, of which one is taken


@dataclass(frozen=True)
class Source:
    """Recordings to calibrate on, and those that must not be among them.

    Attributes:
        name: of the data set and the part of it.
        root: the folder that a selection's file names are relative to.
        lent: the validation clips are training clips that were held out.
        left_out: what looks like a part of the data set and is none.
    """

    name: str
    root: Path
    labels: tuple[str, ...]
    training: tuple[Clip, ...]
    held_out: tuple[Clip, ...]
    lent: bool = False
    left_out: tuple[LeftOut, ...] = ()

    @property
    def validation(self) -> tuple[Clip, ...]:
        """Those of `held_out` that may decide between exports."""
        return tuple(clip for clip in self.held_out if clip.split == "validation")

    def candidates(self, size: int, seed: int) -> tuple[Clip, ...]:
        """Training clips, equally many per class, among which levels are balanced."""
        return sample_clips(self.training, _CANDIDATES_PER_CLIP * size, seed)


def open_source(
    dataset: str,
    data: Path,
    fold: int | None = None,
    validate: bool = False,
    observer: Observer = SILENT,
) -> Source:
    """A data set's training clips; or, as ``unlabelled``, all recordings of a folder or table.

    Args:
        validate: hold training clips out where the data set has no validation split.
        dataset: a name that `open_dataset` knows, or ``unlabelled``.
        data: the folder, of any depth for ``unlabelled``; or a CSV file, which for
            ``unlabelled`` needs the column path alone.
        observer: hears what is left out.
    """
    root = data.parent if data.is_file() else data
    if dataset == UNLABELLED:
        if validate:
            raise UsageError(
                "Accuracy cannot be measured on unlabelled recordings.", "a labelled data set."
            )
        paths, left_out = _recordings(data)
        tell_left_out(left_out, observer)
        clips = tuple(Clip(path, 0, "train") for path in paths)
        return Source(UNLABELLED, root, (UNLABELLED,), clips, (), left_out=left_out)
    published = open_dataset(dataset, data, fold, observer)
    opened = with_validation(published) if validate else published
    held_out = tuple(clip for clip in opened.clips if clip.split != "train")
    name = dataset if fold is None else f"{dataset}, all folds but {fold}"
    return Source(
        name=f"{name}, train",
        root=root,
        labels=opened.labels,
        training=opened.select("train"),
        held_out=held_out,
        lent=opened is not published,
        left_out=published.left_out,
    )


def _recordings(data: Path) -> tuple[list[Path], tuple[LeftOut, ...]]:
    """Those of a table, or of a folder at any depth; and what else is in there but hidden files."""
    if data.is_file():
        rows = read_table(data, ("path",))
        return locate_recordings(rows, lambda row: data.parent / row.text("path")), ()
    check_folder(data, "recordings")
    found, left_out = [], []
    for path in sorted(data.rglob("*")):
        if path.name.startswith(".") or path.is_dir():
            continue
        reason = why_no_recording(path)
        if reason is None:
            found.append(path)
        else:
            left_out.append(LeftOut(path, reason))
    if not found:
        raise DatasetError(
            f"{data} holds no recordings.",
            f"files that end in {', '.join(sorted(AUDIO_SUFFIXES))}.",
        )
    return found, tuple(left_out)


def save_selection(clips: CalibrationSet, path: Path) -> None:
    """Write what replays `clips`, without ranges: a file to commit."""
    write_json(path, {"schema": _SCHEMA, "kind": "calibration", **clips.to_dict()})


@dataclass(frozen=True)
class Selection:
    """Clips selected before, and what their record says of how."""

    clips: tuple[Clip, ...]
    seed: int
    edges_dbfs: tuple[float, ...]

    def replay(self, store: WaveformStore, source: Source, n_samples: int) -> CalibrationSet:
        """The calibration set of these clips, decoded into `store`, in the strata of before."""
        windows = Windows(store, n_samples, tuple(range(len(store))))
        edges = self.edges_dbfs or level_edges(windows.levels_dbfs)
        clips = describe_clips(windows, source.labels, source.root, edges)
        return CalibrationSet(windows, clips, source.name, self.seed, edges)


def load_selection(path: Path, source: Source) -> Selection:
    """Exactly the clips that `path` names, found below `source`'s folder.

    Raises:
        BundleError: the selection is a bundle's, and not the file that its manifest lists.
        DatasetError: no selection; a recording that is missing, changed or named twice, or whose
            class the data set does not have.
    """
    _check_listed(path)
    values = read_json(path, "selection of calibration clips", _SCHEMA, DatasetError)
    try:
        entries = [(str(c["file"]), str(c["sha256"]), str(c["label"])) for c in values["clips"]]
        seed = int(values.get("seed", 0))
        edges = tuple(float(edge) for edge in values.get("edges_dbfs", ()))
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path} lists no clips with file, sha256 and label ({error!r}).",
            "a bundle's calibration.json, or what --save-calib-clips wrote.",
        ) from error
    if len({file for file, _, _ in entries}) < len(entries):
        raise DatasetError(f"{path} names a recording twice.", "each recording once.")
    return Selection(tuple(_replay(source, *entry) for entry in entries), seed, edges)


def _check_listed(path: Path) -> None:
    if path.name == _OF_BUNDLES and (path.parent / MANIFEST).is_file():
        bundle = Bundle.open(path.parent)
        if listed := bundle.manifest.listed(path.name):
            bundle.checked_bytes(listed)


def _replay(source: Source, file: str, sha256: str, label: str) -> Clip:
    path = source.root / file
    if not path.is_file():
        raise DatasetError(
            f"{path} of the selection does not exist.",
            "every recording of the selection below --calib-data.",
            "name the folder or table that the selection was made from.",
        )
    if sha256_of(path) != sha256:
        raise DatasetError(
            f"{path} is not the recording that was selected: its SHA-256 differs.",
            f"{sha256 or 'a recorded hash'}.",
            "restore the recording, or select anew without --calib-clips.",
        )
    if label not in source.labels:
        raise DatasetError(
            f"{path} is of class {label!r} in the selection.", f"one of {', '.join(source.labels)}."
        )
    return Clip(path, source.labels.index(label), "train")


def refuse_held_out(clips: CalibrationSet, source: Source) -> None:
    """Raise `DatasetError` where a recording of `clips` validates or tests, or copies one."""
    paths = {(source.root / clip["file"]).resolve(): clip["sha256"] for clip in clips.clips}
    by_size: dict[int, dict[str, Path]] = defaultdict(dict)
    for path, digest in paths.items():
        by_size[path.stat().st_size][digest] = path
    for twin in source.held_out:
        if twin.path.resolve() in paths:
            raise _leak(twin.path, twin, "is the same file as")
        same_size = by_size.get(twin.path.stat().st_size)
        if same_size and (digest := sha256_of(twin.path)) in same_size:
            raise _leak(same_size[digest], twin, "has the same content as")


def _leak(path: Path, twin: Clip, how: str) -> DatasetError:
    return DatasetError(
        f"The calibration clip {path} {how} {twin.path}, which belongs to {twin.split}.",
        "calibration on training clips only: ranges fitted to the clips that measure the accuracy "
        "flatter it.",
        "remove one of the two, correct the split, or take another --calib-seed.",
    )
