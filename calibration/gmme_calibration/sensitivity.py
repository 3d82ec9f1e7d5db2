"""How much each part of a network loses when it is quantized, alone and with all others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmme_calibration.bias import QdqWriter, correct_biases
from gmme_edge.audio import Waveform
from gmme_edge.blocks import Layer

Run = Callable[[Path, Waveform], NDArray[np.float32]]
Measure = Callable[[Path], float]


@dataclass(frozen=True)
class Effect:
    """What quantizing one part does.

    Attributes:
        part: a block or a layer.
        macs: its share of the network's multiply-adds.
        sqnr_alone_db: of the logits, when only this part is quantized.
        sqnr_others_db: when everything else is.
        accuracy_alone: 0 to 1, like `sqnr_alone_db`; None where accuracy was not measured.
        accuracy_others: like `sqnr_others_db`.
    """

    part: str
    macs: float
    sqnr_alone_db: float
    sqnr_others_db: float
    accuracy_alone: float | None = None
    accuracy_others: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values; JSON has no infinity, so an SQNR without noise is null."""
        return {
            name: None if value == float("inf") else value for name, value in asdict(self).items()
        }


def parts_of(layers: Sequence[Layer], by_layer: bool) -> dict[str, tuple[Layer, ...]]:
    """Layers by block, in the graph's order; or each by itself."""
    parts: dict[str, tuple[Layer, ...]] = {}
    for layer in layers:
        key = layer.name if by_layer else layer.block
        parts[key] = (*parts.get(key, ()), layer)
    return parts


def sqnr_db(reference: NDArray[np.float32], values: NDArray[np.float32]) -> float:
    """Power of `reference` over that of the difference, in dB; infinite where there is none."""
    error = np.square(values.astype(np.float64) - reference).sum()
    signal = np.square(reference, dtype=np.float64).sum()
    return float(10 * np.log10(signal / error)) if error else float("inf")


@dataclass(frozen=True, eq=False)
class Probe:
    """Quantizes parts of a network and compares the logits with float32's.

    Attributes:
        run: an ONNX file and waveforms ``(n, samples)`` → logits ``(n, classes)``.
        waveforms: calibration clips; on them biases are corrected as well.
        correct: correct biases.
    """

    quantizer: QdqWriter
    run: Run
    waveforms: Waveform
    correct: bool = True

    def write(self, out: Path, floats: Collection[str]) -> None:
        """The Q/DQ graph in which the layers named `floats` stay in floating point."""
        self.quantizer.write(out, floats, self.corrections(floats))

    def corrections(
        self, floats: Collection[str], on_progress: Callable[[int, int], None] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        if not self.correct:
            return {}
        return correct_biases(self.quantizer, self.waveforms, floats, on_progress)

    def all_but(self, kept: Iterable[Layer]) -> tuple[str, ...]:
        names = {layer.name for layer in kept}
        return tuple(layer.name for layer in self.quantizer.layers if layer.name not in names)


def noise_alone(
    probe: Probe, on_progress: Callable[[int, int], None] | None = None
) -> dict[str, float]:
    """Per layer the error's power over the logits', when only this layer is quantized.

    Biases stay as they are: this is for ranking.
    """
    layers, progress = probe.quantizer.layers, on_progress or (lambda done, total: None)
    reference = probe.run(probe.quantizer.prepared, probe.waveforms)
    noise = {}
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "model.onnx"
        for done, layer in enumerate(layers):
            probe.quantizer.write(graph, probe.all_but([layer]))
            noise[layer.name] = 10 ** (-sqnr_db(reference, probe.run(graph, probe.waveforms)) / 10)
            progress(done + 1, len(layers))
    return noise


def measure_effects(
    probe: Probe,
    by_layer: bool = False,
    accuracy: Measure | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Effect]:
    """The effect of every block, or layer.

    Args:
        accuracy: of an ONNX file on clips that did not calibrate; None to leave it out.
    """
    progress = on_progress or (lambda done, total: None)
    parts = parts_of(probe.quantizer.layers, by_layer)
    total = sum(layer.macs for layer in probe.quantizer.layers)
    n_graphs = 2 * len(parts)
    progress(0, n_graphs)
    reference = probe.run(probe.quantizer.prepared, probe.waveforms)
    effects = []
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "model.onnx"
        for done, (name, layers) in enumerate(parts.items()):
            figures: list[tuple[float, float | None]] = []
            for floats in (probe.all_but(layers), [layer.name for layer in layers]):
                probe.write(graph, floats)
                sqnr = sqnr_db(reference, probe.run(graph, probe.waveforms))
                figures.append((sqnr, accuracy(graph) if accuracy else None))
                progress(2 * done + len(figures), n_graphs)
            (alone, accuracy_alone), (others, accuracy_others) = figures
            macs = sum(layer.macs for layer in layers) / total
            effects.append(Effect(name, macs, alone, others, accuracy_alone, accuracy_others))
    return effects


def noise_per_mac(layers: Iterable[Layer], noise: Mapping[str, float]) -> list[Layer]:
    """The layers, those first whose return to floating point buys most for its cost."""
    return sorted(layers, key=lambda layer: (-noise[layer.name] / layer.macs, layer.name))
