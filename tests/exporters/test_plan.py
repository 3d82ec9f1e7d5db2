"""The plan's one script, as a board would run it: with numpy, a TensorRT and nothing else."""

from __future__ import annotations

import ast
import builtins
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from gmme_edge.bundle.bundle import Bundle, describe_file
from gmme_edge.cli.app import app
from gmme_edge.errors import UsageError
from gmme_edge.profiling.latency import LatencyRow
from gmme_edge.report.documents import LatencyResult, load_result
from gmme_exporters.board.assemble import device_script
from gmme_exporters.board.plan import PAGE, SCRIPT, check_plan, write_plan
from tests.artifacts import edit_manifest, small_checkpoint
from tests.bundles import OPSET, WEIGHTS, make_bundle
from tests.test_old_python import too_new

STANDIN = Path(__file__).with_name("standin_tensorrt.py")
QUICK = ("--warmup", "1", "--repetitions", "5")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python whose only packages are numpy and the stand-in; ``-I`` reaches no other."""
    folder = tmp_path_factory.mktemp("device") / "python"
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next(folder.glob("lib/python3*/site-packages"))
    installed = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs"):
        if (installed / name).exists():
            (packages / name).symlink_to(installed / name)
    shutil.copy(STANDIN, packages / "tensorrt.py")
    np.save(packages / "weights.npy", WEIGHTS)
    return folder


class Device:
    """A plan's folder on a stand-in for a Jetson."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.python, self.folder = python, folder
        self.packages = next(python.glob("lib/python3*/site-packages"))

    def set(self, fail: str, version: str) -> None:
        settings = {"VERSION": version, "FAIL": fail}
        (self.packages / "standin.json").write_text(json.dumps(settings))
        (self.packages / "calls.log").write_text("")

    @property
    def environment(self) -> dict[str, str]:
        cache = str(self.folder.parent / "cache")
        return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "XDG_CACHE_HOME": cache}

    def run(
        self, *options: str, fail: str = "", version: str = "10.3.0", isolated: bool = True
    ) -> Any:  # noqa: ANN401
        self.set(fail, version)
        flags = ["-I"] if isolated else []
        done = subprocess.run(
            [self.python / "bin/python", *flags, SCRIPT, *QUICK, *options],
            cwd=self.folder, capture_output=True, text=True, check=False, env=self.environment,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done

    @property
    def calls(self) -> list[str]:
        return (self.packages / "calls.log").read_text().splitlines()

    @property
    def results(self) -> list[Path]:
        return sorted((self.folder / "results").glob("*"))


@pytest.fixture
def device(python: Path, tmp_path: Path) -> Device:
    bundle = make_bundle(tmp_path / "plan", precisions=("fp32", "fp16"))
    limits = {"fp32": {"limit": 1e-3}, "fp16": {"limit": 3e-2}}
    bundle = Bundle(bundle.path, replace(bundle.manifest, parity=limits))
    bundle.save_manifest()
    write_plan(bundle)
    return Device(python, bundle.path)


def test_the_script_is_python_3_8_and_needs_nothing_of_this_package() -> None:
    source = device_script()
    ast.parse(source, feature_version=(3, 6))  # which can then say that it is too old
    tree = ast.parse(source, feature_version=(3, 8))
    for node in ast.walk(tree):  # `X | None` parses there, and fails when it is evaluated
        annotation = getattr(node, "annotation", None) or getattr(node, "returns", None)
        assert not isinstance(annotation, ast.BinOp), ast.unparse(node)
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy", "tensorrt", "onnxruntime"}
    assert too_new(source) == []


def test_no_part_of_the_script_hides_another() -> None:
    """All parts share one namespace there, and so do modules of the package."""
    defined = [
        name
        for node in ast.parse(device_script()).body
        for name in (
            [node.name]
            if isinstance(node, ast.FunctionDef | ast.ClassDef)
            else [n.id for t in node.targets for n in ast.walk(t) if isinstance(n, ast.Name)]
            if isinstance(node, ast.Assign)
            else []
        )
    ]
    assert sorted(defined) == sorted(set(defined))


def test_every_name_of_the_script_is_its_own_or_pythons() -> None:
    """What only annotations named is not imported there."""
    tree = ast.parse(device_script())
    known = {*dir(builtins), "__file__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            known.add(node.name)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.alias):
            known.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            known.add(node.name)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert used <= known, used - known


def test_a_board_builds_checks_times_and_reports(device: Device, tmp_path: Path) -> None:
    done = device.run()
    assert done.returncode == 0, done.stderr
    (path,) = device.results
    result = load_result(path)
    assert isinstance(result, LatencyResult)
    assert [row.precision for row in result.rows] == ["fp32", "fp16"]
    written = json.loads(path.read_text())
    for row, values in zip(result.rows, written["rows"], strict=True):
        assert (row.backend, row.batch, len(row.samples_ms)) == ("tensorrt", 1, 5)
        assert row.peak_memory_bytes >= row.baseline_memory_bytes > 1 << 20
        told = LatencyRow.to_dict(row)
        assert list(told["samples_ms"]) == values.pop("samples_ms")
        assert {name: told[name] for name in values} == pytest.approx(values)
    assert result.device["gpus"] == [{"name": "Orin", "compute_capability": "8.7"}]
    assert result.device["libraries"]["tensorrt"] == "10.3.0"
    assert written["parity"]["fp32"]["relative"] < 1e-6 and written["failures"] == {}
    compared = CliRunner().invoke(app, ["compare", str(path)])
    assert compared.exit_code == 0 and "fp16" in compared.stdout


def test_a_board_measures_paced_calls_and_its_cards_energy(device: Device) -> None:
    words = ("--stream", "paced", "--hop-ms", "5", "--energy", "--energy-rounds", "2")
    done = device.run(*words, "--energy-window-s", "0.2")
    assert done.returncode == 0, done.stderr
    result = load_result(device.results[0])
    assert isinstance(result, LatencyResult)
    for row in result.rows:
        assert row.stream == "paced" and len(row.samples_ms) == 10
        assert row.deadlines and (row.deadlines.hop_ms, row.deadlines.calls) == (5.0, 10)
        assert (row.open_ms or 0) > 0 and (row.first_call_ms or 0) > 0
        assert row.energy and row.energy.meter == "NVML: Card" and len(row.energy.net_mj) == 2
        assert row.energy.idle_w == pytest.approx(5, rel=0.3)  # a loaded machine reads late
        assert row.energy.busy_w == pytest.approx(5, rel=0.3)
    (trace,) = result.power
    assert {window.row for window in trace.windows} == {None, 0, 1}
    assert set(result.state) == {"before", "after"} and "background_cores" in result.noise
    done = device.run("--stream", "offline", "--precision", "fp32")
    assert done.returncode == 0 and "offline" in done.stderr


def test_energy_without_a_source_is_told_before_anything_is_built(device: Device) -> None:
    done = device.run("--energy", fail="nvml")
    assert done.returncode == 7 and "NVML's nvmlDeviceGetTotalEnergyConsumption" in done.stderr
    assert "nothing is estimated" in done.stderr
    assert not device.results and not any(call.startswith("build") for call in device.calls)


def test_engines_are_built_once_and_again_for_another_version(device: Device) -> None:
    assert device.run().returncode == 0
    assert sum(call.startswith("build") for call in device.calls) == 2
    assert "flags 3" in device.calls and "weak 0" not in device.calls
    assert device.run().returncode == 0
    assert not any(call.startswith("build") for call in device.calls)
    assert device.run(version="8.5.2").returncode == 0
    assert sum(call.startswith("build") for call in device.calls) == 2
    assert "flags 1" in device.calls and "weak 0" in device.calls  # FP16 allowed by a flag
    damaged = device.folder / "engines" / "model.fp32.batch1.engine"
    damaged.write_bytes(b"plan of something else")
    assert device.run("--precision", "fp32", version="8.5.2").returncode == 0
    assert "deserialize plan of something else" not in device.calls


def test_batches_are_those_asked_for(device: Device) -> None:
    assert device.run("--batch", "3", "--precision", "fp32", version="11.4.0").returncode == 0
    assert (
        "waveform ((3, 8192), (3, 8192), (3, 8192))" in device.calls and "flags 0" in device.calls
    )
    (path,) = device.results
    assert [row.batch for row in load_result(path).rows] == [3]  # type: ignore[union-attr]


FAILURES = {
    "build": (7, "Could not find any implementation"),
    "parse": (7, "No importer registered"),
    "deserialize": (7, "bad magic"),
    "gpu": (7, "CUDA finds no GPU"),
    "memory": (7, "cudaMalloc failed"),
    "run": (5, "fp32 disagrees with its reference"),
    "interrupt": (130, "interrupted"),
}


@pytest.mark.parametrize("fail", FAILURES)
def test_what_fails_is_said_in_a_line(device: Device, fail: str) -> None:
    code, said = FAILURES[fail]
    done = device.run(fail=fail)
    assert done.returncode == code and said in done.stderr
    if fail == "build":  # of fp16 only: what could be measured was
        assert [row.precision for row in load_result(device.results[0]).rows] == ["fp32"]  # type: ignore[union-attr]
    else:
        assert not device.results
    engines = device.folder / "engines"
    assert not [p for p in engines.glob("*") if p.name.startswith(".")]


def test_control_c_ends_a_build_at_once_and_leaves_nothing(device: Device) -> None:
    device.set("slow", "10.3.0")
    process = subprocess.Popen(
        [device.python / "bin/python", "-I", SCRIPT], cwd=device.folder, stderr=subprocess.PIPE,
        text=True, env=device.environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    with process:
        assert process.stderr is not None
        assert "building" in process.stderr.readline()
        while not any(call.startswith("build") for call in device.calls):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == -signal.SIGINT
        assert "Traceback" not in process.stderr.read()
    assert not device.results and not (device.folder / "engines").exists()


def test_tensorrt_8_is_not_given_what_it_would_miscompute(device: Device) -> None:
    def raise_opset(values: dict[str, Any]) -> None:
        for file in values["files"]:
            file["opset"] = 18

    edit_manifest(device.folder, raise_opset)
    done = device.run(version="8.6.2")
    assert done.returncode == 7 and "--opset 16" in done.stderr and not device.results
    assert device.run(version="10.3.0").returncode == 0


DAMAGE: dict[str, Callable[[Path], object]] = {
    "graph tampered": lambda p: (p / "model.fp32.onnx").write_bytes(b"x" * 10),
    "graph cut": lambda p: (p / "model.fp16.onnx").write_bytes(
        (p / "model.fp16.onnx").read_bytes()[:-1]
    ),
    "golden missing": lambda p: (p / "golden.npz").unlink(),
    "manifest cut": lambda p: (p / "manifest.json").write_text('{"schema": 1, "fi'),
    "manifest missing": lambda p: (p / "manifest.json").unlink(),
    "manifest deep": lambda p: (p / "manifest.json").write_text("[" * 100_000),
    "schema 2": lambda p: edit_manifest(p, lambda v: v.update(schema=2)),
    "files are text": lambda p: edit_manifest(p, lambda v: v.update(files="model")),
    "path leaves": lambda p: edit_manifest(p, lambda v: v["files"][0].update(path="../a")),
    "path absolute": lambda p: edit_manifest(p, lambda v: v["files"][0].update(path="/etc/hosts")),
    "path with a null": lambda p: edit_manifest(p, lambda v: v["files"][0].update(path="a\0b")),
    "hash missing": lambda p: edit_manifest(p, lambda v: v["files"][0].pop("sha256")),
    "no complexity": lambda p: edit_manifest(p, lambda v: v.pop("complexity")),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_folder_is_refused_before_tensorrt_sees_it(
    device: Device, damage: Callable[[Path], object]
) -> None:
    damage(device.folder)
    done = device.run()
    assert done.returncode == 3 and ("damaged" in done.stderr or "Fix: copy" in done.stderr)
    assert device.calls == [] and not device.results


def test_golden_vectors_that_are_none(device: Device) -> None:
    (device.folder / "golden.npz").write_bytes(b"PK and no more")
    told = describe_file(device.folder, "golden.npz", "golden")
    edit_manifest(
        device.folder,
        lambda v: v["files"][-1].update(sha256=told.sha256, size_bytes=told.size_bytes),
    )
    done = device.run("--precision", "fp32")
    assert done.returncode == 3 and "golden.npz" in done.stderr and not device.results


def test_golden_vectors_that_the_manifest_does_not_list_are_not_read(device: Device) -> None:
    edit_manifest(device.folder, lambda v: v["files"].pop())
    done = device.run("--precision", "fp32")
    assert done.returncode == 3 and "lists no golden vectors" in done.stderr


def test_timings_outlive_a_failed_memory_measurement(device: Device) -> None:
    done = device.run(fail="child")
    assert done.returncode == 7 and "memory of fp32" in done.stderr, done.stderr
    (path,) = device.results
    result = load_result(path)
    assert isinstance(result, LatencyResult)
    assert [(row.precision, len(row.samples_ms)) for row in result.rows] == [
        ("fp32", 5),
        ("fp16", 5),
    ]
    assert set(json.loads(path.read_text())["failures"]) == {"memory of fp32", "memory of fp16"}


def test_timings_of_the_others_outlive_a_network_that_fails_late(device: Device) -> None:
    done = device.run("--repetitions", "30", fail="late")
    assert done.returncode == 7 and "fp16: TensorRT failed to run" in done.stderr, done.stderr
    assert [row.precision for row in load_result(device.results[0]).rows] == ["fp32"]  # type: ignore[union-attr]


def test_timings_outlive_a_result_that_cannot_be_written(device: Device) -> None:
    (device.folder / "results").write_text("a file")
    done = device.run("--precision", "fp32")
    assert done.returncode == 3 and "on standard output" in done.stderr
    assert len(json.loads(done.stdout)["rows"]) == 1


def test_an_engine_that_came_with_the_folder_is_never_loaded(device: Device) -> None:
    """Its sidecar may say anything but what this device's own key sealed."""
    assert device.run("--precision", "fp32").returncode == 0
    engine = device.folder / "engines" / "model.fp32.batch1.engine"
    sidecar = engine.with_name(engine.name + ".json")
    mine, seal = engine.read_bytes(), json.loads(sidecar.read_text())
    shutil.rmtree(device.folder.parent / "cache")  # as if another device had built it
    done = device.run("--precision", "fp32")
    assert done.returncode == 0 and "is not of this device" in done.stderr
    assert [call for call in device.calls if call.startswith("build")]
    planted = b"plan of an attacker"
    for described in (seal, {**seal, "sha256": hashlib.sha256(planted).hexdigest()}, {}, [], 1):
        engine.write_bytes(planted)
        sidecar.write_text(json.dumps(described))
        assert device.run("--precision", "fp32").returncode == 0
        assert "deserialize plan of an attacker" not in device.calls
        assert engine.read_bytes() == mine


def test_modules_beside_the_script_do_not_run(device: Device) -> None:
    for name in ("numpy", "tensorrt", "json", "argparse", "hmac"):
        (device.folder / f"{name}.py").write_text("raise SystemExit('planted')")
    done = device.run("--precision", "fp32", isolated=False)
    assert done.returncode == 0 and "planted" not in done.stderr, done.stderr


def test_an_old_python_is_told_so(device: Device) -> None:
    """It must parse the whole script first, which real ones are asked where they are installed."""
    script = device.folder / SCRIPT
    code = f"import sys; sys.version_info = (3, 6, 15); exec(open({str(script)!r}).read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 7 and "Python 3.6 is too old" in done.stderr, done.stderr
    assert "annotations" not in {
        alias.name
        for node in ast.walk(ast.parse(script.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # Python 3.6 does not know this feature, and stops before the first line
    for old in ("3.6.15", "3.7.16"):
        python = Path.home() / ".pyenv" / "versions" / old / "bin" / "python"
        if python.exists():
            done = subprocess.run([python, script], capture_output=True, text=True, check=False)
            assert done.returncode == 7 and "is too old" in done.stderr, done.stderr


def test_unknown_precisions_and_numbers_are_usage_errors(device: Device) -> None:
    assert device.run("--precision", "fp8").returncode == 2
    assert device.run("--batch", "0").returncode == 2


def test_plans_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="one of jetson"):
        check_plan("phone", ("fp32",))
    with pytest.raises(UsageError, match="that TensorRT takes"):
        check_plan("jetson", ("int8-ort",))


def test_the_export_writes_a_whole_plan(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["export", str(small_checkpoint(root)), "-o", str(out), "--precision", "fp32"]
    result = CliRunner().invoke(app, [*words, "--plan", "jetson"])
    assert result.exit_code == 0, result.stderr
    assert f"python3 {SCRIPT}" in result.stdout
    assert (out / SCRIPT).read_text(encoding="utf-8") == device_script()
    bundle = Bundle.open(out)
    bundle.check_files()
    assert bundle.find("model", "fp32").opset == 16 < OPSET
    page = (out / PAGE).read_text()
    assert page.count("--onnx=model.fp32.onnx --saveEngine=model.fp32.engine") == 3
    assert f"--optShapes=waveform:1x{bundle.manifest.model.n_samples}" in page
    assert page.count("--stronglyTyped") == 1
    assert CliRunner().invoke(app, [*words, "--plan", "phone"]).exit_code == 2
