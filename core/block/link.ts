/**
 * A disk between two threads: the core thread's devices ask, the I/O thread answers, through shared memory. Requests travel in slots with
 * room for their data; two rings of slot numbers carry them there and back.
 */
import { BlockError } from './blockDevice.ts';
import type { BlockDevice, BlockFailure } from './blockDevice.ts';
import { DirectAccess } from './direct.ts';
import type { DirectImage } from './direct.ts';
import { Room } from './room.ts';

const SLOTS = 64;
/** The most that one slot carries; longer requests take several. */
export const SLOT_BYTES = 64 * 1024;
const MASK = SLOTS - 1;

/** Words of the shared memory: four counters, the two rings, then the slots' own words. */
const word = { asked: 0, taken: 1, answered: 2, seen: 3, askRing: 4, answerRing: 4 + SLOTS, slots: 4 + 2 * SLOTS } as const;
/** Words of a slot. Offsets are below 2^53: two words. */
const field = { operation: 0, offsetLow: 1, offsetHigh: 2, length: 3, status: 4, count: 5 } as const;
const DATA = Math.ceil((word.slots + SLOTS * field.count) / 16) * 64;

/** In place of a status: nobody waits for the answer any more. */
const ABANDONED = -1;

/** `switch`: what the disk has prepared happens between what was asked before and after (BlockDevice.switchLayer). */
const operations = ['read', 'write', 'flush', 'discard', 'zero', 'switch'] as const;
export type DiskOperation = (typeof operations)[number];

const failures: readonly BlockFailure[] = ['range', 'read-only', 'corrupt', 'full', 'io'];

/** Shared memory for one disk. */
export function createDiskBuffer(): SharedArrayBuffer {
  return new SharedArrayBuffer(DATA + SLOTS * SLOT_BYTES);
}

/** What a device asks of its disk. */
export interface DiskRequest {
  readonly operation: DiskOperation;
  /** In bytes, whole sectors. */
  readonly offset: number;
  readonly length: number;
  /** Called, in any order, for each piece of the request: a write puts the bytes at `at` of the request into `bytes`, a read takes them out. */
  readonly transfer: (at: number, bytes: Uint8Array) => void;
  /**
   * The memory that the request fills or is filled from, to be used at once; null where a part cannot be reached. Absent: there is none, or
   * only `transfer` will do.
   */
  readonly views?: () => readonly Uint8Array[] | null;
  /** Called once, after everything else, perhaps before `submit` returns; null: it went well. */
  readonly done: (failure: BlockFailure | null) => void;
}

/** What device models see of a disk. */
export interface Disk {
  /** In bytes; 0: there is no medium. */
  readonly size: number;
  /** Rises when the medium or its size changes. */
  readonly generation: number;
  readonly readOnly: boolean;
  submit(request: DiskRequest): void;
  /** Forgets every request: none of them calls back any more. What was asked of the disk happens all the same. */
  abandon(): void;
}

interface Running {
  readonly request: DiskRequest;
  /** Pieces that were not answered yet, those included that wait for a slot. */
  left: number;
  failure: BlockFailure | null;
  abandoned: boolean;
}

interface Piece {
  readonly running: Running;
  readonly at: number;
  readonly length: number;
}

/** The core thread's end. */
export class DiskClient implements Disk {
  size: number;
  readonly readOnly: boolean;
  generation = 0;
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #synchronous: boolean;
  #direct: DirectAccess | null;
  readonly #free: number[] = Array.from({ length: SLOTS }, (_, slot) => slot);
  readonly #pieces: (Piece | null)[] = Array.from({ length: SLOTS }, () => null);
  #waiting: Piece[] = [];
  #seen = 0;

  /** @param synchronous a request is answered before `submit` returns: for machines whose runs repeat exactly */
  constructor(buffer: SharedArrayBuffer, disk: { readonly size: number; readonly readOnly: boolean; readonly direct?: DirectImage | null }, synchronous: boolean) {
    this.#words = new Int32Array(buffer, 0, DATA / 4);
    this.#bytes = new Uint8Array(buffer, DATA);
    this.#synchronous = synchronous;
    this.#direct = disk.direct ? new DirectAccess(disk.direct) : null;
    this.size = disk.size;
    this.readOnly = disk.readOnly;
  }

  /** Requests that are under way. */
  get busy(): boolean {
    return this.#free.length < SLOTS;
  }

  submit(request: DiskRequest): void {
    if (this.#movedDirectly(request)) return request.done(null);
    const carries = request.operation === 'read' || request.operation === 'write';
    const count = carries ? Math.max(1, Math.ceil(request.length / SLOT_BYTES)) : 1;
    const running: Running = { request, left: count, failure: null, abandoned: false };
    for (let number = 0; number < count; number++) {
      const at = number * SLOT_BYTES;
      const piece: Piece = { running, at, length: carries ? Math.min(SLOT_BYTES, request.length - at) : request.length };
      if (this.#waiting.length > 0 || !this.#send(piece)) this.#waiting.push(piece);
    }
    Atomics.notify(this.#words, word.asked);
    if (this.#synchronous) this.drain();
  }

  /** Takes what was answered. Cheap when there is nothing. */
  poll(): void {
    for (let answered = Atomics.load(this.#words, word.answered); this.#seen !== answered; answered = Atomics.load(this.#words, word.answered)) {
      const slot = this.#words[word.answerRing + (this.#seen & MASK)] ?? 0;
      this.#seen = (this.#seen + 1) | 0;
      this.#finish(slot);
    }
  }

  /** Waits until every request is answered. */
  drain(): void {
    while (this.busy) {
      Atomics.wait(this.#words, word.answered, this.#seen);
      this.poll();
    }
  }

  abandon(): void {
    for (const piece of [...this.#pieces, ...this.#waiting]) if (piece !== null) piece.running.abandoned = true;
    // What still waits for room must not happen after what comes next.
    this.#pieces.forEach((piece, slot) => {
      if (piece !== null && piece.running.request.operation !== 'switch') Atomics.store(this.#words, word.slots + slot * field.count + field.status, ABANDONED);
    });
    // A switch is not the guest's.
    this.#waiting = this.#waiting.filter(({ running }) => running.request.operation === 'switch');
  }

  /** Asks for what the disk has prepared, behind everything that was asked before. From then on the image is not the disk. */
  switchLayer(): void {
    if (!this.readOnly) this.#direct = null;
    this.submit({ operation: 'switch', offset: 0, length: 0, transfer: () => undefined, done: () => undefined });
  }

  /** The image is about to be closed: nothing is moved past the I/O thread any more. */
  detach(): void {
    this.#direct = null;
  }

  /** Another medium is in the drive, or the disk has another size; it is served already; null: none is. Waits for what was asked of the one before. */
  replace(medium: { readonly size: number; readonly direct: DirectImage | null } | null): void {
    this.drain();
    this.size = medium?.size ?? 0;
    this.#direct = medium?.direct ? new DirectAccess(medium.direct) : null;
    this.generation += 1;
  }

  #movedDirectly({ operation, offset, length, views }: DiskRequest): boolean {
    const direct = this.#direct;
    if (!direct || !views || (operation !== 'read' && operation !== 'write') || !direct.takes(operation, offset, length)) return false;
    const memory = views();
    return memory !== null && direct.move(operation, offset, length, memory);
  }

  #send(piece: Piece): boolean {
    const slot = this.#free.pop();
    if (slot === undefined) return false;
    const { running: { request }, at, length } = piece;
    const base = word.slots + slot * field.count;
    const offset = request.offset + at;
    if (request.operation === 'write') request.transfer(at, this.#data(slot, length));
    this.#pieces[slot] = piece;
    this.#words[base + field.operation] = operations.indexOf(request.operation);
    this.#words[base + field.offsetLow] = offset % 2 ** 32 | 0;
    this.#words[base + field.offsetHigh] = Math.floor(offset / 2 ** 32);
    this.#words[base + field.length] = length % 2 ** 32 | 0;
    this.#words[base + field.status] = 0;
    const asked = Atomics.load(this.#words, word.asked);
    this.#words[word.askRing + (asked & MASK)] = slot;
    // The store publishes the slot: the other side sees its words before it sees the new count.
    Atomics.store(this.#words, word.asked, (asked + 1) | 0);
    return true;
  }

  #finish(slot: number): void {
    const piece = this.#pieces[slot];
    if (!piece) return;
    this.#pieces[slot] = null;
    const { running, at, length } = piece;
    const status = this.#words[word.slots + slot * field.count + field.status] ?? 0;
    if (status !== 0) running.failure ??= failures[status - 1] ?? 'io';
    else if (running.request.operation === 'read' && !running.abandoned) running.request.transfer(at, this.#data(slot, length));
    this.#free.push(slot);
    running.left -= 1;
    if (running.left === 0 && !running.abandoned) running.request.done(running.failure);
    let sent = false;
    while (this.#waiting[0] && this.#send(this.#waiting[0])) {
      this.#waiting.shift();
      sent = true;
    }
    if (sent) Atomics.notify(this.#words, word.asked);
  }

  #data(slot: number, length: number): Uint8Array {
    return this.#bytes.subarray(slot * SLOT_BYTES, slot * SLOT_BYTES + length);
  }
}

/** The I/O thread's end: serves a disk until it is stopped. */
export class DiskServer {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #device: BlockDevice;
  readonly #wake: () => void;
  readonly #room: Room;
  readonly #idle: (() => void)[] = [];
  #taken = 0;
  #running = 0;
  #stopped = false;

  /** @param wake called after an answer: the core may sleep */
  constructor(buffer: SharedArrayBuffer, device: BlockDevice, wake: () => void, room = new Room()) {
    this.#words = new Int32Array(buffer, 0, DATA / 4);
    this.#bytes = new Uint8Array(buffer, DATA);
    this.#device = device;
    this.#wake = wake;
    this.#room = room;
    // Another disk may have been served here before: everything that was asked of it has been answered.
    this.#taken = Atomics.load(this.#words, word.answered);
    void this.#serve();
  }

  /** Answers nothing more, waits for what is under way, and closes the disk. */
  async stop(): Promise<void> {
    this.#stopped = true;
    Atomics.notify(this.#words, word.asked);
    this.#room.again();
    if (this.#running > 0) await new Promise<void>(resolve => this.#idle.push(resolve));
    await this.#device.close();
  }

  async #serve(): Promise<void> {
    while (!this.#stopped) {
      const asked = Atomics.load(this.#words, word.asked);
      if (asked === this.#taken) {
        const waiting = Atomics.waitAsync(this.#words, word.asked, asked);
        if (waiting.async) await waiting.value;
        continue;
      }
      const slot = (this.#words[word.askRing + (this.#taken & MASK)] ?? 0) & MASK;
      this.#taken = (this.#taken + 1) | 0;
      void this.#answer(slot);
    }
  }

  async #answer(slot: number): Promise<void> {
    this.#running += 1;
    const base = word.slots + slot * field.count;
    let status = 0;
    try {
      const isGivenUp = (): boolean => this.#stopped || Atomics.load(this.#words, base + field.status) === ABANDONED;
      await this.#room.attempt(() => this.#perform(base, slot), isGivenUp);
    } catch (error) {
      status = 1 + failures.indexOf(error instanceof BlockError ? error.failure : 'io');
    }
    this.#words[base + field.status] = status;
    const answered = Atomics.load(this.#words, word.answered);
    this.#words[word.answerRing + (answered & MASK)] = slot;
    Atomics.store(this.#words, word.answered, (answered + 1) | 0);
    Atomics.notify(this.#words, word.answered);
    this.#wake();
    this.#running -= 1;
    if (this.#running === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  #perform(base: number, slot: number): Promise<void> {
    const operation = operations[this.#words[base + field.operation] ?? 0];
    const offset = (this.#words[base + field.offsetHigh] ?? 0) * 2 ** 32 + ((this.#words[base + field.offsetLow] ?? 0) >>> 0);
    const length = (this.#words[base + field.length] ?? 0) >>> 0;
    const data = this.#bytes.subarray(slot * SLOT_BYTES, slot * SLOT_BYTES + Math.min(length, SLOT_BYTES));
    switch (operation) {
      case 'read': return this.#device.read(offset, data);
      case 'write': return this.#device.write(offset, data);
      case 'discard': return this.#device.discard(offset, length);
      case 'zero': return this.#device.zero(offset, length);
      case 'flush': return this.#device.flush();
      case 'switch': return this.#device.switchLayer?.() ?? Promise.resolve();
      default: return Promise.reject(new BlockError('io', 'no such operation'));
    }
  }
}
