/**
 * The window below 1 MiB onto VGA memory: four planes with latches and write modes, or plain bytes. In video memory the bytes of
 * the four planes at an address lie side by side.
 */

import type { VgaRegisters } from './registers.ts';

/** Base and length of the window within A0000H to BFFFFH, by graphics register 6. */
const windows = [[0, 0x20000], [0, 0x10000], [0x10000, 0x8000], [0x18000, 0x8000]] as const;
const chain4 = 0x08;
const planeBytes = 0x10000;

export class PlaneWindow {
  /** The byte of each plane that was read last, plane 0 lowest. */
  latch = 0;
  readonly #registers: VgaRegisters;
  readonly #memory: () => Uint8Array;
  /** Offset of the window in video memory, for banked modes. */
  readonly #bank: () => number;

  constructor(registers: VgaRegisters, memory: () => Uint8Array, bank: () => number) {
    this.#registers = registers;
    this.#memory = memory;
    this.#bank = bank;
  }

  /** `offset` from A0000H. */
  read(offset: number): number {
    const address = this.#locate(offset);
    if (address < 0) return 0xff;
    const { graphics, sequencer } = this.#registers;
    const memory = this.#memory();
    if (((sequencer[4] ?? 0) & chain4) !== 0) return memory[address] ?? 0xff;
    if (((graphics[5] ?? 0) & 0x10) !== 0) {
      const plane = ((graphics[4] ?? 0) & 2) | (address & 1);
      return memory[((address & ~1) << 1) | plane] ?? 0xff;
    }
    const at = (address & (planeBytes - 1)) * 4;
    this.latch = ((memory[at] ?? 0) | ((memory[at + 1] ?? 0) << 8) | ((memory[at + 2] ?? 0) << 16) | ((memory[at + 3] ?? 0) << 24)) >>> 0;
    if (((graphics[5] ?? 0) & 0x08) === 0) return (this.latch >>> (8 * ((graphics[4] ?? 0) & 3))) & 0xff;
    return this.#compare();
  }

  write(offset: number, value: number): void {
    const address = this.#locate(offset);
    if (address < 0) return;
    const { graphics, sequencer } = this.#registers;
    const memory = this.#memory();
    const mask = sequencer[2] ?? 0;
    if (((sequencer[4] ?? 0) & chain4) !== 0) {
      if ((mask & (1 << (address & 3))) !== 0) memory[address] = value;
    } else if (((graphics[5] ?? 0) & 0x10) !== 0) {
      const plane = ((graphics[4] ?? 0) & 2) | (address & 1);
      if ((mask & (1 << plane)) !== 0) memory[((address & ~1) << 1) | plane] = value;
    } else {
      const at = (address & (planeBytes - 1)) * 4;
      const result = this.#combine(value);
      for (let plane = 0; plane < 4; plane++) if ((mask & (1 << plane)) !== 0) memory[at + plane] = result >>> (plane * 8);
    }
  }

  /** Address in the window, -1 outside it. */
  #locate(offset: number): number {
    const [base, length] = windows[this.#registers.memoryMap as 0 | 1 | 2 | 3];
    return offset >= base && offset < base + length ? offset - base + this.#bank() : -1;
  }

  /** Read mode 1: a bit is set where the planes that count have the compared colour. */
  #compare(): number {
    const { graphics } = this.#registers;
    const counts = spread(graphics[7] ?? 0);
    const differs = (this.latch ^ spread(graphics[2] ?? 0)) & counts;
    return ~(differs | (differs >>> 8) | (differs >>> 16) | (differs >>> 24)) & 0xff;
  }

  /** What a write puts into the four planes, by the write mode. */
  #combine(value: number): number {
    const { graphics } = this.#registers;
    const mode = (graphics[5] ?? 0) & 3;
    if (mode === 1) return this.latch;
    const rotation = (graphics[3] ?? 0) & 7;
    const rotated = ((value >>> rotation) | (value << (8 - rotation))) & 0xff;
    let bits = graphics[8] ?? 0;
    let planes: number;
    if (mode === 0) {
      const enabled = spread(graphics[1] ?? 0);
      planes = (Math.imul(rotated, 0x01010101) & ~enabled) | (spread(graphics[0] ?? 0) & enabled);
    } else if (mode === 2) planes = spread(value);
    else {
      bits &= rotated;
      planes = spread(graphics[0] ?? 0);
    }
    const keep = Math.imul(bits, 0x01010101);
    const done = [planes, planes & this.latch, planes | this.latch, planes ^ this.latch][((graphics[3] ?? 0) >> 3) & 3] ?? planes;
    return ((done & keep) | (this.latch & ~keep)) >>> 0;
  }
}

/** Four bits as four bytes of zeros or ones. */
function spread(bits: number): number {
  return ((bits & 1) * 0xff) | ((bits & 2) * 0x7f80) | ((bits & 4) * 0x3fc000) | ((bits & 8) * 0x1fe00000);
}
