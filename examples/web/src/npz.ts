// golden.npz: a ZIP file of NumPy arrays, float32, little-endian; compressed in old bundles.

export interface NumpyArray {
  shape: number[];
  values: Float32Array;
}

export async function readNpz(bytes: Uint8Array): Promise<Map<string, NumpyArray>> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new Error("golden.npz is no ZIP file.");
  const arrays = new Map<string, NumpyArray>();
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

async function inflate(data: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([data as BlobPart]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function parseNpy(file: Uint8Array): NumpyArray {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const old = view.getUint8(6) === 1;
  const start = (old ? 10 : 12) + (old ? view.getUint16(8, true) : view.getUint32(8, true));
  const header = new TextDecoder("latin1").decode(file.subarray(0, start));
  const shape = /'shape': \(([\d, ]*)\)/.exec(header);
  if (!shape || !header.includes("'<f4'") || header.includes("True"))
    throw new Error("A golden array is not little-endian float32 in C order.");
  return {
    shape: shape[1]!.split(",").filter((text) => text.trim()).map(Number),
    values: new Float32Array(file.slice(start).buffer),
  };
}
