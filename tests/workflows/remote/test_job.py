"""A run on another machine, where `ssh` is a program that runs what it is given right here.

So everything but the connection is real: the shell's part, tar, the script with ONNX Runtime.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.cli.app import app
from gmme_edge.report.documents import load_result
from gmme_edge.workflows.remote.hosts import Host
from gmme_edge.workflows.remote.job import Job
from tests.bundles import make_bundle
from tests.device import trees
from tests.report.test_schemas import check

SSH = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
case $2 in
  *refused*) echo "Host key verification failed." >&2; exit 255;;
esac
exec sh -c "$3"
"""
PYTHON = sys.executable
Remote = Callable[..., object]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the other side keeps its temporary files, with `ssh` and `sudo` of our own."""
    programs = tmp_path / "bin"
    programs.mkdir()
    scripts = {"ssh": SSH, "sudo": '#!/bin/sh\nshift\nexec "$@"\n'}
    for name, text in scripts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    there = tmp_path / "there"
    there.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(there))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return there


def make(folder: Path) -> Path:
    """A bundle whose outputs a board accepts."""
    bundle = make_bundle(folder, precisions=("fp32",))
    limits = {"fp32": {"limit": 1e-3}}
    Bundle(bundle.path, replace(bundle.manifest, parity=limits)).save_manifest()
    return bundle.path


@contextmanager
def living_board(folder: Path) -> Iterator[Path]:
    """A Python that takes the machine for an Orin Nano, whose current changes all the time."""
    tree = trees.write(folder / "orin", trees.ORIN_NANO)
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\nsed -i \'s|^ROOT = Path(.*|ROOT = Path("{tree}")|\' "$2"\nexec {PYTHON} "$@"\n'
    )
    python.chmod(0o755)
    current, stop = tree / "sys/class/hwmon/hwmon1/curr1_input", threading.Event()

    def change() -> None:
        ma = 800
        while not stop.wait(0.001):
            ma = 1640 - ma
            (folder / "next").write_text(f"{ma}\n")
            (folder / "next").replace(current)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield python
    finally:
        stop.set()
        thread.join()


PACED = ("--stream", "paced", "--hop-ms", "20", "--energy", "--energy-rounds", "2",
         "--energy-window-s", "0.05")  # fmt: skip


def check_paced_with_energy(path: Path) -> None:
    """What `PACED` measures on a `living_board`."""
    result = load_result(path)
    row = result.rows[0]
    assert (row.stream, len(row.samples_ms)) == ("paced", 10)
    assert (row.deadlines.hop_ms, row.deadlines.calls) == (20.0, 10)
    assert row.energy.meter == "rails: VDD_IN" and row.energy.idle_w == pytest.approx(4.1, rel=0.1)
    assert [window.row for window in result.power[0].windows] == [None, 0, None, 0, None]
    assert result.state["after"]["temperatures_c"]["cpu-thermal"] == 48.5
    assert "background_cores" in result.noise
    assert result.device["jetson"]["jetpack"] == "6" and result.device["affinity"]
    assert "<polyline" in path.with_suffix(".power.svg").read_text()


def run(*words: object) -> object:
    return CliRunner().invoke(app, ["profile", *map(str, words)])


QUICK = ("--warmup", 1, "--repetitions", 3, "--remote-python", PYTHON)


def test_results_come_back_and_nothing_stays(tmp_path: Path, place: Path) -> None:
    bundle = make(tmp_path / "net")
    words = (bundle, *QUICK, "--backend", "ort-cpu", "--remote", "me@one", "--remote", "two")
    done = run(*words, "-o", tmp_path / "out", "--json")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    check("fleet", told)
    assert [each["host"] for each in told["runs"]] == ["one", "two"]
    for name in ("one-net", "two-net"):
        result = load_result(tmp_path / "out" / f"{name}.json")
        row = result.rows[0]
        assert (row.bundle, row.backend, row.threads) == ("net", "ort-cpu", 1)
        assert len(row.samples_ms) == 3
        assert result.device["host"] == name.partition("-")[0]
        assert result.command.startswith("gmme-edge profile ") and "--remote two" in result.command
    assert "one: timing fp32: 1 + 3 calls each" in done.stderr
    assert list(place.iterdir()) == []
    assert not (tmp_path / "home").exists()


def test_a_board_measures_paced_calls_and_the_energy_of_its_rails(
    tmp_path: Path, place: Path
) -> None:
    bundle = make(tmp_path / "net")
    with living_board(tmp_path) as python:
        words = (bundle, *QUICK[:-1], python, "--backend", "ort-cpu", "--remote", "orin")
        done = run(*words, *PACED, "-o", tmp_path / "r.json")
    assert done.exit_code == 0, done.stderr
    check_paced_with_energy(tmp_path / "r.json")
    assert "Deadlines, one call per 20 ms" in done.stdout
    assert "Energy per clip, idle subtracted (rails: VDD_IN)" in done.stdout
    assert "next: gmme-edge compare" in done.stderr
    assert list(place.iterdir()) == []


def test_one_host_that_fails_leaves_the_others_results(tmp_path: Path, place: Path) -> None:
    bundle = make(tmp_path / "net")
    words = (bundle, *QUICK, "--backend", "ort-cpu", "--remote", "refused", "--remote", "two")
    done = run(*words, "-o", tmp_path / "out")
    assert done.exit_code == 9
    assert "Host key verification failed" in done.stderr and "accept its host key" in done.stderr
    assert "net fp32 on ort-cpu" in done.stdout and "two" in done.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["two-net.json"]
    assert list(place.iterdir()) == []
    assert run(*words[:-2]).exit_code == 7


def test_a_script_that_fails_says_why_and_leaves_nothing(tmp_path: Path, place: Path) -> None:
    bundle = make(tmp_path / "net")
    done = run(bundle, *QUICK, "--precision", "fp16", "--remote", "one")
    assert done.exit_code == 7 and "There is no fp16 network" in done.stderr
    done = run(bundle, "--remote", "one", "--remote-python", "no-such-python")
    assert done.exit_code == 7 and "no such Python" in done.stderr
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_end_of_the_client_ends_the_run_and_leaves_nothing(
    tmp_path: Path, place: Path, how: signal.Signals
) -> None:
    """Killed, it cannot tell the other side; the end of the connection does."""
    bundle = make(tmp_path / "net")
    words = ("--repetitions", "1000000", "--warmup", "1", "--backend", "ort-cpu", "--remote", "one",
             "--remote-python", PYTHON)  # fmt: skip
    code = "from gmme_edge.cli.app import main; main()"
    client = subprocess.Popen(
        [sys.executable, "-c", code, "profile", bundle, *words],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert client.stderr
    for line in client.stderr:
        if "timing" in line:
            break
    assert len(list(place.iterdir())) == 1
    os.kill(client.pid, how)
    client.wait(60)
    client.stderr.close()
    assert client.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    deadline = time.monotonic() + 60
    while list(place.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(place.iterdir()) == []


def test_a_power_mode_is_set_and_put_back(tmp_path: Path, place: Path) -> None:
    state = tmp_path / "mode"
    state.write_text("1\n")
    nvpmodel = tmp_path / "bin/nvpmodel"
    nvpmodel.write_text(
        f'#!/bin/sh\n[ "$1" = -q ] && {{ echo NV Power Mode: X; cat {state}; exit; }}\n'
        f'[ "$2" = 9 ] && exit 1\necho "$2" >> {tmp_path}/set; echo "$2" > {state}\n'
    )
    nvpmodel.chmod(0o755)
    bundle = make(tmp_path / "net")
    fleet = tmp_path / "fleet.toml"
    host = f"[[host]]\nssh = 'one'\npython = '{PYTHON}'\nbackend = 'ort-cpu'\n"
    fleet.write_text(f"{host}power_modes = [0, 3]\n")
    done = run(bundle, "--warmup", 1, "--repetitions", 2, "--fleet", fleet, "-o", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["one-mode0-net.json", "one-mode3-net.json"]
    assert (tmp_path / "set").read_text().split() == ["0", "1", "3", "1"]
    fleet.write_text(f"{host}power_modes = [9]\n")
    done = run(bundle, "--fleet", fleet)
    assert done.exit_code == 7 and "could not set the power mode" in done.stderr
    assert state.read_text() == "1\n" and list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--all",), "--all with --remote"), (("--duration", "5"), "--duration with --remote"),
     (("--threads", "1,2"), "one value"), (("--backend", "tensorrt-rtx"), "tensorrt or ort-cpu"),
     (("--layers",), "with --remote"), (("--fleet", "x.toml"), "--remote with --fleet")],
)  # fmt: skip
def test_options_that_a_board_has_not_are_refused(
    tmp_path: Path, place: Path, words: tuple[str, ...], message: str
) -> None:
    bundle = make(tmp_path / "net")
    done = run(bundle, "--remote", "one", *words)
    assert done.exit_code == 2 and message in done.stderr


def test_ssh_asks_nothing_and_keeps_to_its_host_keys() -> None:
    job = Job(Host("-", "x", "py thon"), {}, ("--precision", "a b"), Path("conf"))
    command = job.command(10)
    assert command[:3] == ["ssh", "-F", "conf"] and "BatchMode=yes" in command
    assert not any("StrictHostKeyChecking" in word or "UserKnownHosts" in word for word in command)
    assert command[-3] == "--" and "'py thon' -B" in command[-1].replace("'\"'\"'", "'")
