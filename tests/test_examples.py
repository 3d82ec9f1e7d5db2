"""Every example runs, and every command that the README shows."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.main import get_group

from gmme_edge.cli.app import app
from gmme_edge.data.synthetic import synthesize

ROOT = Path(__file__).parents[1]
CLASSES = ("bell", "clicks", "rising sweep")
FENCE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def readme_blocks(language: str) -> list[str]:
    return [
        body for name, body in FENCE.findall((ROOT / "README.md").read_text()) if name == language
    ]


def run(words: list[str], folder: Path) -> str:
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "80"}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after the README's commands: sounds, a checkpoint, a bundle."""
    folder = tmp_path_factory.mktemp("readme")
    for label, name in enumerate(CLASSES):
        (folder / "sounds" / name).mkdir(parents=True)
        for i in range(10):
            samples = synthesize(name, 22_050, 20_000, (label, i))
            soundfile.write(folder / "sounds" / name / f"{i}.wav", samples, 22_050)
    soundfile.write(folder / "some.wav", synthesize("bell", 48_000, 100_000, (9, 9)), 48_000)
    block = next(body for body in readme_blocks("sh") if "--dataset folder" in body)
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line.replace("--epochs 100", "--epochs 2 --threads 2"))
        assert words[0] == "gmme-edge"
        run([sys.executable, "-m", "gmme_edge.cli.app", *words[1:]], folder)
    return folder


@pytest.mark.slow
def test_readme_commands_leave_a_bundle_that_verifies(workplace: Path) -> None:
    words = [sys.executable, "-m", "gmme_edge.cli.app", "verify", "my-bundle", "--json"]
    assert json.loads(run(words, workplace))["passed"]


@pytest.mark.slow
def test_readme_python_names_the_sounds(workplace: Path) -> None:
    (code,) = readme_blocks("python")
    loaded = "import soundfile\nwaveform, _ = soundfile.read('some.wav', dtype='float32')\n"
    (workplace / "app.py").write_text(loaded + code)
    lines = run([sys.executable, "app.py"], workplace).splitlines()
    assert len(lines) == 3
    assert {line.rsplit(" ", 1)[0] for line in lines} == set(CLASSES)
    assert np.isclose(sum(float(line.rsplit(" ", 1)[1]) for line in lines), 1.0)


@pytest.mark.slow
def test_monitor_reports_sounds_with_their_times(workplace: Path) -> None:
    script = str(ROOT / "examples/python/monitor.py")
    lines = run(
        [sys.executable, script, "my-bundle", "some.wav", "--threshold", "0.01"], workplace
    ).splitlines()
    assert lines
    for line in lines:
        assert re.fullmatch(rf" +\d+\.\d s  ({'|'.join(CLASSES)})  \d+%", line)


@pytest.mark.slow
def test_find_similar_ranks_the_recording_itself_first(workplace: Path) -> None:
    script = str(ROOT / "examples/python/find_similar.py")
    others = [f"sounds/{name}/0.wav" for name in CLASSES]
    lines = run([sys.executable, script, "my-bundle", others[1], *others], workplace).splitlines()
    assert len(lines) == 3
    assert lines[0].split(maxsplit=1)[1] == others[1]
    assert float(lines[0].split()[0]) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("python/monitor.py", "digits", "notes.wav"), "notes.wav"),
        (("python/find_similar.py", "nowhere", "a.wav", "b.wav"), "nowhere does not exist."),
        (("triton/client.py", "nowhere", "model", "--verify"), "nowhere does not exist."),
    ],
)
def test_an_example_tells_a_mistake_in_words(
    words: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    (tmp_path / "notes.wav").write_text("no sound")
    script, *rest = words
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / script, *rest],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert done.returncode == 1 and told in done.stderr
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_pipeline_goes_from_sounds_to_a_comparison(workplace: Path) -> None:
    words = [
        sys.executable, str(ROOT / "examples/python/pipeline.py"), "sounds", "-o", "pipeline",
        "--epochs", "1", "--networks", "eat-s-gmme-k32c8", "--repetitions", "5",
    ]  # fmt: skip
    shown = run(words, workplace)
    assert "eat-s-gmme-k32c8" in shown and "int8-ort" in shown
    verify = [sys.executable, "-m", "gmme_edge.cli.app", "verify"]
    run([*verify, "pipeline/eat-s-gmme-k32c8-bundle"], workplace)


def test_readme_lists_every_command_and_only_pages_that_exist() -> None:
    text = (ROOT / "README.md").read_text()
    listed = text.split("## Commands")[1].split("##")[0]
    assert set(re.findall(r"^\| `([\w-]+)` \|", listed, re.M)) == set(get_group(app).commands)
    for page in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / page).is_file(), page


@pytest.mark.parametrize("mark", ["run", "test"])
def test_newcomer_blocks_are_one_command(mark: str) -> None:
    after = (ROOT / "README.md").read_text().split(f"<!-- newcomer: {mark} -->\n")[1]
    assert len(FENCE.match(after).group(2).strip().splitlines()) == 1  # type: ignore[union-attr]
