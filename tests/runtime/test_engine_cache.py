"""Engines built where they run: which are used, which are built, and that two builds are one."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import gmme_edge
from gmme_edge.bundle.bundle import Bundle, describe_file
from gmme_edge.cli.app import app
from gmme_edge.errors import BundleError, EngineError, GmmeEdgeError
from gmme_edge.files import sha256_of
from gmme_edge.folders import default_cache
from gmme_edge.runtime.engines.cache import Rebuild, open_engine
from gmme_edge.runtime.engines.info import EngineInfo, Machine, sidecar_of
from gmme_edge.runtime.engines.library import EngineLog
from gmme_exporters.tensorrt.build import EngineOptions
from gmme_exporters.tensorrt.rebuild import allow_rebuild
from tests.bundles import make_bundle
from tests.fake_gpu import PLAN, VERSION, FakeCuda, FakeLibrary, install_cuda

MACHINE = Machine("tensorrt", "10.3.0.26", "Orin", "8.7")


class Builder:
    """Stands in for the exporter's: writes a plan that tells which build it came from."""

    def __init__(self, machine: Machine = MACHINE, **changes: object) -> None:
        self.machine, self.changes = machine, changes
        self.built: list[Path] = []

    def __call__(self, onnx: Path, engine: Path, precision: str, flavour: str) -> EngineInfo:
        self.built.append(engine)
        plan = f"{onnx.name} {precision} {len(self.built)}".encode()
        engine.write_bytes(plan)
        info = EngineInfo(
            onnx_sha256=sha256_of(onnx), engine_sha256=hashlib.sha256(plan).hexdigest(),
            size_bytes=len(plan), flavour=flavour, version=self.machine.version,
            compute_capability=self.machine.compute_capability, gpu_name=self.machine.gpu_name,
            driver="", jetpack="", precision=precision, min_batch=1, opt_batch=1, max_batch=8,
            n_layers=3, build_s=0.1,
        )  # fmt: skip
        info = replace(info, **self.changes)  # type: ignore[arg-type]
        info.write(engine)
        return info


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return default_cache() / "engines"


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bundle", precisions=("fp32", "fp16"))


def allow(builder: Builder, **options: object) -> Rebuild:
    return Rebuild(builder, options)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_nothing_is_built_without_leave(bundle: Bundle, cache: Path) -> None:
    with pytest.raises(EngineError, match="--rebuild"):
        open_engine(bundle, "fp32", MACHINE)
    assert not cache.exists()


def test_one_build_serves_every_later_start(bundle: Bundle, cache: Path) -> None:
    before = files(bundle.path)
    builder = Builder()
    first = open_engine(bundle, "fp32", MACHINE, allow(builder))
    assert first.plan == b"model.fp32.onnx fp32 1"
    assert (first.info.target, first.info.gpu_name) == ("tensorrt-sm87", "Orin")
    assert open_engine(bundle, "fp32", MACHINE, allow(builder)) == first
    assert open_engine(bundle, "fp32", MACHINE) == first  # without leave: nothing is to be built
    assert len(builder.built) == 1 and builder.built[0].is_relative_to(cache)
    assert files(bundle.path) == before


OTHERS: dict[str, Machine] = {
    "library": replace(MACHINE, flavour="tensorrt-rtx"),
    "version": replace(MACHINE, version="10.3.0.27"),
    "GPU": replace(MACHINE, gpu_name="Thor"),
    "compute capability": replace(MACHINE, compute_capability="11.0"),
}


@pytest.mark.parametrize("machine", OTHERS.values(), ids=OTHERS.keys())
def test_another_machine_gets_an_engine_of_its_own(bundle: Bundle, machine: Machine) -> None:
    first, second = Builder(), Builder(machine)
    open_engine(bundle, "fp32", MACHINE, allow(first))
    with pytest.raises(EngineError):
        open_engine(bundle, "fp32", machine)
    open_engine(bundle, "fp32", machine, allow(second))
    assert len(first.built) == len(second.built) == 1 and first.built != second.built
    assert open_engine(bundle, "fp32", MACHINE).info.gpu_name == "Orin"


def test_precisions_options_graphs_and_weights_are_kept_apart(
    bundle: Bundle, tmp_path: Path
) -> None:
    builder = Builder()
    open_engine(bundle, "fp32", MACHINE, allow(builder))
    open_engine(bundle, "fp16", MACHINE, allow(builder))
    open_engine(bundle, "fp32", MACHINE, allow(builder, max_batch=4))
    changed = make_bundle(tmp_path / "other", graph=b"another graph")
    open_engine(changed, "fp32", MACHINE, allow(builder))
    # A compact bundle: the same graph, with weights outside it.
    for weights in (b"one", b"two"):
        (bundle.path / "model.safetensors").write_bytes(weights)
        listed = describe_file(bundle.path, "model.safetensors", "weights", "fp32")
        manifest = replace(bundle.manifest, files=(*bundle.manifest.files, listed))
        open_engine(Bundle(bundle.path, manifest), "fp32", MACHINE, allow(builder))
    assert len(set(builder.built)) == len(builder.built) == 6


def test_without_leave_the_engine_last_used_is_taken(bundle: Bundle) -> None:
    builder = Builder()
    one = open_engine(bundle, "fp32", MACHINE, allow(builder, max_batch=1))
    open_engine(bundle, "fp32", MACHINE, allow(builder, max_batch=2))
    assert open_engine(bundle, "fp32", MACHINE).plan.endswith(b"2")
    assert open_engine(bundle, "fp32", MACHINE, allow(builder, max_batch=1)) == one
    assert open_engine(bundle, "fp32", MACHINE) == one


DAMAGE: dict[str, Callable[[Path], object]] = {
    "one bit": lambda p: p.write_bytes(b"M" + p.read_bytes()[1:]),
    "cut": lambda p: p.write_bytes(p.read_bytes()[:-1]),
    "empty": lambda p: p.write_bytes(b""),
    "no engine": lambda p: p.unlink(),
    "no sidecar": lambda p: sidecar_of(p).unlink(),
    "sidecar cut": lambda p: sidecar_of(p).write_bytes(sidecar_of(p).read_bytes()[:40]),
    "sidecar of another": lambda p: sidecar_of(p).write_text(
        sidecar_of(p).read_text().replace("8.7", "8.9")
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_cache_is_never_used_and_cured_by_leave(
    bundle: Bundle, damage: Callable[[Path], object]
) -> None:
    builder = Builder()
    open_engine(bundle, "fp32", MACHINE, allow(builder))
    damage(builder.built[0])
    with pytest.raises(EngineError, match="no tensorrt engine"):
        open_engine(bundle, "fp32", MACHINE)
    assert open_engine(bundle, "fp32", MACHINE, allow(builder)).plan.endswith(b"2")
    assert builder.built[0] == builder.built[1]


def test_a_failed_build_says_why_and_leaves_nothing_to_use(bundle: Bundle) -> None:
    def fail(*_: object) -> EngineInfo:
        raise EngineError("Out of memory.", fix="free some.")

    with pytest.raises(EngineError, match="Out of memory"):
        open_engine(bundle, "fp32", MACHINE, Rebuild(fail, {}))
    with pytest.raises(EngineError, match="no tensorrt engine"):
        open_engine(bundle, "fp32", MACHINE)


def test_a_builder_that_builds_something_else_is_found_out(bundle: Bundle) -> None:
    for changes in ({"version": "9"}, {"engine_sha256": "0" * 64}, {"precision": "fp16"}):
        with pytest.raises(EngineError, match="is not an engine for this machine"):
            open_engine(bundle, "fp32", MACHINE, allow(Builder(**changes)))


def test_no_engine_is_built_of_a_damaged_graph(bundle: Bundle) -> None:
    (bundle.path / "model.fp32.onnx").write_bytes(b"tampered")
    builder = Builder()
    with pytest.raises(BundleError, match="SHA-256"):
        open_engine(bundle, "fp32", MACHINE, allow(builder))
    assert builder.built == []


def test_a_damaged_engine_of_the_bundle_is_cured(bundle: Bundle) -> None:
    path = bundle.path / "model.engine"
    info = Builder()(bundle.path / "model.fp32.onnx", path, "fp32", "tensorrt")
    listed = (
        describe_file(bundle.path, path.name, "engine", "fp32", info.target),
        describe_file(bundle.path, sidecar_of(path).name, "engine-sidecar", "fp32", info.target),
    )
    whole = Bundle(bundle.path, replace(bundle.manifest, files=bundle.manifest.files + listed))
    assert open_engine(whole, "fp32", MACHINE).path == "model.engine"
    path.write_bytes(b"damaged")
    with pytest.raises(GmmeEdgeError, match="not the file that was exported"):
        open_engine(whole, "fp32", MACHINE)
    builder = Builder()
    engine = open_engine(whole, "fp32", MACHINE, allow(builder))
    assert engine.plan == builder.built[0].read_bytes() and path.read_bytes() == b"damaged"


def test_the_option_builds_once_and_is_then_not_needed(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = FakeCuda()
    install_cuda(monkeypatch, {"libcudart.so.12": cuda})
    monkeypatch.setitem(sys.modules, "tensorrt", FakeLibrary(cuda))
    machine = Machine("tensorrt", VERSION, "Fake GPU", "8.9")
    asked = []

    def build(onnx: Path, engine: Path, precision: str, options: EngineOptions) -> EngineInfo:
        asked.append(options)
        digest = hashlib.sha256(PLAN).hexdigest()
        info = Builder(machine)(onnx, engine, precision, options.flavour)
        engine.write_bytes(PLAN)
        info = replace(info, engine_sha256=digest, size_bytes=len(PLAN))
        info.write(engine)
        return info

    monkeypatch.setattr("gmme_exporters.tensorrt.rebuild.build_engine", build)
    limits = {"fp32": {"limit": 1e-3}, "fp16": {"limit": 3e-2}}
    Bundle(bundle.path, replace(bundle.manifest, parity=limits)).save_manifest()
    verify = ["verify", str(bundle.path), "--backend", "tensorrt"]
    result = CliRunner().invoke(app, [*verify, "--precision", "fp32"])
    assert result.exit_code == 7 and "--rebuild" in result.stderr and asked == []
    result = CliRunner().invoke(app, [*verify, "--rebuild"])  # every precision that can be built
    assert result.exit_code == 0 and asked == [EngineOptions("tensorrt")] * 2
    assert result.stderr.count("building a tensorrt engine of model.fp") == 2
    result = CliRunner().invoke(app, [*verify, "--precision", "fp32,fp16"])
    assert result.exit_code == 0, result.stderr
    with gmme_edge.load(bundle.path, "tensorrt", rebuild=allow_rebuild()) as classifier:
        assert len(classifier(np.zeros(99, np.float32), 8000)) == 3
    assert len(asked) == 2


def test_the_timing_cache_makes_no_other_engine(tmp_path: Path) -> None:
    plain = allow_rebuild(EngineOptions("tensorrt"))
    assert plain.options == allow_rebuild(EngineOptions()).options
    assert plain.options != allow_rebuild(EngineOptions(max_batch=9)).options
    timed = allow_rebuild(EngineOptions("tensorrt", timing_cache=tmp_path / "timing"))
    assert json.dumps(plain.options) == json.dumps(timed.options)


def test_the_librarys_reason_is_its_errors_or_else_its_warnings() -> None:
    log = EngineLog(["got 8.6,\n please rebuild", "got 8.6, please rebuild", "fatal"], ["slow"])
    assert log.reason() == "got 8.6, please rebuild fatal"
    assert EngineLog([], ["out of  memory"]).reason() == "out of memory"
    assert EngineLog().reason() == "the library gave no reason"


PROCESS = """
import sys, time
from pathlib import Path
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.runtime.engines.cache import Rebuild, open_engine
from tests.runtime.test_engine_cache import MACHINE, Builder
bundle, log = Bundle.open(sys.argv[1]), Path(sys.argv[2])
builder = Builder()
def build(*arguments):
    with log.open("a") as stream:
        stream.write("build\\n")
    time.sleep(0.5)  # long enough for the other process to arrive
    return builder(*arguments)
print("ready", flush=True)
sys.stdin.readline()
print(open_engine(bundle, "fp32", MACHINE, Rebuild(build, {})).info.engine_sha256)
"""


def test_two_processes_at_once_build_once(bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "builds"
    command = [sys.executable, "-c", PROCESS, str(bundle.path), str(log)]
    root = Path(__file__).parents[2]

    def start() -> Any:  # noqa: ANN401 - Popen[str]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root
        )

    with start() as one, start() as two:
        for process in (one, two):
            assert process.stdout.readline() == "ready\n"
        for process in (one, two):
            process.stdin.write("go\n")
            process.stdin.flush()
        printed = {process.communicate(timeout=60)[0] for process in (one, two)}
    assert len(printed) == 1 and len(printed.pop()) == 65
    assert log.read_text() == "build\n"
