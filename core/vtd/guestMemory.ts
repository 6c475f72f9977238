/** A machine's RAM as its remapping unit reads and writes it. */

import type { RemappingMemory } from './memory.ts';

export class GuestMemory implements RemappingMemory {
  private readonly view: DataView;
  private readonly wrote: (address: number, size: number) => void;
  private readonly reads: (address: number, size: number) => void;

  /**
   * @param ram RAM from guest-physical address 0
   * @param wrote told before bytes change: the processor may hold code from there
   * @param reads told before bytes are read: they may still have to come from a snapshot
   */
  constructor(ram: Uint8Array, wrote: (address: number, size: number) => void = () => {}, reads: (address: number, size: number) => void = () => {}) {
    this.view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    this.wrote = wrote;
    this.reads = reads;
  }

  read(address: number): bigint | null {
    if (address + 8 > this.view.byteLength) return null;
    this.reads(address, 8);
    return this.view.getBigUint64(address, true);
  }

  write(address: number, value: bigint): boolean {
    if (address + 8 > this.view.byteLength) return false;
    this.wrote(address, 8);
    this.view.setBigUint64(address, value, true);
    return true;
  }

  writeDword(address: number, value: number): boolean {
    if (address + 4 > this.view.byteLength) return false;
    this.wrote(address, 4);
    this.view.setUint32(address, value, true);
    return true;
  }
}
