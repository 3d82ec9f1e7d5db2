"""What is timed, how often, and on what."""

from __future__ import annotations

from dataclasses import dataclass

from gmme_edge.errors import UsageError
from gmme_edge.runtime.backends import BACKEND_NAMES, COPIED, GPU_CALLS
from gmme_edge.settings import Settings, is_given, setting
from gmme_edge.workflows.settings.running import MOST_THREADS, refuse_threads_on_gpus

MOST_CLIPS, MOST_CALLS, MOST_MS = 4096, 1_000_000, 1e9


@dataclass(frozen=True, kw_only=True)
class ProfileSettings(Settings):
    """Lists are separated by commas; every combination is timed."""

    panel = "Calls"

    backend: str | None = setting(
        None,
        f"One or more of {BACKEND_NAMES}. Default: ort-cpu, and on other machines TensorRT where "
        "there is one.",
        panel="What is timed",
    )
    precision: str | None = setting(
        None, "For example fp32,int8; default: all that the backend runs.", panel="What is timed"
    )
    threads: str = setting(
        "1", "CPU threads, for example 1,2 or auto (the engine chooses).", panel="What is timed"
    )
    batch: str = setting("1", "Clips per call, for example 1,8.", panel="What is timed")
    gpu_call: str = setting(
        COPIED,
        f"How a GPU is called, some of {', '.join(GPU_CALLS)}: with copies from and to the host or "
        "without, launched as a CUDA graph.",
        panel="What is timed",
    )
    all: bool = setting(
        False,
        "Every backend and precision that works here; what does not is noted.",
        "--all",
        panel="What is timed",
    )
    warmup: int | None = setting(
        None,
        "Untimed calls of each first; default: until the medians settle.",
        least=0,
        most=MOST_CALLS,
    )
    repetitions: int = setting(100, "Timed samples of each combination.", least=1, most=MOST_CALLS)
    duration: float | None = setting(
        None,
        "Seconds of timed calls, all together, instead of --repetitions.",
        least=0.1,
        most=7 * 86400,
    )
    stream: str = setting(
        "single",
        "One call after the other; bursts of calls (throughput); or one call per hop, and idle "
        "in between.",
        choices=("single", "offline", "paced"),
    )
    hop_ms: float | None = setting(
        None,
        "Of a paced stream: milliseconds between two calls; default: half a clip.",
        least=0.1,
        most=3_600_000,
        needs="stream",
    )
    restart: bool = setting(
        False, "Begin anew where an earlier call with the same -o was cut short.", "--restart"
    )
    seed: int = setting(0, "Of the order of the calls.", least=0, most=2**63 - 1)

    layers: bool = setting(
        False,
        "Time per block and layer instead (ort-cpu, tensorrt, tensorrt-rtx); -o adds a chart "
        "(.svg).",
        "--layers",
        panel="Instead of latencies",
    )
    roofline: bool = setting(
        False,
        "Each block's GFLOP/s and GB/s beside what this machine can do (ort-cpu, fp32).",
        "--roofline",
        panel="Instead of latencies",
    )
    energy: bool = setting(
        False, "Also measure energy per clip, idle subtracted.", "--energy", panel="Energy"
    )
    energy_rounds: int = setting(
        5, "Windows of each combination.", least=2, most=1000, needs="energy", panel="Energy"
    )
    energy_window_s: float = setting(
        1.0,
        "Least length of a window in seconds; 20 updates of the meter at least.",
        least=0.01,
        most=3600,
        needs="energy",
        panel="Energy",
    )

    def check(self) -> None:
        for _ in (
            self.backends,
            self.precisions,
            self.thread_counts,
            self.batches,
            self.gpu_calls,
        ):
            pass
        if is_given(self, "threads"):
            refuse_threads_on_gpus(self.backends)
        for name in ("backend", "precision"):
            if self.all and is_given(self, name):
                raise UsageError(f"--all with --{name}.", "one of the two.")
        if self.layers and self.roofline:
            raise UsageError("--layers with --roofline.", "one of the two.")
        if self.duration is not None and is_given(self, "repetitions"):
            raise UsageError("--duration with --repetitions.", "one of the two.")
        if self.hop_ms is not None and self.stream != "paced":
            raise UsageError(f"--hop-ms with --stream {self.stream}.", "--stream paced.")

    @property
    def backends(self) -> tuple[str, ...]:
        return ("ort-cpu",) if self.backend is None else _split("--backend", self.backend)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Empty for all."""
        return () if self.precision is None else _split("--precision", self.precision)

    @property
    def thread_counts(self) -> tuple[int | None, ...]:
        """None lets the engine choose."""
        return tuple(
            None if word == "auto" else _integer("--threads", word, MOST_THREADS)
            for word in _split("--threads", self.threads)
        )

    @property
    def batches(self) -> tuple[int, ...]:
        words = _split("--batch", self.batch)
        return tuple(_integer("--batch", word, MOST_CLIPS) for word in words)

    @property
    def gpu_calls(self) -> tuple[str, ...]:
        words = _split("--gpu-call", self.gpu_call)
        if unknown := [word for word in words if word not in GPU_CALLS]:
            raise UsageError(f"--gpu-call has {unknown[0]!r:.40}.", f"of {', '.join(GPU_CALLS)}.")
        return words


@dataclass(frozen=True, kw_only=True)
class LatencyGate(Settings):
    """A limit that makes a command fail."""

    panel = "Gate"

    max_latency_p90_ms: float | None = setting(
        None, "Fail (exit 8) where a 90th percentile is above so many ms.", least=0, most=MOST_MS
    )


def _split(flag: str, text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise UsageError(f"{flag} is {text!r}: there is nothing to measure.", "at least one value.")
    return words


def _integer(flag: str, word: str, most: int) -> int:
    # The length goes first: int() refuses thousands of digits with an error of its own.
    if not (word.isascii() and word.isdigit() and len(word) <= 9 and 1 <= int(word) <= most):
        raise UsageError(
            f"{flag} has {word!r:.40}.", f"whole numbers from 1 to {most}, with commas."
        )
    return int(word)
