// Band-limited resampling in blocks of any size: a sinc under a Kaiser window with the pass band of
// soxr's high quality, as the Python runtime has it. The delay is compensated.

const DECIBELS = 125;

function gcd(a: number, b: number): number {
  return b ? gcd(b, a % b) : a;
}

function bessel(x: number): number {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-18 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

export class Resampler {
  private readonly step: number;
  private readonly phases: number;
  private readonly reach: number;
  private readonly cutoff: number;
  private readonly taps = new Map<number, Float64Array>();
  private held = new Float32Array(0); // inputs from sample `first` on
  private first = 0;
  private made = 0;
  private taken = 0;

  constructor(from_hz: number, to_hz: number) {
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
  push(block: Float32Array): Float32Array {
    if (this.reach === 0) return block;
    this.hold(block);
    this.taken += block.length;
    return this.make(Math.floor(((this.taken - this.reach - 1) * this.phases) / this.step) + 1);
  }

  /** What is left; the next block begins anew. */
  finish(): Float32Array {
    if (this.reach === 0) return new Float32Array(0);
    const total = Math.floor((2 * this.taken * this.phases + this.step) / (2 * this.step));
    this.hold(new Float32Array(this.reach + 2));
    const rest = this.make(total);
    this.clear();
    return rest;
  }

  private clear(): void {
    this.made = this.taken = 0;
    this.first = -this.reach;
    this.held = new Float32Array(this.reach);
  }

  private hold(block: Float32Array): void {
    const from = Math.floor((this.made * this.step) / this.phases) - this.reach - this.first;
    const old = this.held.subarray(Math.max(0, Math.min(from, this.held.length)));
    this.first += this.held.length - old.length;
    this.held = new Float32Array(old.length + block.length);
    this.held.set(old);
    this.held.set(block, old.length);
  }

  private make(until: number): Float32Array {
    const out = new Float32Array(Math.max(0, until - this.made));
    for (let i = 0; i < out.length; i++, this.made++) {
      const at = this.made * this.step;
      const taps = this.phase(at % this.phases);
      const from = Math.floor(at / this.phases) - this.reach + 1 - this.first;
      let sum = 0;
      for (let k = 0; k < taps.length; k++) sum += taps[k]! * this.held[from + k]!;
      out[i] = sum;
    }
    return out;
  }

  private phase(which: number): Float64Array {
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
      sum += taps[i]!;
    }
    for (let i = 0; i < taps.length; i++) taps[i]! /= sum;
    this.taps.set(which, taps);
    return taps;
  }
}

export function resample(samples: Float32Array, from_hz: number, to_hz: number): Float32Array {
  const resampler = new Resampler(from_hz, to_hz);
  const [head, rest] = [resampler.push(samples), resampler.finish()];
  const out = new Float32Array(Math.max(1, head.length + rest.length));
  out.set(head);
  out.set(rest, head.length);
  return out;
}
