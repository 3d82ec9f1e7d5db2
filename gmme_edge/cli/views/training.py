"""What `train` shows while it trains, and the picture of the curves that it leaves."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import ConsoleRenderable

    from gmme_edge.training.run.loop import Progress, Trainer

CURVES = "curves.svg"
_DRAW_EVERY_S = 60.0
_BARS = "▁▂▃▄▅▆▇█"
_NAME_COLUMNS, _VALUE_COLUMNS, _SPARK_COLUMNS = 14, 9, 36
_RATES = 200


def show_training(trainer: Trainer, title: str, restart: bool = False) -> None:
    """Run a trainer under a live view of its figures, and draw its curves now and then.

    Where stderr is no terminal, one line per epoch is printed instead.
    """
    from rich.live import Live

    from gmme_edge.cli.views.console import stderr

    view = _View(trainer, title)
    drawn_at = time.monotonic()

    def on_progress(p: Progress) -> None:
        nonlocal drawn_at
        view.progress = p
        if p.step % trainer.steps_per_epoch:
            return
        if not stderr.is_terminal:
            stderr.print(f"{title} {_figures(p, trainer.recipe.epochs)}", soft_wrap=True)
        if time.monotonic() - drawn_at >= _DRAW_EVERY_S:
            write_curves(trainer, title)
            drawn_at = time.monotonic()

    try:
        if stderr.is_terminal:
            with Live(get_renderable=view.render, console=stderr, transient=True):
                trainer.run(on_progress, restart)
        else:
            trainer.run(on_progress, restart)
    except KeyboardInterrupt:
        write_curves(trainer, title)
        raise
    write_curves(trainer, title)


def speak_for_first_process(rank: int) -> None:
    """Of the processes that share a run, all but the first print nothing from here on."""
    from gmme_edge.cli.views.console import stderr, stdout

    stderr.quiet = stdout.quiet = rank > 0


def write_curves(trainer: Trainer, title: str) -> None:
    """Draw the epochs so far into the run's folder."""
    from gmme_edge.files import write_text
    from gmme_edge.report.render.curves import draw_curves
    from gmme_edge.training.run.optimizer import one_cycle

    recipe, state = trainer.recipe, trainer.state
    if trainer.processes.rank > 0 or not state.history:
        return
    steps = range(0, state.step, max(1, state.step // _RATES))
    rates = [
        (step / trainer.steps_per_epoch, one_cycle(step, trainer.total_steps, recipe))
        for step in steps
    ]
    mixing_from = recipe.mixing_from_epoch if recipe.mixing else None
    picture = draw_curves(title, state.history, rates, _watched(trainer), mixing_from)
    write_text(trainer.out / CURVES, picture)


def _watched(trainer: Trainer) -> str:
    return str(trainer.data.description.get("monitor", "test"))


class _View:
    """At most six lines of 80 columns: progress, then each figure with its course so far."""

    def __init__(self, trainer: Trainer, title: str) -> None:
        self._trainer, self._title = trainer, title
        self.progress: Progress | None = None

    def render(self) -> ConsoleRenderable:
        from rich.text import Text

        if self.progress is None:
            return Text(f"{self._title}: first step …")
        return Text("\n".join(self._lines(self.progress)), no_wrap=True, overflow="ellipsis")

    def _lines(self, p: Progress) -> Iterator[str]:
        trainer = self._trainer
        done = p.step / p.total_steps
        yield f"{self._title}  epoch {p.epoch}/{trainer.recipe.epochs}"
        yield (
            f"{_bar(done, 30)} {done:4.0%}  {p.clips_per_s:.0f} clips/s  {_clock(p.left_s)} left  "
            f"lr {p.learning_rate:.1e}"
        )
        history = list(trainer.state.history)
        yield _row("loss", [entry["loss"] for entry in history], p.loss, "{:.3f}")
        yield _row("accuracy", [entry["accuracy"] for entry in history], p.accuracy, "{:.1%}")
        if p.monitor_accuracy is not None:
            watched = [e["monitor_accuracy"] for e in history if "monitor_accuracy" in e]
            yield _row(_watched(trainer), watched, p.monitor_accuracy, "{:.1%}")


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


def _figures(p: Progress, epochs: int) -> str:
    watched = "" if p.monitor_accuracy is None else f" val {p.monitor_accuracy:.1%}"
    return (
        f"{p.epoch}/{epochs} loss {p.loss:.2f} acc {p.accuracy:.0%}{watched} "
        f"lr {p.learning_rate:.0e} {p.clips_per_s:.0f}/s {_clock(p.left_s)}"
    )
