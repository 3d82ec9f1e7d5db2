"""What INT8 costs on all folds together, where one fold's clips are too few to tell.

python benchmarks/int8_folds.py OUT/fold-1-aa-front OUT/fold-2-aa-front …

Reads what `benchmarks/quantization.sh` writes beside each bundle, `BUNDLE.PRECISION.json`, and
pools the bundles of a network. Differences in points, from FP32, with Bonett and Price's 95 %
interval.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gmme_edge.report.paired import load_tested
from gmme_edge.scoring import Predictions, match_clips, paired_test
from gmme_edge.statistics import wilson_interval

PRECISIONS = ("fp16", "int8-ort", "int8-tensorrt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path)
    exact: dict[str, Predictions] = {}
    rounded: dict[tuple[str, str], Predictions] = {}
    for bundle in parser.parse_args().bundles:
        result = load_tested(bundle.with_name(f"{bundle.name}.fp32.json"))
        model, found = result.model, result.pooled
        exact[model] = exact[model] + found if model in exact else found
        for precision in PRECISIONS:
            path = bundle.with_name(f"{bundle.name}.{precision}.json")
            if path.exists():
                found, key = load_tested(path).pooled, (model, precision)
                rounded[key] = rounded[key] + found if key in rounded else found
    print("| network | clips | FP32 | precision | accuracy | difference | flips |")
    print("|---|---:|---:|---|---:|---:|---:|")
    for (model, precision), found in rounded.items():
        before, test = exact[model], paired_test(exact[model], found)
        flips = sum(a != b for _, a, b in match_clips(before, found))
        low, high = (100 * end for end in test.interval)
        print(
            f"| {model} | {len(found)} | {_accuracy(before)} | {precision} | {_accuracy(found)} "
            f"| {100 * test.difference:+.2f} ({low:+.1f} to {high:+.1f}) | {flips} |"
        )


def _accuracy(predictions: Predictions) -> str:
    correct, n = sum(predictions.correct), len(predictions)
    low, high = (100 * end for end in wilson_interval(correct, n))
    return f"{100 * correct / n:.1f} % ({low:.1f}–{high:.1f})"


if __name__ == "__main__":
    main()
