"""The bundle: a folder with everything that a device needs, described by `manifest.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.manifest import (
    GOLDEN,
    INPUT,
    MANIFEST,
    OUTPUTS,
    SCHEMA,
    BundleFile,
    Manifest,
    Role,
)
from gmme_edge.bundle.precisions import FAMILIES, PRECISIONS, REFERENCE
from gmme_edge.errors import BundleError, UsageError
from gmme_edge.files import locked, read_json, sha256_of, write_json
from gmme_edge.pretrained import describe_choice, resolve

__all__ = [
    "GOLDEN", "INPUT", "MANIFEST", "OUTPUTS", "PRECISIONS", "Bundle", "BundleFile", "Manifest",
    "Role", "describe_file",
]  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """A bundle's folder with its validated manifest."""

    path: Path
    manifest: Manifest

    @staticmethod
    def open(name_or_path: str | Path) -> Bundle:
        """Read and validate the manifest; hashes are checked by `check_files` or on use.

        Args:
            name_or_path: a bundle's folder, or the name of a shipped model; a path goes first.

        Raises:
            BundleError: no bundle, another schema, or a damaged manifest.
        """
        folder = resolve(name_or_path)
        if not (folder / MANIFEST).is_file():
            raise BundleError(
                f"{folder} is no bundle: it has no {MANIFEST}.",
                describe_choice("a folder that `gmme-edge export` wrote"),
            )
        values = read_json(folder / MANIFEST, "bundle manifest", SCHEMA, BundleError)
        return Bundle(folder, Manifest.from_dict(values))

    def save_manifest(self) -> None:
        write_json(self.path / MANIFEST, self.manifest.to_dict())

    def record_accuracy(self, precision: str, figures: Mapping[str, Any]) -> None:
        """Note a precision's accuracy in the manifest, beside what others note at the same time."""
        with locked(self.path):
            now = Bundle.open(self.path)
            accuracy = {**now.manifest.accuracy, precision: dict(figures)}
            replace(now, manifest=replace(now.manifest, accuracy=accuracy)).save_manifest()

    def find(self, role: Role, precision: str, target: str = "") -> BundleFile:
        """The file of a role and precision; raises `UsageError` naming what there is."""
        for file in self.manifest.files:
            if (file.role, file.precision) == (role, precision) and target in ("", file.target):
                return file
        present = ", ".join(self.precisions) or "none"
        raise UsageError(
            f"{self.path} has no {role} of precision {precision!r}"
            + (f" for {target}." if target else "."),
            f"one of the exported precisions: {present}.",
            _how_to_get(precision),
        )

    @property
    def precisions(self) -> tuple[str, ...]:
        return self.manifest.precisions

    @property
    def default_precision(self) -> str:
        """fp32 where it was exported, else the first precision that was."""
        if not self.precisions:
            raise BundleError(f"{self.path} holds no model.", "at least one exported precision.")
        return REFERENCE if REFERENCE in self.precisions else self.precisions[0]

    def recommended_precision(self, backend: str) -> str:
        """What `gmme-edge export --auto` chose for `backend`, if it did, else the default."""
        known = self.manifest.verdict.get("backend") == backend
        return str(self.manifest.verdict["precision"]) if known else self.default_precision

    def checked_path(self, file: BundleFile) -> Path:
        """The file's path, after its size and SHA-256 were found to be the manifest's.

        Raises:
            BundleError: missing, or changed since the export.
        """
        path = self.path / file.path
        try:
            present = path.is_file()
            same = present and path.stat().st_size == file.size_bytes
            same = same and sha256_of(path) == file.sha256
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error}", "a readable file.") from error
        if not present:
            raise BundleError(f"{path} is missing.", f"the file that {MANIFEST} lists.",
                              "copy the bundle again, or export it again.")  # fmt: skip
        if not same:
            raise BundleError(
                f"{path} is not the file that was exported (its SHA-256 or size differs).",
                f"SHA-256 {file.sha256}.",
                "copy the bundle again, or export it again.",
            )
        return path

    def checked_model(self, precision: str) -> Path:
        """The path of a precision's graph, checked as are the weights that it reads, if any."""
        path = self.checked_path(self.find("model", precision))
        for file in self.weights(precision):
            self.checked_path(file)
        return path

    def weights(self, precision: str) -> tuple[BundleFile, ...]:
        """The files outside a precision's graph from which it reads its weights; mostly none."""
        files = self.manifest.files
        return tuple(f for f in files if (f.role, f.precision) == ("weights", precision))

    def size_bytes(self, precision: str) -> int:
        """What a precision takes on the disk: its graph, and the weights that it reads."""
        files = (self.find("model", precision), *self.weights(precision))
        return sum(file.size_bytes for file in files)

    def check_files(self) -> None:
        """`checked_path` for every file of the manifest."""
        for file in self.manifest.files:
            self.checked_path(file)

    def golden(self) -> dict[str, NDArray[np.float32]]:
        """``waveform`` (n, samples) with the reference's ``logits`` and ``embedding``.

        Raises:
            BundleError: missing, changed since the export, or no such arrays.
        """
        file = next((f for f in self.manifest.files if f.role == "golden"), None)
        if file is None:
            raise BundleError(f"{self.path} has no {GOLDEN}.", "golden vectors.")
        path, spec = self.checked_path(file), self.manifest.model
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                golden = {name: arrays[name] for name in arrays.files}
            shapes = golden[INPUT].shape, golden[OUTPUTS[0]].shape
            n_clips = shapes[0][0]
        except Exception as error:  # zip, zlib and numpy raise about ten kinds
            raise BundleError(
                f"{path} holds no golden vectors: {type(error).__name__}: {error}",
                f"arrays {INPUT!r} and {OUTPUTS[0]!r}.",
            ) from error
        if not n_clips or shapes != ((n_clips, spec.n_samples), (n_clips, spec.n_classes)):
            raise BundleError(
                f"{path} has {INPUT} and {OUTPUTS[0]} of shapes {shapes[0]} and {shapes[1]}.",
                f"(n, {spec.n_samples}) and (n, {spec.n_classes}), n at least 1.",
            )
        return golden


def _how_to_get(precision: str) -> str:
    """What to do about a precision that a bundle lacks; nothing helps one that there is not."""
    row = PRECISIONS.get(precision)
    family = row.family if row else precision
    return f"export again with --precision {family}." if family in FAMILIES else ""


def describe_file(
    folder: Path,
    path: str,
    role: Role,
    precision: str = "",
    target: str = "",
    opset: int = 0,
    operators: tuple[str, ...] = (),
) -> BundleFile:
    """Hash a file that was just written into `folder`, for the manifest."""
    full = folder / path
    hashed = sha256_of(full), full.stat().st_size
    return BundleFile(path, role, *hashed, precision, target, opset, operators)
