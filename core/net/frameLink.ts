/** Ethernet frames between a network device on the core thread and its network on the I/O thread, through shared memory. */

/** What the device's driver takes; the network keeps to it. */
export const frameAbility = {
  /** Frames whose TCP or UDP checksum covers the pseudo header alone: the driver trusts them. */
  partialChecksum: 1,
  /** TCP segments over IPv4 longer than the link's frames, with the size to cut them to. */
  largeTcp4: 2,
} as const;

export interface Frame {
  readonly bytes: Uint8Array;
  /** The checksum covers the pseudo header alone; it belongs at `checksumStart + checksumOffset`. */
  readonly partialChecksum?: { readonly start: number; readonly offset: number };
  /** TCP payload of each segment that a long frame stands for; absent: the frame is as long as the link allows. */
  readonly segmentBytes?: number;
  /** Bytes of headers in a long frame. */
  readonly headerBytes?: number;
}

/** The longest frame: a TCP segment of 64 KiB with its headers. */
export const FRAME_BYTES_MAXIMUM = 66_000;
const RING_BYTES = 1 << 20;
const HEADER_BYTES = 12;

/** Words of the shared memory. */
const word = { toNetworkHead: 0, toNetworkTail: 1, toDeviceHead: 2, toDeviceTail: 3, abilities: 4, linkUp: 5, count: 16 } as const;

/** Shared memory for one interface. */
export function createFrameBuffer(): SharedArrayBuffer {
  return new SharedArrayBuffer(word.count * 4 + 2 * RING_BYTES);
}

/** One producer, one consumer. The two words count bytes ever written and read, modulo 2^32. */
class FrameRing {
  readonly #words: Int32Array;
  readonly #head: number;
  readonly #tail: number;
  readonly #data: Uint8Array;
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #view = new DataView(this.#header.buffer);

  constructor(buffer: SharedArrayBuffer, head: number, tail: number, at: number) {
    this.#words = new Int32Array(buffer, 0, word.count);
    this.#head = head;
    this.#tail = tail;
    this.#data = new Uint8Array(buffer, at, RING_BYTES);
  }

  get room(): number {
    return RING_BYTES - this.#used() - HEADER_BYTES;
  }

  push({ bytes, partialChecksum, segmentBytes, headerBytes }: Frame): boolean {
    if (bytes.length > FRAME_BYTES_MAXIMUM || bytes.length > this.room) return false;
    const head = Atomics.load(this.#words, this.#head);
    this.#view.setUint32(0, bytes.length);
    this.#view.setUint16(4, partialChecksum ? partialChecksum.start : 0xffff);
    this.#view.setUint16(6, partialChecksum?.offset ?? 0);
    this.#view.setUint16(8, segmentBytes ?? 0);
    this.#view.setUint16(10, headerBytes ?? 0);
    this.#put(head, this.#header);
    this.#put(head + HEADER_BYTES, bytes);
    Atomics.store(this.#words, this.#head, (head + HEADER_BYTES + bytes.length) | 0);
    Atomics.notify(this.#words, this.#head);
    return true;
  }

  /** The next frame, a copy. A peer that was taken over cannot make it longer than the ring. */
  pull(): Frame | null {
    const used = this.#used();
    if (used < HEADER_BYTES) return null;
    const tail = Atomics.load(this.#words, this.#tail);
    this.#get(tail, this.#header);
    const length = Math.min(this.#view.getUint32(0), used - HEADER_BYTES, FRAME_BYTES_MAXIMUM);
    const bytes = new Uint8Array(length);
    this.#get(tail + HEADER_BYTES, bytes);
    const start = this.#view.getUint16(4);
    const segmentBytes = this.#view.getUint16(8);
    const frame: Frame = {
      bytes,
      ...(start === 0xffff ? {} : { partialChecksum: { start, offset: this.#view.getUint16(6) } }),
      ...(segmentBytes === 0 ? {} : { segmentBytes, headerBytes: this.#view.getUint16(10) }),
    };
    Atomics.store(this.#words, this.#tail, (tail + HEADER_BYTES + length) | 0);
    Atomics.notify(this.#words, this.#tail);
    return frame;
  }

  /** Done when a frame is there. */
  async arrival(): Promise<void> {
    const head = Atomics.load(this.#words, this.#head);
    if (head !== Atomics.load(this.#words, this.#tail)) return;
    const waiting = Atomics.waitAsync(this.#words, this.#head, head);
    if (waiting.async) await waiting.value;
  }

  /** Whether a frame is there. */
  get waiting(): boolean {
    return this.#used() > 0;
  }

  /** Done when the reader has taken something. */
  async departure(): Promise<void> {
    const tail = Atomics.load(this.#words, this.#tail);
    if (tail === Atomics.load(this.#words, this.#head)) return;
    const waiting = Atomics.waitAsync(this.#words, this.#tail, tail);
    if (waiting.async) await waiting.value;
  }

  /** Wakes whoever waits for an arrival. */
  wake(): void {
    Atomics.notify(this.#words, this.#head);
  }

  #used(): number {
    return Math.min((Atomics.load(this.#words, this.#head) - Atomics.load(this.#words, this.#tail)) >>> 0, RING_BYTES);
  }

  #put(at: number, bytes: Uint8Array): void {
    const start = at & (RING_BYTES - 1);
    const first = Math.min(bytes.length, RING_BYTES - start);
    this.#data.set(bytes.subarray(0, first), start);
    this.#data.set(bytes.subarray(first), 0);
  }

  #get(at: number, into: Uint8Array): void {
    const start = at & (RING_BYTES - 1);
    const first = Math.min(into.length, RING_BYTES - start);
    into.set(this.#data.subarray(start, start + first), 0);
    into.set(this.#data.subarray(0, into.length - first), first);
  }
}

/** Either end's view. The device pushes to `toNetwork` and pulls from `toDevice`. */
export class FrameLink {
  readonly toNetwork: FrameRing;
  readonly toDevice: FrameRing;
  readonly #words: Int32Array;

  constructor(buffer: SharedArrayBuffer) {
    this.#words = new Int32Array(buffer, 0, word.count);
    this.toNetwork = new FrameRing(buffer, word.toNetworkHead, word.toNetworkTail, word.count * 4);
    this.toDevice = new FrameRing(buffer, word.toDeviceHead, word.toDeviceTail, word.count * 4 + RING_BYTES);
  }

  /** Bits of `frameAbility`; the device sets them, the network reads them. */
  get abilities(): number {
    return Atomics.load(this.#words, word.abilities);
  }

  set abilities(bits: number) {
    Atomics.store(this.#words, word.abilities, bits);
  }

  /** Whether the cable is in; the network sets it, the device reads it. */
  get linkUp(): boolean {
    return Atomics.load(this.#words, word.linkUp) === 1;
  }

  set linkUp(up: boolean) {
    Atomics.store(this.#words, word.linkUp, up ? 1 : 0);
  }
}
