// The network, off the page's thread: onnxruntime-web, a classifier and a stream.
import * as ort from "onnxruntime-web/wasm";
import { Bundle, Classifier, GATE_DEFAULTS, type Open, Stream, WindowGrid } from "./index";
import type { FromWorker, ToWorker } from "./messages";

const MOST_WAITING_S = 10; // more sound than this is dropped, and counted

ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
ort.env.wasm.wasmPaths = new URL("ort/", self.location.href).href;

let classifier: Classifier | null = null;
let stream: Stream | null = null;
let rate_hz = 1;
let waiting = 0;
let lost = 0;
let work: Promise<void> = Promise.resolve();

function tell(message: FromWorker): void {
  self.postMessage(message);
}

const open: Open = async ({ data }, weights) => {
  const session = await ort.InferenceSession.create(data, {
    executionProviders: ["wasm"],
    ...(weights ? { externalData: [{ path: weights.path, data: weights.data }] } : {}),
  });
  return async (window) => {
    const waveform = new ort.Tensor("float32", window, [1, window.length]);
    return (await session.run({ waveform }, ["logits"]))["logits"]!.data as Float32Array;
  };
};

async function load(name: string, precision: string): Promise<void> {
  classifier = stream = null;
  const bundle = await Bundle.open(async (path) => {
    const answer = await fetch(`bundles/${encodeURIComponent(name)}/${path}`);
    if (!answer.ok) throw new Error(`${path} is missing: ${answer.status}.`);
    return new Uint8Array(await answer.arrayBuffer());
  });
  const chosen = bundle.precisions.includes(precision) ? precision : bundle.precisions[0]!;
  classifier = await Classifier.load(bundle, chosen, open);
  tell({
    kind: "loaded", labels: classifier.labels, precisions: bundle.precisions, precision: chosen,
    golden_error: classifier.golden_error, threads: ort.env.wasm.numThreads ?? 1,
  });
}

async function hear(samples: Float32Array): Promise<void> {
  waiting -= samples.length;
  if (!stream) return;
  const passed = stream.windows;
  const events = lost ? await stream.skip(lost) : [];
  if (lost) tell({ kind: "lost", seconds: lost / rate_hz });
  lost = 0;
  events.push(...(await stream.push(samples)));
  if (events.length) tell({ kind: "events", events });
  if (stream.windows > passed)
    tell({ kind: "window", probabilities: Array.from(stream.latest ?? classifier!.labels.map(() => 0)) });
}

async function serve(message: ToWorker): Promise<void> {
  if (message.kind === "load") return load(message.bundle, message.precision);
  if (message.kind === "chunk") return hear(message.samples);
  if (!classifier) throw new Error("No model is loaded.");
  if (message.kind === "start") {
    const { sample_rate_hz, n_samples } = classifier.bundle.manifest.model;
    const grid = new WindowGrid(sample_rate_hz, n_samples);
    const classify = (window: Float32Array) => classifier!.probabilities(window);
    rate_hz = message.rate_hz;
    stream = new Stream(
      classifier.labels, grid, rate_hz, classify, message.rules, message.gate ? GATE_DEFAULTS : null,
    );
  } else if (message.kind === "stop") {
    if (stream) tell({ kind: "events", events: await stream.flush() });
    stream = null;
    tell({ kind: "stopped" });
  } else {
    tell({ kind: "predictions", predictions: await classifier.classify(message.mono, message.rate_hz) });
  }
}

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  if (data.kind === "chunk") {
    if (data.live && waiting > MOST_WAITING_S * rate_hz) {
      lost += data.samples.length;
      return;
    }
    waiting += data.samples.length;
  }
  work = work
    .then(() => serve(data))
    .catch((error: unknown) => tell({ kind: "error", message: error instanceof Error ? error.message : String(error) }));
};
