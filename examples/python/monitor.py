"""Listen to a long recording as a device would, and log what is heard.

    python monitor.py BUNDLE RECORDING.wav [--threshold 0.6] [--hop-s 0.5]

Needs gmme-edge[cpu]; no torch. Chunks of any size will do: a microphone's callback can push them.
"""

from __future__ import annotations

import argparse
import sys

import soundfile

import gmme_edge
from gmme_edge.errors import GmmeEdgeError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("recording")
    parser.add_argument("--threshold", type=float, default=0.6)
    parser.add_argument("--hop-s", type=float, help="default: a quarter of the network's window")
    options = parser.parse_args()

    rules = gmme_edge.EventRules(on=options.threshold)
    hop_ms = None if options.hop_s is None else 1000 * options.hop_s
    with gmme_edge.load(options.bundle, threads=1) as classifier:
        stream = gmme_edge.Stream(classifier, hop_ms, rules)
        with soundfile.SoundFile(options.recording) as file:
            for chunk in file.blocks(4096, dtype="float32"):
                show(stream.push(chunk, file.samplerate))
        show(stream.flush())


def show(events: list[gmme_edge.Event]) -> None:
    for event in events:
        print(f"{event.start_s:7.1f} s  {event.label}  {event.peak:.0%}")


if __name__ == "__main__":
    try:
        main()
    except (GmmeEdgeError, soundfile.LibsndfileError) as error:
        sys.exit(f"error: {error}")
