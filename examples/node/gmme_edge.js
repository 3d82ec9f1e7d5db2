// src/npz.ts
async function readNpz(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 101010256) end--;
  if (end < 0) throw new Error("golden.npz is no ZIP file.");
  const arrays = /* @__PURE__ */ new Map();
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    const [method, packed] = [view.getUint16(at + 10, true), view.getUint32(at + 20, true)];
    const [named, local] = [view.getUint16(at + 28, true), view.getUint32(at + 42, true)];
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + named));
    at += 46 + named + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const data = bytes.subarray(start, start + packed);
    if (method !== 0 && method !== 8) throw new Error("golden.npz is packed in an unknown way.");
    arrays.set(name.replace(/\.npy$/, ""), parseNpy(method ? await inflate(data) : data));
  }
  return arrays;
}
async function inflate(data) {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
function parseNpy(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const old = view.getUint8(6) === 1;
  const start = (old ? 10 : 12) + (old ? view.getUint16(8, true) : view.getUint32(8, true));
  const header = new TextDecoder("latin1").decode(file.subarray(0, start));
  const shape = /'shape': \(([\d, ]*)\)/.exec(header);
  if (!shape || !header.includes("'<f4'") || header.includes("True"))
    throw new Error("A golden array is not little-endian float32 in C order.");
  return {
    shape: shape[1].split(",").filter((text) => text.trim()).map(Number),
    values: new Float32Array(file.slice(start).buffer)
  };
}

// src/resampler.ts
var DECIBELS = 125;
function gcd(a, b) {
  return b ? gcd(b, a % b) : a;
}
function bessel(x) {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-18 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}
var Resampler = class {
  step;
  phases;
  reach;
  cutoff;
  taps = /* @__PURE__ */ new Map();
  held = new Float32Array(0);
  // inputs from sample `first` on
  first = 0;
  made = 0;
  taken = 0;
  constructor(from_hz, to_hz) {
    const common = gcd(from_hz, to_hz);
    this.step = from_hz / common;
    this.phases = to_hz / common;
    const lower = Math.min(1, to_hz / from_hz);
    this.cutoff = 0.5 * (1 + 0.913) * lower;
    const width = (1 - 0.913) * lower * Math.PI;
    this.reach = from_hz === to_hz ? 0 : Math.floor((DECIBELS - 8) / (4.57 * width)) + 1;
    this.clear();
  }
  /** What is ready after `block`. */
  push(block) {
    if (this.reach === 0) return block;
    this.hold(block);
    this.taken += block.length;
    return this.make(Math.floor((this.taken - this.reach - 1) * this.phases / this.step) + 1);
  }
  /** What is left; the next block begins anew. */
  finish() {
    if (this.reach === 0) return new Float32Array(0);
    const total = Math.floor((2 * this.taken * this.phases + this.step) / (2 * this.step));
    this.hold(new Float32Array(this.reach + 2));
    const rest = this.make(total);
    this.clear();
    return rest;
  }
  clear() {
    this.made = this.taken = 0;
    this.first = -this.reach;
    this.held = new Float32Array(this.reach);
  }
  hold(block) {
    const from = Math.floor(this.made * this.step / this.phases) - this.reach - this.first;
    const old = this.held.subarray(Math.max(0, Math.min(from, this.held.length)));
    this.first += this.held.length - old.length;
    this.held = new Float32Array(old.length + block.length);
    this.held.set(old);
    this.held.set(block, old.length);
  }
  make(until) {
    const out = new Float32Array(Math.max(0, until - this.made));
    for (let i = 0; i < out.length; i++, this.made++) {
      const at = this.made * this.step;
      const taps = this.phase(at % this.phases);
      const from = Math.floor(at / this.phases) - this.reach + 1 - this.first;
      let sum = 0;
      for (let k = 0; k < taps.length; k++) sum += taps[k] * this.held[from + k];
      out[i] = sum;
    }
    return out;
  }
  phase(which) {
    const known = this.taps.get(which);
    if (known) return known;
    const taps = new Float64Array(2 * this.reach);
    const beta = 0.1102 * (DECIBELS - 8.7);
    const whole = bessel(beta);
    let sum = 0;
    for (let i = 0; i < taps.length; i++) {
      const x = i - this.reach + 1 - which / this.phases;
      const part = x / this.reach;
      const angle = Math.PI * this.cutoff * x;
      const window = Math.abs(part) >= 1 ? 0 : bessel(beta * Math.sqrt(1 - part * part)) / whole;
      taps[i] = (angle === 0 ? 1 : Math.sin(angle) / angle) * window;
      sum += taps[i];
    }
    for (let i = 0; i < taps.length; i++) taps[i] /= sum;
    this.taps.set(which, taps);
    return taps;
  }
};
function resample(samples, from_hz, to_hz) {
  const resampler = new Resampler(from_hz, to_hz);
  const [head, rest] = [resampler.push(samples), resampler.finish()];
  const out = new Float32Array(Math.max(1, head.length + rest.length));
  out.set(head);
  out.set(rest, head.length);
  return out;
}

// src/bundle.ts
var REPEAT_LIMITS = { fp32: 1e-3, fp16: 0.01 };
var Bundle = class _Bundle {
  constructor(read, manifest) {
    this.read = read;
    this.manifest = manifest;
  }
  read;
  manifest;
  static async open(read) {
    const manifest = JSON.parse(new TextDecoder().decode(await read("manifest.json")));
    if (manifest.schema !== 1) throw new Error("manifest.json has another schema than 1.");
    return new _Bundle(read, manifest);
  }
  get precisions() {
    const models = this.manifest.files.filter((file) => file.role === "model");
    return models.map((file) => file.precision).filter((name) => name !== "int8-tensorrt");
  }
  /** The bytes of a listed file, which are those of the export. */
  async checked(role, precision = "") {
    const file = this.manifest.files.find(
      (each) => each.role === role && (!precision || each.precision === precision)
    );
    if (!file) return null;
    const data = await this.read(file.path);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
    const hex = Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (hex !== file.sha256)
      throw new Error(`${file.path} has changed since the export: its SHA-256 differs.`);
    return { path: file.path, data };
  }
};
var Classifier = class _Classifier {
  // the same, against this graph's own at the export
  constructor(bundle, precision, run) {
    this.bundle = bundle;
    this.precision = precision;
    this.run = run;
  }
  bundle;
  precision;
  run;
  golden_error = Infinity;
  // of the logits, relative to the largest one of torch's
  repeat_error = null;
  static async load(bundle, precision, open) {
    const graph = await bundle.checked("model", precision);
    if (!graph) throw new Error(`The bundle has no ${precision}, but ${bundle.precisions.join(", ")}.`);
    const run = await open(graph, await bundle.checked("weights"));
    const classifier = new _Classifier(bundle, precision, run);
    await classifier.checkGolden();
    return classifier;
  }
  get labels() {
    return this.bundle.manifest.labels;
  }
  /** Probability per label of one window at the network's rate. */
  async probabilities(window) {
    const peak = window.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const logits = await this.run(peak > 2 ** 20 ? window.map((x) => x / peak) : window);
    const largest = Math.max(...logits);
    const found = Float64Array.from(logits, (logit) => Math.exp(logit - largest));
    const sum = found.reduce((a, b) => a + b, 0);
    return found.map((x) => x / sum);
  }
  /** A whole sound, best label first: spaced windows, of which those with sound are averaged. */
  async classify(mono, rate_hz, top = 5) {
    const { sample_rate_hz, n_samples } = this.bundle.manifest.model;
    const sound = resample(mono, rate_hz, sample_rate_hz);
    const count = Math.max(1, Math.ceil(sound.length / n_samples));
    const [rows, shares] = [[], []];
    for (let i = 0; i < count; i++) {
      const start = count > 1 ? Math.round(i * (sound.length - n_samples) / (count - 1)) : 0;
      const window = new Float32Array(n_samples);
      window.set(sound.subarray(start, start + n_samples));
      shares.push(soundShare(window));
      rows.push(await this.probabilities(window));
    }
    const voting = rows.filter((_, i) => shares[i] >= 0.1 * Math.max(...shares));
    return this.labels.map((label, i) => ({
      label,
      probability: voting.reduce((sum, row) => sum + row[i], 0) / voting.length
    })).sort((a, b) => b.probability - a.probability).slice(0, top);
  }
  async checkGolden() {
    const file = await this.bundle.checked("golden");
    const arrays = file && await readNpz(file.data);
    const [waves, logits] = [arrays?.get("waveform"), arrays?.get("logits")];
    const limit = this.bundle.manifest.parity[this.precision]?.limit;
    const size = this.bundle.manifest.model.n_samples;
    if (!waves || !logits || limit === void 0 || waves.shape[1] !== size)
      throw new Error("The golden vectors are incomplete.");
    const found = [];
    for (let clip = 0; clip < waves.shape[0]; clip++)
      found.push(...await this.run(waves.values.slice(clip * size, (clip + 1) * size)));
    this.golden_error = relativeError(found, logits.values);
    const own = arrays?.get(`logits.${this.precision}`);
    this.repeat_error = own ? relativeError(found, own.values) : null;
    if (!(this.golden_error <= limit) || !((this.repeat_error ?? 0) <= (REPEAT_LIMITS[this.precision] ?? 0.1)))
      throw new Error(`The outputs differ from the golden vectors: error ${this.golden_error}.`);
  }
};
function relativeError(found, expected) {
  if (found.length !== expected.length) return NaN;
  const error = expected.reduce((most, x, i) => Math.max(most, Math.abs(x - found[i])), 0);
  return error / Math.max(1e-12, expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0));
}
function soundShare(window) {
  let [loud, frames] = [0, 0];
  for (let at = 0; at < window.length; at += 32, frames++)
    if (window.subarray(at, at + 32).some((x) => Math.abs(x) >= 1e-4)) loud++;
  return loud / frames;
}

// src/events.ts
var WindowGrid = class {
  constructor(rate_hz, window, hop_us) {
    this.rate_hz = rate_hz;
    this.window = window;
    this.hop_us = hop_us ?? Math.ceil(25e4 * window / rate_hz);
    if (this.hop_us * rate_hz < 1e6 || this.hop_us * rate_hz > window * 1e6)
      throw new Error("A hop is at least one sample and at most one window.");
  }
  rate_hz;
  window;
  hop_us;
  start(index) {
    return Number(BigInt(index) * BigInt(this.hop_us) * BigInt(this.rate_hz) / 1000000n);
  }
  end(index) {
    return this.start(index) + this.window;
  }
  cell(index) {
    const hop = Math.floor(this.hop_us * this.rate_hz / 1e6);
    const lead = Math.floor((this.window - hop) / 2);
    return { start: index ? this.start(index) + lead : 0, end: this.start(index + 1) + lead };
  }
  wholeWindows(total) {
    if (total < this.window) return 0;
    const step = BigInt(this.hop_us) * BigInt(this.rate_hz);
    return Number((BigInt(total - this.window + 1) * 1000000n - 1n) / step) + 1;
  }
  /** Where the last window begins that hears what whole windows left over. */
  tail(total) {
    const whole = this.wholeWindows(total);
    return (whole ? this.end(whole - 1) : 0) === total ? null : Math.max(0, total - this.window);
  }
};
var Found = class {
  constructor(label, start, end) {
    this.label = label;
    this.start = start;
    this.end = end;
  }
  label;
  start;
  end;
  peak = 0;
  total = 0;
  first_window = -1;
  last_window = -1;
  windows = 0;
  count(probability, window) {
    if (this.last_window === window) return;
    if (this.last_window < 0) this.first_window = window;
    this.last_window = window;
    if (probability === null) return;
    this.peak = Math.max(this.peak, probability);
    this.total += probability;
    this.windows++;
  }
  toEvent(rate_hz) {
    const seconds = (sample) => Math.round(1e6 * sample / rate_hz) / 1e6;
    return {
      kind: "event",
      label: this.label,
      start_s: seconds(this.start),
      end_s: seconds(this.end),
      start_sample: this.start,
      end_sample: this.end,
      sample_rate_hz: rate_hz,
      peak: this.peak,
      mean: this.total / this.windows,
      first_window: this.first_window,
      last_window: this.last_window,
      windows: this.windows
    };
  }
};
var LabelTrack = class {
  constructor(label, rule, rate_hz) {
    this.label = label;
    const samples = (seconds) => Math.floor(seconds * rate_hz + 0.5);
    this.on = rule.on;
    this.off = rule.off ?? 0.7 * rule.on;
    this.min = samples(rule.min_duration_s ?? 0);
    this.merge = samples(rule.merge_gap_s ?? 0);
    this.refractory = samples(rule.refractory_s ?? 0);
    this.max = rule.max_duration_s == null ? Infinity : Math.max(1, samples(rule.max_duration_s));
  }
  label;
  on;
  off;
  min;
  merge;
  refractory;
  max;
  open = null;
  sounding = false;
  quietUntil = 0;
  /** Add the events that end within `cell`. */
  hear(cell, smooth, probability, window, ended) {
    let position = cell.start;
    let barred = false;
    while (position < cell.end && smooth >= (this.sounding ? this.off : this.on)) {
      if (this.open && Math.min(cell.end, this.open.start + this.max) <= position) this.close(ended);
      if (!this.open) {
        position = Math.max(position, this.quietUntil);
        barred = position >= cell.end || probability === null;
        if (barred) break;
        this.open = new Found(this.label, position, position);
      }
      const open = this.open;
      open.end = position = Math.min(cell.end, open.start + this.max);
      open.count(probability, window);
      this.sounding = true;
      if (position === open.start + this.max) {
        this.close(ended);
        this.sounding = this.refractory === 0;
      }
    }
    if (!barred && position === cell.end) return;
    this.sounding = false;
    if (this.open && cell.end - this.open.end > this.merge) this.close(ended);
  }
  finish(ended) {
    this.sounding = false;
    if (this.open) this.close(ended);
  }
  close(ended) {
    const one = this.open;
    this.open = null;
    if (one.end - one.start < this.min) return;
    this.quietUntil = one.end + this.refractory;
    ended.push(one);
  }
};
var EventTracker = class {
  constructor(labels, grid, rules) {
    this.grid = grid;
    const named = [...Object.keys(rules.per_label ?? {}), ...rules.allow ?? [], ...rules.deny ?? []];
    for (const name of named)
      if (!labels.includes(name)) throw new Error(`The rules name the label ${name}, which is unknown.`);
    const own = labels.map((label) => rules.per_label?.[label] ?? rules);
    const hop_s = grid.hop_us / 1e6;
    this.weights = own.map((rule) => rule.smoothing_s ? 1 - Math.exp(-hop_s / rule.smoothing_s) : 1);
    this.tracks = labels.map(
      (label, i) => (!rules.allow?.length || rules.allow.includes(label)) && !rules.deny?.includes(label) ? new LabelTrack(label, own[i], grid.rate_hz) : null
    );
  }
  grid;
  tracks;
  weights;
  smooth = null;
  last = { row: null, window: -1 };
  heardUntil = 0;
  /** Events that end with this window, which speaks for `cell`. */
  hear(cell, row, window) {
    this.smooth = this.tracks.map((_, i) => {
      const raw = row ? row[i] : 0;
      const before = this.smooth?.[i];
      return before === void 0 ? raw : before + this.weights[i] * (raw - before);
    });
    this.last = { row, window };
    return this.events(this.follow(cell));
  }
  /** The sound ends at `end` or is interrupted there. */
  finish(end) {
    const ended = this.follow({ start: this.heardUntil, end });
    this.smooth = null;
    for (const track of this.tracks) track?.finish(ended);
    return this.events(ended);
  }
  follow(cell) {
    const ended = [];
    if (!this.smooth || cell.start >= cell.end) return ended;
    const { row, window } = this.last;
    this.tracks.forEach(
      (track, i) => track?.hear(cell, this.smooth[i], row ? row[i] : null, window, ended)
    );
    this.heardUntil = cell.end;
    return ended;
  }
  events(found) {
    return found.map((one) => one.toEvent(this.grid.rate_hz));
  }
};

// src/gate.ts
var GATE_DEFAULTS = {
  min_level_dbfs: -60,
  level_margin_db: 8,
  flatness_margin_db: 4,
  floor_rise_s: 12,
  floor_fall_s: 0.5
};
var BANDS = 16;
var QUIETEST = 1e-10;
function roundHalfEven(x) {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}
var ActivityGate = class {
  constructor(rules, rate_hz) {
    this.rules = rules;
    let size = 1;
    while (size < Math.floor(rate_hz / 25)) size *= 2;
    this.frame_samples = size;
    this.frame = new Float64Array(size);
    this.taper = this.frame.map((_, i) => 0.5 - 0.5 * Math.cos(2 * Math.PI * i / size));
    this.scale = 2 / (size * this.taper.reduce((sum, x) => sum + x * x, 0));
    const mel = (hz) => 2595 * Math.log10(1 + hz / 700);
    const [low, high] = [mel(60), mel(rate_hz / 2)];
    for (let i = 0; i <= BANDS; i++) {
      const hz = 700 * (10 ** ((low + (high - low) * i / BANDS) / 2595) - 1);
      const edge = roundHalfEven(hz * size / rate_hz);
      this.edges.push(i ? Math.max(edge, this.edges[i - 1] + 1) : edge);
    }
    const seconds = size / rate_hz;
    this.second = 1 / seconds;
    this.rise = 1 - Math.exp(-seconds / rules.floor_rise_s);
    this.fall = 1 - Math.exp(-seconds / rules.floor_fall_s);
  }
  rules;
  frame_samples;
  taper;
  edges = [];
  scale;
  second;
  rise;
  fall;
  floor_db = new Float64Array(BANDS).fill(10 * Math.log10(QUIETEST));
  frame;
  sinceReset = 0;
  filled = 0;
  frames = 0;
  active = [];
  /** What follows does not continue what came before; the noise floor stays. */
  startSegment() {
    this.filled = this.frames = 0;
    this.active = [];
  }
  hear(samples) {
    for (const sample of samples) {
      this.frame[this.filled++] = sample;
      if (this.filled < this.frame_samples) continue;
      if (this.isActive()) this.active.push(this.frames);
      this.frames++;
      this.filled = 0;
    }
  }
  /** Whether an active frame begins at or after `start`, which must not go back. */
  isOpen(start) {
    while (this.active.length && this.active[0] * this.frame_samples < start) this.active.shift();
    return this.frames === 0 || this.active.length > 0;
  }
  measure(frame) {
    const power = powerSpectrum(frame.map((x, i) => x * this.taper[i]));
    const levels_db = [];
    let [sum, linear] = [0, 0];
    for (let band = 0; band < BANDS; band++) {
      const [from, to] = [this.edges[band], this.edges[band + 1]];
      let mean = 0;
      for (let bin = from; bin < to; bin++) mean += power[bin] * this.scale / (to - from);
      levels_db.push(10 * Math.log10(Math.max(mean, QUIETEST)));
      const above = levels_db[band] - this.floor_db[band];
      sum += above;
      linear += 10 ** (above / 10);
    }
    const excess_db = 10 * Math.log10(linear / BANDS);
    return { excess_db, from_flat_db: excess_db - sum / BANDS, levels_db };
  }
  isActive() {
    const { excess_db, from_flat_db, levels_db } = this.measure(this.frame);
    const rise = Math.max(this.rise, Math.min(1, 2 / (this.sinceReset++ + this.second)));
    levels_db.forEach((level, i) => {
      const step = level - this.floor_db[i];
      this.floor_db[i] += (step > 0 ? rise : this.fall) * step;
    });
    const power = this.frame.reduce((sum, x) => sum + x * x, 0) / this.frame_samples;
    const { min_level_dbfs, level_margin_db, flatness_margin_db } = this.rules;
    return power >= 10 ** (min_level_dbfs / 10) && (excess_db >= level_margin_db || from_flat_db >= flatness_margin_db);
  }
};
function powerSpectrum(values) {
  const n = values.length;
  const re = Float64Array.from(values);
  const im = new Float64Array(n);
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [re[i], re[j]] = [re[j], re[i]];
  }
  for (let half = 1; half < n; half *= 2)
    for (let k = 0; k < half; k++) {
      const [c, s] = [Math.cos(Math.PI * k / half), -Math.sin(Math.PI * k / half)];
      for (let i = k; i < n; i += 2 * half) {
        const j = i + half;
        const x = re[j] * c - im[j] * s;
        const y = re[j] * s + im[j] * c;
        re[j] = re[i] - x;
        im[j] = im[i] - y;
        re[i] += x;
        im[i] += y;
      }
    }
  return re.map((x, i) => x * x + im[i] * im[i]);
}

// src/stream.ts
var Stream = class {
  constructor(labels, grid, input_hz, classify, rules = { on: 0.5 }, gate = null) {
    this.grid = grid;
    this.input_hz = input_hz;
    this.classify = classify;
    this.resampler = new Resampler(input_hz, grid.rate_hz);
    this.tracker = new EventTracker(labels, grid, rules);
    this.gate = gate && new ActivityGate(gate, grid.rate_hz);
    this.last = new Float32Array(grid.window);
  }
  grid;
  input_hz;
  classify;
  windows = 0;
  computed = 0;
  latest = null;
  resampler;
  tracker;
  gate;
  last;
  // a ring of the last samples
  input = 0;
  base = 0;
  heard = 0;
  index = 0;
  /** Mono samples from -1 to 1; the events that end with them. */
  async push(mono) {
    for (const x of mono)
      if (!(Math.abs(x) <= 1e30)) throw new Error("A chunk has NaN, infinite or huge samples.");
    this.input += mono.length;
    return this.hear(this.resampler.push(mono));
  }
  /** The sound ends here. What is pushed afterwards begins a new segment. */
  async flush() {
    const events = await this.hear(this.resampler.finish());
    const tail = this.grid.tail(this.heard);
    if (tail !== null) {
      const { start } = this.grid.cell(this.grid.wholeWindows(this.heard));
      events.push(...await this.window(tail, { start, end: this.heard }));
    }
    events.push(...this.tracker.finish(this.base + this.heard));
    this.startSegment();
    return events;
  }
  /** `lost` samples of the source never came: open events end, the time goes on. */
  async skip(lost) {
    const events = await this.flush();
    this.input += lost;
    this.startSegment();
    return events;
  }
  startSegment() {
    const passed = Math.floor(this.input * this.grid.rate_hz / this.input_hz);
    this.base = Math.max(passed, this.base + this.heard);
    this.heard = this.index = 0;
    this.gate?.startSegment();
  }
  async hear(samples) {
    const events = [];
    for (let at = 0; at < samples.length; ) {
      const missing = this.grid.end(this.index) - this.heard;
      const part = samples.subarray(at, at + missing);
      for (let i = 0; i < part.length; i++) this.last[(this.heard + i) % this.last.length] = part[i];
      this.gate?.hear(part);
      at += part.length;
      this.heard += part.length;
      if (part.length < missing) break;
      events.push(...await this.window(this.grid.start(this.index), this.grid.cell(this.index)));
      this.index++;
    }
    return events;
  }
  async window(start, cell) {
    this.latest = null;
    if (!this.gate || this.gate.isOpen(start)) {
      const size = this.last.length;
      const known = Math.min(size, this.heard);
      const samples = new Float32Array(size);
      for (let i = 0; i < known; i++) samples[i] = this.last[(this.heard - known + i) % size];
      this.latest = await this.classify(samples);
      this.computed++;
    }
    const shifted = { start: this.base + cell.start, end: this.base + cell.end };
    return this.tracker.hear(shifted, this.latest, this.windows++);
  }
};

// src/wav.ts
function readWav(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (at) => String.fromCharCode(...bytes.subarray(at, at + 4));
  if (bytes.length < 12 || text(0) !== "RIFF" || text(8) !== "WAVE") return null;
  let format = { tag: 0, channels: 0, rate_hz: 0, bits: 0 };
  for (let at = 12; at + 8 <= bytes.length; ) {
    const length = Math.min(view.getUint32(at + 4, true), bytes.length - at - 8);
    const start = at + 8;
    if (text(at) === "fmt " && length >= 16) {
      const tag = view.getUint16(start, true);
      format = {
        tag: tag === 65534 && length >= 26 ? view.getUint16(start + 24, true) : tag,
        channels: view.getUint16(start + 2, true),
        rate_hz: view.getUint32(start + 4, true),
        bits: view.getUint16(start + 14, true)
      };
    } else if (text(at) === "data") {
      return decode(view, start, length, format);
    }
    at = start + length + length % 2;
  }
  return null;
}
function decode(view, start, length, { tag, channels, rate_hz, bits }) {
  const read = tag === 3 && bits === 32 ? (at) => view.getFloat32(at, true) : tag !== 1 ? null : bits === 8 ? (at) => (view.getUint8(at) - 128) / 128 : bits === 16 ? (at) => view.getInt16(at, true) / 2 ** 15 : bits === 24 ? (at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 65536) / 2 ** 23 : bits === 32 ? (at) => view.getInt32(at, true) / 2 ** 31 : null;
  if (!read || channels < 1 || rate_hz < 100) return null;
  const width = bits / 8;
  const mono = new Float32Array(Math.floor(length / (width * channels)));
  for (let i = 0; i < mono.length; i++) {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += read(start + (i * channels + c) * width);
    mono[i] = sum / channels;
  }
  return { rate_hz, mono };
}
export {
  ActivityGate,
  Bundle,
  Classifier,
  EventTracker,
  GATE_DEFAULTS,
  Resampler,
  Stream,
  WindowGrid,
  powerSpectrum,
  readNpz,
  readWav,
  resample,
  roundHalfEven
};
