// WAV files at their own rate: a browser's decoder would resample them in its own way.

export interface Sound {
  rate_hz: number;
  mono: Float32Array;
}

/** The sound of a WAV file of 8 to 32 bits or float32; null where it is something else. */
export function readWav(bytes: Uint8Array): Sound | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (at: number) => String.fromCharCode(...bytes.subarray(at, at + 4));
  if (bytes.length < 12 || text(0) !== "RIFF" || text(8) !== "WAVE") return null;
  let format = { tag: 0, channels: 0, rate_hz: 0, bits: 0 };
  for (let at = 12; at + 8 <= bytes.length; ) {
    const length = Math.min(view.getUint32(at + 4, true), bytes.length - at - 8);
    const start = at + 8;
    if (text(at) === "fmt " && length >= 16) {
      const tag = view.getUint16(start, true);
      format = {
        tag: tag === 0xfffe && length >= 26 ? view.getUint16(start + 24, true) : tag,
        channels: view.getUint16(start + 2, true),
        rate_hz: view.getUint32(start + 4, true),
        bits: view.getUint16(start + 14, true),
      };
    } else if (text(at) === "data") {
      return decode(view, start, length, format);
    }
    at = start + length + (length % 2);
  }
  return null;
}

function decode(
  view: DataView, start: number, length: number,
  { tag, channels, rate_hz, bits }: { tag: number; channels: number; rate_hz: number; bits: number },
): Sound | null {
  const read =
    tag === 3 && bits === 32 ? (at: number) => view.getFloat32(at, true)
    : tag !== 1 ? null
    : bits === 8 ? (at: number) => (view.getUint8(at) - 128) / 128
    : bits === 16 ? (at: number) => view.getInt16(at, true) / 2 ** 15
    : bits === 24 ? (at: number) => (view.getUint16(at, true) + view.getInt8(at + 2) * 65536) / 2 ** 23
    : bits === 32 ? (at: number) => view.getInt32(at, true) / 2 ** 31
    : null;
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
