"""Why INT8 is erratic: what ranges do to it, as it is and with silence exact.

python benchmarks/int8_silence.py digits speech-commands DATA [--fold 5] [--clips 60] [--only REGEX]

Everything in 8 bits, simulated in torch. Ranges go from the mean over clips of a clip's extremes
(0) to the extremes of all clips (1). SQNR of the probabilities in dB, and in brackets how many
labels flip. "Exact": of the convolutions' tensors, what they are in a silent clip is taken away
before rounding and given back behind it; with `--only` of those whose name, such as
`stage1.0.norm.output`, has a match.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import torch
from calibration_accuracy import parser_of
from torch import Tensor, nn

from gmme_calibration.selection import open_source
from gmme_calibration.sensitivity import sqnr_db
from gmme_edge.data.store import load_waveforms
from gmme_edge.evaluation import predict_store
from gmme_edge.models.checkpoint import open_checkpoint
from gmme_edge.models.eat import EAT, EncoderLayer, peak_scale, torch_predictor
from gmme_edge.training.fake_quantization import Dialect, FakeQuantizer, simulate_int8
from gmme_edge.workflows.int8 import calibration_clips
from gmme_edge.workflows.settings.calibration import CalibrationSettings

SHARES = (0.0, 0.12, 0.25, 0.5, 1.0)
DIALECTS: tuple[Dialect, ...] = ("int8-ort", "int8-tensorrt")


class Around(nn.Module):
    """A quantizer, `exact` in silence or not; the first clip that it is given must be silent."""

    def __init__(self, quantizer: FakeQuantizer, extremes: Tensor, can_be_exact: bool) -> None:
        super().__init__()
        self.quantizer, self.extremes, self.can_be_exact = quantizer, extremes, can_be_exact
        self.silent: Tensor | None = None
        self.exact = False

    def forward(self, x: Tensor) -> Tensor:
        if self.silent is None:
            middle = x.shape[-1] // 2
            self.silent = x[..., middle : middle + 1]
            return x
        around = self.silent if self.exact and self.can_be_exact else torch.zeros(())
        y: Tensor = self.quantizer(x - around) + around
        return y

    def set_range(self, share: float) -> None:
        low, high = self.extremes.unbind(1)
        ends = [low.mean().lerp(low.min(), share), high.mean().lerp(high.max(), share)]
        self.quantizer._seen = [torch.stack(ends)[None]]
        self.quantizer.freeze()


def simulate(model: EAT, dialect: Dialect, batches: list[Tensor], only: str) -> list[Around]:
    """Quantize `model` in place; the quantizers, each around silence."""
    extremes: dict[FakeQuantizer, Tensor] = {}
    freeze = FakeQuantizer.freeze

    def remember(quantizer: FakeQuantizer) -> None:
        extremes[quantizer] = torch.cat(quantizer._seen or [])
        freeze(quantizer)

    FakeQuantizer.freeze = remember  # type: ignore[method-assign]
    try:
        simulate_int8(model, dialect, "none", batches)
    finally:
        FakeQuantizer.freeze = freeze  # type: ignore[method-assign]
    found = []
    for path, module in list(model.named_modules()):
        of_conv = not isinstance(module, nn.Linear | EncoderLayer)
        for name, quantizer in list(getattr(module, "quantizers", nn.ModuleDict()).items()):
            matches = re.search(only, f"{path}.{name}") is not None
            found.append(Around(quantizer, extremes[quantizer], of_conv and matches))
            module.quantizers[name] = found[-1]
    return found


@torch.no_grad()
def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--only", default="", metavar="REGEX")
    options = parser.parse_args()
    checkpoint = open_checkpoint(options.checkpoint)
    spec = checkpoint.spec
    source = open_source(options.dataset, options.data, options.fold, validate=True)
    store = load_waveforms(source.validation, spec.sample_rate_hz)
    spread = np.linspace(0, len(store) - 1, options.clips).astype(int)
    store = store.subset({Path(store.paths[i]) for i in spread})
    clips = calibration_clips(spec, source, CalibrationSettings()).waveforms
    batches = [peak_scale(torch.from_numpy(clips[i : i + 8])) for i in range(0, len(clips), 8)]

    def judge(model: EAT) -> np.ndarray:
        return predict_store(torch_predictor(model), store, spec.n_samples, batch_size=8)

    exact = judge(checkpoint.model.eval())
    print(f"{options.checkpoint}, {len(store)} validation clips")
    print("| dialect | silence | " + " | ".join(map(str, SHARES)) + " |")
    print("|---|---|" + "---:|" * len(SHARES))
    for dialect in DIALECTS:
        model = copy.deepcopy(checkpoint.model).eval()
        quantizers = simulate(model, dialect, batches, options.only)
        model(torch.zeros(1, 1, spec.n_samples))
        for silence in ("as it is", "exact"):
            row = []
            for share in SHARES:
                for around in quantizers:
                    around.set_range(share)
                    around.exact = silence == "exact"
                found = judge(model)
                flips = int((found.argmax(1) != exact.argmax(1)).sum())
                row.append(f"{sqnr_db(exact, found):.1f} ({flips})")
            print(f"| {dialect} | {silence} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
