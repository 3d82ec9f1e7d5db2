"""Writes docs/reference/stream-vectors.json: what a port of the stream must reproduce.

python -m tests.runtime.streaming.make_vectors
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from gmme_edge.runtime.streaming.events import Gap, find_events
from gmme_edge.runtime.streaming.gate import ActivityGate, GateRules
from gmme_edge.runtime.streaming.grid import WindowGrid
from gmme_edge.runtime.streaming.rules import EventRules, Rule
from gmme_edge.runtime.streaming.stream import Stream
from tests.runtime.streaming.fakes import LevelClassifier

PATH = Path(__file__).parents[3] / "docs" / "reference" / "stream-vectors.json"
LABELS = ("dog", "rain")
_MASK = (1 << 32) - 1


def noise(n: int, seed: int) -> list[float]:
    """A linear congruential generator, the same in every language; from -1 to 1."""
    state, found = seed, []
    for _ in range(n):
        state = (1_664_525 * state + 1_013_904_223) & _MASK
        found.append(state / 2**31 - 1)
    return found


def probabilities(windows: int, seed: int) -> list[list[float | None]]:
    """Two labels whose probabilities wander; every 17th window was not computed."""
    values, rows = noise(2 * windows, seed), []
    for k in range(windows):
        slow = 0.5 + 0.45 * math.sin(k / 7)
        row = [slow + 0.2 * values[2 * k], 1 - slow + 0.2 * values[2 * k + 1]]
        gated = k % 17 == 16
        rows.append([None if gated else round(min(1, max(0, p)), 6) for p in row])
    return rows


CASES = {
    "plain": (EventRules(0.5), 37_000, 12_345),
    "hysteresis": (EventRules(0.7, 0.2), 100_000, 40_000),
    "durations": (
        EventRules(0.6, min_duration_s=0.3, merge_gap_s=0.2, max_duration_s=0.9), 50_000, 30_001,
    ),
    "refractory": (EventRules(0.6, max_duration_s=0.4, refractory_s=0.7), 60_000, 90_000),
    "smoothing": (EventRules(0.5, smoothing_s=0.35), 37_000, 20_000),
    "per label": (
        EventRules(0.6, per_label={"rain": Rule(0.4, 0.3, merge_gap_s=0.5)}), 250_000, 60_000,
    ),
    "allow": (EventRules(0.5, allow=("rain",)), 100_000, 15_000),
    "shorter than a window": (EventRules(0.1), 100_000, 500),
    "a whole number of windows": (EventRules(0.4), 1_024_000, 16_384 * 3),
}  # fmt: skip


def event_cases() -> list[dict[str, Any]]:
    made = []
    for name, (rules, hop_us, total) in CASES.items():
        grid = WindowGrid(16_000, 16_384 if "whole" in name else 4096, hop_us)
        starts = grid.starts(total)
        rows = probabilities(len(starts), len(name))
        table = np.array([[np.nan if p is None else p for p in row] for row in rows])
        events = find_events(table, total, LABELS, grid, rules)
        made.append(
            {
                "name": name,
                "sample_rate_hz": grid.sample_rate_hz,
                "window_samples": grid.window_samples,
                "hop_us": hop_us,
                "total_samples": total,
                "labels": LABELS,
                "rules": rules.to_dict(),
                "window_starts": starts,
                "probabilities": [None if None in row else row for row in rows],
                "events": [event.to_dict() for event in events],
            }
        )
    return made


def gate_sound(n: int) -> list[float]:
    """Faint noise; a tone from 3/4 of it on."""
    return [
        0.01 * x + (0.2 * math.sin(0.3 * i) if i >= 3 * n // 4 else 0)
        for i, x in enumerate(noise(n, 1))
    ]


def gate_case() -> dict[str, Any]:
    """Frames of `gate_sound`: excess and distance from flat, and which are active."""
    rate, n = 16_000, 16_000 * 8
    gate = ActivityGate(GateRules(), rate)
    frames, size = [], gate.frame_samples
    sound = np.array(gate_sound(n), np.float32)
    for index in range(n // size):
        frame = sound[index * size : (index + 1) * size]
        excess_db, from_flat_db, _ = gate.measure(frame.astype(np.float64))
        gate.hear(frame)
        active = gate.is_open(index * size)
        frames.append([round(excess_db, 4), round(from_flat_db, 4), active])
    return {
        "sample_rate_hz": rate,
        "samples": n,
        "frame_samples": size,
        "gate": GateRules().to_dict(),
        "frames": frames,
    }


LOUD, FAINT = 0.6, 0.002
STREAMS = {
    "chunks of all sizes": (
        8_000, 1, EventRules(0.3, 0.1, merge_gap_s=0.1), None, 64,
        [[1, FAINT], [4095, FAINT], [0, LOUD], [6000, LOUD], [7, FAINT], [9000, FAINT]],
    ),
    "a gap, the gate and two channels": (
        8_000, 2, EventRules(0.3, min_duration_s=0.2), GateRules(), 100,
        [[16_000, FAINT], [5000, LOUD], 3000, [4000, LOUD], [8000, FAINT]],
    ),
    "from 48 kHz": (
        48_000, 1, EventRules(0.3, refractory_s=0.4, max_duration_s=0.5), None, 37,
        [[4800, FAINT], [4800, LOUD], [40_000, LOUD], [30_001, FAINT]],
    ),
    "from 5 kHz": (
        5_000, 1, EventRules(0.2, smoothing_s=0.2), None, 100,
        [[2500, FAINT], [500, LOUD], [3700, LOUD], [6000, FAINT]],
    ),
}  # fmt: skip


def stream_sound(steps: list[Any], channels: int) -> list[np.ndarray | int]:
    """Chunks ``(n, channels)`` of noise from seed 1 at their levels, and the gaps as they are."""
    values = noise(channels * sum(s[0] for s in steps if not isinstance(s, int)), 1)
    made: list[np.ndarray | int] = []
    for step in steps:
        if isinstance(step, int):
            made.append(step)
            continue
        part, values = values[: channels * step[0]], values[channels * step[0] :]
        made.append(np.array([step[1] * x for x in part], np.float32).reshape(-1, channels))
    return made


def stream_cases() -> list[dict[str, Any]]:
    made = []
    for name, (input_hz, channels, rules, gate, hop_ms, steps) in STREAMS.items():
        network = LevelClassifier(8_000, 2048)
        stream = Stream(network, hop_ms, rules, gate)
        events = []
        for part in stream_sound(steps, channels):
            hear = stream.skip if isinstance(part, int) else stream.push
            events += hear(part, input_hz)
        events += stream.flush()
        made.append(
            {
                "name": name,
                "sample_rate_hz": network.sample_rate_hz,
                "window_samples": network.window_samples,
                "hop_us": stream.grid.hop_us,
                "input_hz": input_hz,
                "channels": channels,
                "rules": rules.to_dict(),
                "gate": gate is not None,
                "steps": steps,
                "events": [e.to_dict() for e in events if not isinstance(e, Gap)],
                "windows": stream.windows,
                "computed": stream.computed,
            }
        )
    return made


def make() -> dict[str, Any]:
    return {
        "schema": 1,
        "noise_of_seed_1": noise(3, 1),
        "events": event_cases(),
        "gate": gate_case(),
        "streams": stream_cases(),
    }


if __name__ == "__main__":
    lines = json.dumps(make(), separators=(",", ":"), ensure_ascii=False)
    PATH.write_text(
        lines.replace('{"name"', '\n{"name"').replace('"gate":{"s', '\n"gate":{"s') + "\n"
    )
