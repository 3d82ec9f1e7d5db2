// A classifier that listens: chunks in, events out (docs/reference/streaming.md).

import { EventTracker, type EventRules, type Row, type SoundEvent, type Span, WindowGrid } from "./events";
import { ActivityGate, type GateRules } from "./gate";
import { Resampler } from "./resampler";

/** The probabilities of one window at the network's rate. */
export type Classify = (window: Float32Array) => Promise<ArrayLike<number>>;

export class Stream {
  windows = 0;
  computed = 0;
  latest: Row = null;
  private readonly resampler: Resampler;
  private readonly tracker: EventTracker;
  private readonly gate: ActivityGate | null;
  private readonly last: Float32Array; // a ring of the last samples
  private input = 0;
  private base = 0;
  private heard = 0;
  private index = 0;

  constructor(
    labels: string[],
    readonly grid: WindowGrid,
    private readonly input_hz: number,
    private readonly classify: Classify,
    rules: EventRules = { on: 0.5 },
    gate: GateRules | null = null,
  ) {
    this.resampler = new Resampler(input_hz, grid.rate_hz);
    this.tracker = new EventTracker(labels, grid, rules);
    this.gate = gate && new ActivityGate(gate, grid.rate_hz);
    this.last = new Float32Array(grid.window);
  }

  /** Mono samples from -1 to 1; the events that end with them. */
  async push(mono: Float32Array): Promise<SoundEvent[]> {
    for (const x of mono)
      if (!(Math.abs(x) <= 1e30)) throw new Error("A chunk has NaN, infinite or huge samples.");
    this.input += mono.length;
    return this.hear(this.resampler.push(mono));
  }

  /** The sound ends here. What is pushed afterwards begins a new segment. */
  async flush(): Promise<SoundEvent[]> {
    const events = await this.hear(this.resampler.finish());
    const tail = this.grid.tail(this.heard);
    if (tail !== null) {
      const { start } = this.grid.cell(this.grid.wholeWindows(this.heard));
      events.push(...(await this.window(tail, { start, end: this.heard })));
    }
    events.push(...this.tracker.finish(this.base + this.heard));
    this.startSegment();
    return events;
  }

  /** `lost` samples of the source never came: open events end, the time goes on. */
  async skip(lost: number): Promise<SoundEvent[]> {
    const events = await this.flush();
    this.input += lost;
    this.startSegment();
    return events;
  }

  private startSegment(): void {
    const passed = Math.floor((this.input * this.grid.rate_hz) / this.input_hz);
    this.base = Math.max(passed, this.base + this.heard);
    this.heard = this.index = 0;
    this.gate?.startSegment();
  }

  private async hear(samples: Float32Array): Promise<SoundEvent[]> {
    const events: SoundEvent[] = [];
    for (let at = 0; at < samples.length; ) {
      const missing = this.grid.end(this.index) - this.heard;
      const part = samples.subarray(at, at + missing);
      for (let i = 0; i < part.length; i++) this.last[(this.heard + i) % this.last.length] = part[i]!;
      this.gate?.hear(part);
      at += part.length;
      this.heard += part.length;
      if (part.length < missing) break;
      events.push(...(await this.window(this.grid.start(this.index), this.grid.cell(this.index))));
      this.index++;
    }
    return events;
  }

  private async window(start: number, cell: Span): Promise<SoundEvent[]> {
    this.latest = null;
    if (!this.gate || this.gate.isOpen(start)) {
      const size = this.last.length;
      const known = Math.min(size, this.heard);
      const samples = new Float32Array(size);
      for (let i = 0; i < known; i++) samples[i] = this.last[(this.heard - known + i) % size]!;
      this.latest = await this.classify(samples);
      this.computed++;
    }
    const shifted = { start: this.base + cell.start, end: this.base + cell.end };
    return this.tracker.hear(shifted, this.latest, this.windows++);
  }
}
