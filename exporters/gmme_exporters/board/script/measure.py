"""What is measured."""

import argparse
import hashlib
import json
import platform
import shlex
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

import numpy as np

from gmme_exporters.board.script.cpu import Cpu, CpuNetwork
from gmme_exporters.board.script.device import describe_device, peak_rss_bytes, temperature_c
from gmme_exporters.board.script.engines import Board, Network, engine_path
from gmme_exporters.board.script.folder import (
    AGAIN,
    FOLDER,
    Failure,
    Manifest,
    golden,
    read_manifest,
    say,
    sources,
    write_atomically,
)

Failures = Dict[str, Failure]
Engine = Union[Board, Cpu]
AnyNetwork = Union[Network, CpuNetwork]


def open_engine(backend: str, threads: Optional[int]) -> Engine:
    """TensorRT or ONNX Runtime; ``auto`` takes the first that this device has."""
    if backend == "ort-cpu":
        return Cpu(threads)
    try:
        return Board()
    except Failure as error:
        if backend == "tensorrt":
            raise
        say(f"no TensorRT here, so ONNX Runtime on the CPU is taken: {str(error).splitlines()[0]}")
    return Cpu(threads)


def check_outputs(network: AnyNetwork, manifest: Manifest, precision: str) -> Dict[str, float]:
    """Compare with the reference's logits, by the limit that the export noted."""
    clips, reference = golden(manifest)
    order = np.arange(0, len(clips), network.batch)[:, None] + np.arange(network.batch)
    logits = np.concatenate([network.run(clips[part % len(clips)]).copy() for part in order])
    error = np.abs(logits[: len(clips)].astype(np.float64) - reference)
    relative = float(error.max() / max(float(np.abs(reference).max()), 1e-12))
    limit = float(manifest["parity"].get(precision, {}).get("limit", 0.0))
    agreement = float((logits[: len(clips)].argmax(1) == reference.argmax(1)).mean())
    if not relative <= limit:
        raise Failure(
            5,
            f"{precision} disagrees with its reference: relative error {relative:.2e}, of at "
            f"most {limit:.0e}; top-1 agreement {agreement:.1%} of {len(clips)} clips.",
        )
    say(f"{precision}: outputs agree, relative error {relative:.1e}")
    return {"relative": relative, "limit": limit, "top1_agreement": agreement}


def time_networks(
    networks: Dict[str, AnyNetwork], clips: Any, warmup: int, repetitions: int
) -> Tuple[Dict[str, List[float]], Failures]:
    """Milliseconds of every call; the networks take turns, in a new random order each time.

    One that fails is left out from there on, and told in the second value.
    """
    rng = np.random.RandomState(0)
    samples: Dict[str, List[float]] = {name: [] for name in networks}
    failures: Failures = {}
    for index in range(warmup + repetitions):
        for name in rng.permutation(sorted(samples)):
            batch = networks[name].batch
            inputs = clips[np.arange(batch) % len(clips)]
            start_ns = time.perf_counter_ns()
            try:
                networks[name].run(inputs)
            except Failure as error:
                failures[name] = error
                del samples[name]
                continue
            elapsed_ns = time.perf_counter_ns() - start_ns
            if index >= warmup:
                samples[name].append(elapsed_ns / 1e6)
    return samples, failures


def measure_memory(engine: Engine, precision: str, batch: int) -> Dict[str, int]:
    """Peak and baseline of a fresh process that runs this precision three times."""
    words = ["--backend", engine.backend, "--batch", str(batch), "--memory-of", precision]
    if isinstance(engine, Board):
        plan = hashlib.sha256(engine_path(precision, batch).read_bytes()).hexdigest()
        words += ["--plan-sha256", plan]
    elif engine.threads:
        words += ["--threads", str(engine.threads)]
    flags = ["-I"] if sys.flags.isolated else []
    command = [sys.executable, *flags, __file__, *words]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
        if not done.returncode:
            return dict(json.loads(done.stdout.decode().splitlines()[-1]))
        said = done.stderr.decode(errors="replace").strip()[-500:]
    except (OSError, ValueError, IndexError) as error:
        said = str(error)
    raise Failure(7, f"The memory of {precision} could not be measured: {said}")


def run_once(options: argparse.Namespace) -> None:
    """What `measure_memory` starts."""
    precision, batch = options.memory_of, options.batch
    manifest = read_manifest()
    clips = golden(manifest)[0]
    baseline = peak_rss_bytes()
    network: AnyNetwork
    if options.backend == "ort-cpu":
        network = Cpu(options.threads).open(manifest, precision, batch)
    else:
        plan = engine_path(precision, batch).read_bytes()
        if hashlib.sha256(plan).hexdigest() != options.plan_sha256:
            raise Failure(3, f"{engine_path(precision, batch)} was changed meanwhile.", AGAIN)
        network = Network(Board(), plan, batch)
    for _ in range(3):
        network.run(clips[np.arange(batch) % len(clips)])
    print(json.dumps({"peak_memory_bytes": peak_rss_bytes(), "baseline_memory_bytes": baseline}))


def describe_row(
    manifest: Manifest,
    engine: Engine,
    precision: str,
    batch: int,
    memory: Dict[str, int],
    ms: List[float],
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
        **memory,
        "min_ms": min(ms),
        "median_ms": median,
        "p90_ms": float(np.percentile(ms, 90)),
        "p99_ms": float(np.percentile(ms, 99)),
        "throughput_clips_per_s": batch * 1000 / median,
        "real_time_factor": batch * 1000 / median * clip_s,
        "samples_ms": ms,
    }


def run_all(options: argparse.Namespace) -> int:
    """Everything for all precisions; what fails is told, and the rest goes on."""
    manifest = read_manifest()
    chosen = [name.strip() for name in (options.precision or "").split(",") if name.strip()]
    for precision in chosen:
        sources(manifest, precision)
    engine = open_engine(options.backend, options.threads)
    present = [f["precision"] for f in manifest["files"] if f["role"] == "model"]
    wanted = chosen or [name for name in engine.precisions if name in present]
    device = describe_device(engine.libraries, engine.gpus)
    networks, parity, failures = open_networks(engine, manifest, wanted, options.batch)
    if networks:
        counts = options.warmup, options.repetitions
        say(f"timing {', '.join(networks)}: {counts[0]} + {counts[1]} calls each")
        samples, failed = time_networks(networks, golden(manifest)[0], *counts)
        failures.update(failed)
        if "temperature_c" in device:
            device["temperature_after_c"] = temperature_c()
        rows = []
        for precision, ms in samples.items():
            memory = {"peak_memory_bytes": 1, "baseline_memory_bytes": 1}  # not known
            try:
                memory = measure_memory(engine, precision, options.batch)
            except Failure as error:
                failures[f"memory of {precision}"] = error
            rows.append(describe_row(manifest, engine, precision, options.batch, memory, ms))
        if rows:
            write_result(options, {"device": device, "rows": rows, "parity": parity}, failures)
    for what, failure in failures.items():
        say(f"{what}: {failure}")
    return next((failure.code for failure in failures.values()), 0)


def open_networks(
    engine: Engine, manifest: Manifest, wanted: List[str], batch: int
) -> Tuple[Dict[str, AnyNetwork], Dict[str, Dict[str, float]], Failures]:
    """The networks whose outputs agree, how well they do, and what failed."""
    networks: Dict[str, AnyNetwork] = {}
    parity: Dict[str, Dict[str, float]] = {}
    failures: Failures = {}
    for precision in wanted:
        try:
            network = engine.open(manifest, precision, batch)
            parity[precision] = check_outputs(network, manifest, precision)
            networks[precision] = network
        except Failure as error:
            failures[precision] = error
            say(f"{precision} is left out")
    return networks, parity, failures


def write_result(options: argparse.Namespace, measured: Dict[str, Any], failures: Failures) -> None:
    """Write the result file; on standard output instead where it cannot be written."""
    document = {
        "schema": 1,
        "kind": "latency",
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(shlex.quote(word) for word in ["python3", *sys.argv]),
        "settings": {"warmup": options.warmup, "repetitions": options.repetitions, "seed": 0},
        **measured,
        "failures": {what: str(failure) for what, failure in failures.items()},
    }
    text = json.dumps(document, indent=2)
    for row in measured["rows"]:
        say(f"{row['precision']}: median {row['median_ms']:.2f} ms, p90 {row['p90_ms']:.2f} ms")
    try:
        write_atomically(options.output, text.encode())
        say(f"wrote {options.output}")
    except OSError as error:
        print(text)
        fix = "free some space, or name another file with -o; the result is on standard output."
        failures["result"] = Failure(3, f"{options.output} cannot be written: {error}", fix)


def count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1 << 20:
        raise argparse.ArgumentTypeError("a whole number from 1 to 1048576")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--precision", help="such as fp32,fp16; default: all that the engine runs")
    backends = ("tensorrt", "ort-cpu", "auto")
    parser.add_argument("--backend", choices=backends, default="tensorrt", help="(tensorrt)")
    parser.add_argument("--threads", type=count, help="of ort-cpu; default: it chooses")
    parser.add_argument("--batch", type=count, default=1, help="clips per call (1)")
    parser.add_argument("--warmup", type=count, default=50, help="untimed calls first (50)")
    parser.add_argument("--repetitions", type=count, default=300, help="timed calls (300)")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--plan-sha256", default="", help=argparse.SUPPRESS)
    default = FOLDER / "results" / f"latency-{platform.node() or 'device'}.json"
    parser.add_argument("-o", "--output", type=Path, default=default, help="result file")
    options = parser.parse_args()
    try:
        if options.memory_of:
            run_once(options)
            return 0
        return run_all(options)
    except Failure as error:
        say(str(error))
        return error.code
    except OSError as error:
        say(f"{error}\nFix: free some space, and run as a user who may write here.")
        return 3
    except KeyboardInterrupt:
        say("interrupted; engines that were complete are kept")
        return 130


if __name__ == "__main__":
    sys.exit(main())
