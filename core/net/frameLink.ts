/** Ethernet frames between a network device on the core thread and its network on the I/O thread, through shared memory. */

/** What the device's driver takes; the network keeps to it. */
export const frameAbility = {
  /** Frames whose TCP or UDP checksum covers the pseudo header alone: the driver trusts them. */
  partialChecksum: 1,
  /** TCP segments longer than the link's frames, with the size to cut them to: over IPv4, and over IPv6. */
  largeTcp4: 2,
  largeTcp6: 4,
} as const;

/** What is left to whoever takes the frame. */
export interface Offload {
  /** The checksum covers the pseudo header alone; it belongs at `start + offset`. */
  readonly partialChecksum?: { readonly start: number; readonly offset: number };
  /** TCP payload of each segment that a long frame stands for; absent: the frame is as long as the link allows. */
  readonly segmentBytes?: number;
  /** Bytes of headers in a long frame. */
  readonly headerBytes?: number;
}

export interface Frame extends Offload {
  readonly bytes: Uint8Array;
}

/** The longest frame: a TCP segment of 64 KiB with its headers. */
export const FRAME_BYTES_MAXIMUM = 66_000;
const RING_BYTES = 1 << 20;
/** Length, start and offset of the checksum, segment size, length of the headers. Records begin at multiples of 8. */
const HEADER_BYTES = 16;
/** In place of a length: the next record is at the ring's start. */
const SKIP = 0xffffffff;
const NO_CHECKSUM = 0xffff;

/** Words of the shared memory. */
const word = { toNetworkHead: 0, toNetworkTail: 1, toDeviceHead: 2, toDeviceTail: 3, abilities: 4, linkUp: 5, count: 16 } as const;

/** Shared memory for one interface. */
export function createFrameBuffer(): SharedArrayBuffer {
  return new SharedArrayBuffer(word.count * 4 + 2 * RING_BYTES);
}

/**
 * One producer, one consumer. The two words count bytes ever written and read, modulo 2^32. A frame is made and read in place: it lies in one
 * piece, and what is left at the ring's end is skipped.
 */
class FrameRing {
  readonly #words: Int32Array;
  readonly #head: number;
  readonly #tail: number;
  readonly #data: Uint8Array;
  readonly #view: DataView;
  /** Where the record begins that `reserve` has found room for. */
  #begun = 0;
  #length = 0;

  constructor(buffer: SharedArrayBuffer, head: number, tail: number, at: number) {
    this.#words = new Int32Array(buffer, 0, word.count);
    this.#head = head;
    this.#tail = tail;
    this.#data = new Uint8Array(buffer, at, RING_BYTES);
    this.#view = new DataView(buffer, at, RING_BYTES);
  }

  /** Producer: the place of a frame of this length, to be filled and committed; null when there is no room. */
  reserve(length: number): Uint8Array | null {
    if (length > FRAME_BYTES_MAXIMUM) return null;
    const head = Atomics.load(this.#words, this.#head);
    const record = recordBytes(length);
    const at = head & (RING_BYTES - 1);
    const skipped = record > RING_BYTES - at ? RING_BYTES - at : 0;
    if (skipped + record > RING_BYTES - this.#used()) return null;
    if (skipped > 0) this.#view.setUint32(at, SKIP);
    this.#begun = (head + skipped) | 0;
    this.#length = length;
    const start = (this.#begun & (RING_BYTES - 1)) + HEADER_BYTES;
    return this.#data.subarray(start, start + length);
  }

  /** Producer: hands over the frame that was reserved. */
  commit({ partialChecksum, segmentBytes, headerBytes }: Offload = {}): void {
    const at = this.#begun & (RING_BYTES - 1);
    this.#view.setUint32(at, this.#length);
    this.#view.setUint16(at + 4, partialChecksum ? partialChecksum.start : NO_CHECKSUM);
    this.#view.setUint16(at + 6, partialChecksum?.offset ?? 0);
    this.#view.setUint16(at + 8, segmentBytes ?? 0);
    this.#view.setUint16(at + 10, headerBytes ?? 0);
    // The store publishes the frame: the reader sees it before it sees the new count.
    Atomics.store(this.#words, this.#head, (this.#begun + recordBytes(this.#length)) | 0);
    Atomics.notify(this.#words, this.#head);
  }

  /** Producer: a frame that exists already. False when there is no room. */
  push(frame: Frame): boolean {
    const place = this.reserve(frame.bytes.length);
    if (place === null) return false;
    place.set(frame.bytes);
    this.commit(frame);
    return true;
  }

  /** Consumer: the oldest frame, in the ring's own memory: valid until `drop`. A peer that was taken over cannot make it reach beyond the ring. */
  peek(): Frame | null {
    const used = this.#used();
    if (used < HEADER_BYTES) return null;
    const at = this.#start();
    const length = Math.min(this.#view.getUint32(at), FRAME_BYTES_MAXIMUM, RING_BYTES - HEADER_BYTES - at);
    const bytes = this.#data.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length);
    const start = this.#view.getUint16(at + 4);
    const segmentBytes = this.#view.getUint16(at + 8);
    if (start === NO_CHECKSUM && segmentBytes === 0) return { bytes };
    return {
      bytes,
      ...(start === NO_CHECKSUM ? {} : { partialChecksum: { start, offset: this.#view.getUint16(at + 6) } }),
      ...(segmentBytes === 0 ? {} : { segmentBytes, headerBytes: this.#view.getUint16(at + 10) }),
    };
  }

  /** Consumer: gives the room of the frame back that `peek` has shown. */
  drop(): void {
    const at = this.#start();
    const tail = Atomics.load(this.#words, this.#tail);
    const skipped = (at - tail) & (RING_BYTES - 1);
    const record = recordBytes(Math.min(this.#view.getUint32(at), FRAME_BYTES_MAXIMUM));
    Atomics.store(this.#words, this.#tail, (tail + Math.min(skipped + record, this.#used())) | 0);
    Atomics.notify(this.#words, this.#tail);
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
    return Atomics.load(this.#words, this.#head) !== Atomics.load(this.#words, this.#tail);
  }

  /** Done when the reader has taken something. */
  async departure(): Promise<void> {
    const tail = Atomics.load(this.#words, this.#tail);
    if (tail === Atomics.load(this.#words, this.#head)) return;
    const waiting = Atomics.waitAsync(this.#words, this.#tail, tail);
    if (waiting.async) await waiting.value;
  }

  /** More than half full: the producer may have found no room. */
  get crowded(): boolean {
    return this.#used() > RING_BYTES / 2;
  }

  /** Wakes whoever waits for an arrival. */
  wake(): void {
    Atomics.notify(this.#words, this.#head);
  }

  /** Offset of the oldest record. */
  #start(): number {
    const at = Atomics.load(this.#words, this.#tail) & (RING_BYTES - 8);
    return this.#view.getUint32(at) === SKIP ? 0 : at;
  }

  #used(): number {
    return Math.min((Atomics.load(this.#words, this.#head) - Atomics.load(this.#words, this.#tail)) >>> 0, RING_BYTES);
  }
}

function recordBytes(length: number): number {
  return HEADER_BYTES + ((length + 7) & ~7);
}

/** Either end's view. The device writes `toNetwork` and reads `toDevice`. */
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
