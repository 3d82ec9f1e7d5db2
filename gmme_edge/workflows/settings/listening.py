"""How windows become events, as options of every command that listens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gmme_edge.errors import UsageError
from gmme_edge.settings import Settings, is_given, setting

if TYPE_CHECKING:
    from gmme_edge.runtime.streaming.gate import GateRules
    from gmme_edge.runtime.streaming.rules import EventRules

_EVENTS, _GATE, _INCREMENTAL = "Events", "Activity gate", "Incremental"


@dataclass(frozen=True, kw_only=True)
class EventSettings(Settings):
    """Windows and the rules that make events of them; all times in seconds."""

    hop_ms: float | None = setting(
        None,
        "A window begins every so many milliseconds.  [default: a quarter of a window]",
        least=0.001,
        most=3_600_000,
        panel=_EVENTS,
    )
    on: float = setting(
        0.5, "Probability at which an event begins.", least=1e-9, most=1, panel=_EVENTS
    )
    off: float | None = setting(
        None,
        "Probability under which it ends.  [default: 0.7 times --on]",
        least=1e-9,
        most=1,
        panel=_EVENTS,
    )
    min_duration_s: float = setting(
        0.0, "Drop shorter events.", least=0, most=86_400, panel=_EVENTS
    )
    merge_gap_s: float = setting(
        0.0,
        "Join events of a label that are no farther apart.",
        least=0,
        most=86_400,
        panel=_EVENTS,
    )
    max_duration_s: float | None = setting(
        None, "Cut longer events.", least=0.001, most=86_400, panel=_EVENTS
    )
    refractory_s: float = setting(
        0.0, "How long a label stays quiet after an event.", least=0, most=86_400, panel=_EVENTS
    )
    smoothing_s: float = setting(
        0.0,
        "Time constant of an exponential mean over the probabilities.",
        least=0,
        most=86_400,
        panel=_EVENTS,
    )
    allow: tuple[str, ...] = setting(
        (), "Only this label makes events; may be repeated.", panel=_EVENTS, metavar="LABEL"
    )
    deny: tuple[str, ...] = setting(
        (), "This label makes none; may be repeated.", panel=_EVENTS, metavar="LABEL"
    )
    rule: tuple[str, ...] = setting(
        (),
        "What differs for one label, as dog:on=0.8,min-duration-s=1; may be repeated.",
        panel=_EVENTS,
        metavar="LABEL:NAME=VALUE,…",
    )
    gate: bool = setting(
        True, "Spare the network windows without activity.", "--gate/--no-gate", panel=_GATE
    )
    gate_level_dbfs: float = setting(
        -60.0, "Sound below this level is none.", least=-200, most=0, panel=_GATE
    )

    def check(self) -> None:
        self.rules()
        if not self.gate and is_given(self, "gate_level_dbfs"):
            raise UsageError("--gate-level-dbfs with --no-gate.", "one of them.")

    def rules(self) -> EventRules:
        """As `gmme_edge.Stream` takes them.

        Raises:
            UsageError: values that contradict each other, or a `rule` that cannot be read.
        """
        from gmme_edge.runtime.streaming.rules import EventRules, Rule

        common = {name: getattr(self, name) for name in _rule_names()}
        own = dict(_parse_rule(text) for text in self.rule)
        per_label = {label: Rule(**{**common, **values}) for label, values in own.items()}
        return EventRules(**common, per_label=per_label, allow=self.allow, deny=self.deny)

    def gate_rules(self) -> GateRules | None:
        """As `gmme_edge.Stream` takes them; None where the gate is off."""
        from gmme_edge.runtime.streaming.gate import GateRules

        return GateRules(min_level_dbfs=self.gate_level_dbfs) if self.gate else None


@dataclass(frozen=True, kw_only=True)
class ListenSettings(Settings):
    """Where the sound comes from, and where events go."""

    panel = "Sound"

    file: Path | None = setting(None, "Listen to this recording instead of a microphone.")
    device: str | None = setting(
        None, "The microphone: its number or part of its name, as --list-devices shows it."
    )
    rate_hz: int | None = setting(
        None, "The microphone's rate in Hz.  [default: its own]", least=100, most=10_000_000
    )
    events: Path | None = setting(
        None, "Append every event to this file, one JSON line each.", panel="Output"
    )
    backlog_s: float = setting(
        10.0,
        "Seconds of sound that may wait when the machine is too slow; the oldest is then dropped.",
        least=0.1,
        most=3600,
    )
    incremental: bool = setting(
        False,
        "Compute only what is new in each window; the bundle must have been exported with "
        "--incremental-hop-ms.",
        "--incremental",
        panel=_INCREMENTAL,
    )
    hold_db: float = setting(
        1.0,
        "How far a window's peak may be from the one that the samples are scaled by, before all "
        "of it is computed anew.",
        least=0,
        most=60,
        needs="incremental",
        panel=_INCREMENTAL,
    )
    list_devices: bool = setting(False, "Show the microphones and end.", "--list-devices")

    def check(self) -> None:
        for name in ("device", "rate_hz", "backlog_s"):
            if self.file is not None and is_given(self, name):
                flag = "--" + name.replace("_", "-")
                raise UsageError(f"--file with {flag}.", "a file or a microphone.")


def _rule_names() -> tuple[str, ...]:
    from dataclasses import fields

    from gmme_edge.runtime.streaming.rules import Rule

    return tuple(each.name for each in fields(Rule))


def _parse_rule(text: str) -> tuple[str, dict[str, float]]:
    """``dog:on=0.8,min-duration-s=1`` → the label and its values."""
    label, colon, rest = text.rpartition(":")
    names = _rule_names()
    values: dict[str, float] = {}
    for part in rest.split(","):
        name, equals, value = part.strip().partition("=")
        name = name.replace("-", "_")
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not colon or not equals or name not in names or number != number:
            raise UsageError(
                f"--rule {text!r} cannot be read.",
                f"LABEL:NAME=VALUE,… with names among {', '.join(names)}.",
                "such as --rule dog:on=0.8,min-duration-s=1.",
            )
        values[name] = number
    return label, values
