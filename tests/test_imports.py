"""What may be imported where, and what is loaded when: each claim in a fresh interpreter."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import typer

from gmme_edge.cli.app import app
from gmme_edge.installation import install_command, pip_command
from tests.artifacts import WORDS, artifacts_root, compact_bundle, full_bundle, sounds, write_words
from tests.bundles import make_bundle

ROOT = Path(__file__).parents[1]
PACKAGES = ("gmme_edge", "gmme_exporters", "gmme_calibration")
OFF_DEVICE = (
    "torch", "torchaudio", "onnx", "onnxscript", "safetensors", "typer", "rich", "soundfile",
    "soxr", "tensorrt", "tensorrt_rtx", "scipy", "gmme_exporters", "gmme_calibration",
)  # fmt: skip
BLOCKER = """
import importlib.abc, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def run_python(code: str, *arguments: str, blocked: tuple[str, ...] = ()) -> str:
    source = BLOCKER.format(blocked=set(blocked)) + code if blocked else code
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source, *arguments],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def submodules(package: str) -> list[str]:
    found = importlib.import_module(package)
    return [m.name for m in pkgutil.walk_packages(found.__path__, f"{package}.")]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_submodule_imports(package: str) -> None:
    names = submodules(package)
    assert len(names) >= 2
    for name in names:
        importlib.import_module(name)


def test_a_device_needs_numpy_and_onnxruntime_only(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = artifacts_root(tmp_path_factory)
    bundle = full_bundle(root)
    np.save(root / "sound.npy", sounds()[4])
    code = """
import importlib, json, pkgutil, sys
import numpy as np
import gmme_edge, gmme_edge.runtime, gmme_edge.profiling
for package in (gmme_edge.runtime, gmme_edge.profiling):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(module.name)
with gmme_edge.load(sys.argv[1], threads=1) as classifier:
    stereo = np.load(sys.argv[2])[:, None] * [0.5, 0.25]
    print(json.dumps(classifier.probabilities(stereo, classifier.sample_rate_hz).tolist()))
"""
    printed = run_python(code, str(bundle), str(root / "sound.npy"), blocked=OFF_DEVICE)
    session = onnxruntime.InferenceSession(
        bundle / "model.fp32.onnx", providers=["CPUExecutionProvider"]
    )
    logits = session.run(["logits"], {"waveform": sounds()[4:5]})[0][0].astype(np.float64)
    np.testing.assert_allclose(
        json.loads(printed), np.exp(logits) / np.exp(logits).sum(), atol=1e-5
    )


def test_a_device_opens_a_shipped_model_by_name(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    shipped = compact_bundle(artifacts_root(tmp_path_factory))
    code = """
import sys
from pathlib import Path
import numpy as np
import gmme_edge, gmme_edge.pretrained
gmme_edge.pretrained.FOLDER = Path(sys.argv[1])
with gmme_edge.load(sys.argv[2], threads=1) as classifier:
    print(classifier(np.ones(1024, np.float32), classifier.sample_rate_hz)[0].label)
"""
    printed = run_python(code, str(shipped.parent), shipped.name, blocked=OFF_DEVICE)
    assert printed.strip() in WORDS


def test_reports_need_rich_only() -> None:
    names = submodules("gmme_edge.report")
    assert len(names) > 3
    blocked = tuple(name for name in OFF_DEVICE if name != "rich")
    run_python("\n".join(f"import {name}" for name in names), blocked=(*blocked, "onnxruntime"))


def test_resampling_without_soxr_names_the_command() -> None:
    code = """
import numpy as np
from gmme_edge.audio import resample
from gmme_edge.errors import MissingDependencyError
try:
    resample(np.zeros(9, np.float32), 44100, 16000)
except MissingDependencyError as error:
    print(error)
"""
    printed = run_python(code, blocked=("soxr",))
    assert printed.splitlines()[0] == "soxr is not installed."
    assert printed.splitlines()[2] == f"Fix: {pip_command('install', 'soxr')}"


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, gmme_edge; print({'numpy', 'onnxruntime', 'torch'} & set(sys.modules))"
    assert run_python(code).strip() == "set()"


def test_a_classifier_loads_only_what_it_needs() -> None:
    """Each of these takes its tenth of numpy's time; files, zips and commands need them."""
    code = """
import sys, numpy, onnxruntime
before = set(sys.modules)
import gmme_edge
import gmme_edge.runtime.onnxruntime
gmme_edge.load, gmme_edge.Stream
slow = {"asyncio", "concurrent.futures", "subprocess", "zipfile", "tempfile", "soundfile", "soxr",
        "gmme_edge.complexity", "gmme_edge.scoring", "gmme_edge.files", "gmme_edge.audio.mpeg",
        "platformdirs", "msgspec", "importlib.metadata", "email"}
print("loaded:", sorted(slow & (set(sys.modules) - before)))
"""
    assert run_python(code) == "loaded: []\n"


COMMANDS = tuple(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_help_loads_no_framework() -> None:
    code = f"""
import sys
from gmme_edge.cli.app import app
for arguments in ([], *([command] for command in {COMMANDS})):
    try:
        app([*arguments, "--help"])
    except SystemExit as end:
        assert not end.code, arguments
heavy = {{"torch", "onnxruntime", "onnx", "numpy", "tensorrt_rtx", "soundfile"}}
print("loaded:", sorted(heavy & set(sys.modules)))
"""
    assert run_python(code).endswith("loaded: []\n")


MISSING = [
    (["train"], "torch", "train"),
    (["train"], "safetensors", "train"),
    (["export", "CHECKPOINT"], "onnx", "export"),
    (["export", "CHECKPOINT"], "onnxscript", "export"),
    (["export", "CHECKPOINT"], "onnxruntime", "cpu"),
    (["evaluate", "CHECKPOINT"], "torch", "train"),
    (["evaluate", "BUNDLE"], "onnxruntime", "cpu"),
    (["predict", "BUNDLE"], "onnxruntime", "cpu"),
    (["verify", "BUNDLE"], "onnxruntime", "cpu"),
    (["serve", "BUNDLE"], "starlette", "serve"),
    (["serve", "BUNDLE"], "prometheus_client", "serve"),
    (["verify-rtx", "BUNDLE"], "tensorrt_rtx", "tensorrt-rtx"),
    (["verify-trt", "BUNDLE"], "tensorrt", "tensorrt"),
]
_OPTIONS = {
    "train": ["--dataset=folder", "--data=x", "--model=eat-s-aa", "--epochs=1", "-o", "out"],
    "export": ["-o", "out"],
    "evaluate": ["--dataset", "folder", "--data", "SOUNDS"],
    "predict": ["a.wav"],
    "verify": [],
    "serve": [],
    "verify-rtx": ["--backend", "tensorrt-rtx", "--precision", "fp32"],
    "verify-trt": ["--backend", "tensorrt", "--precision", "fp32"],
}


def test_a_missing_extra_is_exit_code_4_with_its_command(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """One interpreter for all cases: `sys.modules[name] = None` makes its import fail."""
    root = artifacts_root(tmp_path_factory)
    places = {"BUNDLE": str(full_bundle(root)), "CHECKPOINT": str(root / "checkpoint-gmme")}
    places["SOUNDS"] = str(write_words(root / "words"))
    calls = [
        ([places.get(a, a) for a in (command.partition("-")[0], *rest, *_OPTIONS[command])], module)
        for (command, *rest), module, _ in MISSING
    ]
    code = f"""
import json, sys
from typer.testing import CliRunner
from gmme_edge.cli.app import app
results = []
for arguments, module in {calls!r}:
    held = {{name: sys.modules.pop(name) for name in list(sys.modules)
             if name.partition(".")[0] == module or name.startswith("gmme_edge.models")}}
    sys.modules[module] = None
    result = CliRunner().invoke(app, arguments)
    results.append([result.exit_code, result.stderr, repr(result.exception)])
    del sys.modules[module]
    sys.modules.update(held)
print(json.dumps(results))
"""
    results = json.loads(run_python(code))
    for (arguments, module, extra), (exit_code, stderr, exception) in zip(
        MISSING, results, strict=True
    ):
        assert exit_code == 4, (arguments, stderr, exception)
        assert f"{module} is not installed." in stderr
        assert f"Fix: {install_command(extra)}\n" in stderr


def test_imports_point_downwards() -> None:
    """The contracts in pyproject.toml, by import-linter."""
    pytest.importorskip("importlinter")
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "Contracts: 2 kept, 0 broken." in done.stdout


TELEMETRY = """
import os, sys, warnings
warnings.simplefilter("ignore")
import {module}, onnxruntime
onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


@pytest.mark.parametrize("given", [None, "0"])
@pytest.mark.parametrize(
    "module", ["gmme_edge", "gmme_exporters.graphs.queries", "gmme_calibration.ranges"]
)
def test_onnx_runtime_reports_nothing_unless_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, given: str | None
) -> None:
    """It would number the device in the home folder as soon as it is imported."""
    (tmp_path / "home").mkdir()
    graph = make_bundle(tmp_path / "bundle").path / "model.fp32.onnx"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    if given is not None:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", given)
    told = run_python(TELEMETRY.format(module=module), str(graph))
    assert told.strip() == (given or "1")
    assert given == "0" or list((tmp_path / "home").rglob("*")) == []
