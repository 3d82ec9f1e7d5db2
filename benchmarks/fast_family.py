"""The fast family's light stage 1 beside other ones: how long each takes, and whether it learns.

    python benchmarks/fast_family.py --fsdd FSDD --out FOLDER [--epochs 6] [--precision bf16]
    python benchmarks/fast_family.py --rounds 25          # the times alone

Each candidate stands where `eat-s-edge-gmme-lite-k32c8` has `SeparableDown`; all else is that
preset's. Times: the lowered FP32 graph, random weights, batch 1, one thread, all candidates and AA
in turns; ratios to AA with 95 % intervals. Accuracy: FSDD's validation clips after the last epoch
of the same short training on windows of 8,192 samples. No test clip is looked at. A training that
was stopped is continued by the same command.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from cpu_latency import interleave
from torch import Tensor, nn

from gmme_edge.device.facts import describe_device
from gmme_edge.models import eat
from gmme_edge.models.checkpoint import untrained_checkpoint
from gmme_edge.models.convolution import Conv1d
from gmme_edge.models.downsample import SeparableDown
from gmme_edge.profiling.statistics import paired_ratio
from gmme_edge.runtime.onnxruntime import open_graph
from gmme_edge.spec import preset
from gmme_edge.statistics import wilson_interval
from gmme_edge.workflows.int8 import synthetic_clips
from gmme_edge.workflows.settings.training import (
    LearningData,
    MachineSettings,
    NetworkSettings,
    RecipeSettings,
    RunSettings,
)
from gmme_edge.workflows.training import train
from gmme_edge.workflows.training_plan import TrainingJob, make_plan
from gmme_exporters.graphs.export import export_onnx
from gmme_exporters.lowering import planes
from gmme_exporters.lowering.planes import PlaneConv, PlaneSeparableDown
from gmme_exporters.lowering.targets import lower

PRESET = "eat-s-edge-gmme-lite-k32c8"
REFERENCES = ("eat-s-aa", "eat-s-gmme-lite-k32c8", "eat-s-edge-gmme-k32c8")
TASKS = ("esc50", "speech-commands")


class LowPass(SeparableDown):
    """The triangle stays as it is; only the 1×1 convolution learns."""

    def initialise(self) -> None:
        super().initialise()
        self.depth.weight.requires_grad_(False)


class Dense(SeparableDown):
    """One convolution at the stride, which mixes channels in `groups` groups."""

    groups = 1

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__(channels, stride)
        taps = 2 * stride + 1
        self.depth = Conv1d(
            channels, 2 * channels, taps, stride, stride, groups=self.groups, bias=False
        )
        self.point = nn.Identity()  # type: ignore[assignment]

    def initialise(self) -> None:
        """As all convolutions."""

    def plane(self) -> PlaneSeparableDown:
        return _PlaneDense(self)


class _PlaneDense(PlaneSeparableDown):
    def __init__(self, down: Dense) -> None:
        nn.Module.__init__(self)
        pad = down.depth.stride[0]
        self.depth = PlaneConv(down.depth, down.norm, (pad, pad), "constant")
        self.point = down.point  # type: ignore[assignment]


class Grouped(Dense):
    groups = 4


class Gated(SeparableDown):
    """GMME's idea at the stride: of two views of the filtered signal one gates the other."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__(channels, stride)
        self.gate = Conv1d(channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.depth(x)
        y: Tensor = F.leaky_relu(self.norm(self.point(seen)), 0.2) * self.gate(seen).sigmoid()
        return y

    def plane(self) -> PlaneSeparableDown:
        lowered = PlaneSeparableDown(self)
        lowered.point = _Gate(lowered.point, PlaneConv(self.gate))  # type: ignore[assignment]
        return lowered


class _Gate(nn.Module):
    """A factor above 0 commutes with LeakyReLU, which `PlaneSeparableDown` takes last."""

    def __init__(self, point: nn.Module, gate: nn.Module) -> None:
        super().__init__()
        self.point, self.gate = point, gate

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.point(x) * self.gate(x).sigmoid()
        return y


CANDIDATES: dict[str, type[SeparableDown]] = {
    "separable": SeparableDown,
    "fixed-low-pass": LowPass,
    "gated": Gated,
    "strided": Dense,
    "strided-4-groups": Grouped,
}


@contextmanager
def stage1_of(candidate: type[SeparableDown]) -> Iterator[None]:
    """Networks that are built or lowered meanwhile have `candidate` in stage 1."""

    def plane(block: SeparableDown) -> PlaneSeparableDown:
        own: Callable[[], PlaneSeparableDown] | None = getattr(block, "plane", None)
        return own() if own else PlaneSeparableDown(block)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(eat, "SeparableDown", candidate))
        stack.enter_context(mock.patch.object(planes, "PlaneSeparableDown", plane))
        yield


def times(task: str, folder: Path, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each network, one per round."""
    calls = {}
    rows = {name: (name, SeparableDown) for name in REFERENCES}
    rows |= {name: (PRESET, candidate) for name, candidate in CANDIDATES.items()}
    for name, (model, candidate) in rows.items():
        spec = preset(model, task)
        clips = synthetic_clips(spec).waveforms[:]
        path = folder / f"{task}-{len(calls)}.onnx"
        with stage1_of(candidate):
            network = untrained_checkpoint(spec, clips).model
            export_onnx(lower(network, "ort-cpu"), path, embedding=False)
        graph = open_graph(path, "fp32", 1, spins=False)
        np.testing.assert_allclose(
            graph(clips[:1]), eat.torch_predictor(network)(clips[:1]), rtol=1e-3, atol=1e-4
        )
        calls["", name] = partial(graph, clips[:1])
    return {name: values for (_, name), values in interleave(calls, rounds).items()}


def accuracy(
    name: str, model: str, candidate: type[SeparableDown], options: argparse.Namespace
) -> tuple[float, int]:
    """The share of FSDD's validation clips that are right at the end, and their number."""
    job = TrainingJob(
        data=LearningData(dataset="speech-commands", data=options.fsdd),
        run=RunSettings(output=options.out / name),
        network=NetworkSettings(model=model, samples=8192),
        recipe=RecipeSettings(epochs=options.epochs, batch_size=16, precision=options.precision),
        machine=MachineSettings(threads=1),
    )
    with stage1_of(candidate):
        trained = train(job)
    assert trained is not None
    n_clips = make_plan(job, None).dataset.counts()[trained.watched]
    return float(trained.figures["monitor_accuracy"]), n_clips


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fsdd", type=Path, help="the data; without it only times are taken")
    parser.add_argument("--out", type=Path, default=Path("fast-family"), help="the trainings")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--precision", default="32")
    parser.add_argument("--rounds", type=int, default=25, help="0 takes no times")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{describe_device()['cpu']}; torch {torch.__version__}\n")
    for task in TASKS if options.rounds else ():
        with tempfile.TemporaryDirectory() as temporary:
            taken = times(task, Path(temporary), options.rounds)
        print(f"\n| {task}, {options.rounds} rounds | ms | of AA's time |\n|---|---:|---:|")
        for name, values in taken.items():
            ratio, (low, high) = paired_ratio(values, taken[REFERENCES[0]])
            print(f"| {name} | {median(values):.2f} | {ratio:.2f} ({low:.2f}–{high:.2f}) |")
    if options.fsdd:
        print(f"\n| FSDD, {options.epochs} epochs | validation |\n|---|---:|")
        rows = [(name, name, SeparableDown) for name in REFERENCES]
        rows += [(name, PRESET, candidate) for name, candidate in CANDIDATES.items()]
        for name, model, candidate in rows:
            share, n_clips = accuracy(name, model, candidate, options)
            low, high = wilson_interval(round(share * n_clips), n_clips)
            print(f"| {name} | {share:.1%} ({low:.1%}–{high:.1%}) of {n_clips} |", flush=True)


if __name__ == "__main__":
    main()
