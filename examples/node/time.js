// node time.js BUNDLE: one run of a window for each line on stdin, in milliseconds.
import { join } from "node:path";
import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import { InferenceSession, Tensor } from "onnxruntime-node";

const folder = process.argv[2];
const { model } = JSON.parse(readFileSync(join(folder, "manifest.json"), "utf8"));
const session = await InferenceSession.create(join(folder, "model.fp32.onnx"), { intraOpNumThreads: 1 });
const window = Float32Array.from({ length: model.n_samples }, (_, i) => Math.sin(0.3 * i));
for await (const _ of createInterface({ input: process.stdin })) {
  const start = performance.now();
  await session.run({ waveform: new Tensor("float32", window, [1, window.length]) });
  console.log(performance.now() - start);
}
