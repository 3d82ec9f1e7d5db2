"""Audio classifiers for the edge: EAT-S with GMME down-sampling, from training to the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gmme_edge.runtime.analysis import Analysis, Prediction, Ranking
    from gmme_edge.runtime.classifier import Classifier, load
    from gmme_edge.runtime.streaming.events import Event, Gap
    from gmme_edge.runtime.streaming.gate import GateRules
    from gmme_edge.runtime.streaming.rules import EventRules, Rule
    from gmme_edge.runtime.streaming.stream import Stream
    from gmme_edge.workflows.comparing import compare
    from gmme_edge.workflows.evaluating import evaluate
    from gmme_edge.workflows.profiling import profile
    from gmme_edge.workflows.training import cross_validate, train

__version__ = "0.1.0"
__all__ = [
    "Analysis",
    "Classifier",
    "Event",
    "EventRules",
    "Gap",
    "GateRules",
    "Prediction",
    "Ranking",
    "Rule",
    "Stream",
    "__version__",
    "compare",
    "cross_validate",
    "evaluate",
    "load",
    "profile",
    "train",
]
_MODULES = {
    "Analysis": "runtime.analysis",
    "Prediction": "runtime.analysis",
    "Ranking": "runtime.analysis",
    "Classifier": "runtime.classifier",
    "load": "runtime.classifier",
    "Event": "runtime.streaming.events",
    "Gap": "runtime.streaming.events",
    "GateRules": "runtime.streaming.gate",
    "EventRules": "runtime.streaming.rules",
    "Rule": "runtime.streaming.rules",
    "Stream": "runtime.streaming.stream",
    "compare": "workflows.comparing",
    "cross_validate": "workflows.training",
    "evaluate": "workflows.evaluating",
    "profile": "workflows.profiling",
    "train": "workflows.training",
}


def __getattr__(name: str) -> object:
    """Load what is asked for on first use, so that importing the package costs nothing."""
    if name in _MODULES:
        import importlib

        return getattr(importlib.import_module("gmme_edge." + _MODULES[name]), name)
    raise AttributeError(f"module 'gmme_edge' has no attribute {name!r}")
