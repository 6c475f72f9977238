/** Configuration space of a function: 4 KiB of registers, described by rows. @pcie 7.5 */

import type { StateReader } from '../state.ts';
import { extract, insert } from '../device.ts';
import type { AccessSize } from '../device.ts';

/** A register: its power-on value, the bits software may write and those that writing ones clears. */
export interface ConfigRegister {
  readonly offset: number;
  readonly size: AccessSize;
  readonly value?: number;
  readonly writable?: number;
  readonly writeOneToClear?: number;
}

const words = 1024;

export class ConfigSpace {
  private readonly values = new Uint32Array(words);
  private readonly initial = new Uint32Array(words);
  private readonly writable = new Uint32Array(words);
  private readonly clearable = new Uint32Array(words);
  /** Bits that the device itself changes: a saved state may differ in them. */
  private readonly live = new Uint32Array(words);

  define(rows: readonly ConfigRegister[]): void {
    for (const { offset, size, value = 0, writable = 0, writeOneToClear = 0 } of rows) {
      const word = offset >> 2;
      const put = (array: Uint32Array, bits: number): void => {
        array[word] = (array[word] ?? 0) | insert(0, offset & 3, size, bits >>> 0);
      };
      put(this.initial, value);
      put(this.writable, writable);
      put(this.clearable, writeOneToClear);
    }
    this.values.set(this.initial);
  }

  /** Bits that only the device sets, such as a status. */
  allowLive(offset: number, size: AccessSize, bits: number): void {
    const word = offset >> 2;
    this.live[word] = (this.live[word] ?? 0) | insert(0, offset & 3, size, bits);
  }

  /** `offset` is below 4096 and a multiple of `size`. */
  read(offset: number, size: AccessSize): number {
    return extract(this.values[offset >> 2] ?? 0, offset & 3, size);
  }

  /** The device's own change: no mask applies. */
  set(offset: number, size: AccessSize, value: number): void {
    const word = offset >> 2;
    this.values[word] = insert(this.values[word] ?? 0, offset & 3, size, value);
  }

  /** A write by software. */
  write(offset: number, size: AccessSize, value: number): void {
    const word = offset >> 2;
    const before = this.values[word] ?? 0;
    const mask = this.writable[word] ?? 0;
    const ones = insert(0, offset & 3, size, value) & (this.clearable[word] ?? 0);
    this.values[word] = ((before & ~mask) | (insert(before, offset & 3, size, value) & mask)) & ~ones;
  }

  /** The bits of the word at `offset` that software may write. */
  writableBits(offset: number): number {
    return this.writable[offset >> 2] ?? 0;
  }

  reset(): void {
    this.values.set(this.initial);
  }

  save(): number[] {
    return [...this.values.subarray(0, this.used)];
  }

  /** Checks a saved space: bits that nobody can change must be those of this function. Returns what `restore` takes. */
  check(reader: StateReader): readonly number[] {
    const saved = reader.uints('config', 32, this.used);
    saved.forEach((value, index) => {
      const fixed = ~((this.writable[index] ?? 0) | (this.clearable[index] ?? 0) | (this.live[index] ?? 0));
      if (((value ^ (this.initial[index] ?? 0)) & fixed) !== 0) reader.refuse(`config[${index}]`, 'the read-only bits of this function');
    });
    return saved;
  }

  restore(saved: readonly number[]): void {
    this.values.set(saved);
  }

  /** Words in use: extended space is saved only where something is defined in it. */
  private get used(): number {
    return this.initial.some((value, index) => index >= 64 && (value !== 0 || this.writable[index] !== 0)) ? words : 64;
  }
}

