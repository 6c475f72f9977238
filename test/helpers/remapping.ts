/** A remapping unit over a small memory, and tables built by hand. */
import { GuestMemory } from '../../core/vtd/guestMemory.ts';
import { VtdUnit } from '../../core/vtd/unit.ts';
import type { DmaRequest } from '../../core/vtd/stage.ts';
import type { InterruptMessage } from '../../core/platform/interrupts.ts';

export const pageBytes = 4096;
export const register = {
  CAP: 0x08, ECAP: 0x10, GCMD: 0x18, GSTS: 0x1c, RTADDR: 0x20, CCMD: 0x28, FSTS: 0x34, FECTL: 0x38, FEDATA: 0x3c, FEADDR: 0x40, FEUADDR: 0x44, PMEN: 0x64, PLMBASE: 0x68,
  PLMLIMIT: 0x6c, PHMBASE: 0x70, IQH: 0x80, IQT: 0x88, IQA: 0x90, ICS: 0x9c, IECTL: 0xa0, IEDATA: 0xa4, IEADDR: 0xa8, IQERCD: 0xb0, IRTA: 0xb8, IVA: 0xf0, IOTLB: 0xf8, FRCD: 0x220,
} as const;
export const gcmd = { translation: 0x80000000, root: 0x40000000, queue: 0x04000000, interrupts: 0x02000000, interruptTable: 0x01000000, compatibility: 0x00800000 } as const;

/** Pages: 0 root, 1 context (2 its upper half), 3 PASID directory, 4 PASID table, 5 interrupts, 6 queue, 7 status, from 8 page tables. */
export class Bench {
  readonly ram: Uint8Array;
  readonly view: DataView;
  readonly unit: VtdUnit;
  readonly delivered: InterruptMessage[] = [];
  /** Bits of GCMD that stay. */
  private command = 0;
  private tail = 0;

  constructor(pages = 64, scalable = true) {
    this.ram = new Uint8Array(pages * pageBytes);
    this.view = new DataView(this.ram.buffer);
    this.unit = new VtdUnit(
      { hostAddressBits: 39, scalable, cachingMode: false, extendedInterruptMode: true },
      { memory: new GuestMemory(this.ram), deliver: message => { this.delivered.push(message); return true; } },
    );
  }

  put(page: number, offset: number, ...values: readonly bigint[]): void {
    values.forEach((value, index) => this.view.setBigUint64(page * pageBytes + offset + index * 8, value, true));
  }

  get(page: number, offset: number): bigint {
    return this.view.getBigUint64(page * pageBytes + offset, true);
  }

  write(offset: number, value: number): void {
    this.unit.write(offset, 4, value >>> 0);
  }

  write64(offset: number, value: bigint): void {
    this.unit.writeWide(offset, Number(value & 0xffffffffn), Number(value >> 32n));
  }

  read64(offset: number): bigint {
    const { low, high } = this.unit.readWide(offset);
    return (BigInt(high) << 32n) | BigInt(low);
  }

  /** Sets a bit of GCMD that stays, or one that acts once. */
  turnOn(bit: number): void {
    this.write(register.GCMD, this.command | bit);
    if (bit !== gcmd.root && bit !== gcmd.interruptTable) this.command |= bit;
  }

  turnOff(bit: number): void {
    this.command &= ~bit;
    this.write(register.GCMD, this.command);
  }

  /** A legacy context entry for a source: second stage of `levels` levels at a page. */
  legacyContext(source: number, table: number, levels = 3, domain = 1, type = 0): void {
    this.put(0, (source >>> 8) * 16, (1n << 12n) | 1n, 0n);
    this.put(1, (source & 0xff) * 16, (BigInt(table) << 12n) | BigInt(type << 2) | 1n, BigInt(levels - 2) | (BigInt(domain) << 8n));
  }

  /** Legacy translation of one source on. Page `from` of it is page `to` of memory, through tables at pages 8 to 10. */
  startLegacy(source: number, from: number, to: number, rights = 3n): void {
    this.legacyContext(source, 8);
    this.map(8, from, to, rights);
    this.write64(register.RTADDR, 0n);
    this.turnOn(gcmd.root);
    this.turnOn(gcmd.translation);
  }

  /** Three levels: tables at `top` and the two pages behind it. */
  map(top: number, from: number, to: number, rights = 3n): void {
    this.put(top, Math.floor(from / 2 ** 18) % 512 * 8, (BigInt(top + 1) << 12n) | 3n);
    this.put(top + 1, (Math.floor(from / 512) % 512) * 8, (BigInt(top + 2) << 12n) | 3n);
    this.put(top + 2, (from % 512) * 8, (BigInt(to) << 12n) | rights);
  }

  /** Starts the queue, with descriptors of 128 bits. */
  startQueue(): void {
    this.write64(register.IQA, 6n << 12n);
    this.turnOn(gcmd.queue);
  }

  queue(...descriptors: readonly (readonly [bigint, bigint])[]): void {
    for (const [low, high] of descriptors) {
      this.put(6, this.tail, low, high);
      this.tail = (this.tail + 16) % pageBytes;
    }
    this.write64(register.IQT, BigInt(this.tail));
  }

  dma(source: number, page: number, more: Partial<DmaRequest> = {}): number | null {
    return this.unit.translate({ source, pasid: null, page, write: false, execute: false, privileged: false, ...more })?.page ?? null;
  }
}
