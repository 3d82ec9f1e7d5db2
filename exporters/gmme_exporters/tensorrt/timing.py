"""The timing cache: what the builder measured of its kernels, kept for later builds.

The file is TensorRT's own format, which trtexec takes as well (``--timingCacheFile``). A sidecar
``NAME.json`` says which version and GPU wrote it and holds its hash: a damaged cache must not
reach the library's parser, and timings of another GPU would choose the wrong kernels.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType

from gmme_edge.errors import EngineError, InputError
from gmme_edge.files import replacing, write_json
from gmme_edge.inputs import read_json
from gmme_exporters.tensorrt.objects import BuilderConfig

_SCHEMA, _KIND = 1, "timing cache's description"
_FIX = "delete both files, or name another: the build then measures anew."


def attach_timing_cache(
    library: ModuleType,
    config: BuilderConfig,
    path: Path,
    sm: int,
) -> None:
    """Let the build of `config` use the timings in `path`, or start with none if it is missing.

    Raises:
        InputError: `path` is damaged, or of another version or GPU.
        EngineError: the library refuses it.
    """
    cache = config.create_timing_cache(_read(library, path, sm))
    if cache is None or not config.set_timing_cache(cache, False):
        raise EngineError(
            f"{library.__name__} {library.__version__} refuses the timing cache {path}.",
            "one that was written by this version on this kind of GPU.",
            _FIX,
        )


def save_timing_cache(
    library: ModuleType,
    config: BuilderConfig,
    path: Path,
    sm: int,
) -> None:
    """Write what the finished build of `config` measured to `path`, with its sidecar."""
    content = bytes(config.get_timing_cache().serialize())
    with replacing(path, len(content)) as temporary:
        temporary.write_bytes(content)
    # Should the process end between the two, the old hash refuses the new file: it is not misread.
    digest = hashlib.sha256(content).hexdigest()
    write_json(_sidecar(path), {"schema": _SCHEMA, "sha256": digest, **_origin(library, sm)})


def _read(library: ModuleType, path: Path, sm: int) -> bytes:
    if not path.exists():
        return b""
    described = read_json(_sidecar(path), _KIND, _SCHEMA)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != described.get("sha256"):
        raise InputError(
            f"The timing cache {path} is damaged: it is not the file that its description names.",
            "the file as the build left it.",
            _FIX,
        )
    found = {name: described.get(name) for name in _origin(library, sm)}
    if found != _origin(library, sm):
        raise InputError(
            f"The timing cache {path} is of {_say(found)}.", f"{_say(_origin(library, sm))}.", _FIX
        )
    return content


def _origin(library: ModuleType, sm: int) -> dict[str, object]:
    return {"version": library.__version__, "sm": sm}


def _say(origin: dict[str, object]) -> str:
    return f"version {origin['version']} on SM{origin['sm']}"


def _sidecar(path: Path) -> Path:
    return path.with_name(path.name + ".json")
