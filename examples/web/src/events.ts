// From the probabilities of windows to events: docs/reference/streaming.md, sections 2 and 4.

export type Row = ArrayLike<number> | null; // probabilities; null: not computed

export interface Span {
  start: number;
  end: number;
}

/** Where windows lie, in whole samples. */
export class WindowGrid {
  readonly hop_us: number;

  constructor(readonly rate_hz: number, readonly window: number, hop_us?: number) {
    this.hop_us = hop_us ?? Math.ceil((250_000 * window) / rate_hz);
    if (this.hop_us * rate_hz < 1_000_000 || this.hop_us * rate_hz > window * 1_000_000)
      throw new Error("A hop is at least one sample and at most one window.");
  }

  start(index: number): number {
    return Number((BigInt(index) * BigInt(this.hop_us) * BigInt(this.rate_hz)) / 1_000_000n);
  }

  end(index: number): number {
    return this.start(index) + this.window;
  }

  cell(index: number): Span {
    const hop = Math.floor((this.hop_us * this.rate_hz) / 1_000_000);
    const lead = Math.floor((this.window - hop) / 2);
    return { start: index ? this.start(index) + lead : 0, end: this.start(index + 1) + lead };
  }

  wholeWindows(total: number): number {
    if (total < this.window) return 0;
    const step = BigInt(this.hop_us) * BigInt(this.rate_hz);
    return Number((BigInt(total - this.window + 1) * 1_000_000n - 1n) / step) + 1;
  }

  /** Where the last window begins that hears what whole windows left over. */
  tail(total: number): number | null {
    const whole = this.wholeWindows(total);
    return (whole ? this.end(whole - 1) : 0) === total ? null : Math.max(0, total - this.window);
  }
}

export interface Rule {
  on: number;
  off?: number | null;
  min_duration_s?: number;
  merge_gap_s?: number;
  max_duration_s?: number | null;
  refractory_s?: number;
  smoothing_s?: number;
}

export interface EventRules extends Rule {
  per_label?: Record<string, Rule>;
  allow?: string[];
  deny?: string[];
}

/** As `gmme_edge.Event.to_dict()` writes it. */
export interface SoundEvent {
  kind: "event";
  label: string;
  start_s: number;
  end_s: number;
  start_sample: number;
  end_sample: number;
  sample_rate_hz: number;
  peak: number;
  mean: number;
  first_window: number;
  last_window: number;
  windows: number;
}

class Found {
  peak = 0;
  total = 0;
  first_window = -1;
  last_window = -1;
  windows = 0;

  constructor(readonly label: string, readonly start: number, public end: number) {}

  count(probability: number | null, window: number): void {
    if (this.last_window === window) return;
    if (this.last_window < 0) this.first_window = window;
    this.last_window = window;
    if (probability === null) return;
    this.peak = Math.max(this.peak, probability);
    this.total += probability;
    this.windows++;
  }

  toEvent(rate_hz: number): SoundEvent {
    const seconds = (sample: number) => Math.round((1e6 * sample) / rate_hz) / 1e6;
    return {
      kind: "event", label: this.label, start_s: seconds(this.start), end_s: seconds(this.end),
      start_sample: this.start, end_sample: this.end, sample_rate_hz: rate_hz, peak: this.peak,
      mean: this.total / this.windows, first_window: this.first_window,
      last_window: this.last_window, windows: this.windows,
    };
  }
}

/** One label's way from probabilities to events; all times in samples. */
class LabelTrack {
  private readonly on: number;
  private readonly off: number;
  private readonly min: number;
  private readonly merge: number;
  private readonly refractory: number;
  private readonly max: number;
  private open: Found | null = null;
  private sounding = false;
  private quietUntil = 0;

  constructor(private readonly label: string, rule: Rule, rate_hz: number) {
    const samples = (seconds: number) => Math.floor(seconds * rate_hz + 0.5);
    this.on = rule.on;
    this.off = rule.off ?? 0.7 * rule.on;
    this.min = samples(rule.min_duration_s ?? 0);
    this.merge = samples(rule.merge_gap_s ?? 0);
    this.refractory = samples(rule.refractory_s ?? 0);
    this.max = rule.max_duration_s == null ? Infinity : Math.max(1, samples(rule.max_duration_s));
  }

  /** Add the events that end within `cell`. */
  hear(cell: Span, smooth: number, probability: number | null, window: number, ended: Found[]): void {
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
      const open: Found = this.open;
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

  finish(ended: Found[]): void {
    this.sounding = false;
    if (this.open) this.close(ended);
  }

  private close(ended: Found[]): void {
    const one = this.open!;
    this.open = null;
    if (one.end - one.start < this.min) return;
    this.quietUntil = one.end + this.refractory;
    ended.push(one);
  }
}

/** The rules at work: give it windows in order, take events. */
export class EventTracker {
  private readonly tracks: (LabelTrack | null)[];
  private readonly weights: number[];
  private smooth: number[] | null = null;
  private last: { row: Row; window: number } = { row: null, window: -1 };
  private heardUntil = 0;

  constructor(labels: string[], private readonly grid: WindowGrid, rules: EventRules) {
    const named = [...Object.keys(rules.per_label ?? {}), ...(rules.allow ?? []), ...(rules.deny ?? [])];
    for (const name of named)
      if (!labels.includes(name)) throw new Error(`The rules name the label ${name}, which is unknown.`);
    const own = labels.map((label) => rules.per_label?.[label] ?? rules);
    const hop_s = grid.hop_us / 1e6;
    this.weights = own.map((rule) => (rule.smoothing_s ? 1 - Math.exp(-hop_s / rule.smoothing_s) : 1));
    this.tracks = labels.map((label, i) =>
      (!rules.allow?.length || rules.allow.includes(label)) && !rules.deny?.includes(label)
        ? new LabelTrack(label, own[i]!, grid.rate_hz)
        : null,
    );
  }

  /** Events that end with this window, which speaks for `cell`. */
  hear(cell: Span, row: Row, window: number): SoundEvent[] {
    this.smooth = this.tracks.map((_, i) => {
      const raw = row ? row[i]! : 0;
      const before = this.smooth?.[i];
      return before === undefined ? raw : before + this.weights[i]! * (raw - before);
    });
    this.last = { row, window };
    return this.events(this.follow(cell));
  }

  /** The sound ends at `end` or is interrupted there. */
  finish(end: number): SoundEvent[] {
    const ended = this.follow({ start: this.heardUntil, end });
    this.smooth = null;
    for (const track of this.tracks) track?.finish(ended);
    return this.events(ended);
  }

  private follow(cell: Span): Found[] {
    const ended: Found[] = [];
    if (!this.smooth || cell.start >= cell.end) return ended;
    const { row, window } = this.last;
    this.tracks.forEach((track, i) =>
      track?.hear(cell, this.smooth![i]!, row ? row[i]! : null, window, ended),
    );
    this.heardUntil = cell.end;
    return ended;
  }

  private events(found: Found[]): SoundEvent[] {
    return found.map((one) => one.toEvent(this.grid.rate_hz));
  }
}
