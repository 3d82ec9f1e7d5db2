"""Random streams, and the events that the Python stream finds in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gmme_edge.runtime.streaming.events import Gap
from gmme_edge.runtime.streaming.gate import GateRules
from gmme_edge.runtime.streaming.rules import EventRules, Rule
from gmme_edge.runtime.streaming.stream import Stream
from tests.runtime.streaming.fakes import LevelClassifier

_RATE_HZ, _WINDOW = 8000, 2048
_RULES = (
    EventRules(0.3),
    EventRules(0.4, 0.1, min_duration_s=0.2, merge_gap_s=0.3),
    EventRules(0.2, smoothing_s=0.5, max_duration_s=0.7, refractory_s=0.4),
    EventRules(0.25, per_label={"top": Rule(0.6, 0.5)}, deny=("bottom",)),
)


def case(seed: int, input_hz: int = _RATE_HZ, sizes: Sequence[int] = ()) -> dict[str, Any]:
    """Chunks and gaps as JSON holds them, and what must come out.

    Args:
        sizes: of the chunks, without gaps; default: 12 random ones.
    """
    random = np.random.default_rng(seed)
    hop_ms = float(random.choice([37.0, 64.0, 100.0, 256.0]))
    rules, channels = _RULES[seed % len(_RULES)], 1 + seed % 2
    gate = GateRules() if seed % 3 else None
    stream = Stream(LevelClassifier(_RATE_HZ, _WINDOW), hop_ms, rules, gate)
    steps: list[Any] = []
    events = []
    for size in sizes or [None] * 12:
        if size is None and steps and random.random() < 0.15:
            lost = int(random.integers(1, 5000))
            steps.append(lost)
            events += stream.skip(lost, input_hz)
            continue
        count = int(random.integers(0, 6000)) if size is None else size
        level = float(random.choice([0.0, 1e-3, 0.05, 0.4, 0.8]))
        tone = np.sin(np.arange(count)[:, None] * random.uniform(0.02, 0.5) + [0.0, 0.4][:channels])
        chunk = level * tone + 1e-3 * random.normal(size=(count, channels))
        chunk = chunk.astype(np.float32).astype(np.float64)
        steps.append(chunk.ravel().tolist())
        events += stream.push(chunk, input_hz)
    events += stream.flush()
    return {
        "sample_rate_hz": _RATE_HZ, "window_samples": _WINDOW, "hop_us": stream.grid.hop_us,
        "input_hz": input_hz, "channels": channels, "rules": rules.to_dict(),
        "gate": gate is not None, "steps": steps,
        "events": [e.to_dict() for e in events if not isinstance(e, Gap)],
        "windows": stream.windows, "computed": stream.computed,
    }  # fmt: skip


def difference(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """How far probabilities are apart; everything else is equal, or this raises."""
    assert (found["windows"], found["computed"]) == (expected["windows"], expected["computed"])
    assert len(found["events"]) == len(expected["events"])
    largest = 0.0
    for ours, theirs in zip(found["events"], expected["events"], strict=True):
        for name in ("peak", "mean"):
            largest = max(largest, abs(ours.pop(name) - theirs[name]))
        assert ours == {k: v for k, v in theirs.items() if k not in ("peak", "mean")}
    return largest
