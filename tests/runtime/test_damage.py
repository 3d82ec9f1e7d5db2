"""Whatever is wrong with a bundle: a clear error of the project, and nothing of it is run.

Of an engine nothing is deserialized and of a graph no session is created. Where the error lies in
an engine only, leave to rebuild cures it from the bundle's ONNX file.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gmme_edge.bundle.bundle import Bundle, describe_file
from gmme_edge.errors import BundleError, EngineError, GmmeEdgeError
from gmme_edge.runtime.backends import open_session
from gmme_edge.runtime.engines.cache import Rebuild, open_engine
from gmme_edge.runtime.engines.info import Machine
from tests.artifacts import compact_bundle, copy_bundle, edit_manifest
from tests.bundles import make_bundle
from tests.fake_gpu import PLAN, VERSION, FakeCuda, FakeLibrary, install_cuda
from tests.runtime.test_engine_cache import Builder
from tests.runtime.test_tensorrt_runtime import add_engine

Damage = Callable[[Path], object]

ENGINE, SIDECAR, GRAPH, WEIGHTS = (
    "model.engine", "model.engine.json", "model.fp32.onnx", "model.safetensors",
)  # fmt: skip


# What can happen to any file. Its hash in the manifest is that of the file as it was.


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def rewrite(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def replace_by(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def damage(path: Path) -> None:
        path.rename(path.with_name("aside"))
        make(path)

    return damage


def outside(path: Path) -> Path:
    other = path.parent.parent / "outside"
    other.write_bytes(flip(path.with_name("aside").read_bytes()))
    return other


FILE_DAMAGE: dict[str, Callable[[Path], object]] = {
    "one bit": rewrite(flip),
    "cut": rewrite(lambda content: content[: len(content) // 2]),
    "one byte less": rewrite(lambda content: content[:-1]),
    "one byte more": rewrite(lambda content: content + b"\0"),
    "empty": rewrite(lambda _: b""),
    "null bytes": rewrite(lambda content: bytes(len(content))),
    "absent": replace_by(lambda path: None),
    "a folder": replace_by(lambda path: path.mkdir()),
    "a link that leads nowhere": replace_by(lambda path: path.symlink_to("nowhere")),
    "a link to itself": replace_by(lambda path: path.symlink_to(path.name)),
    "a link to a device": replace_by(lambda path: path.symlink_to("/dev/zero")),
    "a link to another file outside": replace_by(lambda path: path.symlink_to(outside(path))),
    "a pipe": replace_by(lambda path: os.mkfifo(path)),
    "the golden vectors": replace_by(
        lambda path: path.write_bytes(path.with_name("golden.npz").read_bytes())
    ),
}


# What only an engine's sidecar can give away: the hashes of all files are right.


def relist(folder: Path, name: str) -> None:
    """Let the manifest describe a file as it is now."""
    new = describe_file(folder, name, "engine")

    def change(values: dict[str, Any]) -> None:
        (file,) = [f for f in values["files"] if f["path"] == name]
        file.update(sha256=new.sha256, size_bytes=new.size_bytes)

    edit_manifest(folder, change)


def sidecar(**changes: object) -> Damage:
    def damage(folder: Path) -> None:
        values = json.loads((folder / SIDECAR).read_text()) | changes
        values = {name: value for name, value in values.items() if value != "ABSENT"}
        (folder / SIDECAR).write_text(json.dumps(values))
        relist(folder, SIDECAR)

    return damage


def sidecar_text(content: bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / SIDECAR).write_bytes(content)
        relist(folder, SIDECAR)

    return damage


def put_engine(content: bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / ENGINE).write_bytes(content)
        relist(folder, ENGINE)

    return damage


def unlist_sidecar(folder: Path) -> None:
    edit_manifest(folder, lambda v: v.update(files=[f for f in v["files"] if f["path"] != SIDECAR]))


ENGINE_CASES: dict[str, tuple[Damage, str]] = {
    "version before": (sidecar(version="8.6.2.3"), r"8\.6\.2\.3, this machine has 10\.3"),
    "version after": (sidecar(version="11.4.0.1"), r"11\.4\.0\.1, this machine"),
    "same version, another build": (sidecar(version=VERSION + "1"), "this machine has"),
    "version empty": (sidecar(version=""), "this machine has"),
    "version is a number": (sidecar(version=10.3), "version = 10.3"),
    "other flavour": (sidecar(flavour="tensorrt-rtx"), "built by tensorrt-rtx, not tensorrt"),
    "flavour unknown": (sidecar(flavour="openvino"), "built by openvino"),
    "other compute capability": (sidecar(compute_capability="8.7"), "8.7, this GPU has 8.9"),
    "compute capability as 89": (sidecar(compute_capability="89"), "this GPU has 8.9"),
    "compute capability a number": (sidecar(compute_capability=8.9), "compute_capability = 8.9"),
    "other GPU": (sidecar(gpu_name="Fake GPU Ti"), "built on Fake GPU Ti, this GPU is Fake GPU"),
    "other graph": (sidecar(onnx_sha256="0" * 64), "another ONNX file"),
    "graph hash in capitals": (sidecar(onnx_sha256="A" * 64), "another ONNX file"),
    "graph hash null": (sidecar(onnx_sha256=None), "onnx_sha256 = None"),
    "engine hash of another": (sidecar(engine_sha256="0" * 64), "not the engine that its sidecar"),
    "engine hash is a list": (sidecar(engine_sha256=["0" * 64]), "engine_sha256 ="),
    "size of another": (sidecar(size_bytes=1), "not the engine that its sidecar"),
    "size negative": (sidecar(size_bytes=-1), "size_bytes = -1"),
    "size beyond all": (sidecar(size_bytes=10**30), "size_bytes = 1000"),
    "other precision": (sidecar(precision="fp16"), "not the engine that its sidecar"),
    "batch 0": (sidecar(max_batch=0), "max_batch = 0"),
    "batch negative": (sidecar(min_batch=-3), "min_batch = -3"),
    "batch beyond all": (sidecar(max_batch=10**18), "max_batch = 1000"),
    "batch is text": (sidecar(max_batch="8"), "max_batch = '8'"),
    "batch is true": (sidecar(max_batch=True), "max_batch = True"),
    "batch is a fraction": (sidecar(max_batch=2.5), "max_batch = 2.5"),
    "batches out of order": (sidecar(opt_batch=9), "min <= opt <= max_batch"),
    "duration not a number": (sidecar(build_s=float("nan")), "build_s = nan"),
    "duration infinite": (sidecar(build_s=float("inf")), "build_s = inf"),
    "layers are an object": (sidecar(n_layers={}), "n_layers = {}"),
    "no version": (sidecar(version="ABSENT"), "version = None"),
    "no batch": (sidecar(max_batch="ABSENT"), "max_batch = None"),
    "schema 2": (sidecar(schema=2), "schema 2"),
    "schema text": (sidecar(schema="1"), "no schema number"),
    "no schema": (sidecar(schema="ABSENT"), "no schema number"),
    "sidecar is a list": (sidecar_text(b"[]"), "no schema number"),
    "sidecar cut": (sidecar_text(b'{"schema": 1, "ver'), "no readable JSON"),
    "sidecar empty": (sidecar_text(b""), "no readable JSON"),
    "sidecar not UTF-8": (sidecar_text(b"\xff\xfe{}"), "no readable JSON"),
    "sidecar of nulls": (sidecar_text(bytes(64)), "no readable JSON"),
    "sidecar nested deeply": (sidecar_text(b"[" * 100_000), "no readable JSON"),
    "sidecar not listed": (unlist_sidecar, "lists no model.engine.json"),
    "another engine, listed": (put_engine(b"malicious"), "not the engine that its sidecar"),
    "empty engine, listed": (put_engine(b""), "not the engine that its sidecar"),
}


# What the manifest itself may say.


def entry(name: str, **changes: object) -> Damage:
    def change(values: dict[str, Any]) -> None:
        (file,) = [f for f in values["files"] if f["path"] == name]
        file.update(changes)

    return lambda folder: edit_manifest(folder, change)


def manifest(change: Callable[[dict[str, Any]], object]) -> Damage:
    return lambda folder: edit_manifest(folder, change)


def escape(name: str) -> Damage:
    """Lead a path to a file outside whose content is exactly what is listed."""

    def damage(folder: Path) -> None:
        (folder.parent / "outside").write_bytes((folder / name).read_bytes())
        entry(name, path="../outside")(folder)

    return damage


ENTRY_CASES: dict[str, tuple[Callable[[str], Damage], str]] = {
    "leaves the bundle": (escape, "inside the bundle"),
    "absolute": (lambda n: entry(n, path="/etc/passwd"), "inside the bundle"),
    "of Windows": (lambda n: entry(n, path="..\\outside"), "inside the bundle"),
    "half of a letter": (lambda n: entry(n, path="mo\ud800del"), "inside the bundle"),
    "null byte": (lambda n: entry(n, path="mo\0del"), "inside the bundle"),
    "too long": (lambda n: entry(n, path="x" * 5000), "missing|cannot be read|lists no"),
    "the folder": (lambda n: entry(n, path="."), "inside the bundle"),
    "hash in capitals": (lambda n: entry(n, sha256="A" * 64), "not the (file|engine)"),
    "hash empty": (lambda n: entry(n, sha256=""), "not the (file|engine)"),
    "hash null": (lambda n: entry(n, sha256=None), "damaged"),
    "size negative": (lambda n: entry(n, size_bytes=-1), "not the (file|engine)"),
    "size beyond all": (lambda n: entry(n, size_bytes=10**30), "not the (file|engine)"),
    "size a text": (lambda n: entry(n, size_bytes="9"), "damaged"),
    "unknown role": (lambda n: entry(n, role="script"), "damaged"),
    "another file's name": (lambda n: entry(n, path="golden.npz"), "twice"),
}
MANIFEST_CASES: dict[str, tuple[Damage, str]] = {
    "an entry twice": (manifest(lambda v: v["files"].append(v["files"][0])), "twice"),
    "twice, spelled otherwise": (
        manifest(lambda v: v["files"].append(v["files"][0] | {"path": f"./{GRAPH}"})),
        "twice",
    ),
    "schema of tomorrow": (manifest(lambda v: v.update(schema=2)), "schema 2"),
    "no files": (manifest(lambda v: v.pop("files")), "damaged"),
}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeLibrary:
    """A stand-in for TensorRT; its `loads` counts what was deserialized."""
    cuda = FakeCuda()
    install_cuda(monkeypatch, {"libcudart.so.12": cuda})
    fake = FakeLibrary(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return fake


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that ONNX Runtime made sessions of."""
    import onnxruntime

    made: list[str] = []
    real = onnxruntime.InferenceSession

    def spy(path: str, **options: Any) -> Any:  # noqa: ANN401 - onnxruntime's
        session = real(path, **options)
        made.append(path)
        return session

    monkeypatch.setattr("onnxruntime.InferenceSession", spy)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return add_engine(make_bundle(tmp_path / "bundle")).path


def refused(folder: Path, backend: str, said: str) -> GmmeEdgeError:
    with pytest.raises(GmmeEdgeError, match=said) as caught:
        open_session(Bundle.open(folder), backend, "fp32", 1)
    assert caught.value.exit_code in (2, 3, 7) and caught.value.got
    return caught.value


def test_the_intact_bundle_runs_on_both(
    folder: Path, library: FakeLibrary, created: list[str]
) -> None:
    for backend in ("tensorrt", "ort-cpu"):
        open_session(Bundle.open(folder), backend, "fp32", 1).close()
    assert library.loads == len(created) == 1


@pytest.mark.parametrize("name", [ENGINE, SIDECAR])
@pytest.mark.parametrize("damage", FILE_DAMAGE.values(), ids=FILE_DAMAGE.keys())
def test_a_damaged_engine_is_not_deserialized_and_cured_by_leave(
    folder: Path, library: FakeLibrary, name: str, damage: Callable[[Path], object]
) -> None:
    damage(folder / name)
    assert isinstance(refused(folder, "tensorrt", name), BundleError)
    assert library.loads == 0
    cure(folder)


@pytest.mark.parametrize(("damage", "said"), ENGINE_CASES.values(), ids=ENGINE_CASES.keys())
def test_an_engine_that_does_not_fit_is_not_deserialized_and_cured_by_leave(
    folder: Path, library: FakeLibrary, damage: Damage, said: str
) -> None:
    damage(folder)
    error = refused(folder, "tensorrt", said)
    assert isinstance(error, BundleError | EngineError) and error.fix
    assert library.loads == 0
    cure(folder)


def cure(folder: Path) -> None:
    machine = Machine("tensorrt", VERSION, "Fake GPU", "8.9")
    builder = Builder(machine)
    engine = open_engine(Bundle.open(folder), "fp32", machine, Rebuild(builder, {}))
    assert len(builder.built) == 1 and engine.plan == builder.built[0].read_bytes() != PLAN


@pytest.mark.parametrize("damage", FILE_DAMAGE.values(), ids=FILE_DAMAGE.keys())
def test_no_session_is_made_of_a_damaged_graph_and_no_engine_is_built_of_it(
    folder: Path, library: FakeLibrary, created: list[str], damage: Callable[[Path], object]
) -> None:
    damage(folder / GRAPH)
    assert isinstance(refused(folder, "ort-cpu", GRAPH), BundleError)
    sidecar(version="8.6.2.3")(folder)
    builder = Builder()
    with pytest.raises(BundleError, match=GRAPH):
        open_session(Bundle.open(folder), "tensorrt", "fp32", rebuild=Rebuild(builder, {}))
    assert created == builder.built == [] and library.loads == 0


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_graph_cut_short_before_it_was_listed(
    folder: Path, created: list[str], part: float
) -> None:
    content = (folder / GRAPH).read_bytes()
    (folder / GRAPH).write_bytes(content[: int(part * len(content))])
    relist(folder, GRAPH)
    assert isinstance(refused(folder, "ort-cpu", "export"), BundleError)
    assert created == []


@pytest.mark.parametrize(("name", "backend"), [(GRAPH, "ort-cpu"), (ENGINE, "tensorrt")])
@pytest.mark.parametrize(("damage", "said"), ENTRY_CASES.values(), ids=ENTRY_CASES.keys())
def test_a_tampered_entry_runs_nothing(
    folder: Path, library: FakeLibrary, created: list[str], name: str, backend: str,
    damage: Callable[[str], Damage], said: str,
) -> None:  # fmt: skip
    damage(name)(folder)
    assert isinstance(refused(folder, backend, said), BundleError | EngineError)
    assert created == [] and library.loads == 0


@pytest.mark.parametrize(("damage", "said"), MANIFEST_CASES.values(), ids=MANIFEST_CASES.keys())
def test_a_tampered_manifest_is_not_opened(folder: Path, damage: Damage, said: str) -> None:
    damage(folder)
    with pytest.raises(BundleError, match=said):
        Bundle.open(folder)


@pytest.mark.parametrize("damage", FILE_DAMAGE.values(), ids=FILE_DAMAGE.keys())
def test_shared_weights_are_checked_before_the_graph_reads_them(
    root: Path, tmp_path: Path, created: list[str], damage: Callable[[Path], object]
) -> None:
    compact = copy_bundle(compact_bundle(root), tmp_path / "bundle")
    created.clear()  # the export itself compares with ONNX Runtime
    damage(compact / WEIGHTS)
    assert isinstance(refused(compact, "ort-cpu", WEIGHTS), BundleError)
    assert created == []


def test_two_compact_bundles_of_one_graph_share_no_engine(
    root: Path, tmp_path: Path, library: FakeLibrary
) -> None:
    """Their ONNX files are equal byte for byte; only the weights beside them differ."""
    machine = Machine("tensorrt", VERSION, "Fake GPU", "8.9")
    builder = Builder(machine)
    folders = [copy_bundle(compact_bundle(root), tmp_path / name) for name in ("one", "two")]
    content = (folders[1] / WEIGHTS).read_bytes()
    (folders[1] / WEIGHTS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    relist(folders[1], WEIGHTS)
    for folder in folders:
        open_engine(Bundle.open(folder), "fp32", machine, Rebuild(builder, {}))
    assert len(set(builder.built)) == 2
