"""Writes a bundle's models into a Triton repository, beside whatever a server runs from it.

REPOSITORY/
  NAME-PRECISION-KIND/
    config.pbtxt, labels.txt
    warmup/waveform.f32     a recording of the golden vectors
    1/, 2/ …                versions: a graph, an engine or a bundle, and gmme-edge.json
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from gmme_edge.bundle.bundle import INPUT, MANIFEST, OUTPUTS, Bundle
from gmme_edge.bundle.precisions import ONNX_RUNTIME, TENSORRT, runs_on
from gmme_edge.errors import UsageError
from gmme_edge.files import replacing, replacing_folder, scratch_folder, write_json
from gmme_edge.runtime.engines.info import EngineInfo, sidecar_of
from gmme_exporters.triton.config import (
    CONFIG,
    LABELS,
    WARMUP,
    TritonOptions,
    Variant,
    config_text,
)

_NOTE, _KIND, _SCHEMA = "gmme-edge.json", "gmme-edge-triton-model", 1
_PYTHON = Path(__file__).parent / "python_backend" / "model.py"


def model_names(name: str, precisions: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """The folders that `write_models` may write, for a bundle of this name."""
    base = re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII)
    return [
        f"{base}-{precision}-{kind}"
        for kind in kinds
        for precision in precisions
        if _serves(kind, precision)
    ]


def _serves(kind: str, precision: str) -> bool:
    """Half precision is no gain on a CPU; INT8 of either kind is none on plain CUDA."""
    if kind == "tensorrt":
        return runs_on(precision, TENSORRT)
    if kind == "gpu":
        return precision in ("fp32", "fp16")
    return runs_on(precision, ONNX_RUNTIME) and precision != "fp16"


def check_repository(repository: Path, names: Sequence[str]) -> None:
    """Before an export: nothing else has these names in the repository.

    Raises:
        UsageError: a folder of one of the names that this command did not write, a folder of
            something else than models, no folder, or no precision that the kinds of models serve.
    """
    if not names:
        raise UsageError(
            "None of the precisions serves --triton-for.",
            "fp32 or int8 for cpu and python; fp32 or fp16 for gpu; any but int8-ort for tensorrt.",
        )
    if repository.exists() and not repository.is_dir():
        raise UsageError(f"{repository} is a file.", "a folder of Triton's models, or a new one.")
    others = list(repository.iterdir()) if repository.exists() else []
    if others and not any(map(_is_model, others)):
        raise UsageError(
            f"{repository} holds no model.",
            "a repository of Triton's, an empty folder, or a new one.",
            "name another folder with --triton: a server takes every folder in it for a model.",
        )
    for name in names:
        model = repository / name
        if model.exists() and not _notes(model):
            raise UsageError(
                f"{model} exists and is no model of this command.",
                "a new name, or such a model.",
                "name another folder with --triton, or another bundle with -o.",
            )


def _is_model(folder: Path) -> bool:
    """As a server knows one: by its configuration, or by a version."""
    versions = (each for each in folder.glob("*") if each.name.isdigit())
    return (folder / CONFIG).is_file() or any(each.is_dir() for each in versions)


def write_models(bundle: Bundle, repository: Path, options: TritonOptions) -> tuple[Path, ...]:
    """Write each model, or a new version of it; the folders of the versions that are newest now.

    What lies there already is not changed but `config.pbtxt`, which every version shares. A version
    appears whole. One that holds what the newest one holds is not written again.

    Raises:
        UsageError: a model of the same name has other labels or shapes.
    """
    repository.mkdir(parents=True, exist_ok=True)
    names = model_names(bundle.path.resolve().name, bundle.precisions, options.kinds)
    check_repository(repository, names)
    wanted = [
        variant
        for kind in options.kinds
        for precision in bundle.precisions
        if _serves(kind, precision)
        for variant in _variants(bundle, kind, precision)
    ]
    return tuple(_write_model(bundle, variant, repository, options) for variant in wanted)


def _variants(bundle: Bundle, kind: str, precision: str) -> list[Variant]:
    """A graph; where TensorRT is to run it and the bundle holds an engine, that one as well."""
    (name,) = model_names(bundle.path.resolve().name, (precision,), (kind,))
    spec = bundle.manifest.model
    widths = {OUTPUTS[0]: spec.n_classes, OUTPUTS[1]: spec.backbone.embed_dim}
    graph = onnx.load_model_from_string(bundle.checked_bytes(bundle.find("model", precision)))
    outputs = {each.name: widths[each.name] for each in graph.graph.output}
    variant = Variant(name, kind, precision, spec.n_samples, outputs)
    if kind != "tensorrt" or _engine(bundle, precision) is None:
        return [variant]
    return [variant, replace(variant, name=f"{name}-plan", is_engine=True)]


def _engine(bundle: Bundle, precision: str) -> Path | None:
    """TensorRT's own engine; a server has no TensorRT-RTX."""
    for file in bundle.manifest.files:
        ours = file.role == "engine" and file.target.rpartition("-")[0] == "tensorrt"
        if ours and file.precision == precision:
            return bundle.checked_path(file)
    return None


def _write_model(
    bundle: Bundle, variant: Variant, repository: Path, options: TritonOptions
) -> Path:
    if variant.is_engine:
        engine = _engine(bundle, variant.precision)
        assert engine
        built_for = EngineInfo.read(engine).max_batch
        options = replace(options, largest_batch=min(options.largest_batch, built_for))
    model = repository / variant.name
    note = _describe(bundle, variant)
    versions = _notes(model)
    if not versions:
        # Beside the repository: in it, a server that polls would see half a model.
        with scratch_folder(repository.resolve()) as scratch:
            new = scratch / variant.name
            _write_version(bundle, variant, new / "1", note)
            _write_shared(bundle, variant, new, options)
            new.rename(model)
        return model / "1"
    newest = max(versions)
    _check_same_interface(model, versions[newest], note)
    if versions[newest] != note:
        newest += 1
        with replacing_folder(model / str(newest)) as folder:
            _write_version(bundle, variant, folder, note)
    _write_shared(bundle, variant, model, options)
    return model / str(newest)


def _describe(bundle: Bundle, variant: Variant) -> dict[str, Any]:
    """What a version holds, by which it is told from another one."""
    files = {f.path: f.sha256 for f in _sources(bundle, variant)}
    return {
        "schema": _SCHEMA,
        "kind": _KIND,
        "labels": list(bundle.manifest.labels),
        "n_samples": variant.n_samples,
        "sample_rate_hz": bundle.manifest.model.sample_rate_hz,
        "outputs": dict(variant.outputs),
        "files": files,
    }


def _sources(bundle: Bundle, variant: Variant) -> list[Any]:
    graph = bundle.find("model", variant.precision)
    golden = [f for f in bundle.manifest.files if f.role == "golden"]
    return [graph, *bundle.weights(variant.precision), *golden]


def _check_same_interface(model: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    for name in ("labels", "n_samples", "sample_rate_hz", "outputs"):
        if old.get(name) != new[name]:
            raise UsageError(
                f"{model} holds a model with other {name}: {old.get(name)!r:.80}.",
                f"{new[name]!r:.80}, as all versions of a model have the same.",
                "name another bundle with -o: its name is the model's.",
            )


def _notes(model: Path) -> dict[int, dict[str, Any]]:
    """By version what this command wrote; other folders are left out."""
    found = {}
    for folder in model.iterdir() if model.is_dir() else ():
        try:
            note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
            if folder.name.isdecimal() and note["kind"] == _KIND:
                found[int(folder.name)] = note
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return found


def _write_version(bundle: Bundle, variant: Variant, folder: Path, note: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if variant.kind == "python":
        shutil.copyfile(_PYTHON, folder / "model.py")
        _copy_bundle(bundle, variant, folder / "bundle")
    elif variant.is_engine:
        engine = _engine(bundle, variant.precision)
        assert engine
        shutil.copyfile(engine, folder / "model.plan")
        shutil.copyfile(sidecar_of(engine), folder / sidecar_of(engine).name)
    else:
        bundle.copy_model(variant.precision, folder).rename(folder / "model.onnx")
    write_json(folder / _NOTE, note)


def _copy_bundle(bundle: Bundle, variant: Variant, folder: Path) -> None:
    """The bundle with this precision alone, for the runtime to check and run."""
    folder.mkdir()
    files = tuple(_sources(bundle, variant))
    for file in files:
        (folder / file.path).write_bytes(bundle.checked_bytes(file))
    manifest = replace(bundle.manifest, files=files, verdict={})
    write_json(folder / MANIFEST, manifest.to_dict())


def _write_shared(bundle: Bundle, variant: Variant, model: Path, options: TritonOptions) -> None:
    """What all versions share; a file that would not change is not touched: servers look at it."""
    golden = bundle.golden()[INPUT]
    loudest = golden[int(np.abs(golden).max(axis=1).argmax())]
    _write_changed(model / "warmup" / WARMUP, loudest.astype("<f4").tobytes())
    _write_changed(model / LABELS, "".join(f"{x}\n" for x in bundle.manifest.labels).encode())
    _write_changed(model / CONFIG, config_text(variant, options).encode())


def _write_changed(path: Path, content: bytes) -> None:
    if not (path.is_file() and path.read_bytes() == content):
        with replacing(path, len(content)) as temporary:
            temporary.write_bytes(content)
