// Is there anything to hear? docs/reference/streaming.md, section 3.

export const GATE_DEFAULTS = {
  min_level_dbfs: -60, level_margin_db: 8, flatness_margin_db: 4, floor_rise_s: 12, floor_fall_s: 0.5,
};
export type GateRules = typeof GATE_DEFAULTS;

const BANDS = 16;
const QUIETEST = 1e-10;

/** To the nearest whole number, halves to the even one. */
export function roundHalfEven(x: number): number {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

export class ActivityGate {
  readonly frame_samples: number;
  private readonly taper: Float64Array;
  private readonly edges: number[] = [];
  private readonly scale: number;
  private readonly second: number;
  private readonly rise: number;
  private readonly fall: number;
  private readonly floor_db = new Float64Array(BANDS).fill(10 * Math.log10(QUIETEST));
  private readonly frame: Float64Array;
  private sinceReset = 0;
  private filled = 0;
  private frames = 0;
  private active: number[] = [];

  constructor(private readonly rules: GateRules, rate_hz: number) {
    let size = 1;
    while (size < Math.floor(rate_hz / 25)) size *= 2;
    this.frame_samples = size;
    this.frame = new Float64Array(size);
    this.taper = this.frame.map((_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / size));
    this.scale = 2 / (size * this.taper.reduce((sum, x) => sum + x * x, 0));
    const mel = (hz: number) => 2595 * Math.log10(1 + hz / 700);
    const [low, high] = [mel(60), mel(rate_hz / 2)];
    for (let i = 0; i <= BANDS; i++) {
      const hz = 700 * (10 ** ((low + ((high - low) * i) / BANDS) / 2595) - 1);
      const edge = roundHalfEven((hz * size) / rate_hz);
      this.edges.push(i ? Math.max(edge, this.edges[i - 1]! + 1) : edge);
    }
    const seconds = size / rate_hz;
    this.second = 1 / seconds;
    this.rise = 1 - Math.exp(-seconds / rules.floor_rise_s);
    this.fall = 1 - Math.exp(-seconds / rules.floor_fall_s);
  }

  /** What follows does not continue what came before; the noise floor stays. */
  startSegment(): void {
    this.filled = this.frames = 0;
    this.active = [];
  }

  hear(samples: Float32Array): void {
    for (const sample of samples) {
      this.frame[this.filled++] = sample;
      if (this.filled < this.frame_samples) continue;
      if (this.isActive()) this.active.push(this.frames);
      this.frames++;
      this.filled = 0;
    }
  }

  /** Whether an active frame begins at or after `start`, which must not go back. */
  isOpen(start: number): boolean {
    while (this.active.length && this.active[0]! * this.frame_samples < start) this.active.shift();
    return this.frames === 0 || this.active.length > 0;
  }

  measure(frame: Float64Array): { excess_db: number; from_flat_db: number; levels_db: number[] } {
    const power = powerSpectrum(frame.map((x, i) => x * this.taper[i]!));
    const levels_db: number[] = [];
    let [sum, linear] = [0, 0];
    for (let band = 0; band < BANDS; band++) {
      const [from, to] = [this.edges[band]!, this.edges[band + 1]!];
      let mean = 0;
      for (let bin = from; bin < to; bin++) mean += (power[bin]! * this.scale) / (to - from);
      levels_db.push(10 * Math.log10(Math.max(mean, QUIETEST)));
      const above = levels_db[band]! - this.floor_db[band]!;
      sum += above;
      linear += 10 ** (above / 10);
    }
    const excess_db = 10 * Math.log10(linear / BANDS);
    return { excess_db, from_flat_db: excess_db - sum / BANDS, levels_db };
  }

  private isActive(): boolean {
    const { excess_db, from_flat_db, levels_db } = this.measure(this.frame);
    const rise = Math.max(this.rise, Math.min(1, 2 / (this.sinceReset++ + this.second)));
    levels_db.forEach((level, i) => {
      const step = level - this.floor_db[i]!;
      this.floor_db[i]! += (step > 0 ? rise : this.fall) * step;
    });
    const power = this.frame.reduce((sum, x) => sum + x * x, 0) / this.frame_samples;
    const { min_level_dbfs, level_margin_db, flatness_margin_db } = this.rules;
    return (
      power >= 10 ** (min_level_dbfs / 10) &&
      (excess_db >= level_margin_db || from_flat_db >= flatness_margin_db)
    );
  }
}

/** Squared magnitudes of the Fourier transform of a power of two real values. */
export function powerSpectrum(values: Float64Array): Float64Array {
  const n = values.length;
  const re = Float64Array.from(values);
  const im = new Float64Array(n);
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [re[i], re[j]] = [re[j]!, re[i]!];
  }
  for (let half = 1; half < n; half *= 2)
    for (let k = 0; k < half; k++) {
      const [c, s] = [Math.cos((Math.PI * k) / half), -Math.sin((Math.PI * k) / half)];
      for (let i = k; i < n; i += 2 * half) {
        const j = i + half;
        const x = re[j]! * c - im[j]! * s;
        const y = re[j]! * s + im[j]! * c;
        re[j] = re[i]! - x;
        im[j] = im[i]! - y;
        re[i]! += x;
        im[i]! += y;
      }
    }
  return re.map((x, i) => x * x + im[i]! * im[i]!);
}
