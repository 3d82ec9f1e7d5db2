// Drop a file or speak: bars and events, from the service that showed this page.
const element = (id) => document.getElementById(id);
const [status, access, token, threshold] = ["status", "access", "token", "threshold"].map(element);
const [microphone, file, bars, events] = ["microphone", "file", "bars", "events"].map(element);
const BARS = 5;
let stop = null;

function say(text, bad = false) {
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

function complain(error) {
  say(error.message ?? String(error), true);
}

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

function showBars(predictions) {
  const rows = predictions.map(({ label, probability }) => {
    const row = document.createElement("div");
    row.style.setProperty("--share", `${100 * probability}%`);
    const figure = document.createElement("span");
    figure.textContent = percent(probability);
    row.append(label, figure);
    return row;
  });
  bars.replaceChildren(...rows);
}

function showEvent({ label, start_s, end_s, peak }) {
  const item = document.createElement("li");
  item.textContent = `${start_s.toFixed(1)}–${end_s.toFixed(1)} s  ${label}  ${percent(peak)}`;
  events.prepend(item);
}

function explain({ got, expected, fix }) {
  return new Error([got, expected && `Expected: ${expected}`, fix].filter(Boolean).join(" "));
}

async function classify(blob) {
  stop?.();
  say(`Hearing ${blob.name} …`);
  const headers = token.value ? { authorization: `Bearer ${token.value}` } : {};
  const answer = await fetch(`v1/classify?top=${BARS}`, { method: "POST", body: blob, headers });
  const found = await answer.json();
  if (answer.status === 401) access.hidden = false;
  if (!answer.ok) throw explain(found.error);
  showBars(found.predictions);
  events.replaceChildren();
  for (const w of found.windows ?? [])
    if (!w.silent && w.probability >= threshold.value) showEvent({ ...w, peak: w.probability });
  say(found.silent ? "Silence: the classes say nothing." : `Most probably ${found.predictions[0].label}.`);
}

function open(rate_hz) {
  const query = new URLSearchParams({
    rate_hz, sample_format: "float32", on: threshold.value, merge_gap_s: 0.5, top: BARS,
  });
  const address = new URL(`v1/stream?${query}`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const protocols = token.value ? ["gmme-edge", `bearer.${token.value}`] : ["gmme-edge"];
  const socket = new WebSocket(address, protocols);
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.kind === "stream") say(`Listening at ${rate_hz} Hz.`);
    else if (message.kind === "window") showBars(message.predictions);
    else if (message.kind === "event") showEvent(message);
    else if (message.kind === "end") say(`Heard ${message.duration_s.toFixed(1)} s.`);
    else if (message.kind === "error") complain(explain(message.error));
  };
  socket.onerror = () => {
    access.hidden = false;
    say("The service refused the stream. Does it want a token?", true);
  };
  return socket;
}

async function listen() {
  const media = await navigator.mediaDevices.getUserMedia({
    audio: { echoCancellation: false, autoGainControl: false, noiseSuppression: false },
  });
  const context = new AudioContext();
  await context.audioWorklet.addModule("capture.js");
  const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
  events.replaceChildren();
  const socket = open(context.sampleRate);
  capture.port.onmessage = ({ data }) => socket.readyState === WebSocket.OPEN && socket.send(data);
  context.createMediaStreamSource(media).connect(capture);
  await context.resume();
  stop = () => {
    stop = null;
    for (const track of media.getTracks()) track.stop();
    void context.close();
    if (socket.readyState === WebSocket.OPEN) socket.send('{"kind":"end"}');
    else socket.close();
    microphone.setAttribute("aria-pressed", "false");
    microphone.textContent = "Listen";
  };
  socket.onclose = () => stop?.();
  microphone.setAttribute("aria-pressed", "true");
  microphone.textContent = "Stop";
}

microphone.onclick = () => (stop ? stop() : listen().catch(complain));
file.onchange = () => file.files[0] && classify(file.files[0]).catch(complain);
element("threshold").form.onsubmit = () => false;
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const dropped = event.dataTransfer?.files[0];
  if (dropped) classify(dropped).catch(complain);
});

async function begin() {
  const facts = await (await fetch("health")).json();
  const named = `${facts.model} in ${facts.precision} on ${facts.backend}`;
  say(`Ready: ${facts.labels.length} labels, ${named}.`);
}

begin().catch(complain);
