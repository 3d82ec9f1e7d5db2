"""What one machine can do at most: products of matrices, multiply-adds, and copies of memory.

The best of several libraries counts, since no one of them is the fastest on every processor. Each
is measured in a process of its own, which fixes the number of threads before it loads anything.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from gmme_edge.device.child import run_python
from gmme_edge.errors import PlatformError
from gmme_edge.fields import Positive
from gmme_edge.profiling.fma import measure_fma

_SIDES = (512, 1024)
_CALLS = 12
_MEMORY_BYTES, _CACHE_BYTES = 256 << 20, 256 << 10
_COPIES = {"memory": _MEMORY_BYTES, "cache": _CACHE_BYTES}
_CODE = (
    "import os, sys; os.environ.update(dict.fromkeys(('OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', "
    "'OMP_NUM_THREADS'), sys.argv[2])); from gmme_edge.profiling.peaks import main; main()"
)


@dataclass(frozen=True)
class Peaks:
    """Of `threads` threads, in single precision.

    Attributes:
        products: GFLOP/s of each library's product of matrices, two operations per multiply-add;
            and of a loop of fused multiply-adds, where the machine has a C compiler.
        memory_gb_per_s: of copies of 256 MB, read and written bytes together; `cache_gb_per_s` of
            256 KB per thread, which a processor's caches hold.
    """

    threads: int
    products: dict[str, Positive]
    memory_gb_per_s: Positive
    cache_gb_per_s: Positive

    @property
    def gflop_per_s(self) -> float:
        return max(self.products.values())


def measure_peaks(threads: int) -> Peaks:
    """The machine's peaks; what is not installed, library or compiler, is left out.

    Raises:
        PlatformError: not even numpy could be measured.
    """
    products = {}
    for name in _PRODUCTS:
        found = _measure(name, threads)
        if found:
            products[name] = found
    if fma := measure_fma(threads):
        products["fma loop"] = fma
    memory, cache = _measure("memory", threads), _measure("cache", threads)
    if not products or not memory or not cache:
        raise PlatformError("The machine's peaks could not be measured.", fix="free memory.")
    return Peaks(threads, products, memory, cache)


def _measure(what: str, threads: int) -> float:
    """0 where it is not installed or failed."""
    done = run_python(_CODE, [what, str(threads)])
    return float(json.loads(done.stdout)) if done.returncode == 0 else 0.0


def main() -> None:
    """The measuring process: its arguments are what and how many threads; one number on stdout."""
    what, threads = sys.argv[1], int(sys.argv[2])
    if what in _PRODUCTS:
        best = max(2e-9 * side**3 / _fastest_s(_PRODUCTS[what](side, threads)) for side in _SIDES)
    else:
        best = _copy_gb_per_s(_COPIES[what], threads)
    print(json.dumps(best))


def _fastest_s(call: Callable[[], object]) -> float:
    times = []
    for _ in range(_CALLS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def _squares(side: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    while True:
        yield rng.standard_normal((side, side), dtype=np.float32)


def _numpy(side: int, threads: int) -> Callable[[], object]:
    squares = _squares(side)
    a, b, out = next(squares), next(squares), np.empty((side, side), np.float32)
    return lambda: np.matmul(a, b, out=out)


def _torch(side: int, threads: int) -> Callable[[], object]:
    import importlib

    torch = importlib.import_module("torch")  # only to see how fast its library is
    torch.set_num_threads(threads)
    squares = _squares(side)
    a, b = torch.from_numpy(next(squares)), torch.from_numpy(next(squares))
    return lambda: torch.mm(a, b)


def _onnxruntime(side: int, threads: int) -> Callable[[], object]:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    squares = _squares(side)
    session = onnxruntime.InferenceSession(
        _product_graph(next(squares)), options, providers=["CPUExecutionProvider"]
    )
    a = next(squares)
    return lambda: session.run(None, {"a": a})


_PRODUCTS = {"numpy": _numpy, "onnxruntime": _onnxruntime, "torch": _torch}


def _copy_gb_per_s(size_bytes: int, threads: int) -> float:
    """Every thread copies a part of its own, many times where it is small."""
    share = size_bytes // threads if size_bytes == _MEMORY_BYTES else size_bytes
    repeats = max(1, (64 << 20) // share)
    pairs = [(np.ones(share // 8), np.zeros(share // 8)) for _ in range(threads)]

    def copy(pair: tuple[np.ndarray, np.ndarray]) -> None:
        for _ in range(repeats):
            np.copyto(pair[1], pair[0])

    with ThreadPoolExecutor(threads) as pool:
        fastest_s = _fastest_s(lambda: list(pool.map(copy, pairs)))
    return 2e-9 * share * threads * repeats / fastest_s


def _product_graph(b: np.ndarray) -> bytes:
    """An ONNX file with ``y = a @ b``, in protobuf's wire format: devices have no library."""
    n = len(b)

    def number(field: int, value: int) -> bytes:
        return _varint(field << 3) + _varint(value)

    def part(field: int, content: bytes | str) -> bytes:
        content = content.encode() if isinstance(content, str) else content
        return _varint(field << 3 | 2) + _varint(len(content)) + content

    dimension = part(1, number(1, n))
    square = part(2, part(1, number(1, 1) + part(2, dimension + dimension)))
    node = part(1, "a") + part(1, "b") + part(2, "y") + part(4, "MatMul")
    weight = number(1, n) * 2 + number(2, 1) + part(8, "b") + part(9, b.tobytes())
    graph = part(1, node) + part(2, "g") + part(5, weight)
    graph += part(11, part(1, "a") + square) + part(12, part(1, "y") + square)
    return number(1, 8) + part(7, graph) + part(8, part(1, "") + number(2, 13))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
