"""Options that several commands share, and what they mean together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmme_edge.errors import DatasetError, UsageError

if TYPE_CHECKING:
    from gmme_edge.data.dataset import Clip, Dataset
    from gmme_edge.data.store import WaveformStore
    from gmme_edge.runtime.engines.cache import Rebuild

DatasetOption = Annotated[
    str,
    typer.Option(
        "--dataset",
        help="esc50, esc10, urbansound8k, speech-commands, folder (one per class) or csv.",
    ),
]
DataOption = Annotated[Path, typer.Option("--data", help="The data set's folder, or CSV file.")]
FoldOption = Annotated[
    int | None, typer.Option(help="The fold to test on, where the data set has folds.")
]
CacheOption = Annotated[
    Path | None,
    typer.Option(help="Where decoded audio is kept; default ~/.cache/gmme-edge."),
]
SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out recordings that cannot be decoded.")
]
BundleArgument = Annotated[
    str,
    typer.Argument(help="A folder that `gmme-edge export` wrote, or a shipped model's name."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
OutputOption = Annotated[Path, typer.Option("-o", "--output", help="Where to write.")]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="CPU threads; default: all cores of this machine.")
]

RebuildOption = Annotated[
    bool,
    typer.Option(
        "--rebuild",
        help="Where no TensorRT engine fits this GPU, or it is damaged, build one; once.",
    ),
]


def make_rebuild(allowed: bool) -> Rebuild | None:
    """What `--rebuild` stands for; a build says on stderr that it begins."""
    if not allowed:
        return None
    from gmme_edge.cli.views.console import stderr
    from gmme_exporters.tensorrt.rebuild import allow_rebuild

    return allow_rebuild(on_start=lambda what: stderr.print(what, markup=False, soft_wrap=True))


def check_labels(dataset: str, have: tuple[str, ...], artifact: str, want: tuple[str, ...]) -> None:
    """Raise `DatasetError` where the classes of a data set are not those of a model."""
    if have != want:
        raise DatasetError(
            f"{dataset} has other classes than {artifact}: {_first_difference(have, want)}.",
            "the classes that the model was trained on, in the same order.",
        )


def _first_difference(have: tuple[str, ...], want: tuple[str, ...]) -> str:
    if len(have) != len(want):
        return f"{len(have)} classes, not {len(want)}"
    i = next(i for i, (a, b) in enumerate(zip(have, want, strict=True)) if a != b)
    return f"class {i} is {have[i]!r}, not {want[i]!r}"


def load_split(
    dataset: Dataset, split: str, sample_rate_hz: int, cache: Path | None, skip_bad: bool
) -> WaveformStore:
    """Decode one split with a progress bar; say what was silent or skipped."""
    if split not in ("train", "validation", "test"):
        raise UsageError(f"Unknown split {split!r}.", "train, validation or test.")
    return load_clips(dataset.select(split), split, sample_rate_hz, cache, skip_bad)  # type: ignore[arg-type]


def load_clips(
    clips: tuple[Clip, ...], what: str, sample_rate_hz: int, cache: Path | None, skip_bad: bool
) -> WaveformStore:
    from gmme_edge.cli.views.console import progress, stderr
    from gmme_edge.data.store import load_waveforms

    with progress() as bar:
        update = task_updater(bar.add_task, bar.update, f"decoding {what}")
        store = load_waveforms(clips, sample_rate_hz, cache, skip_bad, update)
    for path in store.silent[:3]:
        stderr.print(f"note: {path} is silent", markup=False)
    if len(store.silent) > 3:
        stderr.print(f"note: {len(store.silent)} {what} clips are silent")
    if store.skipped:
        stderr.print(f"skipped {len(store.skipped)} unreadable {what} clips; the first:")
        stderr.print("  " + store.skipped[0][1].splitlines()[0], markup=False)
    return store


def task_updater(
    add: Callable[..., int], update: Callable[..., None], title: str
) -> Callable[[int, int], None]:
    """An `on_progress(done, total)` that draws one bar, which appears with the first call."""
    tasks: list[int] = []

    def on_progress(done: int, total: int) -> None:
        if not tasks:
            tasks.append(add(title, total=total))
        update(tasks[0], completed=done, total=total)

    return on_progress
