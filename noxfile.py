"""The project's one task runner: `nox -l` lists what there is, `nox -s lint types` runs some.

Sessions run in the environment that nox was started from, so that nothing is installed twice:
create one with the README's test command.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "types", "imports", "tests"]
nox.options.error_on_external_run = False
ROOT = Path(__file__).parent
TWO_AT_A_TIME = ("-n", "2", "--dist", "loadfile")


def _python(session: nox.Session, *arguments: str) -> None:
    session.run(sys.executable, *arguments, external=True)


def _tool(session: nox.Session, name: str, *arguments: str) -> None:
    """Run a tool that lies beside this Python, wherever PATH points."""
    session.run(str(Path(sys.executable).with_name(name)), *arguments, external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """The default suite, with coverage."""
    _python(session, "-m", "pytest", "--cov", *TWO_AT_A_TIME, *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that take over 10 s each."""
    _python(session, "-m", "pytest", "-m", "slow", *TWO_AT_A_TIME, *session.posargs)


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


@nox.session
def lowest(session: nox.Session) -> None:
    """The lower bound of every dependency, installed and used: models, predict, export, verify."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    room = Path(session.create_tmp()) / "venv"
    session.run(uv, "venv", "--quiet", "--clear", "-p", "3.10", str(room), external=True)
    session.run(
        uv, "pip", "install", "-q", "-p", str(room), "--resolution", "lowest-direct",
        "-e", ".[cpu,export]", external=True,
    )  # fmt: skip
    command = str(room / "bin" / "gmme-edge")
    bundle = str(Path(session.create_tmp()) / "bundle")
    session.run(command, "models", external=True)
    session.run(command, "export", "digits", "-o", bundle, "--precision", "fp32", external=True)
    session.run(command, "verify", bundle, external=True)


@nox.session
def build(session: nox.Session) -> None:
    """The wheel and the source archive, into dist/."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    session.run(uv, "build", "--quiet", external=True)
