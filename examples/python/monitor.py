"""Listen to a long recording window by window, as a device would, and log what is heard.

    python monitor.py BUNDLE RECORDING.wav [--threshold 0.6] [--hop-s 0.5]

Needs gmme-edge[cpu]; no torch. Replace `blocks` by your microphone's callback.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import soundfile

import gmme_edge


def blocks(path: str, window_s: float, hop_s: float) -> Iterator[tuple[float, np.ndarray, int]]:
    """Overlapping blocks of a file: start in seconds, samples ``(n, channels)``, sample rate."""
    with soundfile.SoundFile(path) as file:
        rate_hz = file.samplerate
        window, hop = int(window_s * rate_hz), int(hop_s * rate_hz)
        for index, block in enumerate(
            file.blocks(window, overlap=window - hop, dtype="float32", always_2d=True)
        ):
            yield index * hop / rate_hz, block, rate_hz


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("recording")
    parser.add_argument("--threshold", type=float, default=0.6)
    parser.add_argument("--hop-s", type=float, default=0.5)
    options = parser.parse_args()

    with gmme_edge.load(options.bundle, threads=1) as classifier:
        window_s, heard = classifier.window_samples / classifier.sample_rate_hz, ""
        for start_s, block, rate_hz in blocks(options.recording, window_s, options.hop_s):
            found = classifier(block, rate_hz, top_k=1)
            best = found[0]
            sure = best.probability >= options.threshold and not found.silent
            label = best.label if sure else ""
            if label and label != heard:  # report a sound when it begins, not in every block
                print(f"{start_s:7.1f} s  {label}  {best.probability:.0%}")
            heard = label


if __name__ == "__main__":
    main()
