"""The rules of the regression gate, as a user writes them: ``latency>+5%,accuracy<-0.5``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gmme_edge.errors import UsageError

_RULE = re.compile(r"(latency|size|accuracy)([<>])([+-]?\d+(?:\.\d+)?)(%?)")
_FORMS = {"latency": (">", "%"), "size": (">", "%"), "accuracy": ("<", "")}
_LONGEST = 40
_EXAMPLE = "rules such as latency>+5%, size>+1% and accuracy<-0.5 (points), with commas."


@dataclass(frozen=True)
class Rule:
    """What counts as a regression.

    Attributes:
        measure: ``latency`` or ``size``, whose change is a share, or ``accuracy``, in points.
        limit: the change beyond which it is one: 0.05 is 5 % more, -0.5 is half a point less.
    """

    measure: str
    limit: float
    text: str


def parse_rules(text: str) -> tuple[Rule, ...]:
    """The rules in a text.

    Raises:
        UsageError: a rule that is none, or one that would call an improvement a regression.
    """
    rules = []
    for word in filter(None, (part.replace(" ", "") for part in text.split(","))):
        found = _RULE.fullmatch(word)
        if not found or (found[2], found[4]) != _FORMS[found[1]] or len(word) > _LONGEST:
            raise UsageError(f"--fail-if has {word!r:.60}.", _EXAMPLE)
        rules.append(Rule(found[1], float(found[3]) / (100 if found[4] else 1), word))
    if not rules:
        raise UsageError(f"--fail-if is {text!r}.", _EXAMPLE)
    return tuple(rules)
