// What the page and its worker tell each other.
import type { EventRules, Prediction, SoundEvent } from "./index";

export type ToWorker =
  | { kind: "load"; bundle: string; precision: string }
  | { kind: "start"; rate_hz: number; rules: EventRules; gate: boolean }
  | { kind: "chunk"; samples: Float32Array; live: boolean }
  | { kind: "stop" }
  | { kind: "classify"; mono: Float32Array; rate_hz: number };

export type FromWorker =
  | { kind: "loaded"; labels: string[]; precisions: string[]; precision: string; golden_error: number; threads: number }
  | { kind: "window"; probabilities: number[] }
  | { kind: "events"; events: SoundEvent[] }
  | { kind: "lost"; seconds: number }
  | { kind: "predictions"; predictions: Prediction[] }
  | { kind: "stopped" }
  | { kind: "error"; message: string };
