// node classify.js BUNDLE FILE.wav…: labels on onnxruntime-node, after the golden vectors agree.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { Bundle, Classifier, readWav } from "./gmme_edge.js";

process.on("uncaughtException", (error) => {
  console.error(`error: ${error.message}`); // what went wrong, not where in this program
  process.exit(1);
});
const [folder, ...files] = process.argv.slice(2);
if (!folder) throw new Error("Usage: node classify.js BUNDLE FILE.wav…");
const read = async (path) => new Uint8Array(await readFile(join(folder, path)));
const open = async ({ path }) => {
  const session = await InferenceSession.create(join(folder, path), { intraOpNumThreads: 1 });
  return async (window) =>
    (await session.run({ waveform: new Tensor("float32", window, [1, window.length]) })).logits.data;
};
const classifier = await Classifier.load(await Bundle.open(read), process.env.PRECISION ?? "fp32", open);
console.error(JSON.stringify({ relative_error: classifier.golden_error }));
for (const file of files) {
  const sound = readWav(new Uint8Array(await readFile(file)));
  if (!sound) throw new Error(`${file} is no WAV file.`);
  const predictions = await classifier.classify(sound.mono, sound.rate_hz);
  console.log(JSON.stringify({ file, predictions }));
}
