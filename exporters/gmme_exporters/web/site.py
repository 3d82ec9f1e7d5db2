"""Writes a bundle as a page: a folder that any web server serves, and that works offline later.

index.html, *.js, style.css   the page, built from examples/web
ort/                          onnxruntime-web, which the user installs
bundles/NAME/                 the bundles that the page offers
site.json                     their names, written last
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from gmme_edge.bundle.bundle import MANIFEST, Bundle
from gmme_edge.errors import MissingDependencyError, UsageError
from gmme_edge.files import naming_full_disk, replacing_folder, write_json
from gmme_edge.inputs import read_text
from gmme_edge.locks import locked

_PAGE = Path(__file__).parent / "site"
_INDEX, _KIND = "site.json", "gmme-edge-site"
_RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_ROLES = ("model", "weights", "golden")


def find_runtime(given: Path | None) -> Path:
    """The folder with onnxruntime-web's files; by default that of ``npm install`` here.

    Raises:
        MissingDependencyError: they are not there.
    """
    package = given or Path("node_modules/onnxruntime-web")
    for folder in (package, package / "dist"):
        if all((folder / name).is_file() for name in _RUNTIME):
            return folder
    raise MissingDependencyError(
        f"{package} does not hold onnxruntime-web.",
        ", ".join(_RUNTIME),
        "npm install --ignore-scripts onnxruntime-web, or name its folder with --ort-web.",
    )


def claim_site(folder: Path) -> tuple[str, ...]:
    """The names of the bundles of a page that is there already.

    Raises:
        UsageError: `folder` holds something else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return ()
    index = folder / _INDEX
    try:
        values = json.loads(read_text(index))
        if values["kind"] != _KIND:
            raise ValueError
        return tuple(map(str, values["bundles"]))
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{folder} exists and is no page of this command.",
            "a new folder, an empty one, or such a page.",
            "name another folder with --web.",
        ) from error


def write_site(bundle: Bundle, folder: Path, runtime: Path) -> Path:
    """Write the page, or add `bundle` to one that is there; returns its first file.

    Args:
        runtime: what `find_runtime` found.
    """
    claim_site(folder)
    name = bundle.path.resolve().name
    bundles = folder / "bundles"
    folder.mkdir(parents=True, exist_ok=True)
    # The system would name the file that is copied, not the page that has no room.
    with naming_full_disk(folder), locked(folder):
        _write_index(folder, claim_site(folder))  # so that a killed call can be repeated
        with replacing_folder(bundles / name) as new:
            for file in bundle.manifest.files:
                if file.role in _ROLES:
                    shutil.copyfile(bundle.path / file.path, new / file.path)
            shutil.copyfile(bundle.path / MANIFEST, new / MANIFEST)
        shutil.copytree(_PAGE, folder, dirs_exist_ok=True)
        (folder / "ort").mkdir(exist_ok=True)
        for part in _RUNTIME:
            shutil.copyfile(runtime / part, folder / "ort" / part)
        others = [other for other in claim_site(folder) if other != name]
        _write_index(folder, (name, *others))
    return folder / "index.html"


def _write_index(folder: Path, bundles: tuple[str, ...]) -> None:
    write_json(folder / _INDEX, {"schema": 1, "kind": _KIND, "bundles": list(bundles)})
