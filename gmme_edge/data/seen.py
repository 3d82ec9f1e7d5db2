"""What a model was trained on, so that nobody takes clips that it knows for a test.

A checkpoint's ``training["data"]`` is the model's origin: the data set, the fold that tested, and
for data sets without an official division the fingerprints of the training clips. What the network
that it started from has heard counts as well. A bundle carries the same. Models of before that
know less are judged by what they know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gmme_edge.data.dataset import Clip
from gmme_edge.data.registry import division_of
from gmme_edge.errors import UsageError
from gmme_edge.files import sha256_of

FINGERPRINTS = "fingerprints"
BEFORE = "before"  # the data sets and folds of the networks that a training started from
_DIGITS = 12  # of SHA-256: 48 bits keep two of a million clips apart

State = Literal["unseen", "seen", "unknown"]


@dataclass(frozen=True)
class Seen:
    """Whether a model knows some clips from its training; `reason` completes "… because"."""

    state: State
    reason: str

    def to_dict(self) -> dict[str, str]:
        return {"state": self.state, "reason": self.reason}


def fingerprints(paths: Iterable[Path]) -> str:
    """Twelve digits of each recording's SHA-256, sorted, in one string with commas.

    Raises:
        OSError: a recording cannot be read.
    """
    return ",".join(sorted({_fingerprint(path) for path in paths}))


def inherit(origin: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """`facts` of a training that starts from a network of this `origin`, whose clips it knows too.

    Args:
        origin: ``training["data"]`` of that network's checkpoint; may be empty.
    """
    heard = _known(origin) | _known(facts)
    merged = {**facts, **({FINGERPRINTS: ",".join(sorted(heard))} if heard else {})}
    earlier = [*_before(origin)]
    if division_of(str(origin.get("dataset"))):
        own = {"dataset": origin["dataset"], "fold": origin.get("fold")}
        earlier += [own] if own not in earlier else []
    return {**merged, **({BEFORE: earlier} if earlier else {})}


def needs_fingerprints(dataset: str) -> bool:
    """Whether only the recordings themselves tell which ones were trained on."""
    return not division_of(dataset)


def family(dataset: str) -> str:
    """The data set whose folds `dataset` has."""
    return division_of(dataset) or dataset


def judge_seen(
    origin: Mapping[str, Any], dataset: str, fold: int | None, clips: Sequence[Clip]
) -> Seen:
    """Whether the model of this `origin` was trained on any of `clips`.

    Args:
        origin: ``training["data"]`` of the model's checkpoint; may be empty.
        dataset, fold: where `clips` come from, as `open_dataset` was called.
        clips: what is to be tested on, each with its split.
    """
    for earlier in _before(origin):
        seen = judge_seen({**earlier, FINGERPRINTS: ""}, dataset, fold, clips)
        if seen.state == "seen":
            return Seen("seen", f"of the network that it started from, {seen.reason}")
    theirs = str(origin.get("dataset") or "")
    known = _known(origin)
    if known and needs_fingerprints(dataset):
        found = sum(_fingerprint(clip.path) in known for clip in clips)
        if found:
            return Seen("seen", f"{found} of the {len(clips)} clips were trained on")
        return Seen("unseen", "none of these recordings was trained on")
    if not theirs:
        return Seen("unknown", "the model does not say what it was trained on")
    if family(theirs) != family(dataset):
        return Seen("unseen", f"it was trained on {theirs}")
    if needs_fingerprints(dataset):
        return Seen("unknown", "the model does not say which recordings it was trained on")
    return _judge_published(theirs, origin.get("fold"), fold, clips)


def _judge_published(
    theirs: str, their_fold: int | None, fold: int | None, clips: Sequence[Clip]
) -> Seen:
    """Two uses of one official division."""
    if their_fold != fold:
        return Seen("seen", f"it was trained on all folds of {theirs} but {their_fold}")
    if any(clip.split == "train" for clip in clips):
        return Seen("seen", f"these are training clips of {theirs}")
    return Seen("unseen", f"they were held out of its training on {theirs}")


def refuse_seen(
    origin: Mapping[str, Any],
    dataset: str,
    fold: int | None,
    clips: Sequence[Clip],
    allow_seen: bool = False,
) -> Seen:
    """`judge_seen`, for the result; clips that the model knows are refused.

    Raises:
        UsageError: some of `clips` were trained on, unless `allow_seen`.
    """
    seen = judge_seen(origin, dataset, fold, clips)
    if seen.state == "seen" and not allow_seen:
        raise UsageError(
            f"The model knows these clips: {seen.reason}.",
            "clips that it was not trained on, so that the figure says something.",
            _advice(origin, dataset) + "--allow-seen goes on, and the result says so.",
        )
    return seen


def refuse_own_test(
    origin: Mapping[str, Any],
    dataset: str,
    fold: int | None,
    clips: Sequence[Clip],
    allow_seen: bool = False,
) -> Seen:
    """For calibration: `judge_seen` of `clips`; the model's own test clips are refused.

    Clips that a model was trained on are right to calibrate on. Those that it is tested on are
    not: its INT8 accuracy would be measured on what tuned it.

    Raises:
        UsageError: a division by another fold, whose training clips hold the model's test clips,
            unless `allow_seen`.
    """
    theirs, their_fold = str(origin.get("dataset") or ""), origin.get("fold")
    if allow_seen or fold is None or their_fold in (None, fold):
        return judge_seen(origin, dataset, fold, clips)
    seen = judge_seen(origin, dataset, fold, clips)
    if family(theirs) == family(dataset) and seen.state == "seen":
        raise UsageError(
            f"These clips hold the model's own test clips: it is tested on fold {their_fold} of "
            f"{theirs}, and fold {fold} would leave that one for calibration.",
            f"--fold {their_fold}.",
            "--allow-seen goes on, and the result says so.",
        )
    return seen


def _advice(origin: Mapping[str, Any], dataset: str) -> str:
    fold = origin.get("fold")
    if fold is None or needs_fingerprints(dataset):
        return ""
    return f"use --fold {fold}, on which it is tested; or "


def _before(origin: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Without what is damaged."""
    noted = origin.get(BEFORE)
    entries = noted if isinstance(noted, list) else []
    return [
        {"dataset": each["dataset"], "fold": each.get("fold")}
        for each in entries
        if isinstance(each, dict) and isinstance(each.get("dataset"), str)
    ]


def _known(origin: Mapping[str, Any]) -> frozenset[str]:
    text = origin.get(FINGERPRINTS)
    return frozenset(text.split(",")) if isinstance(text, str) and text else frozenset()


def _fingerprint(path: Path) -> str:
    return sha256_of(path)[:_DIGITS]
