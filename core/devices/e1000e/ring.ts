/** A descriptor ring: 16-byte entries in guest memory between head, which the device moves, and tail, which software moves. @82574 7.1, 7.2 */

import { queueRegister } from './registers.ts';
import type { RegisterFile } from './registers.ts';
import type { GuestMemoryAccess } from '../segments.ts';

export const DESCRIPTOR_BYTES = 16;
/** A ring's bytes: a multiple of 128 below 1 MiB. */
const LENGTH_MASK = 0xfff80;

export class DescriptorRing {
  readonly #registers: RegisterFile;
  readonly #memory: GuestMemoryAccess;
  readonly #base: number;
  readonly #bytes = new Uint8Array(DESCRIPTOR_BYTES);
  /** The descriptor that was read last, or is to be written. */
  readonly view = new DataView(this.#bytes.buffer);

  constructor(registers: RegisterFile, memory: GuestMemoryAccess, base: number) {
    this.#registers = registers;
    this.#memory = memory;
    this.#base = base;
  }

  get entries(): number {
    return (this.#register(queueRegister.length) & LENGTH_MASK) / DESCRIPTOR_BYTES;
  }

  get head(): number {
    return this.#register(queueRegister.head);
  }

  set head(index: number) {
    this.#registers.set(this.#base + queueRegister.head, index);
  }

  /** Descriptors that belong to the device; none while head or tail lies outside of the ring. */
  get available(): number {
    const { entries, head } = this;
    const tail = this.#register(queueRegister.tail);
    return entries === 0 || head >= entries || tail >= entries ? 0 : (tail - head + entries) % entries;
  }

  /** Reads the descriptor `ahead` of the head into `view`. */
  read(ahead: number): boolean {
    return this.#memory.read(this.#address(ahead), this.#bytes);
  }

  /** Writes `view` over the descriptor `ahead` of the head. */
  write(ahead: number): boolean {
    return this.#memory.write(this.#address(ahead), this.#bytes);
  }

  advance(count: number): void {
    this.head = (this.head + count) % this.entries;
  }

  #address(ahead: number): number {
    // No memory lies above 2^53.
    const base = (this.#register(queueRegister.baseHigh) & 0x1fffff) * 2 ** 32 + this.#register(queueRegister.baseLow);
    return base + ((this.head + ahead) % this.entries) * DESCRIPTOR_BYTES;
  }

  #register(offset: number): number {
    return this.#registers.get(this.#base + offset);
  }
}

/** The address in the first eight bytes of a descriptor. */
export function bufferAddress(view: DataView): number {
  return (view.getUint32(4, true) & 0x1fffff) * 2 ** 32 + view.getUint32(0, true);
}
