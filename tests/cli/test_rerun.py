"""`rerun`: what made a result makes it again; what settings hold becomes the call that says it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from gmme_edge.cli.app import app
from gmme_edge.settings import Settings, command_line, words_of
from gmme_edge.workflows.settings.export import BundleSettings, ExportSettings
from gmme_edge.workflows.settings.int8 import Int8Settings
from gmme_edge.workflows.settings.training import MachineSettings, RecipeSettings
from tests.bundles import make_bundle
from tests.report.factory import write_accuracy


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def record(path: Path, command: object) -> Path:
    path.write_text(json.dumps({"schema": 1, "kind": "latency", "command": command}))
    return path


@pytest.mark.parametrize(
    ("command", "group"),
    [
        ("export", ExportSettings(bundle=BundleSettings(output=Path("out dir"), precision="int8",
                                                        embedding=False, opset=17),
                                  int8=Int8Settings(bias_correction=False))),
        ("train", RecipeSettings(assign=("a=1", "b=2"), lr=1e-4, augment=False)),
        ("train", MachineSettings(tensorboard=True, threads=3)),
        ("train", MachineSettings()),
    ],
)  # fmt: skip
def test_a_call_says_what_settings_hold(command: str, group: Settings) -> None:
    """The program's own parser reads back what was written."""
    typed = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    needed = {"export": ["ckpt"], "train": ["--dataset", "x", "--data", "x", "-o", "x"]}[command]
    words = [*needed, *words_of(group)]
    read = typed.make_context(command, words).params
    plain = typed.make_context(command, [*needed, "-o", "x"]).params
    changed = {name: value for name, value in read.items() if value != plain[name]}
    for name, value in changed.items():
        holders = [group, *(v for v in vars(group).values() if isinstance(v, Settings))]
        held = next(getattr(each, name) for each in holders if hasattr(each, name))
        assert str(held) == str(tuple(value) if isinstance(value, list) else value), name
    assert len(changed) == sum(word.startswith("-") for word in set(words_of(group)))


def test_a_line_can_be_pasted() -> None:
    group = BundleSettings(output=Path("a b"), force=True)
    line = command_line("export", ["my ckpt"], group)
    assert shlex.split(line) == ["gmme-edge", "export", "my ckpt", "--output", "a b", "--force"]


def test_a_profile_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_bundle(Path("b"), "eat-s-aa", ("fp32",))
    assert run("profile", "b", "--repetitions", 3, "--warmup", 0, "-o", "r.json").exit_code == 0
    done = run("rerun", "r.json", "-o", "again.json", "--", "--repetitions", 2)
    assert done.exit_code == 0, done.output
    first, again = (json.loads(Path(name).read_text()) for name in ("r.json", "again.json"))
    assert [len(made["rows"][0]["samples_ms"]) for made in (first, again)] == [3, 2]
    assert first["rows"][0]["weights_sha256"] == again["rows"][0]["weights_sha256"]
    dry = run("rerun", "r.json", "--dry-run")
    assert shlex.split(dry.stdout) == shlex.split(first["command"])


def test_a_repeat_does_not_heed_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_bundle(Path("b"), "eat-s-aa", ("fp32",))
    record(Path("r.json"), "gmme-edge profile b --warmup 0 --repetitions 2")
    Path("gmme-edge.toml").write_text("[profile]\nbatch = '3'\n[rerun]\noutput = 'again.json'\n")
    assert run("rerun", "r.json").exit_code == 0
    assert json.loads(Path("again.json").read_text())["rows"][0]["batch"] == 1


def test_gone_inputs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = record(tmp_path / "r.json", "gmme-edge profile digits gone/a gone/b --warmup 0")
    for more in ([], ["--dry-run"]):
        done = run("rerun", path, *more)
        assert done.exit_code == 3
        assert "cannot be made again here: gone/a, gone/b are gone" in done.stderr


@pytest.mark.parametrize(
    "command",
    ["", None, 3, "python3 run_on_device.py", "gmme-edge", "rm -rf /", "gmme-edge cache --clear",
     "gmme-edge profile 'x"],
)  # fmt: skip
def test_only_calls_that_measure_or_make_are_repeated(tmp_path: Path, command: object) -> None:
    done = run("rerun", record(tmp_path / "r.json", command))
    assert done.exit_code == 3 and done.stderr.startswith("error: ")


def test_a_result_of_before_says_that_it_has_no_call(tmp_path: Path) -> None:
    done = run("rerun", write_accuracy(tmp_path / "a.json"))
    assert done.exit_code == 3 and "does not say which command made it" in done.stderr
    shipped = run("rerun", "digits")  # its name stands for its folder, as everywhere
    assert shipped.exit_code == 3 and "digits/manifest.json does not say which" in shipped.stderr


def test_an_odd_option_in_a_record_is_a_usage_error(tmp_path: Path) -> None:
    path = record(tmp_path / "r.json", "gmme-edge profile digits --explode")
    assert run("rerun", path).exit_code == 2


def test_the_exit_code_is_that_of_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_bundle(Path("b"), "eat-s-aa", ("fp32",))
    words = "b --warmup 0 --repetitions 2 --max-latency-p90-ms 0"
    path = record(tmp_path / "r.json", f"gmme-edge profile {words}")
    assert run("rerun", path).exit_code == 8
