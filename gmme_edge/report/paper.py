"""What was reproduced of the paper's tables: parameters by count, accuracies where measured.

The figures are those of B. He et al., *Light gated multi mini-patch extractor for audio
classification*, Table 1 (ESC-50, UrbanSound8K) and Table 2 (Speech Commands V2), as printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gmme_edge.complexity import count
from gmme_edge.report.documents import AccuracyResult, CrossValidationResult, LoadedResult
from gmme_edge.report.entries import Entry, join_results
from gmme_edge.spec import preset
from gmme_edge.statistics import Interval

SCHEMA = 1
SOURCE = (
    "B. He et al., Light gated multi mini-patch extractor for audio classification, Tables 1 and 2"
)
State = Literal["reproduced", "deviates", "not measured"]

_AA, _K32C8, _K32C16, _K64C16 = (
    "eat-s-aa",
    "eat-s-gmme-k32c8",
    "eat-s-gmme-k32c16",
    "eat-s-gmme-k64c16",
)
_NAMES = {
    "esc50": "ESC-50",
    "urbansound8k": "UrbanSound8K",
    "speech-commands": "Speech Commands V2",
}
_FOLDS: dict[str, tuple[int | None, ...]] = {
    "esc50": (1, 2, 3, 4, 5),
    "urbansound8k": tuple(range(1, 11)),
    "speech-commands": (None,),
}
_MISPRINT = (
    "The table's 1961.1 K is a misprint of the text's 1969 K: 256·512·3 + 512·1024·3 and the batch "
    "normalisation are 1,969,152."
)
_CUT = "The paper cuts this figure's last digit off instead of rounding: 17,496 is its 17.4 K."
_UNIT = (
    "The printed counts come out when a kernel's extent counts mini-patches of 2 × 2 samples. Read "
    "literally, in samples, the blocks have a quarter: that is eat-s-gmme-lite-* here."
)
_ONE_TOTAL = (
    "The paper prints one total for both sets of Table 1: that of ESC-50's 50 classes. With "
    "UrbanSound8K's 10 it is 8,232 less."
)


@dataclass(frozen=True)
class Published:
    """A line of the paper: parameters as printed, in K and M, and an accuracy in %."""

    table: int
    task: str
    model: str
    d_params_k: float
    t_params_m: float
    accuracy: float


PUBLISHED = (
    Published(1, "esc50", _AA, 1961.1, 5.18, 91.25),
    Published(1, "esc50", _K32C8, 17.4, 3.23, 90.80),
    Published(1, "esc50", _K32C16, 34.9, 3.25, 91.10),
    Published(1, "esc50", _K64C16, 67.8, 3.28, 91.30),
    Published(1, "urbansound8k", _AA, 1961.1, 5.18, 84.11),
    Published(1, "urbansound8k", _K32C8, 17.4, 3.23, 83.64),
    Published(1, "urbansound8k", _K32C16, 34.9, 3.25, 83.64),
    Published(1, "urbansound8k", _K64C16, 67.8, 3.28, 83.59),
    Published(2, "speech-commands", _AA, 493.1, 1.97, 97.76),
    Published(2, "speech-commands", _K32C8, 17.4, 1.50, 97.74),
    Published(2, "speech-commands", _K32C16, 34.9, 1.51, 97.71),
    Published(2, "speech-commands", _K64C16, 67.8, 1.54, 97.88),
)


@dataclass(frozen=True)
class Reproduced:
    """One figure of the paper beside ours.

    Attributes:
        printed: as the paper has it, with its unit.
        ours: parameters, or an accuracy as a share; None where it was not measured.
        notes: why they differ, or what must be known of ours.
    """

    table: int
    task: str
    model: str
    figure: Literal["#D", "#T", "accuracy"]
    printed: str
    ours: float | None
    state: State
    interval: Interval | None = None
    n: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def set_name(self) -> str:
        return _NAMES[self.task]

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "notes": list(self.notes)}


@dataclass(frozen=True)
class PaperComparison:
    """Every figure of the two tables; `others` are accuracies that have no place in them."""

    rows: tuple[Reproduced, ...]
    others: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """What ``compare --paper --json`` prints."""
        return {
            "schema": SCHEMA,
            "kind": "paper",
            "paper": SOURCE,
            "rows": [row.to_dict() for row in self.rows],
            "others": list(self.others),
        }


def compare_with_paper(results: Sequence[LoadedResult] = ()) -> PaperComparison:
    """The paper's tables beside what the code counts and what `results` measured (FP32)."""
    scored = [result for result in results if isinstance(result, _SCORED)]
    entries = [e for e in join_results(scored) if e.accuracy and e.precision == "fp32"]
    used: set[int] = set()
    rows: list[Reproduced] = []
    for line in PUBLISHED:
        rows += _parameters(line)
        rows.append(_accuracy(line, entries, used))
    others = (_describe(e) for index, e in enumerate(entries) if index not in used)
    return PaperComparison(tuple(rows), tuple(others))


_SCORED = (AccuracyResult, CrossValidationResult)


def _parameters(line: Published) -> Iterator[Reproduced]:
    ours = count(preset(line.model, line.task))
    for figure, printed, unit, value, step in (
        ("#D", f"{line.d_params_k:g} K", 1e3, ours.d_params, 0.1),
        ("#T", f"{line.t_params_m:.2f} M", 1e6, ours.t_params, 0.01),
    ):
        told = float(printed.split()[0])
        same = abs(value / unit - told) < step  # the paper rounds some digits and cuts others
        yield Reproduced(
            table=line.table,
            task=line.task,
            model=line.model,
            figure="#D" if figure == "#D" else "#T",
            printed=printed,
            ours=float(value),
            state="reproduced" if same else "deviates",
            notes=tuple(_explain(line, figure, value / unit, told, step)),
        )


def _explain(
    line: Published, figure: str, ours: float, printed: float, step: float
) -> Iterator[str]:
    if figure == "#D" and line.model != _AA:
        yield _UNIT
    if figure == "#D" and line.d_params_k == 1961.1:
        yield _MISPRINT
    elif figure == "#T" and line.task == "urbansound8k":
        yield _ONE_TOTAL
    elif abs(ours - printed) > 0.5 * step:
        yield _CUT


def _accuracy(line: Published, entries: Sequence[Entry], used: set[int]) -> Reproduced:
    """Ours on the same data set, classes and folds; some of the folds are said to be that."""
    total = count(preset(line.model, line.task)).t_params
    found = [
        (index, entry)
        for index, entry in enumerate(entries)
        if (entry.model, entry.t_params) == (line.model, total)
        and entry.accuracy
        and entry.accuracy.dataset == line.task
        and entry.accuracy.split == "test"
    ]
    ours, interval, n = None, None, None
    state: State = "not measured"
    notes: tuple[str, ...] = ()
    if found:
        used.update(index for index, _ in found)
        accuracy = found[0][1].accuracy
        assert accuracy is not None
        ours, interval, n = accuracy.value, accuracy.interval, accuracy.n
        low, high = interval
        state = "reproduced" if low <= line.accuracy / 100 <= high else "deviates"
        if accuracy.folds != _FOLDS[line.task]:
            known = ", ".join(map(str, accuracy.folds))
            notes = (f"Folds {known} of {len(_FOLDS[line.task])} only ({accuracy.source}).",)
    return Reproduced(
        table=line.table,
        task=line.task,
        model=line.model,
        figure="accuracy",
        printed=f"{line.accuracy:.2f} %",
        ours=ours,
        state=state,
        interval=interval,
        n=n,
        notes=notes,
    )


def _describe(entry: Entry) -> str:
    accuracy = entry.accuracy
    assert accuracy is not None
    low, high = accuracy.interval
    return (
        f"{entry.name} on {accuracy.dataset} ({accuracy.source}): {100 * accuracy.value:.2f} % "
        f"[{100 * low:.1f}, {100 * high:.1f}] of {accuracy.n} clips; the paper has no such row."
    )
