"""Rank recordings by how much they sound like a query: the embedding as a fingerprint.

    python find_similar.py BUNDLE QUERY.wav OTHER.wav [OTHER.wav …]

Needs gmme-edge[cpu]; no torch. The recordings need not be of the classes the model knows.
"""

from __future__ import annotations

import sys

import numpy as np
import soundfile

import gmme_edge
from gmme_edge.errors import GmmeEdgeError


def main() -> None:
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    bundle, query, *others = sys.argv[1:]
    with gmme_edge.load(bundle) as classifier:

        def fingerprint(path: str) -> np.ndarray:
            samples, rate_hz = soundfile.read(path, dtype="float32")
            vector = classifier.embedding(samples, rate_hz)
            return vector / np.linalg.norm(vector)

        target = fingerprint(query)
        similarity = {path: float(fingerprint(path) @ target) for path in others}
    for path in sorted(similarity, key=lambda path: -similarity[path]):
        print(f"{similarity[path]:6.3f}  {path}")


if __name__ == "__main__":
    try:
        main()
    except (GmmeEdgeError, soundfile.LibsndfileError) as error:
        sys.exit(f"error: {error}")
