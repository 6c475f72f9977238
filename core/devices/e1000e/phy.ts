/** The 82574L's PHY behind MDIC: gigabit, full duplex, as soon as there is a link. @82574 10.2.2.7, @802.3 22.2.4 */

import type { StateReader } from '../../platform/state.ts';

const mdic = { registerShift: 16, addressShift: 21, write: 1 << 26, read: 2 << 26, ready: 1 << 28, error: 1 << 30 } as const;
const ADDRESS = 1;
const REGISTERS = 32;
const PAGE_SELECT = 22;
const bmcr = { address: 0, reset: 0x8000, restart: 0x0200 } as const;
const bmsr = { address: 1, linkUp: 0x0004, negotiated: 0x0020 } as const;
const specific = { address: 17, linkUp: 0x0c00 } as const;
/** Bits of the status registers that say what the partner can: nothing without a link. */
const partner: readonly number[] = [5, 10];

interface Row {
  readonly address: number;
  readonly reset: number;
  readonly writable: number;
}

const rows: readonly Row[] = [
  { address: bmcr.address, reset: 0x1140, writable: 0x7dc0 },
  { address: bmsr.address, reset: 0x7949, writable: 0 },
  { address: 2, reset: 0x0141, writable: 0 }, { address: 3, reset: 0x0cb1, writable: 0 },
  { address: 4, reset: 0x0de1, writable: 0xffff }, { address: 5, reset: 0xcde1, writable: 0 }, { address: 6, reset: 0x000f, writable: 0 },
  { address: 9, reset: 0x0e00, writable: 0xff00 }, { address: 10, reset: 0x7c00, writable: 0 }, { address: 15, reset: 0x3000, writable: 0 },
  { address: 16, reset: 0x0078, writable: 0xffff }, { address: specific.address, reset: 0xa000, writable: 0 }, { address: 18, reset: 0, writable: 0xffff },
  { address: 20, reset: 0x0d60, writable: 0xffff }, { address: PAGE_SELECT, reset: 0, writable: 0xffff }, { address: 26, reset: 0, writable: 0xffff },
];

export class Phy {
  readonly #registers = new Uint16Array(REGISTERS);
  #control = 0;

  constructor() {
    this.reset();
  }

  reset(): void {
    this.#control = 0;
    this.#power();
  }

  /** MDIC as software reads it. */
  get control(): number {
    return this.#control;
  }

  /** A command in MDIC is done at once. */
  command(value: number, linkUp: boolean): void {
    const register = (value >>> mdic.registerShift) & 31;
    const here = ((value >>> mdic.addressShift) & 31) === ADDRESS;
    const kept = value & 0x2fff0000 & ~mdic.ready;
    if ((value & mdic.write) !== 0) {
      if (here) this.#write(register, value & 0xffff);
      this.#control = (kept | mdic.ready | (value & 0xffff) | (here ? 0 : mdic.error)) >>> 0;
    } else this.#control = (kept | mdic.ready | (here ? this.#read(register, linkUp) : mdic.error)) >>> 0;
  }

  save(): Readonly<Record<string, unknown>> {
    return { control: this.#control, registers: [...this.#registers] };
  }

  check(reader: StateReader): () => void {
    const control = reader.uint('control', 32);
    const registers = reader.uints('registers', 16, REGISTERS);
    return () => {
      this.#control = control;
      this.#registers.set(registers);
    };
  }

  #power(): void {
    this.#registers.fill(0);
    for (const { address, reset } of rows) this.#registers[address] = reset;
  }

  #read(address: number, linkUp: boolean): number {
    // Other pages hold what only the part's own tests look at.
    if ((this.#registers[PAGE_SELECT] ?? 0) !== 0 && address !== PAGE_SELECT) return 0;
    const value = this.#registers[address] ?? 0;
    if (!linkUp) return partner.includes(address) ? 0 : value;
    if (address === bmsr.address) return value | bmsr.linkUp | bmsr.negotiated;
    return address === specific.address ? value | specific.linkUp : value;
  }

  #write(address: number, value: number): void {
    if ((this.#registers[PAGE_SELECT] ?? 0) !== 0 && address !== PAGE_SELECT) return;
    if (address === bmcr.address && (value & bmcr.reset) !== 0) return this.#power();
    const mask = rows.find((row) => row.address === address)?.writable ?? 0;
    this.#registers[address] = ((this.#registers[address] ?? 0) & ~mask) | (value & mask);
    if (address === bmcr.address) this.#registers[address] = (this.#registers[address] ?? 0) & ~bmcr.restart;
  }
}
