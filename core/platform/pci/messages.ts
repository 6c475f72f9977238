/** Message-signalled interrupts of a function: MSI and MSI-X. @pci 6.8 */

import { capabilityId } from './capabilities.ts';
import { extract, insert } from '../device.ts';
import type { AccessSize, Registers } from '../device.ts';
import type { Capability } from './capabilities.ts';
import type { ConfigSpace } from './configSpace.ts';
import type { StateReader } from '../state.ts';

/** Sends the write that an interrupt message is. */
export type MessageSink = (address: number, data: number) => void;

const msiControl = { enable: 0x0001, multipleEnable: 0x0070 } as const;
const msiOffset = { control: 2, low: 4, high: 8, data: 0x0c, mask: 0x10, pending: 0x14 } as const;

/** MSI with 64-bit addresses and per-vector masks. */
export class Msi {
  readonly capability: Capability;
  private readonly vectors: number;
  private config: ConfigSpace | null = null;
  private at = 0;
  private send: MessageSink = () => {};

  /** @param vectors a power of two, at most 32 */
  constructor(vectors: number) {
    this.vectors = vectors;
    const bits = vectors === 32 ? 0xffffffff : (1 << vectors) - 1;
    this.capability = {
      id: capabilityId.msi, length: 0x18,
      registers: [
        { offset: msiOffset.control, size: 2, value: 0x0180 | (Math.log2(vectors) << 1), writable: msiControl.enable | msiControl.multipleEnable },
        { offset: msiOffset.low, size: 4, writable: 0xfffffffc }, { offset: msiOffset.high, size: 4, writable: 0xffffffff },
        { offset: msiOffset.data, size: 2, writable: 0xffff }, { offset: msiOffset.mask, size: 4, writable: bits },
      ],
    };
  }

  connect(config: ConfigSpace, at: number, send: MessageSink): void {
    this.config = config;
    this.at = at;
    this.send = send;
    config.allowLive(at + msiOffset.pending, 4, 0xffffffff);
  }

  get enabled(): boolean {
    return (this.register(msiOffset.control, 2) & msiControl.enable) !== 0;
  }

  /** Sends a vector's message, or notes it while it is masked. */
  signal(vector: number): void {
    const enabled = 1 << ((this.register(msiOffset.control, 2) & msiControl.multipleEnable) >> 4);
    const number = vector % Math.min(this.vectors, enabled);
    const bit = 1 << number;
    if ((this.register(msiOffset.mask, 4) & bit) !== 0) {
      this.setPending(this.register(msiOffset.pending, 4) | bit);
      return;
    }
    const data = (this.register(msiOffset.data, 2) & ~(enabled - 1)) | number;
    this.send(this.register(msiOffset.high, 4) * 2 ** 32 + this.register(msiOffset.low, 4), data);
  }

  /** After a write to the capability: what was unmasked is sent. */
  written(): void {
    const ready = this.register(msiOffset.pending, 4) & ~this.register(msiOffset.mask, 4);
    if (!this.enabled || ready === 0) return;
    this.setPending(this.register(msiOffset.pending, 4) & ~ready);
    for (let vector = 0; vector < this.vectors; vector++) if ((ready & (1 << vector)) !== 0) this.signal(vector);
  }

  private setPending(bits: number): void {
    this.config?.set(this.at + msiOffset.pending, 4, bits >>> 0);
  }

  private register(offset: number, size: AccessSize): number {
    return this.config?.read(this.at + offset, size) ?? 0;
  }
}

const msixControl = { enable: 0x8000, functionMask: 0x4000 } as const;
const entryMasked = 1;

/** MSI-X: a table of messages and an array of pending bits, both in a memory BAR. */
export class MsiX implements Registers {
  readonly name = 'msix';
  readonly capability: Capability;
  readonly vectors: number;
  /** Bytes of the table, and with the pending bits behind it. */
  readonly tableBytes: number;
  readonly bytes: number;
  private readonly table: Uint32Array;
  private readonly pending: Uint32Array;
  private config: ConfigSpace | null = null;
  private at = 0;
  private send: MessageSink = () => {};

  /** @param bar index of the BAR, @param offset where in it the table begins: the pending bits follow */
  constructor(vectors: number, bar: number, offset = 0) {
    this.vectors = vectors;
    this.tableBytes = vectors * 16;
    this.bytes = this.tableBytes + Math.ceil(vectors / 64) * 8;
    this.table = new Uint32Array(vectors * 4);
    this.pending = new Uint32Array(Math.ceil(vectors / 64) * 2);
    this.capability = {
      id: capabilityId.msix, length: 12,
      registers: [
        { offset: 2, size: 2, value: vectors - 1, writable: msixControl.enable | msixControl.functionMask },
        { offset: 4, size: 4, value: offset | bar }, { offset: 8, size: 4, value: (offset + this.tableBytes) | bar },
      ],
    };
    this.reset();
  }

  connect(config: ConfigSpace, at: number, send: MessageSink): void {
    this.config = config;
    this.at = at;
    this.send = send;
  }

  get enabled(): boolean {
    return (this.control & msixControl.enable) !== 0;
  }

  signal(vector: number): void {
    if (vector < 0 || vector >= this.vectors) return;
    const entry = vector * 4;
    if ((this.control & msixControl.functionMask) !== 0 || ((this.table[entry + 3] ?? 0) & entryMasked) !== 0) {
      this.pending[vector >> 5] = (this.pending[vector >> 5] ?? 0) | (1 << (vector & 31));
    } else {
      this.send((this.table[entry + 1] ?? 0) * 2 ** 32 + (this.table[entry] ?? 0), this.table[entry + 2] ?? 0);
    }
  }

  /** After a write to control or table: what was unmasked is sent. */
  written(): void {
    if (!this.enabled || (this.control & msixControl.functionMask) !== 0) return;
    for (let vector = 0; vector < this.vectors; vector++) {
      const bit = 1 << (vector & 31);
      const word = vector >> 5;
      if (((this.pending[word] ?? 0) & bit) === 0 || ((this.table[vector * 4 + 3] ?? 0) & entryMasked) !== 0) continue;
      this.pending[word] = (this.pending[word] ?? 0) & ~bit;
      this.signal(vector);
    }
  }

  reset(): void {
    this.table.fill(0);
    for (let vector = 0; vector < this.vectors; vector++) this.table[vector * 4 + 3] = entryMasked;
    this.pending.fill(0);
  }

  /** Offsets are relative to the table. */
  read(offset: number, size: AccessSize): number {
    const word = offset >> 2;
    const value = offset < this.tableBytes ? this.table[word] : this.pending[word - this.table.length];
    return (offset & 3) + size > 4 ? 0 : extract(value ?? 0, offset & 3, size);
  }

  write(offset: number, size: AccessSize, value: number): void {
    const word = offset >> 2;
    if (offset >= this.tableBytes || (offset & 3) + size > 4) return;
    const writable = (word & 3) === 0 ? 0xfffffffc : (word & 3) === 3 ? entryMasked : 0xffffffff;
    this.table[word] = insert(this.table[word] ?? 0, offset & 3, size, value) & writable;
    this.written();
  }

  save(): object {
    return { table: [...this.table], pending: [...this.pending] };
  }

  /** Checks a saved table. Returns what puts it in place. */
  check(reader: StateReader): () => void {
    const table = reader.uints('table', 32, this.table.length);
    const pending = reader.uints('pending', 32, this.pending.length);
    return () => {
      this.table.set(table);
      this.pending.set(pending);
    };
  }

  private get control(): number {
    return this.config?.read(this.at + 2, 2) ?? 0;
  }
}
