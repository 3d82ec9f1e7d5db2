"""A bundle whose network runs on a Triton server; all else is gmme-edge's, on this machine.

    python client.py BUNDLE MODEL RECORDING.wav …         labels
    python client.py BUNDLE MODEL --verify                the golden vectors, through the server
    arecord -q -f S16_LE -r 48000 -c 1 -t raw | python client.py BUNDLE MODEL --listen 48000

`--protocol` is http, grpc, or stream: gRPC's two-way stream, the quickest for one window after
another. Needs gmme-edge (numpy only, no engine) and `pip install "tritonclient[grpc,http]"`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import queue
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import gmme_edge
from gmme_edge.bundle.bundle import Bundle
from gmme_edge.errors import GmmeEdgeError, PlatformError
from gmme_edge.runtime.classifier import Classifier
from gmme_edge.runtime.parity import verify_bundle

PORTS = {"http": 8000, "grpc": 8001, "stream": 8001}
TIMEOUT_S = 30.0
Rows = Iterator[Any]  # one answer of the server per window, in order


class TritonSession:
    """`gmme_edge.runtime.session.Session` over the network.

    Every window is a request of its own, sent before the first answer is read: the server's
    dynamic batching joins them with those of other clients.
    """

    backend = "triton"

    def __init__(self, model: str, precision: str, protocol: str, url: str | None) -> None:
        self.model, self.precision = model, precision
        self._kit = importlib.import_module(
            "tritonclient.http" if protocol == "http" else "tritonclient.grpc"
        )
        place = url or f"localhost:{PORTS[protocol]}"
        more = {"concurrency": 8} if protocol == "http" else {}
        self._client = self._kit.InferenceServerClient(place, **more)
        self._answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
        if protocol == "stream":
            self._client.start_stream(self._take)
        asks: dict[str, Callable[[list[Any]], Rows]] = {
            "http": self._http, "grpc": self._grpc, "stream": self._stream
        }  # fmt: skip
        self._ask = asks[protocol]

    def run(self, waveform: np.ndarray) -> dict[str, np.ndarray]:
        rows = list(self._ask([self._input(row) for row in waveform]))
        names = [name for name in ("logits", "embedding") if rows[0].as_numpy(name) is not None]
        return {name: np.concatenate([row.as_numpy(name) for row in rows]) for name in names}

    def close(self) -> None:
        self._client.close()

    def _input(self, window: np.ndarray) -> list[Any]:
        given = self._kit.InferInput("waveform", [1, len(window)], "FP32")
        given.set_data_from_numpy(window[None])
        return [given]

    def _http(self, inputs: list[Any]) -> Rows:
        sent = [self._client.async_infer(self.model, each) for each in inputs]
        return (each.get_result(timeout=TIMEOUT_S) for each in sent)

    def _grpc(self, inputs: list[Any]) -> Rows:
        for i, each in enumerate(inputs):
            self._client.async_infer(self.model, each, self._take, request_id=str(i))
        return self._received(len(inputs))

    def _stream(self, inputs: list[Any]) -> Rows:
        for i, each in enumerate(inputs):
            self._client.async_stream_infer(self.model, each, request_id=str(i))
        return self._received(len(inputs))

    def _take(self, result: Any, error: Any) -> None:  # noqa: ANN401 - of the client's library
        self._answers.put((result, error))

    def _received(self, count: int) -> Rows:
        """Answers come in any order; their numbers tell which window they are of."""
        found: dict[int, Any] = {}
        for _ in range(count):
            try:
                result, error = self._answers.get(timeout=TIMEOUT_S)
            except queue.Empty:
                raise PlatformError(f"No answer from {self.model} in {TIMEOUT_S:g} s.") from None
            if error is not None:
                raise PlatformError(f"{self.model}: {error}")
            found[int(result.get_response().id)] = result
        return (found[i] for i in range(count))


def listen(classifier: Classifier, rate_hz: int) -> None:
    """Raw 16-bit mono sound on standard input to events, one JSON object a line."""
    stream = gmme_edge.Stream(classifier)
    while chunk := sys.stdin.buffer.read(rate_hz // 10 * 2):
        for event in stream.push(np.frombuffer(chunk, "<i2"), rate_hz):
            print(json.dumps(event.to_dict()), flush=True)
    for event in stream.flush():
        print(json.dumps(event.to_dict()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("model")
    parser.add_argument("recordings", nargs="*")
    parser.add_argument("--protocol", choices=tuple(PORTS), default="grpc")
    parser.add_argument("--url", help="default: localhost, port 8000 (http) or 8001")
    parser.add_argument("--precision", default="fp32", help="of the model, for --verify's limit")
    parser.add_argument("--verify", action="store_true")
    parser.add_argument("--listen", type=int, metavar="RATE_HZ")
    options = parser.parse_args()
    if not (options.recordings or options.verify or options.listen):
        parser.error("nothing to do: give recordings, --verify or --listen RATE_HZ")

    bundle = Bundle.open(options.bundle)
    stated = (options.model, options.precision, options.protocol, options.url)
    if options.verify:
        found = verify_bundle(bundle, lambda _: TritonSession(*stated), (options.precision,))
        relative = found[options.precision].reference.relative
        print(json.dumps({"model": options.model, "relative_error": relative}))
    with Classifier(bundle, TritonSession(*stated)) as classifier:
        for path in options.recordings:
            ranking = classifier.classify_file(path)
            found_here = [{"label": p.label, "probability": p.probability} for p in ranking]
            print(json.dumps({"file": path, "predictions": found_here}))
        if options.listen:
            listen(classifier, options.listen)


if __name__ == "__main__":
    try:
        main()
    except GmmeEdgeError as error:
        sys.exit(f"error: {error}")
