/** A split virtqueue, seen from the device. Everything in the rings is the guest's word: it is bounded before it is followed. @virtio 2.7 */

import { StateReader } from '../../platform/state.ts';
import type { GuestMemoryAccess, Segment } from '../segments.ts';

export const QUEUE_SIZE_MAXIMUM = 1024;
/** Descriptors in one chain, indirect ones included. */
const CHAIN_MAXIMUM = 1024;
const DESCRIPTOR_BYTES = 16;
const descriptorFlag = { next: 1, write: 2, indirect: 4 } as const;
const noInterrupt = 1;

/** A buffer that the driver made available. */
export interface Chain {
  /** Names the buffer when it is given back. */
  readonly head: number;
  /** What the device reads. */
  readonly readable: readonly Segment[];
  /** What the device may write. */
  readonly writable: readonly Segment[];
}

/** The driver put something into a queue that cannot be. The device stops until it is reset. */
export class QueueError extends Error {
  override readonly name = 'QueueError';
}

export interface QueueAddresses {
  readonly descriptors: number;
  readonly driver: number;
  readonly device: number;
}

export interface QueueEvents {
  /** Used buffers are there and the driver wants to be told. */
  interrupt(): void;
}

interface QueueFields {
  size: number;
  enabled: boolean;
  addresses: QueueAddresses;
  /** Index of the next available entry to take. */
  nextAvailable: number;
  /** Index of the next used entry to write. */
  nextUsed: number;
  /** `nextUsed` when the driver was told last. */
  signalled: number;
  /** Heads of the buffers that the device has and did not give back: a restored device takes them again. */
  taken: number[];
}

export class VirtQueue {
  readonly limit: number;
  readonly #memory: GuestMemoryAccess;
  readonly #events: QueueEvents;
  readonly #word = new Uint8Array(8);
  readonly #half = this.#word.subarray(0, 2);
  readonly #view = new DataView(this.#word.buffer);
  readonly #descriptorBytes = new Uint8Array(DESCRIPTOR_BYTES);
  readonly #descriptorView = new DataView(this.#descriptorBytes.buffer);
  #fields: QueueFields;
  /** VIRTIO_F_EVENT_IDX was negotiated. */
  eventIndex = false;

  constructor(limit: number, memory: GuestMemoryAccess, events: QueueEvents) {
    this.limit = limit;
    this.#memory = memory;
    this.#events = events;
    this.#fields = powerOn(limit);
  }

  get enabled(): boolean {
    return this.#fields.enabled;
  }

  get size(): number {
    return this.#fields.size;
  }

  get addresses(): QueueAddresses {
    return this.#fields.addresses;
  }

  /** Whether the device holds buffers. */
  get busy(): boolean {
    return this.#fields.taken.length > 0;
  }

  /** A size that is no power of two, or above the limit, is ignored; so is everything while the queue runs. */
  setSize(size: number): void {
    if (!this.enabled && size > 0 && size <= this.limit && (size & (size - 1)) === 0) this.#fields.size = size;
  }

  setAddresses(addresses: Partial<QueueAddresses>): void {
    if (!this.enabled) this.#fields.addresses = { ...this.#fields.addresses, ...addresses };
  }

  enable(): void {
    this.#fields.enabled = true;
  }

  reset(): void {
    this.#fields = powerOn(this.limit);
    this.eventIndex = false;
  }

  /**
   * Takes the next buffer that the driver made available, or null when there is none.
   * @throws QueueError
   */
  take(): Chain | null {
    const fields = this.#fields;
    if (!fields.enabled) return null;
    const available = this.#read16(fields.addresses.driver + 2);
    const waiting = (available - fields.nextAvailable) & 0xffff;
    if (waiting === 0) {
      if (!this.eventIndex) return null;
      // Ask to be told of the next one, and look again: it may have come meanwhile.
      this.#write16(fields.addresses.device + 4 + fields.size * 8, fields.nextAvailable);
      return this.#read16(fields.addresses.driver + 2) === fields.nextAvailable ? null : this.take();
    }
    if (waiting > fields.size) throw new QueueError(`the available index went from ${fields.nextAvailable} to ${available} in a queue of ${fields.size}`);
    const head = this.#read16(fields.addresses.driver + 4 + (fields.nextAvailable & (fields.size - 1)) * 2);
    const chain = this.#follow(head);
    fields.nextAvailable = (fields.nextAvailable + 1) & 0xffff;
    fields.taken.push(head);
    return chain;
  }

  /** The buffers that the device held when its state was saved. @throws QueueError */
  retake(): Chain[] {
    return this.#fields.taken.map(head => this.#follow(head));
  }

  /** Puts a buffer back as if it had not been taken. Only the last one taken. */
  untake(): void {
    this.#fields.taken.pop();
    this.#fields.nextAvailable = (this.#fields.nextAvailable - 1) & 0xffff;
  }

  /** Gives a buffer back of which the device has written `written` bytes. @throws QueueError */
  give(head: number, written: number): void {
    const fields = this.#fields;
    const at = fields.taken.indexOf(head);
    if (at < 0) return;
    fields.taken.splice(at, 1);
    const entry = fields.addresses.device + 4 + (fields.nextUsed & (fields.size - 1)) * 8;
    this.#view.setUint32(0, head, true);
    this.#view.setUint32(4, written, true);
    this.#write(entry, this.#word);
    fields.nextUsed = (fields.nextUsed + 1) & 0xffff;
    this.#write16(fields.addresses.device + 2, fields.nextUsed);
  }

  /** Buffers that were given back since the driver was told last. */
  get untold(): number {
    return (this.#fields.nextUsed - this.#fields.signalled) & 0xffff;
  }

  /** Tells the driver of what was given back since the last call, when it wants to know. */
  signal(): void {
    const fields = this.#fields;
    if (!fields.enabled || fields.nextUsed === fields.signalled) return;
    const before = fields.signalled;
    fields.signalled = fields.nextUsed;
    if (this.#wanted(before)) this.#events.interrupt();
  }

  saveState(): Readonly<Record<string, unknown>> {
    return { ...this.#fields, addresses: { ...this.#fields.addresses }, taken: [...this.#fields.taken] };
  }

  /** Checks a saved state; the function it returns puts it in place. */
  static readState(reader: StateReader, limit: number): QueueFields {
    const addresses = reader.record('addresses');
    const size = reader.uint('size', 16);
    if (size < 1 || size > limit || (size & (size - 1)) !== 0) reader.refuse('size', `a power of two up to ${limit}`);
    return {
      size, enabled: reader.boolean('enabled'),
      addresses: { descriptors: addresses.uint('descriptors', 53), driver: addresses.uint('driver', 53), device: addresses.uint('device', 53) },
      nextAvailable: reader.uint('nextAvailable', 16), nextUsed: reader.uint('nextUsed', 16), signalled: reader.uint('signalled', 16),
      taken: reader.uints('taken', 16, size, false),
    };
  }

  restore(fields: QueueFields): void {
    this.#fields = { ...fields, taken: [...fields.taken] };
  }

  /** @virtio 2.7.7.2, 2.7.10 */
  #wanted(before: number): boolean {
    const { addresses, size, nextUsed } = this.#fields;
    if (!this.eventIndex) return (this.#read16(addresses.driver) & noInterrupt) === 0;
    const event = this.#read16(addresses.driver + 4 + size * 2);
    return ((nextUsed - event - 1) & 0xffff) < ((nextUsed - before) & 0xffff);
  }

  #follow(head: number): Chain {
    const { addresses, size } = this.#fields;
    const readable: Segment[] = [];
    const writable: Segment[] = [];
    let table = addresses.descriptors;
    let entries = size;
    let index = head;
    let indirect = false;
    for (let count = 0; ; count++) {
      if (index >= entries) throw new QueueError(`descriptor ${index} in a table of ${entries}`);
      if (count > CHAIN_MAXIMUM) throw new QueueError('a chain of descriptors that does not end');
      const { address, length, flags, next } = this.#descriptor(table + index * DESCRIPTOR_BYTES);
      if ((flags & descriptorFlag.indirect) !== 0) {
        if (indirect || (flags & descriptorFlag.next) !== 0 || length % DESCRIPTOR_BYTES !== 0 || length === 0) throw new QueueError('an indirect table where none can be');
        table = address;
        entries = Math.min(length / DESCRIPTOR_BYTES, CHAIN_MAXIMUM);
        index = 0;
        indirect = true;
        continue;
      }
      if ((flags & descriptorFlag.write) !== 0) writable.push({ address, length });
      else if (writable.length > 0) throw new QueueError('a buffer to read behind one to write');
      else readable.push({ address, length });
      if ((flags & descriptorFlag.next) === 0) return { head, readable, writable };
      index = next;
    }
  }

  #descriptor(at: number): { address: number; length: number; flags: number; next: number } {
    if (!this.#memory.read(at, this.#descriptorBytes)) throw new QueueError(`a descriptor at ${at.toString(16)}H, which is no memory`);
    const view = this.#descriptorView;
    return {
      // Addresses beyond 2^53 lose their low bits: no memory is there either way.
      address: view.getUint32(4, true) * 2 ** 32 + view.getUint32(0, true), length: view.getUint32(8, true), flags: view.getUint16(12, true), next: view.getUint16(14, true),
    };
  }

  #read16(at: number): number {
    if (!this.#memory.read(at, this.#half)) throw new QueueError(`a ring at ${at.toString(16)}H, which is no memory`);
    return this.#view.getUint16(0, true);
  }

  #write16(at: number, value: number): void {
    this.#view.setUint16(0, value, true);
    this.#write(at, this.#half);
  }

  #write(at: number, bytes: Uint8Array): void {
    if (!this.#memory.write(at, bytes)) throw new QueueError(`a ring at ${at.toString(16)}H, which is no memory`);
  }
}

function powerOn(limit: number): QueueFields {
  return {
    size: limit, enabled: false, addresses: { descriptors: 0, driver: 0, device: 0 }, nextAvailable: 0, nextUsed: 0, signalled: 0, taken: [],
  };
}
