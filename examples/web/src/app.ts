// The page: choose a model, speak or drop a file, see bars, a spectrogram and events.
import { powerSpectrum, readWav, type Sound, type SoundEvent } from "./index";
import type { FromWorker, ToWorker } from "./messages";

const BARS = 5;
const FRAME = 1024;

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const status = element("status");
const models = element<HTMLSelectElement>("model");
const precisions = element<HTMLSelectElement>("precision");
const threshold = element<HTMLInputElement>("threshold");
const microphone = element<HTMLButtonElement>("microphone");
const file = element<HTMLInputElement>("file");
const bars = element("bars");
const events = element("events");
const canvas = element<HTMLCanvasElement>("spectrogram");
const worker = new Worker("worker.js", { type: "module" });

let labels: string[] = [];
let stopMicrophone: (() => void) | null = null;

function send(message: ToWorker, transfer: Transferable[] = []): void {
  worker.postMessage(message, transfer);
}

function say(text: string, bad = false): void {
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

function busy(is: boolean): void {
  for (const control of [models, precisions, threshold, file]) control.disabled = is;
}

function load(): void {
  busy(true);
  microphone.disabled = true;
  say("Loading and checking the model …");
  send({ kind: "load", bundle: models.value, precision: precisions.value });
}

function showBars(found: { label: string; probability: number }[]): void {
  const rows = [...found].sort((a, b) => b.probability - a.probability).slice(0, BARS);
  bars.replaceChildren(
    ...rows.map(({ label, probability }) => {
      const row = document.createElement("div");
      const percent = `${Math.round(100 * probability)} %`;
      row.style.setProperty("--share", `${100 * probability}%`);
      row.append(label, Object.assign(document.createElement("span"), { textContent: percent }));
      return row;
    }),
  );
}

function showEvent(event: SoundEvent): void {
  const item = document.createElement("li");
  const time = `${event.start_s.toFixed(1)}–${event.end_s.toFixed(1)} s`;
  item.textContent = `${time}  ${event.label}  ${Math.round(100 * event.peak)} %`;
  item.dataset["event"] = JSON.stringify(event);
  events.prepend(item);
}

/** Columns of the spectrum, from left to right; the picture moves on when it is full. */
class Spectrogram {
  private readonly context = canvas.getContext("2d", { willReadFrequently: true })!;
  private held = new Float32Array(0);

  clear(): void {
    this.held = new Float32Array(0);
    this.context.clearRect(0, 0, canvas.width, canvas.height);
  }

  hear(samples: Float32Array): void {
    const all = new Float32Array(this.held.length + samples.length);
    all.set(this.held);
    all.set(samples, this.held.length);
    const columns = Math.floor(all.length / FRAME);
    for (let i = Math.max(0, columns - canvas.width); i < columns; i++)
      this.draw(all.subarray(i * FRAME, (i + 1) * FRAME));
    this.held = all.slice(columns * FRAME);
  }

  private draw(frame: Float32Array): void {
    const { width, height } = canvas;
    const taper = (i: number) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / FRAME);
    const power = powerSpectrum(Float64Array.from(frame, (x, i) => x * taper(i)));
    this.context.globalCompositeOperation = "copy"; // where it is transparent, it stays so
    this.context.drawImage(canvas, -1, 0);
    const column = this.context.createImageData(1, height);
    for (let y = 0; y < height; y++) {
      const bin = Math.floor((FRAME / 2) * (1 - y / height) ** 2);
      const level = Math.min(1, Math.max(0, (10 * Math.log10(power[bin]! + 1e-9) + 50) / 80));
      column.data.set([235 * level, 110 + 10 * level, 130 - 100 * level, 255 * Math.sqrt(level)], 4 * y);
    }
    this.context.putImageData(column, width - 1, 0);
  }
}

const spectrogram = new Spectrogram();

function clear(): void {
  bars.replaceChildren();
  events.replaceChildren();
  spectrogram.clear();
}

function start(rate_hz: number): void {
  clear();
  busy(true);
  const rules = { on: Number(threshold.value), merge_gap_s: 0.5 };
  send({ kind: "start", rate_hz, rules, gate: true });
}

function hear(samples: Float32Array, live: boolean): void {
  spectrogram.hear(samples);
  send({ kind: "chunk", samples, live }, [samples.buffer]);
}

async function listen(): Promise<void> {
  const audio = { echoCancellation: false, autoGainControl: false, noiseSuppression: false };
  const media = await navigator.mediaDevices.getUserMedia({ audio }).catch((error: Error) => {
    throw new Error(`No microphone: ${error.message}. Allow it in the browser's settings, or choose a recording.`);
  });
  const context = new AudioContext();
  await context.audioWorklet.addModule("capture.js");
  const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  start(context.sampleRate);
  capture.port.onmessage = ({ data }: MessageEvent<Float32Array>) => hear(data, true);
  context.createMediaStreamSource(media).connect(capture);
  await context.resume();
  microphone.setAttribute("aria-pressed", "true");
  microphone.textContent = "Stop";
  say(`Listening at ${context.sampleRate} Hz.`);
  stopMicrophone = () => {
    stopMicrophone = null;
    capture.port.onmessage = null;
    for (const track of media.getTracks()) track.stop();
    void context.close();
    send({ kind: "stop" });
    microphone.setAttribute("aria-pressed", "false");
    microphone.textContent = "Listen";
  };
}

async function decode(blob: File): Promise<Sound> {
  const bytes = await blob.arrayBuffer();
  const own = readWav(new Uint8Array(bytes));
  if (own) return own;
  const context = new OfflineAudioContext(1, 1, 48_000);
  const audio = await context.decodeAudioData(bytes).catch(() => {
    throw new Error(`${blob.name} is no recording that this browser can decode. Try it as a WAV file.`);
  });
  const mono = new Float32Array(audio.length);
  for (let c = 0; c < audio.numberOfChannels; c++)
    audio.getChannelData(c).forEach((x, i) => (mono[i]! += x / audio.numberOfChannels));
  return { rate_hz: audio.sampleRate, mono };
}

async function classify(blob: File): Promise<void> {
  stopMicrophone?.();
  clear(); // what is shown is of this recording, or nothing
  say(`Listening to ${blob.name} …`);
  const { mono, rate_hz } = await decode(blob);
  if (!mono.length) throw new Error(`${blob.name} holds no sound.`);
  start(rate_hz);
  for (let at = 0; at < mono.length; at += rate_hz) hear(mono.slice(at, at + rate_hz), false);
  send({ kind: "stop" });
  send({ kind: "classify", mono, rate_hz });
}

function complain(error: unknown): void {
  busy(false);
  say(error instanceof Error ? error.message : String(error), true);
}

worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
  if (data.kind === "loaded") {
    labels = data.labels;
    precisions.replaceChildren(...data.precisions.map((name) => new Option(name)));
    precisions.value = data.precision;
    busy(false);
    microphone.disabled = false;
    document.body.dataset["golden"] = String(data.golden_error);
    document.body.dataset["threads"] = String(data.threads);
    const threads = data.threads === 1 ? "1 thread" : `${data.threads} threads`;
    say(`Ready: ${labels.length} labels, ${threads}; golden vectors agree to ${data.golden_error.toExponential(1)}.`);
  } else if (data.kind === "window") {
    showBars(labels.map((label, i) => ({ label, probability: data.probabilities[i]! })));
  } else if (data.kind === "events") {
    data.events.forEach(showEvent);
  } else if (data.kind === "lost") {
    say(`This machine is too slow: ${data.seconds.toFixed(1)} s were not heard.`, true);
  } else if (data.kind === "predictions") {
    showBars(data.predictions);
    document.body.dataset["predictions"] = JSON.stringify(data.predictions);
    say(`Most probably ${data.predictions[0]!.label}.`);
  } else if (data.kind === "stopped") {
    busy(false);
    document.body.dataset["stopped"] = String(events.children.length);
    say("Stopped.");
  } else {
    complain(data.message);
  }
};
worker.onerror = (error) => complain(error.message);

models.onchange = load;
precisions.onchange = load;
microphone.onclick = () => (stopMicrophone ? stopMicrophone() : listen().catch(complain));
file.onchange = () => file.files?.[0] && classify(file.files[0]).catch(complain);
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const dropped = event.dataTransfer?.files[0];
  if (dropped && !file.disabled) classify(dropped).catch(complain);
});

async function begin(): Promise<void> {
  if (!self.isSecureContext)
    throw new Error(
      "Browsers let a page check its files and hear the microphone only over https, or from localhost. " +
        "Serve this page over https, or open it as http://localhost on the machine that serves it.",
    );
  if ("serviceWorker" in navigator) {
    await navigator.serviceWorker.register("offline.js");
    await navigator.serviceWorker.ready;
    // The first visit was not under its control: once more, with its headers, which allow threads.
    if (!self.crossOriginIsolated && !sessionStorage.getItem("again")) {
      sessionStorage.setItem("again", "yes");
      location.reload();
      return;
    }
  }
  const site = (await (await fetch("site.json")).json()) as { bundles: string[] };
  models.replaceChildren(...site.bundles.map((name) => new Option(name)));
  load();
}

begin().catch(complain);
