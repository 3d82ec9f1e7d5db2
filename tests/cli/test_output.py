"""What a command prints: any text from data, in any encoding, with streams that may be closed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from gmme_edge import errors
from gmme_edge.bundle.signing import make_key
from gmme_edge.cli import guard
from gmme_edge.cli.app import app
from gmme_edge.cli.views import console, tables
from gmme_edge.cli.views.observer import ConsoleObserver, watch
from gmme_edge.scoring import Predictions
from gmme_edge.workflows.searching import Match
from tests.artifacts import RATE_HZ, WORDS, copy_bundle, edit_manifest, sounds
from tests.bundles import make_bundle
from tests.data.trees import write_clip
from tests.report.factory import row, write_accuracy, write_latency

ROOT = Path(__file__).parents[2]
ODD = ("[red]", "[/b]", "[dog]", "\x1b[31m", "\u202egnp", "café\n", "猫")


def invoke(*arguments: object) -> object:
    return CliRunner().invoke(app, list(map(str, arguments)))


def run(
    *arguments: object, shell: str = "", flags: tuple[str, ...] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """The real program in a process of its own; `shell` says what happens to its streams."""
    command = [sys.executable, *flags, "-m", "gmme_edge.cli.app", *map(str, arguments)]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "exporters", "calibration"))
    return subprocess.run(
        ["sh", "-c", f'"$@" {shell}', "sh", *command],
        env=kept | {"PYTHONPATH": paths, "COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        errors="backslashreplace",
        timeout=120,
        check=False,
    )


@pytest.fixture
def odd_bundle(bundle: Path, tmp_path: Path) -> Path:
    """A bundle in a folder named like markup, whose labels are what nobody should trust."""
    copied = copy_bundle(bundle, tmp_path / "[b]bundle")
    labels = [*ODD, *WORDS[len(ODD) :]]
    edit_manifest(copied, lambda values: values.update(labels=labels))
    return copied


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "[red]clip[b].wav"
    soundfile.write(path, sounds()[0], RATE_HZ)
    return path


def test_text_from_data_is_never_markup_nor_obeyed(odd_bundle: Path, clip: Path) -> None:
    result = invoke("predict", odd_bundle, clip, "--top", len(ODD) + 3)
    assert result.exit_code == 0, result.stderr  # type: ignore[attr-defined]
    text = result.stdout  # type: ignore[attr-defined]
    assert "[red]" in text and "[/b]" in text and "[dog]" in text
    assert "\\x1b[31m" in text and "\x1b" not in text and "\u202e" not in text


def test_odd_names_are_told_whole_in_errors(odd_bundle: Path, tmp_path: Path) -> None:
    result = invoke("predict", odd_bundle, tmp_path / "[bold]no[/x].wav")
    assert result.exit_code == 3  # type: ignore[attr-defined]
    assert "[bold]no[/x].wav" in result.stderr  # type: ignore[attr-defined]
    result = invoke("predict", tmp_path / "[link=x]nowhere", tmp_path / "a.wav")
    assert "[link=x]nowhere" in result.stderr  # type: ignore[attr-defined]


def test_notes_and_stages_are_never_markup(capsys: pytest.CaptureFixture[str]) -> None:
    with watch() as observer:
        observer.stage("[/b] read [dog]")
        observer.progress("[/red]", 1, 2)
        observer.note("left out: [/b]\x1b[2J")
    shown = capsys.readouterr().err
    assert "left out: [/b]\\x1b[2J" in shown and "\x1b[2J" not in shown


@given(st.text(st.characters(), max_size=30))
def test_no_text_breaks_a_table_or_reaches_the_terminal(text: str) -> None:
    from rich.table import Table

    table = Table("[column]")
    table.add_row(text)
    made = console.PlainConsole()
    with made.capture() as shown:
        made.print(table)
        made.print(text, soft_wrap=True)
    shown.get().encode()
    own = {"\n"}
    assert not set(console._UNSHOWABLE.findall(shown.get())) - own


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_every_encoding_can_carry_help_and_tables(encoding: str) -> None:
    for arguments in (["--help"], ["models"]):
        done = run(*arguments, PYTHONIOENCODING=encoding)
        assert done.returncode == 0, (arguments, done.stderr)
        assert done.stderr == ""


def test_every_encoding_can_carry_labels_and_names(odd_bundle: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    write_clip(tmp_path / "plain.wav", 1, rate_hz=RATE_HZ, n_samples=4000).rename(tmp_path / name)
    done = run("predict", odd_bundle, tmp_path / name, "--top", 10, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "[dog]" in done.stdout and "\\u732b" in done.stdout


def test_json_is_ascii_whatever_the_names_are(odd_bundle: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    write_clip(tmp_path / "plain.wav", 1, rate_hz=RATE_HZ, n_samples=4000).rename(tmp_path / name)
    result = invoke("predict", odd_bundle, tmp_path / name, "--json", "--top", 10)
    assert result.exit_code == 0, result.stderr  # type: ignore[attr-defined]
    text = result.stdout  # type: ignore[attr-defined]
    assert text.isascii()
    (entry,) = json.loads(text)
    assert entry["file"] == str(tmp_path / name)
    assert set(ODD) <= {one["label"] for one in entry["predictions"]}


def test_a_reader_that_left_and_a_full_output_are_no_internal_errors() -> None:
    """`| head` has had enough; `--help` and `--version` are guarded like every command."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "gmme_edge.cli.app", "models"]
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")
    for words in (["models"], ["--version"], ["--help"]):
        done = run(*words, shell=">/dev/full")
        assert done.returncode == 3
        assert done.stderr.startswith("error: standard output: No space left on device.")


def test_closed_streams_end_no_command() -> None:
    for shell in (">&- 2>&-", "2>/dev/full"):
        done = run("models", "digits", shell=shell)
        assert done.returncode == 0 and "Traceback" not in done.stderr, (shell, done.stderr)
    done = run("predict", "nowhere", "a.wav", shell="2>&-")
    assert done.returncode == 3


def test_a_reader_that_leaves_gets_no_traceback() -> None:
    done = run("models", shell="| head -n 1")
    assert done.returncode == 0 and done.stderr == ""


def test_errors_under_json_are_json_with_the_code() -> None:
    result = invoke("predict", "nowhere", "a.wav", "--json")
    told = json.loads(result.stderr)["error"]  # type: ignore[attr-defined]
    assert result.stdout == ""  # type: ignore[attr-defined]
    assert told["exit_code"] == result.exit_code == 3  # type: ignore[attr-defined]
    assert told["kind"] == "BundleError" and "nowhere" in told["got"]


@pytest.mark.parametrize(
    "arguments", [("predict", "x", "a.wav", "--top", "0"), ("models", "--nonsense"), ("train",)]
)
def test_wrong_options_under_json_are_json_too(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments, "--json")
    told = json.loads(result.stderr)["error"]  # type: ignore[attr-defined]
    assert told["exit_code"] == result.exit_code == 2  # type: ignore[attr-defined]


def test_without_docstrings_each_command_still_shows_an_example() -> None:
    done = run("predict", "--help", flags=("-OO",))
    assert done.returncode == 0 and "Example: gmme-edge predict" in done.stdout
    done = run("--help", flags=("-OO",))
    assert done.returncode == 0 and "Example: gmme-edge predict" in done.stdout


def test_without_a_home_or_a_known_user_the_cache_has_a_place() -> None:
    """Containers run as numbers that no user table knows."""
    code = (
        "import os, pwd, sys\n"
        "def unknown(*_): raise KeyError('uid')\n"
        "pwd.getpwuid = unknown\n"
        "for name in ('HOME', 'XDG_CACHE_HOME'): os.environ.pop(name, None)\n"
        "sys.argv = ['gmme-edge', 'cache']\n"
        "from gmme_edge.cli.app import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"gmme-edge-{os.getuid()}" in done.stdout


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), errors.PlatformError),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 8 bytes"), errors.PlatformError),
        (OverflowError("too large"), errors.InputError),
        (RecursionError("maximum recursion depth"), errors.InputError),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), errors.InputError),
        (PermissionError(13, "Permission denied", "x"), errors.InputError),
        (errors.ParityError("a"), errors.ParityError),
    ],
)
def test_what_any_code_may_raise_becomes_the_projects_own_error(
    error: Exception, kind: type[errors.GmmeEdgeError]
) -> None:
    assert type(errors.translate(error)) is kind

    def command() -> None:
        raise error

    inner = typer.Typer()
    inner.command()(guard.guarded(command))
    result = CliRunner().invoke(inner, [])
    assert result.exit_code == kind.exit_code
    assert result.stderr.startswith("error: ") and "Traceback" not in result.stderr


@pytest.mark.parametrize("error", [ZeroDivisionError(), RuntimeError("shapes"), AssertionError()])
def test_a_bug_is_not_translated(error: Exception) -> None:
    assert errors.translate(error) is None


def test_quiet_silences_notes_and_keeps_errors_and_results(bundle: Path, clip: Path) -> None:
    result = invoke("predict", bundle, clip, "-q")
    assert result.exit_code == 0 and result.stderr == ""  # type: ignore[attr-defined]
    assert "%" in result.stdout  # type: ignore[attr-defined]
    result = invoke("predict", bundle, "nowhere.wav", "--quiet")
    assert result.exit_code == 3 and "nowhere.wav" in result.stderr  # type: ignore[attr-defined]
    assert not console.stderr.quiet  # only for that command


def test_no_color_and_pipes_get_no_escape_codes(clip: Path) -> None:
    for environment in ({}, {"NO_COLOR": "1"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}):
        done = run("predict", "nowhere", clip, **environment)
        assert "\x1b[3" not in done.stdout + done.stderr, environment


def test_without_a_terminal_no_bar_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    with watch() as observer:
        observer.stage("a stage")
        observer.progress("steps", 1, 2)
    assert capsys.readouterr().err == ""


def test_a_stage_leaves_a_line_with_its_time_and_no_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    monkeypatch.setattr("gmme_edge.cli.views.observer.time.monotonic", lambda: now_s)
    observer = ConsoleObserver(console.progress())
    for name, length_s in (("first [b]", 1.5), ("short", 0.1), ("third", 2.4)):
        observer.stage(name)
        observer.progress("steps", 1, 2)
        now_s += length_s
    observer.end_stage()
    assert capsys.readouterr().err == "first [b]: 1.5 s\nthird: 2.4 s\n"


def test_a_bar_begins_anew_in_each_stage() -> None:
    """One that was full would say all along that no time is left."""
    bars = console.progress()
    observer = ConsoleObserver(bars)
    for stage in ("first", "second"):
        observer.stage(stage)
        observer.progress("calibrate", 0, 10)
        steps = bars.tasks[-1]
        assert (steps.finished, steps.completed, steps.total, steps.visible) == (False, 0, 10, True)
        observer.progress("calibrate", 10, 10)
        assert steps.finished and steps.time_remaining == 0


def test_a_stage_that_failed_has_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="x"), watch() as observer:
        observer.stage("first")
        raise ValueError("x")
    assert capsys.readouterr().err == ""


def test_an_output_that_cannot_be_is_told_before_anything_is_measured(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: object) -> None:
        raise AssertionError("measured")

    for name in ("profile", "profile_layers", "profile_roofline"):
        monkeypatch.setattr(f"gmme_edge.workflows.profiling.{name}", measure)
    for kind in ((), ("--layers",), ("--roofline",)):
        result = invoke("profile", bundle, *kind, "-o", tmp_path)
        assert result.exit_code == 3  # type: ignore[attr-defined]
        assert f"{tmp_path}: Is a directory." in result.stderr  # type: ignore[attr-defined]


def test_what_was_written_is_told_with_the_next_call(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b", "eat-s-aa", ("fp32",))
    out = tmp_path / "r.json"
    result = invoke("profile", bundle.path, "--repetitions", "1", "--warmup", "0", "-o", out)
    assert f"wrote {out}; next: gmme-edge compare {out}\n" in result.stderr  # type: ignore[attr-defined]


def writers(folder: Path) -> dict[str, tuple[list[object], str]]:
    """Calls that write something, and what each says of it and of the next call."""
    bundle, bare = make_bundle(folder / "b").path, folder / "key"
    make_key(bare)
    latency = write_latency(folder / "l.json", row(samples_ms=(1.0, 2.0, 3.0)))
    accuracies = []
    for name in ("eat-s-aa", "eat-s-gmme-k32c8"):
        right = Predictions(("a", "b"), ("x", "y"), ("x", "y")).to_dict()
        accuracies.append(write_accuracy(folder / f"{name}.json", name, predictions=right))
    soundfile.write(folder / "a.wav", sounds()[0], RATE_HZ)
    out, quick = folder / "out.json", ["--repetitions", "2", "--warmup", "1"]
    return {
        "profile": (["profile", bundle, *quick, "-o", out], f"wrote {out}; next: gmme-edge comp"),
        "layers": (
            ["profile", bundle, *quick, "--layers", "-o", out],
            f"wrote {out}; next: gmme-edge compare",
        ),
        "compare": (["compare", latency, "-o", folder / "r.md"], f"wrote {folder / 'r.md'}"),
        "paired": (["paired", *accuracies, "-o", out], f"wrote {out}"),
        "scan": (
            ["scan", folder / "a.wav", "-m", bundle, "-o", folder / "found", "--workers", "1"],
            f"wrote {folder / 'found'}",
        ),
        "sign": (
            ["sign", bundle, "--key", bare],
            f"wrote {bundle / 'manifest.json.minisig'}; next: gmme-edge verify {bundle} --trust",
        ),
    }


@pytest.mark.parametrize("name", ["profile", "layers", "compare", "paired", "scan", "sign"])
def test_what_is_written_is_told_without_bars_and_not_at_all_under_quiet(
    tmp_path: Path, name: str
) -> None:
    words, said = writers(tmp_path)[name]
    result = invoke(*words)
    assert result.exit_code == 0, result.stderr  # type: ignore[attr-defined]
    assert said in result.stderr  # type: ignore[attr-defined]
    assert not set("\x1b\r━╸") & set(result.stderr)  # type: ignore[attr-defined]
    again = tmp_path / "again"
    again.mkdir()
    result = invoke(*writers(again)[name][0], "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")  # type: ignore[attr-defined]


def test_no_color_is_heeded(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where a terminal is claimed."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    for more, colored in (({}, True), ({"NO_COLOR": "1"}, False)):
        done = run("verify", str(bundle), "--precision", "none", **terminal, **more)
        assert done.returncode and ("\x1b[31m" in done.stderr) == colored, done.stderr


@pytest.mark.parametrize("name", ["a.wav", b"a.wav", 3])
def test_an_error_of_the_system_names_the_file_and_no_number(name: object) -> None:
    told = errors.translate(FileExistsError(17, "File exists", name))
    assert told is not None and "Errno" not in str(told)
    assert told.got == f"{name if isinstance(name, str) else repr(name)}: File exists."
    assert told.expected == "a folder, or a name that is still free." and told.fix


def test_similar_windows_fit_80_columns() -> None:
    folder = "/a/very/long/path/to/an/archive/of/recordings/that/somebody/keeps"
    found = [
        Match(f"{folder}/{day}/20190522_010000.flac", 2.6, 7.8, time, 0.5)
        for day, time in ((1, "2019-05-21T23:00:00.000+00:00"), (2, ""))
    ]
    with io.StringIO() as file:
        Console(width=80, file=file).print(tables.matches_table(found))
        shown = file.getvalue()
    assert "2019-05-21 23:00:00" in shown and "1/20190522_010000.flac" in shown and "…" not in shown
    assert folder not in shown and len(shown.splitlines()) == 6
