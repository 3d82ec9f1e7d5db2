"""What `train` shows while it trains, and what it says at the end."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gmme_edge.cli.views import console
from gmme_edge.cli.views.observer import ConsoleObserver
from gmme_edge.workflows.training import CrossValidation, Trained, watched_part
from gmme_edge.workflows.training_observer import TrainingObserver

if TYPE_CHECKING:
    from rich.console import ConsoleRenderable

    from gmme_edge.training.run.loop import Progress, Trainer

_BARS = "▁▂▃▄▅▆▇█"
_NAME_COLUMNS, _VALUE_COLUMNS, _SPARK_COLUMNS = 14, 9, 36
_LINE_EVERY_S, _LONG_S = 60.0, 10.0


class TrainingView(TrainingObserver):
    """Stages and bars, then a live view of the run's figures.

    Where stderr is no terminal: a line per stage, one per epoch, and within long epochs one
    after the first step and one a minute.
    """

    def __init__(self) -> None:
        self._open = contextlib.ExitStack()
        self._loading: ConsoleObserver | None = None
        self._view: _View | None = None
        self._said_at = time.monotonic()

    def joined(self, rank: int) -> None:
        """Of the processes that share a run, all but the first print nothing from here on."""
        console.stderr.quiet = console.stdout.quiet = rank > 0

    def stage(self, name: str) -> None:
        if not console.stderr.is_terminal:
            self._print(f"{name} …")
            return
        if self._loading is None:
            self._loading = ConsoleObserver(self._open.enter_context(console.progress()))
        self._loading.stage(name)

    def progress(self, what: str, done: int, total: int) -> None:
        if self._loading is not None:
            self._loading.progress(what, done, total)
        elif self._view is not None and console.stderr.is_terminal:
            self._view.scored = f"{what}: {done} of {total}"
        elif time.monotonic() - self._said_at >= _LINE_EVERY_S:
            self._print(f"{what}: {done} of {total}")

    def note(self, text: str) -> None:
        self._print(text)

    def began(self, trainer: Trainer, title: str) -> None:
        from rich.live import Live

        self.ended()
        self._view = _View(trainer, title)
        if console.stderr.is_terminal:
            live = Live(get_renderable=self._view.render, console=console.stderr, transient=True)
            self._open.enter_context(live)

    def stepped(self, progress: Progress) -> None:
        view = self._view
        assert view is not None
        first, view.progress, view.scored = view.progress is None, progress, ""
        if console.stderr.is_terminal:
            return
        steps, n_clips = view.trainer.steps_per_epoch, view.trainer.batch_size
        end, slow = progress.step % steps == 0, steps * n_clips / progress.clips_per_s > _LONG_S
        if end or (first and slow) or time.monotonic() - self._said_at >= _LINE_EVERY_S:
            self._print(f"{view.title} {_figures(progress, view.trainer, end)}")

    def ended(self) -> None:
        self._loading = None
        self._open.close()

    def _print(self, text: str) -> None:
        self._said_at = time.monotonic()
        console.stderr.print(text, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def watch_training() -> Iterator[TrainingView]:
    view = TrainingView()
    try:
        yield view
    finally:
        view.ended()


def show_trained(trained: Trained) -> None:
    """One line: the last epoch's figures."""
    last, count = trained.figures, f"{trained.epochs} epoch{'s' * (trained.epochs != 1)}"
    text = (
        f"{trained.checkpoint}: {trained.spec.name}, {count}, training loss {last['loss']:.3f}, "
        f"accuracy {last['accuracy']:.1%}"
    )
    if "monitor_accuracy" in last:
        text += f", {trained.watched} accuracy {last['monitor_accuracy']:.1%}"
    console.stdout.print(text, markup=False, soft_wrap=True)
    path = str(trained.checkpoint)
    call = shlex.join(["gmme-edge", "export", path, "-o", f"{path}-bundle"])
    console.tell_written(path, call)


def show_cross_validation(result: CrossValidation) -> None:
    """A row per fold, then both ways to sum them up."""
    from rich.table import Table

    document: dict[str, Any] = result.document
    table = Table("fold", caption="intervals: 95 %")
    for heading in ("accuracy", "Wilson's interval", "right", "clips", "minutes"):
        table.add_column(heading, justify="right")
    for row in document["folds"]:
        low, high = row["wilson_95"]
        minutes = (row["wall_time_s"] or 0) / 60
        cells = (
            row["fold"],
            f"{row['accuracy']:.2%}",
            f"{low:.1%} to {high:.1%}",
            row["correct"],
            row["n"],
            f"{minutes:.1f}",
        )
        table.add_row(*map(str, cells))
    console.stdout.print(table)
    pooled, mean = document["pooled"], document["folds_mean"]
    low, high = pooled["wilson_95"]
    console.stdout.print(
        f"{result.path}: {document['model']} on {document['dataset']}, all clips pooled "
        f"{pooled['accuracy']:.2%} ({low:.1%} to {high:.1%}, Wilson)",
        markup=False,
        soft_wrap=True,
    )
    if mean["t_95"]:
        low, high = mean["t_95"]
        console.stdout.print(
            f"mean of the folds {mean['accuracy']:.2%} ({low:.1%} to {high:.1%}, Student's t)",
            soft_wrap=True,
        )


class _View:
    """At most six lines of 80 columns: progress, then each figure with its course so far."""

    def __init__(self, trainer: Trainer, title: str) -> None:
        self.trainer, self.title = trainer, title
        self.progress: Progress | None = None
        self.scored = ""

    def render(self) -> ConsoleRenderable:
        from rich.text import Text

        if self.progress is None:
            return Text(f"{self.title}: first step …")
        return Text("\n".join(self._lines(self.progress)), no_wrap=True, overflow="ellipsis")

    def _lines(self, p: Progress) -> Iterator[str]:
        trainer = self.trainer
        done = p.step / p.total_steps
        yield f"{self.title}  epoch {p.epoch}/{trainer.recipe.epochs}"
        yield (
            f"{_bar(done, 30)} {done:4.0%}  {_rate(p.clips_per_s)}  {_clock(p.left_s)} left  "
            f"lr {p.learning_rate:.1e}"
        )
        history = list(trainer.state.history)
        yield _row("loss", [entry["loss"] for entry in history], p.loss, "{:.3f}")
        yield _row("accuracy", [entry["accuracy"] for entry in history], p.accuracy, "{:.1%}")
        if p.monitor_accuracy is not None:
            watched = [e["monitor_accuracy"] for e in history if "monitor_accuracy" in e]
            yield _row(watched_part(trainer), watched, p.monitor_accuracy, "{:.1%}")
        if self.scored:
            yield self.scored


def _row(name: str, past: Sequence[float], now: float, form: str) -> str:
    course = ""
    if past:
        limits = form.format(min(past)), form.format(max(past))
        course = f"{_sparkline(past):<{_SPARK_COLUMNS}} {limits[0]} – {limits[1]}"
    value = form.format(now)
    return f"{name[:_NAME_COLUMNS]:<{_NAME_COLUMNS}}{value:>{_VALUE_COLUMNS}}  {course}"


def _sparkline(values: Sequence[float]) -> str:
    """All epochs in at most `_SPARK_COLUMNS` characters, each the mean of its share of them."""
    columns = min(len(values), _SPARK_COLUMNS)
    edges = [len(values) * i // columns for i in range(columns + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, span = min(means), max(means) - min(means) or 1.0
    return "".join(_BARS[round((mean - low) / span * (len(_BARS) - 1))] for mean in means)


def _bar(share: float, columns: int) -> str:
    full = round(share * columns)
    return "━" * full + "─" * (columns - full)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _rate(clips_per_s: float) -> str:
    """A large network on a small CPU hears less than a clip a second."""
    return f"{clips_per_s:.{0 if clips_per_s >= 10 else 1}f} clips/s"


def _figures(p: Progress, trainer: Trainer, end: bool) -> str:
    accuracy = p.monitor_accuracy if end else None
    watched = "" if accuracy is None else f" {watched_part(trainer)} {accuracy:.1%}"
    place = "" if end else f" step {p.step}"
    return (
        f"{p.epoch}/{trainer.recipe.epochs}{place} loss {p.loss:.2f} acc {p.accuracy:.0%}{watched} "
        f"lr {p.learning_rate:.0e} {_rate(p.clips_per_s)} {_clock(p.left_s)} left"
    )
