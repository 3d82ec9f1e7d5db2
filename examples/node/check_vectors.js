// The stream's test vectors, held against this code: in Node (vectors.js) and in browsers.
import { ActivityGate, EventTracker, GATE_DEFAULTS, Stream, WindowGrid } from "./gmme_edge.js";

function same(a, b) {
  if (typeof a === "number" && typeof b === "number") return Math.abs(a - b) < 1e-9;
  if (typeof a !== "object" || a === null || b === null) return a === b;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => same(a[name], b[name]));
}

function events(one) {
  const grid = new WindowGrid(one.sample_rate_hz, one.window_samples, one.hop_us);
  const tracker = new EventTracker(one.labels, grid, one.rules);
  const whole = grid.wholeWindows(one.total_samples);
  const found = one.probabilities.flatMap((row, i) => {
    const start = i < whole ? grid.start(i) : grid.tail(one.total_samples);
    if (start !== one.window_starts[i]) throw new Error("a window begins elsewhere");
    const { start: from, end } = grid.cell(i);
    return tracker.hear({ start: from, end: i < whole ? end : one.total_samples }, row, i);
  });
  return [...found, ...tracker.finish(one.total_samples)];
}

function gateAgrees(one) {
  const gate = new ActivityGate(GATE_DEFAULTS, one.sample_rate_hz);
  let state = 1;
  const sound = Float32Array.from({ length: one.samples }, (_, i) => {
    state = (Math.imul(1664525, state) + 1013904223) >>> 0;
    return 0.01 * (state / 2 ** 31 - 1) + (i >= (3 * one.samples) / 4 ? 0.2 * Math.sin(0.3 * i) : 0);
  });
  return one.frames.every(([excess, fromFlat, active], i) => {
    const frame = sound.subarray(i * gate.frame_samples, (i + 1) * gate.frame_samples);
    const found = gate.measure(Float64Array.from(frame));
    gate.hear(frame);
    return Math.abs(found.excess_db - excess) < 2e-3
      && Math.abs(found.from_flat_db - fromFlat) < 2e-3
      && gate.isOpen(i * gate.frame_samples) === active;
  });
}

async function level(window) {
  let [mean, top, bottom] = [0, -1e9, 1e9];
  for (const x of window) {
    mean += Math.abs(x) / window.length;
    top = Math.max(top, x);
    bottom = Math.min(bottom, x);
  }
  return [2 * mean, top, -bottom].map((p) => Math.min(1, Math.max(0, p)));
}

/** The events of one case, chunk by chunk. */
export async function streamOne(one) {
  const grid = new WindowGrid(one.sample_rate_hz, one.window_samples, one.hop_us);
  const gate = one.gate ? GATE_DEFAULTS : null;
  const stream = new Stream(["mean", "top", "bottom"], grid, one.input_hz, level, one.rules, gate);
  const found = [];
  for (const step of one.steps) {
    if (typeof step === "number") {
      found.push(...(await stream.skip(step)));
      continue;
    }
    const mono = Float32Array.from({ length: step.length / one.channels }, (_, i) => {
      const frame = step.slice(i * one.channels, (i + 1) * one.channels);
      return frame.reduce((a, b) => a + b, 0) / one.channels;
    });
    found.push(...(await stream.push(mono)));
  }
  found.push(...(await stream.flush()));
  return { events: found, windows: stream.windows, computed: stream.computed };
}

/** How many vectors there are, and the names of those that differ. */
export function check(vectors) {
  const failed = vectors.events.filter((one) => !same(events(one), one.events)).map((one) => one.name);
  if (!gateAgrees(vectors.gate)) failed.push("gate");
  return { count: vectors.events.length + 1, failed };
}
