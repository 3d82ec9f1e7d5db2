"""Audio classifiers for the edge: EAT-S with GMME down-sampling, from training to the device."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gmme_edge.runtime.analysis import Analysis, Prediction, Ranking
    from gmme_edge.runtime.classifier import Classifier, load
    from gmme_edge.runtime.streaming.events import Event, Gap
    from gmme_edge.runtime.streaming.gate import GateRules
    from gmme_edge.runtime.streaming.incremental import IncrementalClassifier, load_incremental
    from gmme_edge.runtime.streaming.rules import EventRules, Rule
    from gmme_edge.runtime.streaming.stream import Stream
    from gmme_edge.workflows.comparing import compare
    from gmme_edge.workflows.evaluating import evaluate
    from gmme_edge.workflows.exporting import export
    from gmme_edge.workflows.judging import judge
    from gmme_edge.workflows.profiling import profile
    from gmme_edge.workflows.sensitivity import measure_sensitivity
    from gmme_edge.workflows.training import cross_validate, train
    from gmme_edge.workflows.verifying import verify

__version__ = "0.1.0"
__all__ = [
    "Analysis",
    "Classifier",
    "Event",
    "EventRules",
    "Gap",
    "GateRules",
    "IncrementalClassifier",
    "Prediction",
    "Ranking",
    "Rule",
    "Stream",
    "__version__",
    "compare",
    "cross_validate",
    "evaluate",
    "export",
    "judge",
    "load",
    "load_incremental",
    "measure_sensitivity",
    "profile",
    "train",
    "verify",
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
    "IncrementalClassifier": "runtime.streaming.incremental",
    "load_incremental": "runtime.streaming.incremental",
    "EventRules": "runtime.streaming.rules",
    "Rule": "runtime.streaming.rules",
    "Stream": "runtime.streaming.stream",
    "compare": "workflows.comparing",
    "export": "workflows.exporting",
    "judge": "workflows.judging",
    "measure_sensitivity": "workflows.sensitivity",
    "cross_validate": "workflows.training",
    "evaluate": "workflows.evaluating",
    "profile": "workflows.profiling",
    "train": "workflows.training",
    "verify": "workflows.verifying",
}

# Official builds of ONNX Runtime number the device in its home folder and report their use to their
# maker. They read this variable when they are imported; whoever set it, also to 0, has decided.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> object:
    """Load what is asked for on first use, so that importing the package costs nothing."""
    import importlib

    if name in _MODULES:
        return getattr(importlib.import_module("gmme_edge." + _MODULES[name]), name)
    if name in ("errors", "observer", "testing"):  # `import gmme_edge` is enough for them too
        return importlib.import_module("gmme_edge." + name)
    raise AttributeError(f"module 'gmme_edge' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What `dir()` and completion show: everything public, loaded or not."""
    return sorted({*globals(), *__all__})
