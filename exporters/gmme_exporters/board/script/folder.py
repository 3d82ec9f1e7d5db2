"""What lies in the folder."""

import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np

FOLDER = Path(__file__).resolve().parent
INPUT = "waveform"
AGAIN = "copy the folder again, or export it again."

Manifest = Dict[str, Any]
File = Dict[str, Any]


class Failure(Exception):  # noqa: N818 - not all of them are errors of this script
    """What went wrong and how to fix it; `code` is the exit code."""

    def __init__(self, code: int, got: str, fix: str = "") -> None:
        super().__init__(got + (f"\nFix: {fix}" if fix else ""))
        self.code = code


class PlatformError(Failure):
    """What the package's modules raise, which are part of this script."""

    def __init__(self, got: str, expected: str = "", fix: str = "") -> None:
        super().__init__(7, got + (f"\nExpected: {expected}" if expected else ""), fix)


class UsageError(Failure):
    """As `PlatformError`."""

    def __init__(self, got: str, expected: str = "", fix: str = "") -> None:
        super().__init__(2, got + (f"\nExpected: {expected}" if expected else ""), fix)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def read_manifest() -> Manifest:
    """The manifest, after the size and SHA-256 of every file that it lists were checked."""
    try:
        manifest = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
        if manifest["schema"] != 1:
            raise Failure(3, f"manifest.json has schema {manifest['schema']}, not 1.", AGAIN)
        for file in manifest["files"]:
            path = (FOLDER / file["path"]).resolve()
            path.relative_to(FOLDER)  # a ValueError where it leaves the folder
            if path.stat().st_size != file["size_bytes"] or sha256(path) != file["sha256"]:
                raise Failure(3, f"{path} is not the file that was exported.", AGAIN)
        audio, complexity = manifest["audio"], manifest["complexity"]
        _ = (audio["n_samples"], audio["sample_rate_hz"], complexity["flops"], manifest["parity"])
        return dict(manifest)
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise Failure(
            3, f"The folder is damaged: {type(error).__name__}: {error}", AGAIN
        ) from error


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def sources(manifest: Manifest, precision: str) -> List[File]:
    """The graph of a precision, then the weights that it reads from other files, if any."""
    files = [f for f in manifest["files"] if f["precision"] == precision]
    graphs = [f for f in files if f["role"] == "model"]
    if not graphs:
        raise Failure(2, f"There is no {precision} network in {FOLDER}.", "see --help.")
    return graphs[:1] + [f for f in files if f["role"] == "weights"]


def golden(manifest: Manifest) -> Tuple[Any, Any]:
    """Recordings ``(n, samples)`` and the reference's logits ``(n, classes)``, float32."""
    name = next((f["path"] for f in manifest["files"] if f["role"] == "golden"), "")
    if not name:
        raise Failure(3, "The folder is damaged: its manifest lists no golden vectors.", AGAIN)
    try:
        with np.load(FOLDER / name, allow_pickle=False) as arrays:
            clips, logits = arrays[INPUT], arrays["logits"]
        if not len(clips) or clips.shape[1] != manifest["audio"]["n_samples"]:
            raise ValueError(f"its waveforms have the shape {clips.shape}")
    except Exception as error:  # zip, zlib and numpy raise about ten kinds
        raise Failure(3, f"{name} holds no golden vectors: {error}", "export again.") from error
    return clips.astype(np.float32), logits.astype(np.float32)


def write_atomically(path: Path, data: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=str(path.parent), prefix=".", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


def own_key() -> bytes:
    """32 secret bytes of this user on this device; new ones for every run where none can be kept.

    They are in the user's cache folder: whoever makes or changes the folder of the networks does
    not know them.
    """
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        path = Path(cache) / "gmme-edge" / "engine-key"
        if not path.is_file() or path.stat().st_size != 32:
            write_atomically(path, os.urandom(32), mode=0o600)
        return path.read_bytes()
    except (OSError, RuntimeError) as error:
        say(f"engines will be built again next time: no key can be kept ({error})")
        return os.urandom(32)
