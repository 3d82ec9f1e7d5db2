"""A checkpoint to a bundle: every precision written, checked against torch, and described."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gmme_edge.audio import Waveform
from gmme_edge.bundle.bundle import (
    GOLDEN,
    INPUT,
    MANIFEST,
    OUTPUTS,
    Bundle,
    BundleFile,
    Manifest,
    Role,
    describe_file,
)
from gmme_edge.bundle.manifest import INCREMENTAL
from gmme_edge.bundle.precisions import TENSORRT, is_int8, runs_on
from gmme_edge.device.facts import installed_versions
from gmme_edge.errors import ParityError, UsageError
from gmme_edge.files import updating_folder, write_json
from gmme_edge.models.checkpoint import DESCRIPTION, WEIGHTS, Checkpoint
from gmme_edge.models.description import unfinished_training
from gmme_edge.observer import SILENT, Observer
from gmme_edge.ownership import claim_bundle
from gmme_edge.runtime.engines.info import sidecar_of
from gmme_edge.runtime.onnxruntime import OnnxRuntimeSession
from gmme_edge.runtime.parity import RELATIVE_LIMITS, compare_logits, run_in_batches
from gmme_exporters.graphs.compact import round_to_16_bits, write_compact_checkpoint
from gmme_exporters.graphs.export import ExportGraph
from gmme_exporters.graphs.fp16 import convert_fp16
from gmme_exporters.graphs.incremental import check_incremental, export_incremental
from gmme_exporters.graphs.queries import list_operators
from gmme_exporters.graphs.shared_weights import share_weights
from gmme_exporters.int8.qdq import Refinement
from gmme_exporters.lowering import targets
from gmme_exporters.options import CALIBRATION, Calibration, ExportOptions
from gmme_exporters.tensorrt.build import build_engine
from gmme_exporters.workshop import Workshop

_GOLDEN_CLIPS, _COMPACT_GOLDEN_CLIPS = 4, 2
_TOOLS = ("gmme-edge", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu")


def export_bundle(
    checkpoint: Checkpoint,
    out: Path,
    options: ExportOptions,
    clips: Waveform,
    calibration: Calibration | None = None,
    observer: Observer = SILENT,
    judge: Callable[[Bundle, Observer], Manifest] | None = None,
) -> Bundle:
    """Write the bundle `out`, or nothing. What is not of an old bundle there stays.

    Args:
        clips: recordings ``(n, n_samples)`` on which each precision must agree with torch; the
            first few become the golden vectors.
        calibration: needed for INT8.
        judge: measures the finished bundle before it is put in its place; returns the manifest
            with what it found, or raises and leaves nothing.

    Raises:
        ParityError: a precision is over its limit; of INT8 only where no other is left. Else the
            manifest names it under ``left_out`` in its provenance.
        UsageError: INT8 without calibration, or `out` holds what is not to be replaced.
    """
    if calibration is None and any(map(is_int8, options.precisions)):
        raise UsageError(
            "INT8 was asked for without a calibration set.",
            "recordings like those that the model will hear.",
            "add --calib-dataset and --calib-data (training clips are used), or --untrained "
            "for a latency study with random weights.",
        )
    claim = claim_bundle(out, options.source, checkpoint.sha256, options.writes, options.force)
    with updating_folder(claim.folder, claim.owned, MANIFEST) as folder:
        writer = _Writer(folder, checkpoint, options, observer)
        bundle = Bundle(folder, writer.write(clips, calibration))
        bundle.save_manifest()
        if judge:
            replace(bundle, manifest=judge(bundle, observer)).save_manifest()
    return Bundle.open(out)


class _Writer:
    def __init__(
        self, folder: Path, checkpoint: Checkpoint, options: ExportOptions, observer: Observer
    ) -> None:
        self.folder = folder
        self.workshop = Workshop(
            folder.parent / "graphs", options.target, options.opset, options.embedding, observer
        )
        self.source_sha256 = checkpoint.sha256
        self.checkpoint, self.options, self.observer = checkpoint, options, observer
        self.files: list[BundleFile] = []
        self.quantization: dict[str, Any] = {}  # by precision
        self.incremental: dict[str, Any] = {}
        self.left_out: dict[str, str] = {}  # by precision, why

    def write(self, clips: Waveform, calibration: Calibration | None) -> Manifest:
        if self.options.compact:
            clips = round_to_16_bits(clips)
            self.checkpoint = write_compact_checkpoint(self.checkpoint, self.folder)
            self._add(WEIGHTS, "weights", "fp32")
            self._add(DESCRIPTION, "description")
        self._write_models(calibration)
        self._write_incremental(clips)
        reference = _torch_outputs(self.checkpoint, clips)
        parity, logits = self._check_parity(clips, reference)
        self._write_golden({**reference, **logits, INPUT: clips})
        self._build_engines()
        return Manifest(
            model=self.checkpoint.spec,
            labels=self.checkpoint.labels,
            untrained=self.options.untrained,
            files=tuple(self.files),
            parity=parity,
            provenance=self._provenance(calibration),
        )

    def _provenance(self, calibration: Calibration | None) -> dict[str, Any]:
        noted = {
            "checkpoint_sha256": self.checkpoint.sha256,
            "source_sha256": self.source_sha256,
            "data": self.checkpoint.origin,
            "calibration_sha256": calibration.sha256 if calibration else "",
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "quantization": self.quantization,
            "lowering": targets.name_rewrites(
                file.target for file in self.files if file.role == "model"
            ),
            "tools": installed_versions(_TOOLS),
            "command": self.options.command,
        }
        if self.incremental:
            noted["incremental"] = self.incremental
        if self.left_out:
            noted["left_out"] = self.left_out
        if unfinished := unfinished_training(self.checkpoint.training):
            noted["unfinished_training"] = unfinished
            self.observer.note(f"warning: {unfinished}")
        return noted

    def _write_models(self, calibration: Calibration | None) -> None:
        for precision in self.options.precisions:
            target = targets.target_of(precision, self.options.target)
            source = self.workshop.float_graph(self.checkpoint.model, precision, calibration)
            if not is_int8(precision):
                self.observer.stage(f"write {precision}")
            path = self.folder / f"model.{precision}.onnx"
            if precision == "fp32" and self.options.compact:
                share_weights(source, self.folder / WEIGHTS, path)
            elif precision == "fp32":
                path.write_bytes(source.read_bytes())
            elif precision == "fp16":
                convert_fp16(source, path)
            elif calibration is not None:
                self._quantize(precision, source, path, calibration)
            self._add(path.name, "model", precision, target, self.options.opset)
        if calibration is not None and self.workshop.ranges:
            record = {
                "schema": 1,
                "kind": "calibration",
                **calibration.record,
                "ranges": self.workshop.ranges,
            }
            write_json(self.folder / CALIBRATION, record)
            self._add(CALIBRATION, "calibration")

    def _write_incremental(self, clips: Waveform) -> None:
        hop_samples = self.options.incremental_hop_samples
        if not hop_samples:
            return
        self.observer.stage("export the incremental graphs")
        model, opset = self.checkpoint.model, self.options.opset
        export_incremental(model, hop_samples, self.folder, opset)
        for role, path in INCREMENTAL.items():
            self._add(path, role, "fp32", "ort-cpu", opset)
        bundle = Bundle(
            self.folder, Manifest(model.spec, self.checkpoint.labels, files=tuple(self.files))
        )
        parity = check_incremental(bundle, model, clips)
        self.incremental = {"hop_samples": hop_samples, "parity": parity.to_dict()}

    def _quantize(self, precision: str, source: Path, path: Path, calibration: Calibration) -> None:
        quantizer = self.workshop.quantizer(source, precision, calibration)
        refined = (
            calibration.refine(quantizer) if calibration.refine else Refinement(quantizer.front)
        )
        self.observer.stage(f"write {precision}")
        quantizer.write(path, refined.floats, refined.corrections)
        self.quantization[precision] = {
            "float_layers": list(refined.floats),
            "float_macs": quantizer.share_of(refined.floats),
            "corrected_biases": len(refined.corrections),
            "equalized": calibration.equalize is not None,
            "silence_aligned": quantizer.prepared.name.endswith(".aligned.onnx"),
            **refined.record,
        }

    def _write_golden(self, arrays: dict[str, NDArray[np.float32]]) -> None:
        count = _COMPACT_GOLDEN_CLIPS if self.options.compact else _GOLDEN_CLIPS
        kept = {name: values[:count] for name, values in arrays.items()}
        # Not compressed: apps in other languages read it without a library.
        np.savez(self.folder / GOLDEN, **kept)  # type: ignore[arg-type]
        self._add(GOLDEN, "golden")

    def _check_parity(
        self, clips: Waveform, reference: dict[str, NDArray[np.float32]]
    ) -> tuple[dict[str, dict[str, float]], dict[str, NDArray[np.float32]]]:
        """The figures of each precision, and its own logits as ``logits.PRECISION``."""
        figures: dict[str, dict[str, float]] = {}
        outputs: dict[str, NDArray[np.float32]] = {}
        for precision in self.options.precisions:
            self.observer.stage(f"check {precision} against torch")
            logits = self._run(precision, clips)
            limit = self.options.max_error
            parity = compare_logits(
                logits, reference["logits"], RELATIVE_LIMITS[precision] if limit is None else limit
            )
            try:
                parity.check(f"The exported {precision} graph", "torch", _fix_of(precision))
            except ParityError as error:
                if not is_int8(precision) or len(self.options.precisions) == 1:
                    raise
                self._leave_out(precision, error)
                continue
            figures[precision] = parity.to_dict()
            outputs[f"logits.{precision}"] = logits
        if not figures:
            raise ParityError("; ".join(self.left_out.values()), "a precision within its limit.")
        return figures, outputs

    def _run(self, precision: str, clips: Waveform) -> NDArray[np.float32]:
        manifest = Manifest(self.checkpoint.spec, self.checkpoint.labels, files=tuple(self.files))
        session = OnnxRuntimeSession(
            Bundle(self.folder, manifest), "ort-cpu", precision, threads=None
        )
        try:
            return run_in_batches(session, clips)["logits"]
        finally:
            session.close()

    def _leave_out(self, precision: str, error: ParityError) -> None:
        """Drop one INT8 graph; those that passed stay."""
        self.left_out[precision] = error.got
        self.files = [file for file in self.files if file.precision != precision]
        (self.folder / f"model.{precision}.onnx").unlink()
        self.observer.note(f"left out: {error.got}")

    def _build_engines(self) -> None:
        for engine in self.options.engines:
            for precision in self.options.precisions:
                if not runs_on(precision, TENSORRT) or precision in self.left_out:
                    continue
                sm = f"-sm{engine.sm}" if engine.sm else ""
                self.observer.stage(f"build {precision} {engine.flavour}{sm}")
                path = self.folder / "engines" / f"model.{precision}.{engine.flavour}{sm}.engine"
                source = self.folder / f"model.{precision}.onnx"
                info = build_engine(source, path, precision, engine, self.observer.progress)
                self._add(f"engines/{path.name}", "engine", precision, info.target)
                self._add(
                    f"engines/{sidecar_of(path).name}", "engine-sidecar", precision, info.target
                )

    def _add(
        self, path: str, role: Role, precision: str = "", target: str = "", opset: int = 0
    ) -> None:
        is_graph = role == "model" or role in INCREMENTAL
        operators = list_operators(self.folder / path) if is_graph else ()
        file = describe_file(self.folder, path, role, precision, target, opset, operators)
        self.files.append(file)


def _fix_of(precision: str) -> str:
    """What to do where a graph is over its limit."""
    if is_int8(precision):
        return "calibrate on more clips, or with --calib-method mse; or leave INT8 out."
    return "try --no-lowering, or leave it out of --precision; --max-error allows more."


@torch.no_grad()
def _torch_outputs(checkpoint: Checkpoint, clips: Waveform) -> dict[str, NDArray[np.float32]]:
    """The reference: torch's own outputs, float32 on the CPU, clip by clip to bound memory."""
    graph = ExportGraph(checkpoint.model, embedding=True).eval()
    outputs = [graph(torch.from_numpy(clip[None])) for clip in clips]
    return {name: torch.cat([out[i] for out in outputs]).numpy() for i, name in enumerate(OUTPUTS)}
