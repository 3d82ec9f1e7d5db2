// In the audio thread: collects samples and hands them on in short chunks.
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, kind: unknown): void;

class Capture extends AudioWorkletProcessor {
  private chunk = new Float32Array(2048);
  private filled = 0;

  process([input]: Float32Array[][]): boolean {
    const channels = input ?? [];
    for (let i = 0; i < (channels[0]?.length ?? 0); i++) {
      this.chunk[this.filled++] = channels.reduce((sum, c) => sum + c[i]!, 0) / channels.length;
      if (this.filled < this.chunk.length) continue;
      this.port.postMessage(this.chunk, [this.chunk.buffer]);
      this.chunk = new Float32Array(2048);
      this.filled = 0;
    }
    return true;
  }
}

registerProcessor("capture", Capture);
