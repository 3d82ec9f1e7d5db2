"""The project's one task runner: `nox -l` lists what there is, `nox -s lint types` runs some.

Sessions run in the environment that nox was started from, so that nothing is installed twice:
create one with the README's test command.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "imports", "tests"]
nox.options.error_on_external_run = False
ROOT = Path(__file__).parent
_ALL_CORES = ("-n", "auto", "--dist", "worksteal")  # a worker for each, 8 at most


def _python(session: nox.Session, *arguments: str) -> None:
    session.run(sys.executable, *arguments, external=True)


def _tool(session: nox.Session, name: str, *arguments: str) -> None:
    """Run a tool that lies beside this Python, wherever PATH points."""
    session.run(str(Path(sys.executable).with_name(name)), *arguments, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """The default suite, with coverage."""
    _python(session, "-m", "pytest", *_ALL_CORES, "--cov", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that take over 10 s each."""
    _python(session, "-m", "pytest", *_ALL_CORES, "-m", "slow", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules and its format."""
    _tool(session, "ruff", "check", ".")
    _tool(session, "ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy, for the oldest Python that is supported and for a new one."""
    for version in ("3.10", "3.14"):
        _tool(session, "mypy", "--python-version", version)


@nox.session
def imports(session: nox.Session) -> None:
    """Imports point downwards."""
    _tool(session, "lint-imports", "--no-cache")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation site, into site/; a broken link fails."""
    _tool(session, "mkdocs", "build", "--strict", "--quiet")


_LIGHT = "cpu,report,sign,parquet,dask,serve"


def _oldest_python(uv: str) -> str:
    """The oldest that is supported, where it is here or uv can fetch it; else the one that runs."""
    found = subprocess.run([uv, "python", "find", "3.10"], capture_output=True, check=False)
    if found.returncode:
        found = subprocess.run([uv, "python", "install", "-q", "3.10"], timeout=300, check=False)
    return sys.executable if found.returncode else "3.10"


@nox.session
@nox.parametrize("extras", [_LIGHT, "cpu,train,export"], ids=["run", "train"])
def lowest(session: nox.Session, extras: str) -> None:
    """The lower bound of every dependency, installed and used. The first part needs no torch.

    A Python to do it with may follow: nox -s lowest -- 3.12
    """
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    room = Path(session.create_tmp()).resolve()
    python = session.posargs[0] if session.posargs else _oldest_python(uv)
    session.run(uv, "venv", "--quiet", "--clear", "-p", python, str(room / "venv"), external=True)
    lowest = ("--resolution", "lowest-direct", "--only-binary", ":all:", "--no-binary", "gmme-edge")
    place = ("-p", str(room / "venv"))
    session.run(uv, "pip", "install", "-q", *place, *lowest, "-e", f".[{extras}]", external=True)
    session.run(uv, "pip", "list", "-q", *place, external=True)
    check = (str(room / "venv" / "bin" / "python"), "tests/lowest.py", str(room), extras)
    session.run(*check, external=True, env={"PYTHONPATH": ""})


@nox.session
def build(session: nox.Session) -> None:
    """The wheel and the source archive, into dist/."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    session.run(uv, "build", "--quiet", external=True)
