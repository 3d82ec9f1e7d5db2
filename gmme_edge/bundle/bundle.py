"""The bundle: a folder with everything that a device needs, described by `manifest.json`."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmme_edge.bundle.golden import parse_golden
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
from gmme_edge.bundle.precisions import FAMILIES, PRECISIONS, REFERENCE, graph_of
from gmme_edge.bundle.reading import (
    MOST_MANIFEST_BYTES,
    is_archive,
    parse_object,
    read_bounded,
)
from gmme_edge.errors import BundleError, UsageError, reason
from gmme_edge.licenses import LicenseWarning, restriction
from gmme_edge.pretrained import describe_choice, resolve

__all__ = [
    "GOLDEN",
    "INPUT",
    "MANIFEST",
    "OUTPUTS",
    "PRECISIONS",
    "Bundle",
    "BundleFile",
    "Manifest",
    "Role",
    "describe_file",
]


_COPY_AGAIN = "copy the bundle again, or export it again."


@dataclass(frozen=True)
class Bundle:
    """A bundle's folder, or a zip file of one, with its validated manifest."""

    path: Path
    manifest: Manifest

    @staticmethod
    def open(
        name_or_path: str | Path, trust: str | Path | None = None, sha256: str | None = None
    ) -> Bundle:
        """Read and validate the manifest; files are compared with their hashes when they are used.

        Args:
            name_or_path: a bundle's folder, a zip file of one, or the name of a shipped model; a
                path goes first.
            trust: a public key, or the file of one: the manifest must be signed with it.
            sha256: what the manifest's own SHA-256 must be.

        Raises:
            BundleError: no bundle, another schema, a damaged manifest, or none to be trusted.
        """
        root = resolve(name_or_path)
        try:
            content = read_bounded(root, MANIFEST, MOST_MANIFEST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            raise _no_bundle(root) from None
        except OSError as error:
            raise BundleError(
                f"{root} cannot be read: {reason(error)}.", "a readable bundle."
            ) from error
        if trust is not None:
            from gmme_edge.bundle.signing import check_signature

            check_signature(root, content, trust)
        digest = hashlib.sha256(content).hexdigest()
        if sha256 is not None and digest != sha256.lower():
            raise BundleError(f"{root / MANIFEST} has the SHA-256 {digest}.", f"{sha256}.")
        values = parse_object(content, str(root / MANIFEST))
        if values["schema"] != SCHEMA:
            raise BundleError(
                f"{root / MANIFEST} has schema {values['schema']}.",
                f"schema {SCHEMA} of a bundle manifest.",
                "write it again with this version, or use the version of gmme-edge that wrote it.",
            )
        try:
            return Bundle(root, Manifest.from_dict(values))
        except BundleError as error:
            raise BundleError(f"{root}: {error.got}", error.expected, error.fix) from error

    @property
    def restriction(self) -> str:
        """What its user should know of its data's licence, as a sentence; else empty."""
        return restriction(self.path.resolve().name, self.manifest.data_license)

    def warn_of_license(self, stacklevel: int = 2) -> None:
        """State `restriction`, if there is one, as a `LicenseWarning`."""
        if restricts := self.restriction:
            warnings.warn(restricts, LicenseWarning, stacklevel=stacklevel + 1)

    def save_manifest(self) -> None:
        from gmme_edge.files import write_json  # here and below: who runs a bundle writes none

        write_json(self.path / MANIFEST, self.manifest.to_dict())

    def record_accuracy(self, precision: str, figures: Mapping[str, Any]) -> None:
        """Note a precision's accuracy in the manifest, beside what others note at the same time.

        Raises:
            BundleError: meanwhile another network took this one's place.
        """
        from gmme_edge.locks import locked  # here, as above

        with locked(self.path):
            now = Bundle.open(self.path)
            if now.manifest.weights_sha256 != self.manifest.weights_sha256:
                raise BundleError(
                    f"{self.path} was replaced by the bundle of another network meanwhile.",
                    "the bundle that was evaluated.",
                    "evaluate it again.",
                )
            accuracy = {**now.manifest.accuracy, precision: dict(figures)}
            replace(now, manifest=replace(now.manifest, accuracy=accuracy)).save_manifest()

    def find(self, role: Role, precision: str, target: str = "") -> BundleFile:
        """The file of a role and precision; raises `UsageError` naming what there is.

        The model of ``bf16`` is that of ``fp32``, see `precisions.graph_of`.
        """
        precision = graph_of(precision) if role == "model" else precision
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

    def checked_bytes(self, file: BundleFile) -> bytes:
        """The file's content, read once, whose size and SHA-256 are the manifest's.

        Raises:
            BundleError: missing, or changed since the export.
        """
        path = self.path / file.path
        try:
            content = read_bounded(self.path, file.path, max(0, file.size_bytes))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise BundleError(
                f"{path} is missing.", f"the file that {MANIFEST} lists.", _COPY_AGAIN
            ) from None
        except OSError as error:
            raise BundleError(
                f"{path} cannot be read: {reason(error)}.", "a readable file."
            ) from error
        same_size = len(content) == file.size_bytes
        if not same_size or hashlib.sha256(content).hexdigest() != file.sha256:
            raise BundleError(
                f"{path} is not the file that was exported (its SHA-256 or size differs).",
                f"SHA-256 {file.sha256}.",
                _COPY_AGAIN,
            )
        return content

    def checked_path(self, file: BundleFile) -> Path:
        """The file's path, after `checked_bytes`; use the bytes wherever that is possible."""
        self.checked_bytes(file)
        if is_archive(self.path):
            raise UsageError(
                f"{self.path} is a zip file.", "a folder for this.", "unpack it and use the folder."
            )
        return self.path / file.path

    def checked_model(self, precision: str) -> tuple[bytes, dict[str, bytes]]:
        """A precision's graph, and by its name each file from which it reads its weights."""
        weights = {file.path: self.checked_bytes(file) for file in self.weights(precision)}
        return self.checked_bytes(self.find("model", precision)), weights

    def copy_model(self, precision: str, folder: Path) -> Path:
        """Write a precision's graph and weights, as they were checked, into a folder; its path."""
        graph, weights = self.checked_model(precision)
        for name, content in weights.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        path = folder / Path(self.find("model", precision).path).name
        path.write_bytes(graph)
        return path

    def weights(self, precision: str) -> tuple[BundleFile, ...]:
        """The files outside a precision's graph from which it reads its weights; mostly none."""
        key = ("weights", graph_of(precision))
        return tuple(file for file in self.manifest.files if (file.role, file.precision) == key)

    def size_bytes(self, precision: str) -> int:
        """What a precision takes on the disk: its graph, and the weights that it reads."""
        files = (self.find("model", precision), *self.weights(precision))
        return sum(file.size_bytes for file in files)

    def check_files(self) -> None:
        """`checked_bytes` for every file of the manifest."""
        for file in self.manifest.files:
            self.checked_bytes(file)

    def golden(self) -> dict[str, NDArray[np.float32]]:
        """``waveform`` (n, samples) with the reference's ``logits`` and ``embedding``.

        Newer bundles hold ``logits.PRECISION`` too, what each graph gave when it was exported.

        Raises:
            BundleError: missing, changed since the export, or no such arrays.
        """
        file = next((f for f in self.manifest.files if f.role == "golden"), None)
        if file is None:
            raise BundleError(f"{self.path} has no {GOLDEN}.", "golden vectors.")
        content = self.checked_bytes(file)
        return parse_golden(content, self.manifest.model, str(self.path / file.path))


def _no_bundle(root: Path) -> BundleError:
    if (root / "model.safetensors").is_file():
        import shlex

        return BundleError(
            f"{root} is no bundle but a checkpoint.",
            "a bundle, which `gmme-edge export` makes of it.",
            f"gmme-edge export {shlex.quote(str(root))} -o BUNDLE, then use BUNDLE.",
        )
    lacks = f"it has no {MANIFEST}" if root.is_dir() else "it is a file"
    got = f"{root} is no bundle: {lacks}." if root.exists() else f"{root} does not exist."
    return BundleError(got, describe_choice("a folder that `gmme-edge export` wrote"))


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
    from gmme_edge.files import sha256_of

    hashed = sha256_of(full), full.stat().st_size
    return BundleFile(path, role, *hashed, precision, target, opset, operators)
