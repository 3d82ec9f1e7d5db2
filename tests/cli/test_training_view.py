"""What a terminal shows while a network trains: it fits, and says what the run says."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from gmme_edge.cli.views import console
from gmme_edge.cli.views import training as training_view
from gmme_edge.cli.views.training import watch_training
from gmme_edge.training.run.loop import Progress
from gmme_edge.workflows.training import run_trainer
from gmme_edge.workflows.training_curves import CURVES
from tests.training.tiny_run import RECIPE, STEPS_PER_EPOCH, make_trainer


def test_sparkline_shows_all_epochs_in_little_room() -> None:
    assert training_view._sparkline([0, 7]) == "▁█"
    assert training_view._sparkline([3, 3, 3]) == "▁▁▁"
    long = training_view._sparkline([*range(3500)])
    assert len(long) == 36 and long[0] == "▁" and long[-1] == "█"
    assert list(long) == sorted(long)


def test_lines_fit_80_columns(tmp_path: Path) -> None:
    """The longest names, numbers and a schedule of days."""
    trainer = make_trainer(tmp_path, replace(RECIPE, epochs=3500))
    entry = {"epoch": 1.0, "loss": 123.456, "accuracy": 1.0, "monitor_accuracy": 1.0}
    trainer.state.history = [entry] * 3000
    p = Progress(3499, 9, 10, 123.456, 1.0, 3e-4, 123456.0, 360_000.0, 1.0)
    view = training_view._View(trainer, "eat-s-gmme-lite-k64c16 fold 10")
    view.progress = p
    screen = Console(file=io.StringIO(), width=80, force_terminal=True)
    screen.print(view.render())
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 5 and not any("…" in line for line in lines)
    assert all(len(line) <= 80 for line in lines), lines
    assert "epoch 3499/3500" in lines[0] and "100:00:00 left" in lines[1]


def test_a_line_of_a_slow_training_says_what_its_numbers_are(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, replace(RECIPE, epochs=5))
    p = Progress(1, 1, 1, 2.31, 0.19, 4e-5, 0.44, 1313.0, None)
    line = training_view._figures(p, trainer, False)
    assert line == "1/5 step 1 loss 2.31 acc 19% lr 4e-05 0.4 clips/s 21:53 left"
    assert training_view._rate(123456.0) == "123456 clips/s"


def test_a_terminal_shows_the_figures_and_is_left_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.StringIO()
    monkeypatch.setattr(console, "stderr", Console(file=file, width=80, force_terminal=True))
    with watch_training() as view:
        run_trainer(make_trainer(tmp_path, replace(RECIPE, epochs=2)), "tiny", view)
    shown = file.getvalue()
    assert "epoch 2/2" in shown and "100%" in shown and "lr " in shown
    assert "\x1b[?25h" in shown.rpartition("epoch")[2]  # the cursor is back
    assert (tmp_path / CURVES).is_file()


def test_elsewhere_one_line_per_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(console, "stderr", Console(file=file, width=80))
    trainer = make_trainer(tmp_path, replace(RECIPE, epochs=2))
    with watch_training() as view:
        run_trainer(trainer, "tiny", view)
    lines = file.getvalue().splitlines()
    assert [line.split(" loss ")[0] for line in lines] == ["tiny 1/2", "tiny 2/2"]
    assert trainer.state.step == 2 * STEPS_PER_EPOCH


def test_a_long_scoring_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 clips that are watched take minutes on a CPU."""
    file = io.StringIO()
    monkeypatch.setattr(console, "stderr", Console(file=file, width=80))
    monkeypatch.setattr(training_view, "_LINE_EVERY_S", 0.0)
    with watch_training() as view:
        run_trainer(make_trainer(tmp_path, replace(RECIPE, epochs=1)), "tiny", view)
    assert "score the test clips: 6 of 6" in file.getvalue().splitlines()


def test_a_terminal_shows_a_scoring_until_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        console, "stderr", Console(file=io.StringIO(), width=80, force_terminal=True)
    )
    with watch_training() as view:
        view.began(make_trainer(tmp_path), "tiny")
        progress = Progress(1, 3, 12, 1.0, 0.5, 1e-3, 10.0, 60.0, None)
        view.stepped(progress)
        view.progress("score the test clips", 32, 6_000)
        assert view._view is not None
        assert list(view._view._lines(progress))[-1] == "score the test clips: 32 of 6000"
        view.stepped(progress)
        assert "score" not in list(view._view._lines(progress))[-1]
