"""`profile`, `compare` and `doctor` as a shell runs them, on tiny real graphs."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from gmme_edge.cli.commands.compare import compare
from gmme_edge.cli.commands.doctor import doctor
from gmme_edge.cli.commands.profile import profile
from gmme_edge.device.energy.meter import Meters
from gmme_edge.errors import InputError, LatencyGateError, PlatformError, UsageError
from gmme_edge.profiling.peaks import Peaks
from gmme_edge.report.documents import LatencyResult, load_result
from gmme_edge.runtime.backends import BACKENDS
from gmme_edge.workflows.examining import find_conflicts
from gmme_edge.workflows.gates import check_latency
from tests.bundles import make_bundle
from tests.report.factory import row, write_latency

app = typer.Typer(pretty_exceptions_enable=False)
for command in (profile, compare, doctor):
    app.command()(command)


def _run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


QUICK = ("--repetitions", "3", "--warmup", "1")


def test_profile_then_compare(tmp_path: Path) -> None:
    for name in ("eat-s-aa", "eat-s-gmme-k32c8"):
        make_bundle(tmp_path / name, name, ("fp32", "int8-ort", "int8-tensorrt"))
    result = tmp_path / "r.json"
    bundles = (tmp_path / "eat-s-aa", tmp_path / "eat-s-gmme-k32c8")
    document = json.loads(_run("profile", *bundles, *QUICK, "-o", result, "--json").stdout)
    assert document == json.loads(result.read_text())
    assert [(r["model"], r["precision"], r["threads"]) for r in document["rows"]] == [
        ("eat-s-aa", "fp32", 1), ("eat-s-aa", "int8-ort", 1),
        ("eat-s-gmme-k32c8", "fp32", 1), ("eat-s-gmme-k32c8", "int8-ort", 1),
    ]  # fmt: skip
    assert document["command"].startswith("gmme-edge profile ")
    load_result(result)

    report = tmp_path / "report.md"
    entries = json.loads(_run("compare", result, "--json", "-o", report).stdout)["entries"]
    assert len(entries) == 4
    assert entries[0]["ratio"]["latency"] == 1
    assert entries[2]["ratio"]["d_params"] < 1
    assert report.is_file()
    assert report.with_suffix(".svg").is_file()
    assert "eat-s-gmme-k32c8" in _run("compare", result).stdout


def test_int8_means_the_backends_flavour_and_lists_combine(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b", precisions=("fp32", "int8-ort"))
    out = _run("profile", tmp_path / "b", *QUICK, "--precision", "int8,int8-ort",
               "--threads", "auto,2", "--batch", "1,3", "--json").stdout  # fmt: skip
    rows = json.loads(out)["rows"]
    assert [(r["precision"], r["threads"], r["batch"]) for r in rows] == [
        ("int8-ort", None, 1), ("int8-ort", None, 3), ("int8-ort", 2, 1), ("int8-ort", 2, 3),
    ]  # fmt: skip


def test_the_gate_fails_after_the_result_was_written(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    result = tmp_path / "r.json"
    words = ("profile", tmp_path / "b", *QUICK, "-o", result, "--max-latency-p90-ms")
    with pytest.raises(LatencyGateError, match="at most 1e-06 ms"):
        _run(*words, "0.000001")
    assert result.is_file()
    with pytest.raises(LatencyGateError):
        check_latency([row()], math.nan)
    assert "eat-s-aa" in _run(*words, "60000").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--backend", "npu"), "ort-cpu"), (("--threads", "0"), "--threads"),
     (("--batch", "two"), "--batch"), (("--batch", ","), "nothing to measure"),
     (("--threads", "99999999999"), "from 1 to 1024"), (("--threads", "²"), "--threads"),
     (("--batch", "1" + "0" * 11), "from 1 to 4096"), (("--batch", "1" + "0" * 5000), "--batch"),
     (("--precision", ""), "--precision is ''"), (("--backend", ""), "--backend is ''"),
     (("--gpu-call", "resident"), "--gpu-call resident on ort-cpu"),
     (("--gpu-call", "copied,warp"), "--gpu-call has 'warp'"),
     (("--precision", "fp16"), "fp32"), (("--backend", "tensorrt-rtx"), "nothing to run")],
)  # fmt: skip
def test_wrong_options_are_usage_errors(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    make_bundle(tmp_path / "b")
    with pytest.raises(UsageError, match=message):
        _run("profile", tmp_path / "b", "-o", tmp_path / "r.json", *words)
    assert not (tmp_path / "r.json").exists()


def test_energy_without_a_source_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bundle(tmp_path / "b")
    monkeypatch.setattr("gmme_edge.workflows.profiling.find_meters", Meters)
    with pytest.raises(PlatformError, match="nothing is estimated"):
        _run("profile", tmp_path / "b", "--energy", "-o", tmp_path / "r.json")
    with pytest.raises(UsageError, match="--energy-rounds without --energy"):
        _run("profile", tmp_path / "b", "--energy-rounds", "3")
    assert not (tmp_path / "r.json").exists()


def test_energy_is_in_the_result_the_table_and_a_chart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counter:
        """Rises by 1 mJ with every reading."""

        name, scope, counts_energy, joules = "counter", "board", True, 0.0

        def read(self) -> float:
            self.joules += 0.001
            return self.joules

    make_bundle(tmp_path / "b")
    found = Meters([Counter()])
    monkeypatch.setattr("gmme_edge.workflows.profiling.find_meters", lambda: found)
    monkeypatch.setattr("gmme_edge.profiling.windows._SETTLE_S", 0.01)
    words = ("--energy", "--energy-rounds", "2", "--energy-window-s", "0.05")
    done = _run("profile", tmp_path / "b", *QUICK, *words, "-o", tmp_path / "r.json")
    assert "Energy per clip, idle subtracted (counter)" in done.stdout
    assert "<polyline" in (tmp_path / "r.power.svg").read_text()
    loaded = load_result(tmp_path / "r.json")
    assert isinstance(loaded, LatencyResult)
    energy = loaded.rows[0].energy
    assert energy and len(energy.net_mj) == 2 and energy.calls > 2
    assert loaded.power[0].windows[1].row == 0
    assert "--energy --energy-rounds 2" in loaded.command


def test_a_profile_that_was_cut_short_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bundle(tmp_path / "b", precisions=("fp32", "int8-ort"))
    words = ("profile", tmp_path / "b", "--warmup", "1", "--repetitions", "9", "-o",
             tmp_path / "r.json")  # fmt: skip
    rounds = iter(range(100))

    def stop(*_: object) -> None:
        if next(rounds) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr("gmme_edge.observer.Observer.table", lambda *_: None)
    with monkeypatch.context() as patch:
        patch.setattr("gmme_edge.cli.views.observer.ConsoleObserver.progress", stop)
        done = _run(*words)
    assert done.exit_code == 130
    assert "the same command goes on" in done.stderr
    kept = json.loads((tmp_path / "r.json.part").read_text())["samples"]["ms"]
    assert [len(row) for row in kept] == [5, 5]
    assert not (tmp_path / "r.json").exists()
    done = _run(*words)
    assert "going on after 5 rounds" in done.stderr
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert [row["samples_ms"][:5] for row in rows] == kept
    assert [len(row["samples_ms"]) for row in rows] == [9, 9]
    assert not (tmp_path / "r.json.part").exists()


def test_all_is_what_works_here_and_what_does_not_is_told(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b", precisions=("fp32", "int8-ort", "int8-tensorrt"))
    done = _run("profile", tmp_path / "b", *QUICK, "--all", "--json")
    rows = json.loads(done.stdout)["rows"]
    found = {(row["backend"], row["precision"]) for row in rows}
    assert {("ort-cpu", "fp32"), ("ort-cpu", "int8-ort")} <= found
    assert "left out: ort-cuda: " in done.stderr and "left out: tensorrt: " in done.stderr
    with pytest.raises(UsageError, match="--all with --precision"):
        _run("profile", tmp_path / "b", "--all", "--precision", "fp32")


def test_a_paced_stream_tells_its_deadlines(tmp_path: Path) -> None:
    make_bundle(tmp_path / "b")
    words = ("--stream", "paced", "--hop-ms", "20", "--repetitions", "10", "--warmup", "1")
    output = tmp_path / "r.json"
    done = _run("profile", tmp_path / "b", *words, "-o", output)
    assert "Deadlines, one call per 20 ms" in done.stdout
    loaded = load_result(output)
    assert isinstance(loaded, LatencyResult)
    deadlines = loaded.rows[0].deadlines
    assert deadlines and (deadlines.hop_ms, deadlines.calls) == (20, 10)
    assert loaded.rows[0].stream == "paced"
    assert (loaded.rows[0].open_ms or 0) > 0 and (loaded.rows[0].first_call_ms or 0) > 0
    with pytest.raises(UsageError, match="--hop-ms without --stream"):
        _run("profile", tmp_path / "b", "--hop-ms", "20")
    with pytest.raises(UsageError, match="--stream with --layers"):
        _run("profile", tmp_path / "b", "--stream", "offline", "--layers")


def test_a_roofline_is_a_table_a_file_and_a_chart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Peaks(1, {"numpy": 50.0}, 10.0, 40.0)
    monkeypatch.setattr("gmme_edge.workflows.profiling.measure_peaks", lambda _: made)
    make_bundle(tmp_path / "b", precisions=("fp32", "int8-ort"))
    output = tmp_path / "r.json"
    done = _run("profile", tmp_path / "b", "--roofline", *QUICK, "-o", output)
    assert "at most 50 GFLOP/s (numpy 50)" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert load_result(output, ("roofline",)).device["python"]
    assert "<svg" in (tmp_path / "r.svg").read_text()
    for words, message in (
        (("--backend", "tensorrt"), "--roofline on tensorrt"),
        (("--precision", "int8"), "--precision fp32"),
        (("--energy",), "--energy with --roofline"),
        (("--layers",), "--layers with --roofline"),
    ):
        with pytest.raises(UsageError, match=message):
            _run("profile", tmp_path / "b", "--roofline", *words)


def test_a_noisy_run_says_that_it_is_too_noisy_to_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_bundle(tmp_path / "b")
    monkeypatch.setattr("gmme_edge.profiling.noise.MOST_BACKGROUND_CORES", -1.0)
    done = _run("profile", tmp_path / "b", *QUICK, "-o", tmp_path / "r.json")
    assert "too noisy to rank: other work kept" in done.stderr
    assert json.loads((tmp_path / "r.json").read_text())["noise"]["reasons"]
    assert "other work kept" in _run("compare", tmp_path / "r.json").stdout


def test_an_interrupted_profile_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    make_bundle(tmp_path / "b")
    monkeypatch.setattr("gmme_edge.profiling.latency._time", interrupt)
    assert _run("profile", tmp_path / "b", "-o", tmp_path / "r.json").exit_code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_compare_refuses_what_is_no_result(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("{}")
    with pytest.raises(InputError):
        _run("compare", tmp_path / "r.json")
    with pytest.raises(UsageError, match="eat-m-aa"):
        _run("compare", write_latency(tmp_path / "l.json", row("eat-m-aa")), "--baseline", "x")


def test_doctor_names_packages_and_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = json.loads(_run("doctor", "--json").stdout)
    problems = {backend["name"]: backend["problem"] for backend in findings["backends"]}
    assert list(problems) == list(BACKENDS)
    assert problems["ort-cpu"] is None
    assert findings["packages"]["onnxruntime"]
    assert findings["device"]["python"]
    shown = _run("doctor").stdout
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert re.search(r"memory +[\d.]+ [GM]B", shown) and "_bytes" not in shown


def test_both_onnxruntimes_are_a_warning() -> None:
    assert find_conflicts({"onnxruntime": "1", "onnxruntime-gpu": "1"})
    assert not find_conflicts({"onnxruntime": "1", "tensorrt": "10"})


def test_importing_the_commands_loads_no_heavy_module() -> None:
    code = (
        "import sys, gmme_edge.cli.app\n"
        "print({'numpy', 'onnxruntime', 'torch', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_measuring_and_reporting_need_neither_torch_nor_onnx() -> None:
    code = (
        "import sys, gmme_edge.report.render.terminal, gmme_edge.report.render.markdown\n"
        "import gmme_edge.profiling.contenders, gmme_edge.runtime.onnxruntime\n"
        "print({'onnxruntime', 'torch', 'onnx', 'tensorrt_rtx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
