"""The least that a hop can cost where the frames of neighbouring windows are kept, block by block.

    python benchmarks/streaming_bound.py [--repetitions 30] [-o FILE]

Windows of N samples follow each other by a hop of N/10. A frame may be kept where it hears neither
the end of the old window nor the padding at the start of the new one:

    old window   ├──────────── kept ────────────┤▒▒▒ heard the padding
    new window        ▒▒▒├───── kept ───────────┤▒▒▒ new ▒▒▒
                      padding                   hop and reach

So a block computes (hop + what padding has spoilt at both edges) / N of its frames, at most all of
them; the head, whose attention joins all tokens, computes everything. Times of blocks are measured
by ONNX Runtime on one thread. What the engine does between blocks and the changes of memory that
keeping frames needs count as nothing, and a hop need not be a whole number of frames: a real one
costs more.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from gmme_edge.blocks import HEAD_BLOCK
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.device.facts import describe_device
from gmme_edge.models.checkpoint import untrained_checkpoint
from gmme_edge.models.downsample import GMME, AADown, SeparableDown
from gmme_edge.models.eat import EAT, ResBlock, Stem
from gmme_edge.profiling.layers import ENGINE_BLOCK
from gmme_edge.spec import preset
from gmme_edge.workflows.int8 import synthetic_clips
from gmme_edge.workflows.profiling import profile_layers
from gmme_edge.workflows.settings.profiling import ProfileSettings
from gmme_exporters.bundle import export_bundle
from gmme_exporters.lowering.front import Reach
from gmme_exporters.options import ExportOptions

SHIPPED = ("esc10", "digits", "digits-edge")
UNTRAINED = ("eat-s-aa", "eat-s-gmme-lite-k32c8")
TASKS = ("esc50", "speech-commands")
HOP = 0.1  # of a window


def convolutions(block: nn.Module) -> Iterator[tuple[int, int, int]]:
    """The widest along time, in order: how far each hears to the left and right, and its stride."""
    if isinstance(block, Stem):
        yield 3, 3, 1
    elif isinstance(block, ResBlock):
        yield block.pad, block.pad, 1
    elif isinstance(block, AADown):
        yield *block.pad, 1
        yield (block.blur.stride,) * 3
    elif isinstance(block, SeparableDown):
        yield (block.depth.stride[0],) * 3
    elif isinstance(block, GMME):
        if block.patches:
            yield 0, 1, 2
        wide = max(conv.kernel_size[1] for conv in (block.conv_f, block.conv_t, block.conv_g)) - 1
        yield wide // 2, wide - wide // 2, block.conv_t.stride[1]
    else:
        raise TypeError(f"No reach is known of {type(block).__name__}.")


def spoilt_frames(model: EAT) -> dict[str, Reach]:
    """What padding reaches behind each block, by the block's name."""
    blocks = {"stem": model.stem} | {
        f"{stage}.{index}": block
        for stage in ("stage1", "stage2")
        for index, block in enumerate(model.get_submodule(stage).children())
    }
    found, now = {}, Reach(0, 0, 1)
    for name, block in blocks.items():
        for left, right, step in convolutions(block):
            now = Reach(
                math.ceil((now.before + left) / step),
                math.ceil((now.after + right - step + 1) / step),
                now.stride * step,
            )
        found[name] = now
    return found


def bound(model: EAT, blocks_ms: dict[str, float]) -> dict[str, Any]:
    """Time per hop, of a whole window's, at least; and the same block by block.

    `at_least` counts what padding has spoilt before a block, since its 1×1 convolutions hear no
    farther; `with_own_reach` counts all behind it, as its widest convolution has it.
    `without_edges` is a network whose edges hear the neighbouring sound in place of padding.
    """
    n_samples = model.spec.n_samples
    times = {name: ms for name, ms in blocks_ms.items() if name != ENGINE_BLOCK}
    total, spoilt = sum(times.values()), spoilt_frames(model)
    came = dict(zip(spoilt, [Reach(0, 0, 1), *spoilt.values()], strict=False))
    rows = []
    for name, ms in times.items():
        reaches = (
            [came[name].samples, spoilt[name].samples] if name in spoilt else [0, 0]
        )  # else between blocks
        before, own = (min(1.0, HOP + reach / n_samples) for reach in reaches)
        if name == HEAD_BLOCK:
            before = own = 1.0
        rows.append({"block": name, "share": ms / total, "spoilt_samples": reaches[1],
                     "computed_at_least": before, "computed_with_own_reach": own})  # fmt: skip
    head = sum(row["share"] for row in rows if row["block"] == HEAD_BLOCK)
    return {
        "at_least": sum(row["share"] * row["computed_at_least"] for row in rows),
        "with_own_reach": sum(row["share"] * row["computed_with_own_reach"] for row in rows),
        "without_edges": head + (1 - head) * HOP,
        "blocks": rows,
    }


def bundles(folder: Path) -> Iterator[tuple[str, str | Path]]:
    """Name, and a shipped model's name or the folder of an untrained network."""
    yield from ((name, name) for name in SHIPPED)
    for task in TASKS:
        for name in UNTRAINED:
            spec = preset(name, task)
            clips = synthetic_clips(spec).waveforms[:]
            output = folder / f"{name}-{task}"
            options = ExportOptions(("fp32",), untrained=True)
            export_bundle(untrained_checkpoint(spec, clips), output, options, clips)
            yield f"{name}, {task}", output


def table(found: dict[str, dict[str, Any]]) -> str:
    lines = ["| network | front | stage 2 | head | at least | with own reach | without edges |",
             "|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for name, one in found.items():
        share = {
            place: sum(r["share"] for r in one["blocks"] if r["block"].startswith(place))
            for place in ("stage2", "head")
        }
        front = 1 - sum(share.values())
        shares = " | ".join(f"{100 * s:.0f} %" for s in (front, *share.values()))
        keys = ("at_least", "with_own_reach", "without_edges")
        lines.append(f"| {name} | {shares} | " + " | ".join(f"{one[k]:.2f}" for k in keys) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    settings = ProfileSettings(repetitions=options.repetitions, precision="fp32")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, bundle in bundles(Path(folder)):
            (profile,) = profile_layers([bundle], settings).profiles
            model = EAT(Bundle.open(bundle).manifest.model)
            found[name] = bound(model, profile.blocks_ms())
            print(name, f"at least {found[name]['at_least']:.3f}", flush=True)
    print(table(found))
    if options.output:
        result = {"device": describe_device(), "hop": HOP, "networks": found}
        options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
