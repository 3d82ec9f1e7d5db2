"""A bundle that measures itself on a device: one script beside it, and a page that tells how."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from gmme_edge.bundle.bundle import Bundle, describe_file
from gmme_edge.bundle.precisions import TENSORRT, runs_on
from gmme_edge.errors import UsageError
from gmme_edge.files import write_text
from gmme_exporters.board.assemble import device_script
from gmme_exporters.tensorrt.build import EngineOptions
from gmme_exporters.tensorrt.trtexec import trtexec_command

PLANS = ("jetson",)
JETSON_OPSET = 16  # the newest whose LayerNorm TensorRT 8.5 (JetPack 5) reads, as simple operations
SCRIPT, PAGE = "run_on_device.py", "DEVICE.md"

_VERSIONS = {
    "8.5.2": "JetPack 5, 6.0 (TensorRT 8)",
    "10.3.0": "JetPack 6.1 and later, 7 (10)",
    "11.4.0": "TensorRT 11",
}
_PAGE = """# {name} on a Jetson

Copy this folder to the board and run there, with the system's own Python (3.8 or later), which
brings TensorRT and numpy along; nothing is installed or downloaded:

    python3 {script}

It checks every file's hash, builds an engine per precision (minutes each, once), compares its
outputs with the recordings in golden.npz, times all precisions in turns, and writes
`results/latency-HOST.json`. `python3 {script} --help` lists batch, warm-up and repetitions.
Choose the power mode first (`sudo nvpmodel -m ID`, `sudo jetson_clocks`): the result states it.

Bring the result back and compare:

    gmme-edge compare results/latency-*.json

To serve the network on the board with gmme-edge itself, this folder is a bundle:
`gmme-edge predict FOLDER a.wav --backend tensorrt --rebuild`.

## The same engines with trtexec

Run in this folder; trtexec (`/usr/src/tensorrt/bin/trtexec` on a Jetson) checks neither hashes nor
outputs. Where it does not know --skipInference (TensorRT 8.5), write --buildOnly.
{commands}"""


def check_plan(plan: str, precisions: tuple[str, ...]) -> None:
    """Refuse before the export what no plan can use.

    Raises:
        UsageError: no such plan, or no precision that TensorRT takes.
    """
    if plan not in PLANS:
        raise UsageError(f"Unknown plan {plan!r}.", f"one of {', '.join(PLANS)}.")
    if not any(runs_on(name, TENSORRT) for name in precisions):
        raise UsageError(
            f"A plan for {', '.join(precisions)} only.",
            "a precision that TensorRT takes.",
            "add fp32, fp16 or int8.",
        )


def write_plan(bundle: Bundle) -> Path:
    """Add the script and its page to a bundle, and to its manifest; returns the script's path."""
    script = bundle.path / SCRIPT
    write_text(script, device_script())
    page = _PAGE.format(
        name=bundle.manifest.model.name, script=SCRIPT, commands=_trtexec_lines(bundle)
    )
    write_text(bundle.path / PAGE, page)
    added = (
        describe_file(bundle.path, SCRIPT, "board-script"),
        describe_file(bundle.path, PAGE, "board-page"),
    )
    kept = (file for file in bundle.manifest.files if file.path not in (SCRIPT, PAGE))
    manifest = replace(bundle.manifest, files=(*added, *kept))
    replace(bundle, manifest=manifest).save_manifest()
    return script


def _trtexec_lines(bundle: Bundle) -> str:
    options, n_samples = EngineOptions("tensorrt", max_batch=1), bundle.manifest.model.n_samples
    lines = ""
    for version, where in _VERSIONS.items():
        lines += f"\n{where}:\n\n"
        for precision in bundle.precisions:
            if not runs_on(precision, TENSORRT):
                continue
            graph = Path(bundle.find("model", precision).path)
            engine = Path(f"model.{precision}.engine")
            command = trtexec_command(graph, engine, precision, options, version, n_samples)
            lines += f"    {shlex.join(command)}\n"
    return lines
