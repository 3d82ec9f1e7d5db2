"""Results side by side, and two results on the same clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gmme_edge.public import public
from gmme_edge.report.compare import Comparison, compare_results
from gmme_edge.report.documents import LoadedResult, load_result
from gmme_edge.report.paired import PairedResult, compare_pair, load_tested
from gmme_edge.report.paper import PaperComparison, compare_with_paper
from gmme_edge.workflows.settings.comparing import CompareSettings


@public
def compare(
    results: Sequence[str | Path | LoadedResult], settings: CompareSettings | None = None
) -> Comparison:
    """Relate measured networks to a base: size, compute, latency and accuracy.

    Args:
        results: files, or what `profile` returned; of any number of devices.

    Raises:
        InputError: a file that is no result.
        UsageError: nothing to compare, or no such base.
    """
    settings = settings or CompareSettings()
    loaded = [
        load_result(Path(each))
        if isinstance(each, str | Path)
        else replace(each, source=each.source or f"result {index}")  # each is a run of its own
        for index, each in enumerate(results, 1)
    ]
    return compare_results(loaded, settings.baseline)


@public
def compare_paper(results: Sequence[Path] = ()) -> PaperComparison:
    """The paper's tables beside what the code counts and what result files measured.

    Raises:
        InputError: a file that is no result.
    """
    return compare_with_paper([load_result(path) for path in results])


@public
def compare_paired(first: Path, second: Path) -> PairedResult:
    """McNemar's exact test between two results on the same clips.

    Raises:
        InputError: a result without predictions, or predictions of other clips.
    """
    return compare_pair(load_tested(first), load_tested(second))
