"""A validation split for data sets published in folds, which have none: whole sources, seeded."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from gmme_edge.data.dataset import Clip, Dataset
from gmme_edge.errors import DatasetError

SHARE = 0.4


def with_validation(dataset: Dataset, seed: int = 0, share: float = SHARE) -> Dataset:
    """`dataset`; where it has no validation clips, with some of its training clips as such.

    Clips of one source recording stay together. Of each class at most `share` is held out, but at
    least one source. The test clips are untouched.

    They validate choices made after training (ranges, precisions) and must not calibrate. A network
    that trained on them knows them: accuracies there are too high, and losses of accuracy rather
    too small. `SHARE` is generous, since all that it takes away is candidates for calibration.

    Raises:
        DatasetError: a class whose training clips share one source.
    """
    if any(clip.split == "validation" for clip in dataset.clips):
        return dataset
    held = _choose(dataset, _sources(dataset.select("train")), seed, share)
    return replace(
        dataset,
        clips=tuple(
            replace(clip, split="validation") if clip.path in held else clip
            for clip in dataset.clips
        ),
    )


def _sources(clips: Iterable[Clip]) -> list[list[Clip]]:
    """The clips by source recording, in the order of their paths."""
    sources: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in clips:
        sources[("", clip.group) if clip.group else ("file", str(clip.path))].append(clip)
    return list(sources.values())


def _choose(
    dataset: Dataset, sources: Sequence[list[Clip]], seed: int, share: float
) -> frozenset[Path]:
    """The paths of the clips to hold out."""
    contents = [Counter(clip.label for clip in source) for source in sources]
    total = sum(contents, Counter())
    chosen: list[int] = []
    held: Counter[int] = Counter()
    for i in np.random.default_rng(seed).permutation(len(sources)).tolist():
        if all(held[label] + n <= share * total[label] for label, n in contents[i].items()):
            chosen.append(i)
            held += contents[i]
    for label in sorted(total):  # those left over have few or long sources
        if held[label]:
            continue
        allowed = [
            i
            for i, content in enumerate(contents)
            if content[label] and all(held[k] + n < total[k] for k, n in content.items())
        ]
        if not allowed:
            raise DatasetError(
                f"All training clips of class {dataset.labels[label]!r} in {dataset.name} come "
                "from one source, so that none can be held out for validation.",
                "at least two sources of each class, or a validation split of the data set's own.",
            )
        smallest = min(allowed, key=lambda i: len(sources[i]))
        chosen.append(smallest)
        held += contents[smallest]
    return frozenset(clip.path for i in chosen for clip in sources[i])
