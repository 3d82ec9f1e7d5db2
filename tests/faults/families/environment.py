"""Surroundings that services, containers and full disks bring; a process for each case."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.engine import DOCUMENTED, Case, FailedError

ROOT = Path(__file__).parents[3]
COMMANDS: dict[str, Callable[[Path], list[object]]] = {
    "help": lambda shared: ["--help"],
    "models": lambda shared: ["models"],
    "predict": lambda shared: ["predict", shared / "bundle", shared / "tone.wav", "--json"],
    "verify": lambda shared: ["verify", shared / "bundle"],
    "doctor": lambda shared: ["doctor"],
}
_GB = 1 << 30
_START = "import sys; from gmme_edge.cli.app import main; sys.argv[0] = 'gmme-edge'; main()"
# What `pwd` says of a user whom the container's /etc/passwd does not name.
_NOBODY = f"import pwd; pwd.getpwuid = {{}}.__getitem__; pwd.getpwnam = {{}}.__getitem__; {_START}"


def prepare(shared: Path) -> None:
    from tests.faults.families import bundles

    bundles.prepare(shared)
    for name in ("random", "numpy", "json", "typing", "onnxruntime", "rich"):
        hostile = shared / "hostile"
        hostile.mkdir(exist_ok=True)
        (hostile / f"{name}.py").write_text("open('ran', 'w').close(); raise SystemExit(66)\n")


def run(
    shared: Path, arguments: list[object], folder: Path, *,
    limits: tuple[tuple[int, int], ...] = (), closed: tuple[int, ...] = (), gone: bool = False,
    start: str = _START, cwd: Path | None = None,
    **environment: str | None,
) -> int:  # fmt: skip
    """The installed program's exit code; a traceback is a failure.

    Args:
        gone: the folder in which it starts is removed before.
    """
    variables = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'exporters'}:{ROOT / 'calibration'}"}
    for name, value in environment.items():
        variables.pop(name, None)
        if value is not None:
            variables[name] = value

    def before() -> None:
        for number in closed:
            os.close(number)
        if gone:
            Path.cwd().rmdir()
        for kind, most in limits:
            resource.setrlimit(kind, (most, most))

    with (folder / "errors").open("wb") as errors:
        done = subprocess.run(
            [sys.executable, "-P", "-c", start, *map(str, arguments)], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=errors, env=variables, cwd=cwd or folder,
            preexec_fn=before, check=False,
        )  # fmt: skip
    said = (folder / "errors").read_bytes()
    if done.returncode not in DOCUMENTED or b"Traceback" in said:
        raise FailedError(f"exit code {done.returncode}: {said[-1500:].decode(errors='replace')}")
    return done.returncode


def make_cases(shared: Path) -> list[Case]:
    cases = []

    def add(name: str, commands: tuple[str, ...], fine: bool = True, **how: Any) -> None:  # noqa: ANN401
        for each in commands:
            act = partial(_expect, shared, each, fine, how)
            cases.append(Case(f"{name}: {each}", act, "success", 60.0))

    every, some = tuple(COMMANDS), ("predict", "verify")
    add("as it is", every)
    add("no HOME", every, HOME=None)
    add("HOME is nowhere", some, HOME="/nowhere/at/all")
    add("HOME cannot be written", some, HOME="/proc")
    add("no HOME and an unknown user", every, HOME=None, start=_NOBODY)
    for encoding in ("ascii", "latin-1", "cp1252", "ascii:strict"):
        add(
            f"PYTHONIOENCODING={encoding}", ("help", "models", "predict"), PYTHONIOENCODING=encoding
        )
    add(
        "LC_ALL=C",
        ("help", "models", "predict"),
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    )
    add("PYTHONOPTIMIZE=2", every, PYTHONOPTIMIZE="2")
    add("hostile modules in the folder", every, cwd=shared / "hostile")
    for number, stream in enumerate(("stdin", "stdout", "stderr")):
        add(f"{stream} closed", ("help", "models", "predict"), fine=number == 0, closed=(number,))
    add("all streams closed", some, fine=False, closed=(0, 1, 2))
    add("no temporary folder", some, TMPDIR="/nowhere")
    add("no file may grow", some, limits=((resource.RLIMIT_FSIZE, 4096),), fine=False)
    add("8 open files", some, limits=((resource.RLIMIT_NOFILE, 8),), fine=False)
    add("1 GB of addresses", some, limits=((resource.RLIMIT_AS, _GB),), fine=False)
    add("300 MB of addresses", some, limits=((resource.RLIMIT_AS, 300 << 20),), fine=False)
    add("the folder is gone", ("help", "models", "predict"), gone=True)
    for name, value in {
        "COLUMNS": "x", "LINES": "-1", "TERM": "no such", "TZ": "Nowhere/At_All", "LANG": "xx_XX",
        "XDG_CACHE_HOME": "/dev/null", "TMPDIR": "/dev/null", "OMP_NUM_THREADS": "x",
        "FORCE_COLOR": "1", "PYTHONWARNINGS": "error::UserWarning", "PYTHONDEVMODE": "1",
        "GMME_EDGE_CACHE_LIMIT_MB": "x",
    }.items():  # fmt: skip
        add(f"{name}={value}", ("models", "predict"), **{name: value})
    add("8 columns", ("help", "models", "predict"), COLUMNS="8")
    add("no TERM", ("help", "models"), TERM=None)
    return cases


def _expect(shared: Path, name: str, fine: bool, how: dict[str, Any], folder: Path) -> None:
    if how.get("gone"):
        how = {**how, "cwd": folder / "gone"}
        (folder / "gone").mkdir()
    code = run(shared, COMMANDS[name](shared), folder, **how)
    if fine and code:
        raise FailedError(
            f"exit code {code}: {(folder / 'errors').read_text(errors='replace')[-800:]}"
        )
    if (shared / "hostile" / "ran").exists():
        raise FailedError("code of the current folder ran")
