"""Audio classifiers for the edge: EAT-S with GMME down-sampling, from training to the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gmme_edge.runtime.classifier import Classifier, Prediction, load

__version__ = "0.1.0"
__all__ = ["Classifier", "Prediction", "__version__", "load"]


def __getattr__(name: str) -> object:
    """Load the runtime on first use, so that importing the package costs nothing."""
    if name in ("Classifier", "Prediction", "load"):
        from gmme_edge.runtime import classifier

        return getattr(classifier, name)
    raise AttributeError(f"module 'gmme_edge' has no attribute {name!r}")
