"""The graphs that compute only the new part of a window: written, and checked against torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from gmme_edge.audio import Waveform
from gmme_edge.bundle.bundle import INPUT, OUTPUTS, Bundle
from gmme_edge.bundle.manifest import INCREMENTAL
from gmme_edge.models.eat import EAT
from gmme_edge.runtime.incremental_graphs import (
    HOP,
    SCALE,
    VERIFIED_WINDOWS,
    IncrementalGraphs,
    kept_names,
    next_names,
    scale_for,
)
from gmme_edge.runtime.parity import RELATIVE_LIMITS, Parity, compare_logits
from gmme_exporters.graphs.export import Names, trace
from gmme_exporters.lowering.incremental import lower_incremental


def export_incremental(model: EAT, hop_samples: int, folder: Path, opset: int) -> None:
    """Write both graphs of `INCREMENTAL` for windows so many samples apart.

    Raises:
        UsageError: a hop for which nothing can be kept.
        PlatformError: see `trace`.
    """
    start, step = lower_incremental(model, hop_samples)
    kept = tuple(torch.zeros(1, each.channels, 1, each.kept.size) for each in step.maps)
    window = torch.zeros(1, model.spec.n_samples), torch.ones(1, 1)
    outputs = (OUTPUTS[0], *next_names(len(kept)))
    graphs: tuple[tuple[nn.Module, tuple[str, ...]], ...]
    graphs = (start, ()), (step, kept_names(len(kept)))
    for path, (graph, names) in zip(INCREMENTAL.values(), graphs, strict=True):
        trace(
            graph,
            (*window, *kept[: len(names)]),
            Names((INPUT, SCALE, *names), outputs),
            folder / path,
            opset,
            {HOP: str(hop_samples)},
        )


def check_incremental(bundle: Bundle, model: EAT, clips: Waveform) -> Parity:
    """Compare windows that follow each other through two clips with torch's whole windows.

    Raises:
        ParityError: they differ by more than fp32 may.
    """
    graphs = IncrementalGraphs(bundle)
    sound = np.resize(clips[:2], 2 * model.spec.n_samples)
    scale = scale_for(float(np.abs(sound).max()))
    found = graphs.follow(sound, scale, VERIFIED_WINDOWS)
    windows = [torch.from_numpy(w * scale)[:, None] for w in graphs.windows(sound, len(found))]
    graphs.close()
    with torch.no_grad():
        reference = torch.cat([model(window) for window in windows]).numpy()
    parity = compare_logits(found, reference, RELATIVE_LIMITS["fp32"])
    parity.check("The incremental graphs", "torch")
    return parity
