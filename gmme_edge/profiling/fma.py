"""A loop of fused multiply-adds that never leaves the registers: no product can be faster.

It is compiled here, for this very processor, by the C compiler of the machine, if there is one.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

# An older compiler does not know a newer processor's widest vectors; without them it just fails.
_FLAGS = (("-march=native", "-mavx512f"), ("-march=native",), ("-mcpu=native",))
_PATIENCE_S = 60.0
_SOURCE = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* As many sums as hide the latency of one, and as fit into the registers beside two factors. */
#if defined(__AVX512F__)
enum { BYTES = 64, SUMS = 20 };
#elif defined(__AVX__)
enum { BYTES = 32, SUMS = 12 };
#else
enum { BYTES = 16, SUMS = 12 };
#endif
enum { LOOPS = 4000000, TRIES = 5 };
typedef float vector __attribute__((vector_size(BYTES)));

static void *work(void *out) {
  vector sums[SUMS], factor, offset;
  for (int k = 0; k < BYTES / 4; k++) factor[k] = 0.999f, offset[k] = 0.001f;
  for (int i = 0; i < SUMS; i++) sums[i] = offset * (float)i;
  for (long n = 0; n < LOOPS; n++)
    for (int i = 0; i < SUMS; i++) sums[i] = sums[i] * factor + offset;
  for (int i = 1; i < SUMS; i++) sums[0] += sums[i];
  *(float *)out = sums[0][0]; /* so that nothing can be left out */
  return 0;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

int main(int argc, char **argv) {
  int threads = argc > 1 ? atoi(argv[1]) : 1;
  pthread_t *ids = malloc(threads * sizeof *ids);
  float *out = malloc(threads * sizeof *out);
  double best = 1e9;
  for (int t = 0; t < TRIES; t++) {
    double start = now();
    for (int i = 0; i < threads; i++)
      if (pthread_create(&ids[i], 0, work, &out[i])) return 1;
    for (int i = 0; i < threads; i++) pthread_join(ids[i], 0);
    double took = now() - start;
    if (took < best) best = took;
  }
  printf("%.3f\n", 2e-9 * LOOPS * SUMS * (BYTES / 4) * threads / best);
  return out[0] != out[0];
}
"""


def measure_fma(threads: int) -> float:
    """GFLOP/s of all threads together in single precision; 0 where it cannot be compiled or run."""
    compiler = shutil.which("cc")
    if compiler is None:
        return 0.0
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder) / "fma.c", Path(folder) / "fma"
        source.write_text(_SOURCE, encoding="ascii")
        found = [0.0]
        for flags in _FLAGS:
            words = ["-O3", *flags, "-ffp-contract=fast", "-pthread", "-o", str(program)]
            if _run([compiler, *words, str(source)]) is not None:
                found.append(float(_run([str(program), str(threads)]) or 0))
    return max(found)


def _run(command: list[str]) -> str | None:
    """What it prints; None where it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
