// A bundle: its files, which must be those of the export, and a classifier that must agree with the
// golden vectors before it answers.

import { readNpz } from "./npz";
import { resample } from "./resampler";

export interface BundleFile {
  path: string;
  role: string;
  sha256: string;
  size_bytes: number;
  precision: string;
}

export interface Manifest {
  schema: number;
  model: { name: string; sample_rate_hz: number; n_samples: number };
  labels: string[];
  files: BundleFile[];
  parity: Record<string, { limit: number }>;
}

export type Read = (path: string) => Promise<Uint8Array>;
/** One window to its logits. */
export type Run = (window: Float32Array) => Promise<Float32Array>;
/** Makes a `Run` of a graph; `weights` is what a compact bundle's graph reads beside itself. */
export type Open = (
  graph: { path: string; data: Uint8Array },
  weights: { path: string; data: Uint8Array } | null,
) => Promise<Run>;

const REPEAT_LIMITS: Record<string, number> = { fp32: 1e-3, fp16: 1e-2 };

export class Bundle {
  private constructor(private readonly read: Read, readonly manifest: Manifest) {}

  static async open(read: Read): Promise<Bundle> {
    const manifest = JSON.parse(new TextDecoder().decode(await read("manifest.json"))) as Manifest;
    if (manifest.schema !== 1) throw new Error("manifest.json has another schema than 1.");
    return new Bundle(read, manifest);
  }

  get precisions(): string[] {
    const models = this.manifest.files.filter((file) => file.role === "model");
    return models.map((file) => file.precision).filter((name) => name !== "int8-tensorrt");
  }

  /** The bytes of a listed file, which are those of the export. */
  async checked(role: string, precision = ""): Promise<{ path: string; data: Uint8Array } | null> {
    const file = this.manifest.files.find(
      (each) => each.role === role && (!precision || each.precision === precision),
    );
    if (!file) return null;
    const data = await this.read(file.path);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data as BufferSource));
    const hex = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hex !== file.sha256)
      throw new Error(`${file.path} has changed since the export: its SHA-256 differs.`);
    return { path: file.path, data };
  }
}

export interface Prediction {
  label: string;
  probability: number;
}

export class Classifier {
  golden_error = Infinity; // of the logits, relative to the largest one of torch's
  repeat_error: number | null = null; // the same, against this graph's own at the export

  private constructor(readonly bundle: Bundle, readonly precision: string, private readonly run: Run) {}

  static async load(bundle: Bundle, precision: string, open: Open): Promise<Classifier> {
    const graph = await bundle.checked("model", precision);
    if (!graph) throw new Error(`The bundle has no ${precision}, but ${bundle.precisions.join(", ")}.`);
    const run = await open(graph, await bundle.checked("weights"));
    const classifier = new Classifier(bundle, precision, run);
    await classifier.checkGolden();
    return classifier;
  }

  get labels(): string[] {
    return this.bundle.manifest.labels;
  }

  /** Probability per label of one window at the network's rate. */
  async probabilities(window: Float32Array): Promise<Float64Array> {
    const peak = window.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const logits = await this.run(peak > 2 ** 20 ? window.map((x) => x / peak) : window);
    const largest = Math.max(...logits);
    const found = Float64Array.from(logits, (logit) => Math.exp(logit - largest));
    const sum = found.reduce((a, b) => a + b, 0);
    return found.map((x) => x / sum);
  }

  /** A whole sound, best label first: spaced windows, of which those with sound are averaged. */
  async classify(mono: Float32Array, rate_hz: number, top = 5): Promise<Prediction[]> {
    const { sample_rate_hz, n_samples } = this.bundle.manifest.model;
    const sound = resample(mono, rate_hz, sample_rate_hz);
    const count = Math.max(1, Math.ceil(sound.length / n_samples));
    const [rows, shares]: [Float64Array[], number[]] = [[], []];
    for (let i = 0; i < count; i++) {
      const start = count > 1 ? Math.round((i * (sound.length - n_samples)) / (count - 1)) : 0;
      const window = new Float32Array(n_samples);
      window.set(sound.subarray(start, start + n_samples));
      shares.push(soundShare(window));
      rows.push(await this.probabilities(window));
    }
    const voting = rows.filter((_, i) => shares[i]! >= 0.1 * Math.max(...shares));
    return this.labels
      .map((label, i) => ({
        label,
        probability: voting.reduce((sum, row) => sum + row[i]!, 0) / voting.length,
      }))
      .sort((a, b) => b.probability - a.probability)
      .slice(0, top);
  }

  private async checkGolden(): Promise<void> {
    const file = await this.bundle.checked("golden");
    const arrays = file && (await readNpz(file.data));
    const [waves, logits] = [arrays?.get("waveform"), arrays?.get("logits")];
    const limit = this.bundle.manifest.parity[this.precision]?.limit;
    const size = this.bundle.manifest.model.n_samples;
    if (!waves || !logits || limit === undefined || waves.shape[1] !== size)
      throw new Error("The golden vectors are incomplete.");
    const found: number[] = [];
    for (let clip = 0; clip < waves.shape[0]!; clip++)
      found.push(...(await this.run(waves.values.slice(clip * size, (clip + 1) * size))));
    this.golden_error = relativeError(found, logits.values);
    const own = arrays?.get(`logits.${this.precision}`);
    this.repeat_error = own ? relativeError(found, own.values) : null;
    // Written so that an error that is not a number fails.
    if (
      !(this.golden_error <= limit) ||
      !((this.repeat_error ?? 0) <= (REPEAT_LIMITS[this.precision] ?? 0.1))
    )
      throw new Error(`The outputs differ from the golden vectors: error ${this.golden_error}.`);
  }
}

function relativeError(found: ArrayLike<number>, expected: Float32Array): number {
  if (found.length !== expected.length) return NaN;
  const error = expected.reduce((most, x, i) => Math.max(most, Math.abs(x - found[i]!)), 0);
  return error / Math.max(1e-12, expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0));
}

/** How much of a window reaches -80 dB of full scale, in frames of 32 samples. */
function soundShare(window: Float32Array): number {
  let [loud, frames] = [0, 0];
  for (let at = 0; at < window.length; at += 32, frames++)
    if (window.subarray(at, at + 32).some((x) => Math.abs(x) >= 1e-4)) loud++;
  return loud / frames;
}
