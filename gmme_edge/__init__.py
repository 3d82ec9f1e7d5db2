"""Audio classifiers for the edge: EAT-S with GMME down-sampling, from training to the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gmme_edge.runtime.classifier import Classifier, Prediction, load
    from gmme_edge.runtime.streaming.events import Event, Gap
    from gmme_edge.runtime.streaming.gate import GateRules
    from gmme_edge.runtime.streaming.rules import EventRules, Rule
    from gmme_edge.runtime.streaming.stream import Stream

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "Event",
    "EventRules",
    "Gap",
    "GateRules",
    "Prediction",
    "Rule",
    "Stream",
    "__version__",
    "load",
]
_MODULES = {
    "Classifier": "classifier",
    "Prediction": "classifier",
    "load": "classifier",
    "Event": "streaming.events",
    "Gap": "streaming.events",
    "GateRules": "streaming.gate",
    "EventRules": "streaming.rules",
    "Rule": "streaming.rules",
    "Stream": "streaming.stream",
}


def __getattr__(name: str) -> object:
    """Load the runtime on first use, so that importing the package costs nothing."""
    if name in _MODULES:
        import importlib

        return getattr(importlib.import_module("gmme_edge.runtime." + _MODULES[name]), name)
    raise AttributeError(f"module 'gmme_edge' has no attribute {name!r}")
