"""What a writer may replace: one rule for bundles and checkpoints.

Only files that a valid manifest of the product lists, in a folder of the same kind, are ever
replaced. Everything else stays where it is, or the call is refused before work begins. A link that
names the output is followed. Other weights are another model, even where preset, data and labels
are the same: of a network that was trained again, the old bundle may be all that is left.

    claim_bundle       before `export` works: which files of its output folder may go
    claim_checkpoint   before `train` or `convert` works: whether its output folder is free
    claim_result       before `evaluate` or `profile` works: whether its file is free

`train` calls ``claim_checkpoint(output, allowed=restart, flag="--restart")`` where it does not
continue a run of its own; it returns the folder to write to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gmme_edge.bundle.bundle import MANIFEST, Bundle, Manifest
from gmme_edge.destinations import real_folder, refuse_unwritable
from gmme_edge.errors import GmmeEdgeError, InputError, UsageError
from gmme_edge.inputs import read_json

CARD = "README.md"  # a model card: the user's own, beside whatever is written
_WEIGHTS, _DESCRIPTION, _DESCRIPTION_SCHEMA = "model.safetensors", "model.json", 1
_RESULT_SCHEMA = 1
_OTHER_FOLDER = "name another folder with -o."


@dataclass(frozen=True)
class Claim:
    """A folder to write to.

    Attributes:
        folder: where links lead.
        owned: the files in it that may be replaced or removed, relative to it.
    """

    folder: Path
    owned: tuple[str, ...] = ()


def claim_bundle(
    out: Path,
    source: Path | None,
    source_sha256: str,
    writes: Iterable[str],
    force: bool = False,
) -> Claim:
    """The claim of an export on `out`.

    Args:
        source: the checkpoint's folder; None where it has none.
        source_sha256: of the checkpoint's weights; a bundle made of others is another model's.
        writes: what the export will write, relative to `out`, as far as it is known.
        force: replace another model's bundle, and write beside files of something else.

    Raises:
        UsageError: `out` is the source, or holds what is not to be replaced.
    """
    folder = bundle_folder(out, source)
    if not folder.exists():
        return Claim(folder)
    owned: tuple[str, ...] = ()
    if _present(folder / MANIFEST):
        manifest = _own_manifest(out)
        _refuse_other_model(out, manifest, source_sha256, force)
        owned = (MANIFEST, *(file.path for file in manifest.files))
    elif not force and any(entry.name != CARD for entry in folder.iterdir()):
        raise UsageError(
            f"{out} exists and is no bundle.",
            "a new folder, an empty one, or an old bundle.",
            "name another folder with -o; or --force writes beside what is there, and replaces "
            "nothing.",
        )
    _refuse_collisions(folder, out, set(writes) - set(owned))
    return Claim(folder, owned)


def bundle_folder(out: Path, source: Path | None) -> Path:
    """The folder behind `out`, where an export of `source` may write if nothing else is there.

    Raises:
        UsageError: `out` is the source, or a file.
    """
    folder = real_folder(out)
    if source is not None and real_folder(source) == folder:
        raise UsageError(
            f"{out} is the folder of the model that is exported.",
            "another folder: its weights would be replaced.",
            _OTHER_FOLDER,
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(
            f"{out} exists and is no bundle but a file.",
            "a new folder, an empty one, or an old bundle.",
            _OTHER_FOLDER,
        )
    return folder


def _own_manifest(out: Path) -> Manifest:
    try:
        return Bundle.open(real_folder(out)).manifest
    except GmmeEdgeError as error:
        raise UsageError(
            f"{out} holds a {MANIFEST} that is not a bundle's of this version, or is damaged: "
            f"{error.got}",
            "a new folder, an empty one, or an intact bundle.",
            f"{_OTHER_FOLDER[:-1]}; --force replaces no such file either.",
        ) from error


def _refuse_other_model(out: Path, manifest: Manifest, source_sha256: str, force: bool) -> None:
    noted = manifest.provenance
    sources = (noted.get("source_sha256"), noted.get("checkpoint_sha256"))
    if source_sha256 and source_sha256 in sources:
        return
    if any(file.role == "weights" for file in manifest.files):
        raise UsageError(
            f"{out} holds the weights of another model, perhaps the only ones to train on.",
            "a new folder, or a bundle of the same weights.",
            f"{_OTHER_FOLDER[:-1]}, or remove {out} yourself; --force does not replace them.",
        )
    if not force and not (manifest.untrained and not source_sha256):
        raise UsageError(
            f"{out} is the bundle of another model, {manifest.model.name} with other weights.",
            "a new folder, an empty one, or a bundle of the same weights.",
            "name another folder with -o; or, as after training again, replace that bundle with "
            "--force.",
        )


def _refuse_collisions(folder: Path, out: Path, names: Iterable[str]) -> None:
    taken = sorted(name for name in names if _present(folder / name))
    if taken:
        raise UsageError(
            f"{out} holds {', '.join(taken)}, which no bundle's {MANIFEST} lists.",
            "no files of these names: only a bundle's own are ever replaced.",
            f"move them away, or {_OTHER_FOLDER} --force replaces no such file either.",
        )


def claim_checkpoint(out: Path, allowed: bool = False, flag: str = "--force") -> Path:
    """The folder behind `out`, where a checkpoint may be written.

    Args:
        allowed: replace a finished checkpoint; the option `flag` says so.

    Raises:
        InputError: `out` is a file.
        UsageError: `out` is a bundle, or holds weights that are not the product's, or a finished
            checkpoint that was not to be replaced.
    """
    folder = real_folder(out)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{out} exists and is no folder.", "a folder.", _OTHER_FOLDER)
    if _present(folder / MANIFEST):
        raise UsageError(
            f"{out} holds a {MANIFEST}: it is a bundle, or something else's folder.",
            "a new folder, an empty one, or a checkpoint's.",
            f"{_OTHER_FOLDER[:-1]}; {flag} does not replace it.",
        )
    taken = [name for name in (_WEIGHTS, _DESCRIPTION) if _present(folder / name)]
    if not taken:
        return folder
    if not _is_description(folder / _DESCRIPTION):
        raise UsageError(
            f"{out} holds {' and '.join(taken)} of something else.",
            "a new folder, an empty one, or a checkpoint's.",
            f"{_OTHER_FOLDER[:-1]}; {flag} does not replace them.",
        )
    if not allowed:
        raise UsageError(
            f"{out} holds a finished checkpoint.",
            "a new folder, or an empty one.",
            f"name another folder with -o, or replace that checkpoint with {flag}.",
        )
    return folder


def _is_description(path: Path) -> bool:
    try:
        values = read_json(path, "checkpoint description", _DESCRIPTION_SCHEMA)
    except GmmeEdgeError:
        return False
    return isinstance(values.get("model"), dict) and isinstance(values.get("labels"), list)


def _present(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def claim_result(path: Path | None) -> None:
    """As `refuse_unwritable`, and before a result replaces what is none.

    Raises:
        UsageError: the file `path` holds something, and no result of this package.
    """
    refuse_unwritable(path)
    if path is None or not path.is_file() or not path.stat().st_size:
        return
    try:
        if "kind" in read_json(path, "result", _RESULT_SCHEMA):
            return
    except GmmeEdgeError:
        pass
    raise UsageError(
        f"{path} is there, and no result of a measurement.",
        "a new file, or an older result.",
        "name another file with -o, or move that one away.",
    )
