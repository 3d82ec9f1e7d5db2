from __future__ import annotations

import importlib
import inspect
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, get_origin

import pytest
import typer
from typer.testing import CliRunner

from gmme_edge import __version__, cli, errors
from gmme_edge.cli import commands
from gmme_edge.cli.app import app
from gmme_edge.cli.group import Commands
from gmme_edge.cli.guard import guarded
from gmme_edge.cli.options.signature import with_options
from gmme_edge.observer import ToldInterrupt

COMMANDS = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_the_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"gmme-edge {__version__}\n")


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "gmme_edge", "--version"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert shown.stdout == f"gmme-edge {__version__}\n"


def test_help_names_every_command_and_exit_code() -> None:
    result = CliRunner().invoke(app, ["--help"], terminal_width=200)
    assert result.exit_code == 0
    words = result.stdout.split()
    assert set(words) >= COMMANDS
    text = " ".join(words)
    for name, code in {
        "usage": 2, "bad input": 3, "missing dependency": 4, "parity failure": 5,
        "accuracy gate": 6, "unsupported platform": 7, "latency gate": 8, "partial": 9,
        "regression": 10,
        "interrupted": 130,
    }.items():  # fmt: skip
        assert f"{code} {name}" in text


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0 and "Usage:" in result.stdout


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_has_a_named_panel_and_words_for_every_option(command: str) -> None:
    built = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    context = built.make_context(command, [], resilient_parsing=True)
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"}).stdout
    for option in built.get_params(context):
        if option.param_type_name == "option":
            assert option.rich_help_panel and option.help, option.name
            assert all(f"{flag} " in shown for flag in option.opts + option.secondary_opts)
    assert "Example: gmme-edge" in shown and "─ Output ─" in shown
    assert "─ Options ─" not in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_every_module_of_commands_is_in_a_panel() -> None:
    """A command without a panel and an example would vanish from the program."""
    modules = {module.name.replace("_", "-") for module in iter_modules(commands.__path__)}
    assert modules == COMMANDS


def test_what_defaults_to_none_keeps_its_flags_and_its_help() -> None:
    """Python 3.10's `get_type_hints` would hide them from typer in an Optional of its own."""

    def command(place: Annotated[str | None, typer.Option("--at", help="Where.")] = None) -> None:
        raise AssertionError

    for wrapped in (guarded(command), with_options(command)):
        hint = inspect.signature(wrapped).parameters["place"].annotation
        assert get_origin(hint) is Annotated and hint.__metadata__[0].help == "Where."
    for path in Path(cli.__file__).parent.rglob("*.py"):
        assert "include_extras" not in path.read_text(encoding="utf-8"), path


def test_the_list_says_what_the_commands_say() -> None:
    """The list is written down, so that it loads no command."""
    listed = {name: each for panel in Commands.panels.values() for name, each in panel.items()}
    for name, each in listed.items():
        function = name.replace("-", "_")
        module = importlib.import_module(f"{commands.__name__}.{function}")
        first = inspect.getdoc(getattr(module, function)).partition("\n\n")[0]  # type: ignore[union-attr]
        assert each.help == " ".join(first.split()), name
        assert each.example.split()[0] == name


def test_every_example_is_understood() -> None:
    group = typer.main.get_command(app)
    for panel in Commands.panels.values():
        for name, each in panel.items():
            words = shlex.split(each.example)[1:]
            group.commands[name].make_context(name, words)  # type: ignore[attr-defined]


def count_modules(code: str) -> int:
    """How many modules an interpreter holds in the end."""
    tail = (
        "\nimport atexit, sys; atexit.register(lambda: print(len(sys.modules), file=sys.stderr))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", tail + code], capture_output=True, text=True, check=True
    )
    return int(done.stderr)


def test_help_loads_no_command_and_little_else() -> None:
    """Time varies; what is loaded does not. Typer's own help of one command loads more."""
    least = count_modules("import typer, rich")
    help_of_all = "from gmme_edge.cli.app import main; sys.argv = ['gmme-edge', '--help']; main()"
    assert count_modules(help_of_all) <= 1.25 * least


def test_without_arguments_there_is_help() -> None:
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 2 and "Usage:" in result.output


def test_an_unknown_command_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["explode"]).exit_code == 2


def run_raising(error: BaseException) -> object:
    def command() -> None:
        raise error

    inner = typer.Typer()
    inner.command()(guarded(command))
    return CliRunner().invoke(inner, [])


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        (errors.GmmeEdgeError, 1),
        (errors.UsageError, 2),
        (errors.InputError, 3),
        (errors.AudioError, 3),
        (errors.DatasetError, 3),
        (errors.CheckpointError, 3),
        (errors.BundleError, 3),
        (errors.MissingDependencyError, 4),
        (errors.ParityError, 5),
        (errors.AccuracyGateError, 6),
        (errors.LatencyGateError, 8),
        (errors.PlatformError, 7),
        (errors.EngineError, 7),
    ],
)
def test_errors_become_exit_codes(kind: type[errors.GmmeEdgeError], exit_code: int) -> None:
    long = "/a/very/long/path" * 20
    result = run_raising(kind(f"[bold]{long}[/bold] is odd.", "x.", 'pip install "a[b]"'))
    assert result.exit_code == exit_code  # type: ignore[attr-defined]
    # Not wrapped, and its brackets not taken for markup.
    assert result.stderr == (  # type: ignore[attr-defined]
        f'error: [bold]{long}[/bold] is odd.\nExpected: x.\nFix: pip install "a[b]"\n'
    )
    assert result.stdout == ""  # type: ignore[attr-defined]


def test_ctrl_c_is_130() -> None:
    for error, told in ((KeyboardInterrupt(), "interrupted\n"), (ToldInterrupt(), "")):
        result = run_raising(error)
        assert (result.exit_code, result.stderr) == (130, told)  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_a_service_ends_a_command_as_ctrl_c_does(number: int) -> None:
    before = signal.getsignal(number)
    inner = typer.Typer()
    inner.command()(guarded(lambda: signal.raise_signal(number)))
    result = CliRunner().invoke(inner, [])
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    ("arguments", "got"),
    [
        (["predict", "esc10", "a.wav", "--top", "0"], "0"),
        (["predict", "esc10", "a.wav", "--top", "x"], "'x'"),
        (["listen", "--file", "a.wav", "--on", "80"], "80"),
        (["listen", "--file", "a.wav", "--on", "loud"], "'loud'"),
    ],
)
def test_a_wrong_value_is_named_with_its_option(arguments: list[str], got: str) -> None:
    for more in ([], ["--json"]):
        result = CliRunner().invoke(app, [*arguments, *more])
        words = " ".join(result.stderr.split())
        assert result.exit_code == 2 and got in words and arguments[-2] in words


def test_a_recording_in_the_wrong_place_is_told_where_it_belongs(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["listen", "esc10", "long.wav", "--json"])
    assert result.exit_code == 2 and "A recording stands behind --file" in result.stderr
    given = ["scan", "esc10", str(tmp_path), "-o", str(tmp_path / "found")]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 2 and "name the model with -m esc10" in result.stderr
    assert not (tmp_path / "found").exists()


def test_a_bug_is_not_hidden() -> None:
    result = run_raising(ZeroDivisionError("bug"))
    assert result.exit_code == 1  # type: ignore[attr-defined]
    assert isinstance(result.exception, ZeroDivisionError)  # type: ignore[attr-defined]
