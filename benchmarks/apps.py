"""One window in C++, Go, Node and a browser against Python, interleaved; and cold starts.

    python benchmarks/apps.py esc10 --app build/gmme-edge-app --go gmme-edge-go --rounds 15

Needs the examples built (docs/guides/cpp.md, go.md and web.md) and Chromium for the browser.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from gmme_edge.bundle.bundle import Bundle
from gmme_edge.runtime.backends import open_session
from gmme_exporters.web.site import find_runtime, write_site
from tests.examples.test_web import served, wait_for
from tests.examples.tools import EXAMPLES, PACKAGES
from tests.report.browser import Browser, open_browser

_SESSION = """
return import('./ort/ort.wasm.bundle.min.mjs').then(async (ort) => {
  ort.env.wasm.numThreads = 1;
  const get = async (path) =>
    new Uint8Array(await (await fetch('bundles/NAME/' + path)).arrayBuffer());
  const data = await get('model.fp32.onnx');
  const weights = WEIGHTS;
  const session = await ort.InferenceSession.create(data, weights
    ? {externalData: [{path: weights, data: await get(weights)}]} : {});
  const window_ = Float32Array.from({length: SAMPLES}, (_, i) => Math.sin(0.3 * i));
  const run = () => session.run({waveform: new ort.Tensor('float32', window_, [1, SAMPLES])});
  window.timed = async () => {
    const start = performance.now();
    await run();
    return performance.now() - start;
  };
})
"""


def process_timer(words: list[str]) -> Callable[[], float]:
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run() -> float:
        assert process.stdin and process.stdout
        process.stdin.write("\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    return run


def python_timer(bundle: Bundle) -> Callable[[], float]:
    session = open_session(bundle, "ort-cpu", "fp32", 1)
    window = np.sin(0.3 * np.arange(bundle.manifest.model.n_samples, dtype=np.float32))[None]

    def run() -> float:
        start = time.perf_counter()
        session.run(window)
        return 1000 * (time.perf_counter() - start)

    return run


def browser_timer(browser: Browser, bundle: Bundle) -> Callable[[], float]:
    weights = next((f.path for f in bundle.manifest.files if f.role == "weights"), None)
    script = _SESSION.replace("NAME", bundle.path.name).replace("WEIGHTS", json.dumps(weights))
    browser.run(script.replace("SAMPLES", str(bundle.manifest.model.n_samples)))
    return lambda: float(browser.run("return window.timed()"))


def cold_start(words: list[str]) -> float:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run(words, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def browser_in(stack: ExitStack, bundle: Bundle, cold: dict[str, float]) -> Callable[[], float]:
    """A page of the bundle in Chromium; its cold start, and what times a window."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    browser = stack.enter_context(open_browser())
    write_site(bundle, folder, find_runtime(PACKAGES / "onnxruntime-web"))
    url = stack.enter_context(served(folder))
    start = time.perf_counter()
    browser.open(url)
    error = wait_for(browser, "document.body.dataset.golden")
    cold["Browser"] = time.perf_counter() - start
    print(f"the browser's golden error: {error}")
    return browser_timer(browser, bundle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("--app", type=Path, help="the C++ program")
    parser.add_argument("--go", type=Path, help="the Go program")
    parser.add_argument("--no-web", action="store_true", help="leave Node and the browser out")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    bundle = Bundle.open(options.bundle)
    path, node = str(bundle.path), EXAMPLES / "node"
    cold = {
        "Python": cold_start([str(Path(sys.executable).with_name("gmme-edge")), "verify", path])
    }
    runs = {"Python": python_timer(bundle)}
    with ExitStack() as stack:
        for name, program in (("C++", options.app), ("Go", options.go)):
            if program is not None:
                cold[name] = cold_start([str(program), "verify", path])
                runs[name] = process_timer([str(program), "time", path])
        if not options.no_web:
            cold["Node"] = cold_start(["node", str(node / "classify.js"), path])
            runs["Node"] = process_timer(["node", str(node / "time.js"), path])
            runs["Browser"] = browser_in(stack, bundle, cold)
        rounds = [{name: run() for name, run in runs.items()} for _ in range(options.rounds)]
    for name in runs:
        times = [each[name] for each in rounds[2:]]
        ratio = statistics.median(each[name] / each["Python"] for each in rounds[2:])
        print(
            f"{name}: cold start {cold[name]:.2f} s, median {statistics.median(times):.1f} ms, "
            f"best {min(times):.1f} ms, ratio to Python {ratio:.2f}"
        )


if __name__ == "__main__":
    main()
