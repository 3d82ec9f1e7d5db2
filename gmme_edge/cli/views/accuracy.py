"""What `evaluate` prints: accuracy by class and by level, and the flips against a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from gmme_edge.report.flips import FlipReport
    from gmme_edge.scoring import Score

_SEEN = {
    "unseen": "",
    "seen": ", some of which it was trained on",
    "unknown": "; whether it was trained on some of them is unknown",
}


def show_score(record: dict[str, Any], score: Score, flips: FlipReport | None) -> None:
    """The accuracy in words; below it a table by class and level, with the flips if there are."""
    from gmme_edge.cli.views.console import stdout

    low, high = score.interval
    stdout.print(
        f"{record['model']}, {record['precision']} on {record['backend']}: "
        f"accuracy {score.accuracy:.2%} (95 % interval {low:.1%} to {high:.1%}) "
        f"on {score.n} {record['split']} clips{_SEEN[record['seen']['state']]}",
        soft_wrap=True,
    )
    stdout.print(_flip_table(score, flips) if flips else _score_table(score))


def _score_table(score: Score) -> Table:
    table = _table("class, level", "clips", "accuracy", "most often taken for")
    for index, (label, figures) in enumerate(score.per_class.items()):
        wrong = score.confusion[index].copy()
        wrong[index] = 0
        confused = f"{list(score.per_class)[int(wrong.argmax())]} ({wrong.max()})"
        table.add_row(label, *_cells(figures), confused if wrong.max() else "")
    table.add_section()
    for level, figures in _levels(score).items():
        table.add_row(level, *_cells(figures))
    return table


def _flip_table(score: Score, flips: FlipReport) -> Table:
    """Per class and level: clips, accuracy, and how many labels flipped in which direction."""
    table = _table(
        "class, level",
        "clips",
        "accuracy",
        "right→\nwrong",
        "wrong→\nright",
        "wrong→\nwrong",
        "flips",
    )
    table.caption = f"flips against {flips.against}"
    parts = (
        ({"all": {"accuracy": score.accuracy, "n": score.n}}, {"all": flips.all}),
        (score.per_class, flips.per_class),
        (_levels(score), flips.per_level),
    )
    for figures_of, flips_of in parts:
        for name, figures in figures_of.items():
            counts = flips_of[name]
            numbers = (
                counts.right_to_wrong,
                counts.wrong_to_right,
                counts.wrong_to_wrong,
                counts.total,
            )
            table.add_row(name, *_cells(figures), *(str(number or "") for number in numbers))
        table.add_section()
    return table


def _levels(score: Score) -> dict[str, dict[str, float | int | None]]:
    return score.predictions.per_level() if score.predictions else {}


def _cells(figures: dict[str, Any]) -> tuple[str, str]:
    accuracy = figures["accuracy"]
    return str(figures["n"]), "–" if accuracy is None else f"{accuracy:.1%}"


def _table(first: str, *others: str) -> Table:
    from rich.table import Table

    table = Table(first)
    for heading in others:
        table.add_column(heading, justify="right")
    return table
