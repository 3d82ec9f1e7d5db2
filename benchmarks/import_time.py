"""How long `import gmme_edge` and `load` take, beside numpy and ONNX Runtime alone.

    python benchmarks/import_time.py --rounds 20

Each round starts one interpreter per row, in turn, so that whatever else the machine does hits all
alike. A row's ratio is the median over rounds of its own time over its baseline's in that round.
CPU time counts what the process used; wall time also what it waited for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

import numpy as np

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.profiling.statistics import paired_ratio

# Compiled code is kept, as an installation does.
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
_ENGINES = "import numpy, onnxruntime"
_OPEN = f"""{_ENGINES}
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
onnxruntime.InferenceSession({{path!r}}, options, providers=["CPUExecutionProvider"])
"""
_OURS = "import gmme_edge; gmme_edge.load; import onnxruntime"
_LOAD = "import gmme_edge; gmme_edge.load({name!r}, threads=1)"


def run(code: str) -> tuple[float, float]:
    """CPU and wall seconds of a fresh interpreter."""
    begun_s = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code], env=_ENVIRONMENT)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise SystemExit(f"failed: {code}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - begun_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--bundle", default="digits")
    given = parser.parse_args()
    bundle = Bundle.open(given.bundle)
    graph = str(bundle.path / bundle.find("model", "fp32").path)
    pairs = {
        "import": (_ENGINES, _OURS),
        "load": (_OPEN.format(path=graph), _LOAD.format(name=given.bundle)),
    }
    codes = [code for pair in pairs.values() for code in pair]
    for code in codes:
        run(code)
    times = np.array([[run(code) for code in codes] for _ in range(given.rounds)])
    print(f"| row | time | {_ENGINES.partition(' ')[2]} | gmme_edge | ratio (95 %) |")
    print("|---|---|---|---|---|")
    for row, name in enumerate(pairs):
        for column, kind in enumerate(("CPU", "wall")):
            base, own = times[:, 2 * row, column], times[:, 2 * row + 1, column]
            ratio, (low, high) = paired_ratio(list(own), list(base))
            medians = f"{1000 * np.median(base):.0f} ms | {1000 * np.median(own):.0f} ms"
            print(f"| {name} | {kind} | {medians} | {ratio:.2f} ({low:.2f}–{high:.2f}) |")


if __name__ == "__main__":
    main()
