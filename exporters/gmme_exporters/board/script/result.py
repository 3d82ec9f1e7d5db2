"""The result."""

import argparse
import json
import shlex
import sys
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any, Dict, List

import numpy as np

from gmme_edge.device.energy.meter import Meter
from gmme_edge.profiling.noise import Moment, judge_noise
from gmme_exporters.board.script.cpu import Cpu
from gmme_exporters.board.script.folder import (
    FOLDER,
    Failure,
    Manifest,
    say,
    sources,
    write_atomically,
)
from gmme_exporters.board.script.measure import (
    AnyNetwork,
    Engine,
    Failures,
    Timed,
    measure_energy,
    measure_memory,
)


def describe_row(
    manifest: Manifest,
    engine: Engine,
    precision: str,
    batch: int,
    ms: List[float],
    more: Dict[str, Any],
) -> Dict[str, Any]:
    """One row of a latency result; its statistics follow from the samples."""
    audio, complexity = manifest["audio"], manifest["complexity"]
    clip_s = audio["n_samples"] / audio["sample_rate_hz"]
    median = float(np.median(ms))
    return {
        "model": manifest["model"]["name"],
        "bundle": FOLDER.name,
        "d_params": complexity["d_params"],
        "t_params": complexity["t_params"],
        "gflops": complexity["flops"] / 1e9,
        "n_classes": len(manifest["labels"]),
        "clip_s": clip_s,
        "backend": engine.backend,
        "precision": precision,
        "threads": engine.threads if isinstance(engine, Cpu) else None,
        "batch": batch,
        "size_bytes": sum(file["size_bytes"] for file in sources(manifest, precision)),
        **more,
        "min_ms": min(ms),
        "median_ms": median,
        "p90_ms": float(np.percentile(ms, 90)),
        "p99_ms": float(np.percentile(ms, 99)),
        "throughput_clips_per_s": batch * 1000 / median,
        "real_time_factor": batch * 1000 / median * clip_s,
        "samples_ms": ms,
    }


def describe_rows(
    manifest: Manifest,
    engine: Engine,
    options: argparse.Namespace,
    timed: Timed,
    failures: Failures,
) -> List[Dict[str, Any]]:
    """A row per network that was timed; a memory measurement that failed is added to `failures`."""
    rows = []
    for precision, ms in timed.ms.items():
        more: Dict[str, Any] = {"peak_memory_bytes": 1, "baseline_memory_bytes": 1}  # not known
        try:
            more = dict(measure_memory(engine, precision, options.batch))
        except Failure as error:
            failures[f"memory of {precision}"] = error
        more["stream"] = options.stream
        if options.hop_s:
            hop_ms, misses = 1000 * options.hop_s, timed.misses[precision]
            more["deadlines"] = {"hop_ms": hop_ms, "calls": len(ms), "misses": misses}
        rows.append(describe_row(manifest, engine, precision, options.batch, ms, more))
    return rows


def add_energy(
    measured: Dict[str, Any],
    networks: List[AnyNetwork],
    clips: Any,
    meter: Meter,
    options: argparse.Namespace,
) -> None:
    """Into the rows, which are in the networks' order, and the trace beside them."""
    energies, trace = measure_energy(networks, clips, meter, options)
    for row, energy in zip(measured["rows"], energies):  # noqa: B905 - Python 3.8 has no strict
        row["energy"] = energy
    measured["power"] = [trace]


def judge(timed: Timed, before: Moment, after: Moment) -> Dict[str, Any]:
    """What disturbed the calls between two moments."""
    rows: Any = [
        SimpleNamespace(samples_ms=ms, median_ms=float(np.median(ms))) for ms in timed.ms.values()
    ]
    return judge_noise(rows, before, after)


def write_result(options: argparse.Namespace, measured: Dict[str, Any], failures: Failures) -> None:
    """Write the result file; on standard output instead where it cannot be written."""
    document = {
        "schema": 1,
        "kind": "latency",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(shlex.quote(word) for word in ["python3", *sys.argv]),
        "settings": {
            **{name: getattr(options, name) for name in ("warmup", "repetitions", "stream")},
            "hop_s": options.hop_s,
            "seed": 0,
        },
        **measured,
        "failures": {what: str(failure) for what, failure in failures.items()},
    }
    text = json.dumps(document, indent=2)
    for reason in measured["noise"]["reasons"]:
        say(f"too noisy to rank: {reason}")
    for row in measured["rows"]:
        say(f"{row['precision']}: median {row['median_ms']:.2f} ms, p90 {row['p90_ms']:.2f} ms")
    try:
        write_atomically(options.output, text.encode())
        say(f"wrote {options.output}")
    except OSError as error:
        print(text)
        fix = "free some space, or name another file with -o; the result is on standard output."
        failures["result"] = Failure(3, f"{options.output} cannot be written: {error}", fix)
