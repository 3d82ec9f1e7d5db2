#!/usr/bin/env python3
"""Build, check and time the networks of this folder with the TensorRT of this device.

Needs Python 3.8, numpy, TensorRT 8.5 or later and CUDA's runtime library, as JetPack brings them;
installs and downloads nothing, writes only engines/ and results/ beside itself. The result goes
back to the desk, where `gmme-edge compare` reads it. Exit codes: 0 success, 2 usage, 3 a damaged
file, 4 something is not installed, 5 wrong outputs, 7 this device cannot do it, 130 interrupted.
"""

# ruff: noqa: ANN401 - neither tensorrt nor this Python's numpy need have stubs

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

try:
    import numpy as np
except ImportError:
    sys.stderr.write("numpy is not installed.\nFix: sudo apt install python3-numpy\n")
    sys.exit(4)

FOLDER = Path(__file__).resolve().parent
INPUT = "waveform"
CUDART = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")
PRECISIONS = ("fp32", "fp16", "int8-tensorrt")


class Failure(Exception):  # noqa: N818 - not all of them are errors of this script
    """What went wrong and how to fix it; `code` is the exit code."""

    def __init__(self, code: int, got: str, fix: str = "") -> None:
        super().__init__(got + (f"\nFix: {fix}" if fix else ""))
        self.code = code


# ---- what lies in the folder


def read_manifest() -> dict[str, Any]:
    """The manifest, after the size and SHA-256 of every file that it lists were checked."""
    again = "copy the folder again, or export it again."
    try:
        manifest = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
        if manifest["schema"] != 1:
            raise Failure(3, f"manifest.json has schema {manifest['schema']}, not 1.", again)
        for file in manifest["files"]:
            path = (FOLDER / file["path"]).resolve()
            path.relative_to(FOLDER)  # a ValueError where it leaves the folder
            if path.stat().st_size != file["size_bytes"] or sha256(path) != file["sha256"]:
                raise Failure(3, f"{path} is not the file that was exported.", again)
        audio, complexity = manifest["audio"], manifest["complexity"]
        _ = (audio["n_samples"], audio["sample_rate_hz"], complexity["flops"], manifest["parity"])
        return dict(manifest)
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise Failure(
            3, f"The folder is damaged: {type(error).__name__}: {error}", again
        ) from error


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def sources(manifest: dict[str, Any], precision: str) -> list[dict[str, Any]]:
    """The graph of a precision, then the weights that it reads from other files, if any."""
    files = [f for f in manifest["files"] if f["precision"] == precision]
    graphs = [f for f in files if f["role"] == "model"]
    if not graphs:
        raise Failure(2, f"There is no {precision} network in {FOLDER}.", "see --help.")
    return graphs[:1] + [f for f in files if f["role"] == "weights"]


def golden(manifest: dict[str, Any]) -> tuple[Any, Any]:
    """Recordings ``(n, samples)`` and the reference's logits ``(n, classes)``, float32."""
    name = next((f["path"] for f in manifest["files"] if f["role"] == "golden"), "golden.npz")
    try:
        with np.load(FOLDER / name, allow_pickle=False) as arrays:
            clips, logits = arrays[INPUT], arrays["logits"]
        if not len(clips) or clips.shape[1] != manifest["audio"]["n_samples"]:
            raise ValueError(f"its waveforms have the shape {clips.shape}")
    except Exception as error:  # zip, zlib and numpy raise about ten kinds
        raise Failure(3, f"{name} holds no golden vectors: {error}", "export again.") from error
    return clips.astype(np.float32), logits.astype(np.float32)


def write_atomically(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    handle, name = tempfile.mkstemp(dir=str(path.parent), prefix=".", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


# ---- the device


class Cuda:
    """The first CUDA runtime library that finds a GPU, and the few calls made of it."""

    def __init__(self) -> None:
        reasons = []
        for name in CUDART:
            try:
                self.library: Any = ctypes.CDLL(name)
            except OSError:
                continue
            self.library.cudaGetErrorString.restype = ctypes.c_char_p
            try:
                count = ctypes.c_int()
                self.call("cudaGetDeviceCount", ctypes.byref(count))
                if count.value:
                    break
                reasons.append(f"{name} counts 0 devices")
            except Failure as error:
                reasons.append(f"{name}: {error}")
        else:
            found = "; ".join(reasons) or f"none of {', '.join(CUDART)} was found"
            raise Failure(
                7, f"CUDA finds no GPU: {found}.", "on a Jetson: apt install nvidia-jetpack."
            )
        values = [ctypes.c_int() for _ in range(3)]
        self.call("cudaGetDevice", ctypes.byref(values[0]))
        for value, attribute in ((values[1], 75), (values[2], 76)):
            self.call("cudaDeviceGetAttribute", ctypes.byref(value), attribute, values[0])
        properties = ctypes.create_string_buffer(16384)  # begins with the name, char[256]
        self.call("cudaGetDeviceProperties", properties, values[0])
        self.gpu_name = properties.raw[:256].partition(b"\0")[0].decode(errors="replace")
        self.compute_capability = f"{values[1].value}.{values[2].value}"

    def call(self, function: str, *arguments: Any) -> None:
        code = int(getattr(self.library, function)(*arguments))
        if code:
            text = (self.library.cudaGetErrorString(code) or b"unknown error").decode()
            raise Failure(7, f"CUDA's {function} failed: {text} (error {code}).")

    def malloc(self, size_bytes: int) -> int:
        pointer = ctypes.c_void_p()
        self.call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(size_bytes))
        return pointer.value or 0

    def copy(self, to: int, source: int, size_bytes: int, kind: int, stream: int) -> None:
        pointers = ctypes.c_void_p(to), ctypes.c_void_p(source)
        size = ctypes.c_size_t(size_bytes)
        self.call("cudaMemcpyAsync", *pointers, size, kind, ctypes.c_void_p(stream))


def describe_device(trt: Any, cuda: Cuda) -> dict[str, Any]:
    """As a result of `gmme-edge profile` describes it; what cannot be read is left out."""
    l4t = re.search(r"# R(\d+) \(release\), REVISION: ([\d.]+)", read("/etc/nv_tegra_release"))
    mode = re.search(r"NV Power Mode:\s*(\S+)", output_of("nvpmodel", "-q")) if l4t else None
    memory = re.search(r"MemTotal:\s*(\d+) kB", read("/proc/meminfo"))
    system = re.search(r'PRETTY_NAME="?([^"\n]+)', read("/etc/os-release"))
    frequency = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
    jetson = {
        "model": read("/proc/device-tree/model").rstrip("\0\n"),
        "l4t": f"{l4t[1]}.{l4t[2]}" if l4t else "",
        "power_mode": mode[1] if mode else "",
    }
    facts = {
        "cpu": platform.processor(),
        "arch": platform.machine(),
        "logical_cores": os.cpu_count(),
        "memory_bytes": int(memory[1]) * 1024 if memory else 0,
        "gpus": [{"name": cuda.gpu_name, "compute_capability": cuda.compute_capability}],
        "jetson": {name: value for name, value in jetson.items() if value},
        "os": system[1] if system else platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "libraries": {"numpy": np.__version__, "tensorrt": trt.__version__},
        "cpu_governor": read(frequency).strip(),
        "load_average": list(os.getloadavg()),
        "temperature_c": temperature_c(),
    }
    return {name: value for name, value in facts.items() if value}


def temperature_c() -> float:
    """The hottest of the board's sensors."""
    zones = [read(path) for path in Path("/sys/class/thermal").glob("thermal_zone*/temp")]
    return max([int(zone) / 1000 for zone in zones if zone.strip().isdigit()] or [0.0])


def read(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def output_of(*command: str) -> str:
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              timeout=10, check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", errors="replace")


# ---- TensorRT


def load_tensorrt() -> tuple[Any, Any]:
    """The module and a logger that keeps its warnings and errors in `lines`."""
    try:
        import tensorrt as trt
    except (ImportError, OSError) as error:
        raise Failure(
            4, f"Python {platform.python_version()} cannot load tensorrt: {error}",
            "run the system's python3, not a virtual environment's; on a Jetson: "
            "sudo apt install python3-libnvinfer",
        ) from error  # fmt: skip

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[str] = []

        def log(self, severity: object, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.lines.append(" ".join(message.split()))

        def reason(self) -> str:
            return " ".join(dict.fromkeys(self.lines)) or "it gave no reason"

    return trt, Logger()


def build(trt: Any, logger: Any, manifest: dict[str, Any], precision: str, batch: int) -> bytes:
    """A serialized engine for batches of exactly `batch` clips."""
    graph = sources(manifest, precision)[0]
    major = int(trt.__version__.partition(".")[0])
    if major == 8 and graph["opset"] > 17:
        raise Failure(  # TensorRT 8 ignores ReduceMean's axes where they are an input, silently
            7, f"{graph['path']} has opset {graph['opset']}; TensorRT 8 would miscompute it.",
            "export again with --opset 16.",
        )  # fmt: skip
    del logger.lines[:]
    builder = trt.Builder(logger)
    flags = trt.NetworkDefinitionCreationFlag
    names = [name for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED") if hasattr(flags, name)]
    network = builder.create_network(sum(1 << int(getattr(flags, name)) for name in names))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(FOLDER / graph["path"])):
        errors = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise Failure(
            7, f"TensorRT {trt.__version__} cannot parse {graph['path']}: "
            f"{errors or logger.reason()}", "export again with --opset 16.",
        )  # fmt: skip
    config = builder.create_builder_config()
    weak = {"fp16": "FP16", "int8-tensorrt": "INT8"}.get(precision, "")
    if weak and "STRONGLY_TYPED" not in names and hasattr(trt.BuilderFlag, weak):
        config.set_flag(getattr(trt.BuilderFlag, weak))
    profile = builder.create_optimization_profile()
    shape = (batch, manifest["audio"]["n_samples"])
    profile.set_shape(INPUT, shape, shape, shape)
    config.add_optimization_profile(profile)
    # The build is one call into C++, during which Python's own handling of Ctrl-C would wait.
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # a shell may have had it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        plan = builder.build_serialized_network(network, config)
    finally:
        signal.signal(signal.SIGINT, before)
    if plan is None:
        raise Failure(7, f"TensorRT {trt.__version__} cannot build {precision}: {logger.reason()}")
    return bytes(plan)


def engine(
    trt: Any, logger: Any, cuda: Cuda, manifest: dict[str, Any], precision: str, batch: int
) -> bytes:
    """The engine in engines/, if it was built by exactly this TensorRT for this GPU; or a new."""
    path = FOLDER / "engines" / f"model.{precision}.batch{batch}.engine"
    sidecar = path.with_name(path.name + ".json")
    described = {
        "sources": [file["sha256"] for file in sources(manifest, precision)],
        "tensorrt": trt.__version__,
        "gpu": cuda.gpu_name,
        "compute_capability": cuda.compute_capability,
    }
    try:
        noted = json.loads(sidecar.read_text(encoding="utf-8"))
        if noted == {**described, "sha256": sha256(path)}:
            return path.read_bytes()
    except (OSError, ValueError, RecursionError):
        pass  # absent or damaged: it is built again
    say(f"{precision}: building; this can take minutes")
    started = time.perf_counter()
    plan = build(trt, logger, manifest, precision, batch)
    write_atomically(path, plan)
    noted = {**described, "sha256": hashlib.sha256(plan).hexdigest()}
    write_atomically(sidecar, json.dumps(noted, indent=2).encode())
    say(f"{precision}: built in {time.perf_counter() - started:.0f} s")
    return plan


class Network:
    """An engine on the GPU; `run` takes and returns numpy arrays, copies included."""

    def __init__(self, trt: Any, logger: Any, cuda: Cuda, plan: bytes, batch: int) -> None:
        del logger.lines[:]
        self.cuda, self.batch = cuda, batch
        try:
            self.runtime = trt.Runtime(logger)
        except TypeError:  # what the bindings make of a null pointer
            raise Failure(7, f"TensorRT cannot start: {logger.reason()}") from None
        self.engine = self.runtime.deserialize_cuda_engine(plan)
        self.context: Any = self.engine.create_execution_context() if self.engine else None
        if self.context is None:
            raise Failure(
                7, f"TensorRT cannot load its engine: {logger.reason()}", "delete engines/."
            )
        stream = ctypes.c_void_p()
        cuda.call("cudaStreamCreateWithFlags", ctypes.byref(stream), 1)
        self.stream, self.logger = stream.value or 0, logger
        self.arrays: dict[str, Any] = {}
        self.pointers: dict[str, int] = {}
        for index in range(self.engine.num_io_tensors):
            name = self.engine.get_tensor_name(index)
            shape = (batch, *tuple(self.engine.get_tensor_shape(name))[1:])
            if self.engine.get_tensor_dtype(name) != trt.float32:
                raise Failure(7, f"The engine's {name} is not float32.", "export again.")
            self.arrays[name] = np.empty(shape, np.float32)
            self.pointers[name] = cuda.malloc(self.arrays[name].nbytes)
            self.context.set_tensor_address(name, self.pointers[name])
        if not self.context.set_input_shape(INPUT, self.arrays[INPUT].shape):
            raise Failure(7, f"The engine refuses {batch} clips: {logger.reason()}")

    def run(self, clips: Any) -> Any:
        """``(batch, samples)`` → logits ``(batch, classes)``, overwritten by the next call."""
        np.copyto(self.arrays[INPUT], clips)
        for name, array in self.arrays.items():
            if name == INPUT:
                self.cuda.copy(self.pointers[name], array.ctypes.data, array.nbytes, 1, self.stream)
        done = self.context.execute_async_v3(self.stream)
        for name, array in self.arrays.items():
            if name != INPUT:
                self.cuda.copy(array.ctypes.data, self.pointers[name], array.nbytes, 2, self.stream)
        self.cuda.call("cudaStreamSynchronize", ctypes.c_void_p(self.stream))
        if not done:
            raise Failure(7, f"TensorRT failed to run: {self.logger.reason()}")
        return self.arrays["logits"]


# ---- what is measured


def check_outputs(network: Network, manifest: dict[str, Any], precision: str) -> dict[str, float]:
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
            5, f"{precision} disagrees with its reference: relative error {relative:.2e}, of at "
            f"most {limit:.0e}; top-1 agreement {agreement:.1%} of {len(clips)} clips.",
        )  # fmt: skip
    say(f"{precision}: outputs agree, relative error {relative:.1e}")
    return {"relative": relative, "limit": limit, "top1_agreement": agreement}


def time_networks(
    networks: dict[str, Network], clips: Any, warmup: int, repetitions: int
) -> dict[str, list[float]]:
    """Milliseconds of every call; the networks take turns, in a new random order each time."""
    rng, samples = np.random.RandomState(0), {name: [] for name in networks}  # type: ignore[var-annotated]
    for index in range(warmup + repetitions):
        for name in rng.permutation(sorted(networks)):
            batch = networks[name].batch
            inputs = clips[np.arange(batch) % len(clips)]
            start_ns = time.perf_counter_ns()
            networks[name].run(inputs)
            elapsed_ns = time.perf_counter_ns() - start_ns
            if index >= warmup:
                samples[name].append(elapsed_ns / 1e6)
    return samples


def peak_rss_bytes() -> int:
    """This process's peak resident set so far; 1 where the kernel does not tell."""
    match = re.search(r"VmHWM:\s*(\d+) kB", read("/proc/self/status"))
    return int(match[1]) * 1024 if match else 1


def measure_memory(precision: str, batch: int) -> dict[str, int]:
    """Peak and baseline of a fresh process that runs this precision three times."""
    words = [__file__, "--batch", str(batch), "--memory-of", precision]
    flags = ["-I"] if sys.flags.isolated else []
    done = subprocess.run([sys.executable, *flags, *words], capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()[-500:]
        raise Failure(7, f"The memory of {precision} could not be measured: {said}")
    return dict(json.loads(done.stdout.decode().splitlines()[-1]))


def run_once(precision: str, batch: int) -> None:
    """What `measure_memory` starts."""
    manifest = read_manifest()
    clips = golden(manifest)[0]
    baseline = peak_rss_bytes()
    trt, logger = load_tensorrt()
    cuda = Cuda()
    network = Network(
        trt, logger, cuda, engine(trt, logger, cuda, manifest, precision, batch), batch
    )
    for _ in range(3):
        network.run(clips[np.arange(batch) % len(clips)])
    print(json.dumps({"peak_memory_bytes": peak_rss_bytes(), "baseline_memory_bytes": baseline}))


def describe_row(
    manifest: dict[str, Any], precision: str, batch: int, memory: dict[str, int], ms: list[float]
) -> dict[str, Any]:
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
        "backend": "tensorrt",
        "precision": precision,
        "threads": None,
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


def run_all(chosen: list[str], batch: int, warmup: int, repetitions: int, out: Path) -> int:
    """Everything for all precisions; one that fails is told, and the others go on."""
    manifest = read_manifest()
    present = [f["precision"] for f in manifest["files"] if f["role"] == "model"]
    wanted = chosen or [name for name in PRECISIONS if name in present]
    for precision in wanted:
        sources(manifest, precision)
    trt, logger = load_tensorrt()
    cuda = Cuda()
    device = describe_device(trt, cuda)
    networks: dict[str, Network] = {}
    parity: dict[str, dict[str, float]] = {}
    failures: dict[str, Failure] = {}
    for precision in wanted:
        try:
            plan = engine(trt, logger, cuda, manifest, precision, batch)
            network = Network(trt, logger, cuda, plan, batch)
            parity[precision] = check_outputs(network, manifest, precision)
            networks[precision] = network
        except Failure as error:
            failures[precision] = error
            say(f"{precision}: {error}")
    if networks:
        say(f"timing {', '.join(networks)}: {warmup} + {repetitions} calls each")
        samples = time_networks(networks, golden(manifest)[0], warmup, repetitions)
        if "temperature_c" in device:
            device["temperature_after_c"] = temperature_c()
        rows = [
            describe_row(manifest, name, batch, measure_memory(name, batch), ms)
            for name, ms in samples.items()
        ]
        document = {
            "schema": 1,
            "kind": "latency",
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": " ".join(shlex.quote(word) for word in ["python3", *sys.argv]),
            "device": device,
            "settings": {"warmup": warmup, "repetitions": repetitions, "seed": 0},
            "rows": rows,
            "parity": parity,
            "failures": {name: str(error) for name, error in failures.items()},
        }
        write_atomically(out, json.dumps(document, indent=2).encode())
        for row in rows:
            say(f"{row['precision']}: median {row['median_ms']:.2f} ms, p90 {row['p90_ms']:.2f} ms")
        say(f"wrote {out}")
    return next((error.code for error in failures.values()), 0)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number of at least 1")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--precision", help=f"of {', '.join(PRECISIONS)}; default: all there are")
    parser.add_argument("--batch", type=count, default=1, help="clips per call (1)")
    parser.add_argument("--warmup", type=count, default=50, help="untimed calls first (50)")
    parser.add_argument("--repetitions", type=count, default=300, help="timed calls (300)")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    default = FOLDER / "results" / f"latency-{platform.node() or 'device'}.json"
    parser.add_argument("-o", "--output", type=Path, default=default, help="result file")
    options = parser.parse_args()
    chosen = [name.strip() for name in (options.precision or "").split(",") if name.strip()]
    try:
        if options.memory_of:
            run_once(options.memory_of, options.batch)
            return 0
        return run_all(chosen, options.batch, options.warmup, options.repetitions, options.output)
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
