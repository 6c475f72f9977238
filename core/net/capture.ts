/** Frames into a file that Wireshark reads: pcap with nanoseconds. */
import { createWriteStream } from 'node:fs';
import type { WriteStream } from 'node:fs';

const MAGIC_NANOSECONDS = 0xa1b23c4d;
const SNAPSHOT_BYTES = 262_144;
const LINK_ETHERNET = 1;
/** What may wait for the disk; frames beyond are left out. */
const WAITING_BYTES = 16 * 1024 * 1024;

export class Capture {
  readonly #stream: WriteStream;
  #failed = false;

  constructor(path: string) {
    this.#stream = createWriteStream(path, { mode: 0o600 });
    // A full disk ends the recording, not the guest.
    this.#stream.on('error', (error) => {
      if (!this.#failed) console.error(`The capture ${path} ends here: ${error.message}`);
      this.#failed = true;
    });
    const header = new DataView(new ArrayBuffer(24));
    header.setUint32(0, MAGIC_NANOSECONDS, true);
    header.setUint16(4, 2, true);
    header.setUint16(6, 4, true);
    header.setUint32(16, SNAPSHOT_BYTES, true);
    header.setUint32(20, LINK_ETHERNET, true);
    this.#stream.write(new Uint8Array(header.buffer));
  }

  /** The bytes are the callee's to keep. */
  record(frame: Uint8Array): void {
    if (this.#failed || this.#stream.writableLength > WAITING_BYTES) return;
    const now = performance.timeOrigin + performance.now();
    const header = new DataView(new ArrayBuffer(16));
    header.setUint32(0, Math.floor(now / 1000), true);
    header.setUint32(4, Math.floor((now % 1000) * 1e6), true);
    header.setUint32(8, frame.length, true);
    header.setUint32(12, frame.length, true);
    this.#stream.write(new Uint8Array(header.buffer));
    this.#stream.write(frame);
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#failed) resolve();
      else this.#stream.end(() => resolve());
    });
  }
}
