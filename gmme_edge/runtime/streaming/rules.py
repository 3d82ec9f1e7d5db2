"""When a probability becomes an event: thresholds, durations and labels, all in seconds."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import cast

from gmme_edge.errors import UsageError, shorten

_LARGEST = 1e300
LONGEST_S = 1e9  # in samples of any rate it still fits what other languages count in


def check_number(name: str, value: object, optional: bool = False) -> None:
    """Raise `UsageError` for what is no number that a float can hold."""
    if optional and value is None:
        return
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or abs(cast(float, value)) > _LARGEST:
        raise UsageError(
            f"{name} is {shorten(value)}.", "a number or None." if optional else "a number."
        )


@dataclass(frozen=True)
class Rule:
    """What makes an event of one label.

    Attributes:
        on: the probability at which an event begins.
        off: the probability under which it ends; None: 0.7 times `on`.
        min_duration_s: shorter events are dropped, after merging.
        merge_gap_s: events no farther apart than this become one.
        max_duration_s: longer events are cut into parts of this length; None: never.
        refractory_s: how long after an event no other of this label begins.
        smoothing_s: time constant of an exponential mean over the probabilities; 0: none.

    Raises:
        UsageError: a value out of its range.
    """

    on: float = 0.5
    off: float | None = None
    min_duration_s: float = 0.0
    merge_gap_s: float = 0.0
    max_duration_s: float | None = None
    refractory_s: float = 0.0
    smoothing_s: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(Rule):
            check_number(each.name, getattr(self, each.name), each.default is None)
        if not 0 < self.on <= 1:
            raise UsageError(f"on is {self.on}.", "over 0 and at most 1.")
        if self.off is not None and not 0 < self.off <= self.on:
            raise UsageError(f"off is {self.off}.", f"over 0 and at most on, {self.on}.")
        if self.max_duration_s is not None and not 0 < self.max_duration_s <= LONGEST_S:
            raise UsageError(
                f"max_duration_s is {self.max_duration_s}.", f"over 0 and at most {LONGEST_S:.0e}."
            )
        for name in ("min_duration_s", "merge_gap_s", "refractory_s", "smoothing_s"):
            if not 0 <= getattr(self, name) <= LONGEST_S:
                raise UsageError(f"{name} is {getattr(self, name)}.", f"0 to {LONGEST_S:.0e}.")
        if self.max_duration_s is not None and self.max_duration_s < self.min_duration_s:
            raise UsageError(
                f"max_duration_s is {self.max_duration_s}, under min_duration_s.",
                f"at least {self.min_duration_s}: otherwise no event is left.",
            )

    @property
    def off_threshold(self) -> float:
        return 0.7 * self.on if self.off is None else self.off


@dataclass(frozen=True)
class EventRules(Rule):
    """The rule for all labels, and what differs for some.

    Attributes:
        per_label: label → its own rule, which replaces the common one altogether.
        allow: only these labels make events; empty: all.
        deny: these labels make none.
    """

    per_label: Mapping[str, Rule] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("allow", "deny"):
            labels = getattr(self, name)
            if not isinstance(labels, (tuple, list)) or not all(isinstance(x, str) for x in labels):
                raise UsageError(f"{name} is {shorten(labels)}.", "a tuple of labels.")
        own = self.per_label
        if not isinstance(own, Mapping) or not all(isinstance(r, Rule) for r in own.values()):
            raise UsageError(f"per_label is {shorten(own)}.", "a mapping of labels to rules.")

    def of(self, label: str) -> Rule:
        """The rule of one label."""
        return self.per_label.get(label, self)

    def select(self, labels: Sequence[str]) -> tuple[bool, ...]:
        """Per label whether it makes events.

        Raises:
            UsageError: a rule or a list names a label that the network does not have, or the lists
                leave none.
        """
        for name in (*self.per_label, *self.allow, *self.deny):
            if name not in labels:
                raise UsageError(
                    f"The rules name the label {name!r}.", f"one of {', '.join(labels)}."
                )
        allowed = self.allow or tuple(labels)
        chosen = tuple(label in allowed and label not in self.deny for label in labels)
        if not any(chosen):
            raise UsageError("allow and deny leave no label.", "one that may make events.")
        return chosen

    def to_dict(self) -> dict[str, object]:
        """As JSON holds it."""
        found: dict[str, object] = _plain(self)
        found["per_label"] = {label: _plain(rule) for label, rule in self.per_label.items()}
        found["allow"], found["deny"] = list(self.allow), list(self.deny)
        return found


def _plain(rule: Rule) -> dict[str, object]:
    values: dict[str, object] = {each.name: getattr(rule, each.name) for each in fields(Rule)}
    values["off"] = rule.off_threshold
    return values
