/** Causes, masks and the three ways out: pin, MSI, and MSI-X with a vector by cause. @82574 7.4, 10.2.4 */

import { ctrlExt, register } from './registers.ts';
import type { RegisterFile } from './registers.ts';
import type { StateReader } from '../../platform/state.ts';

export const cause = {
  transmitted: 1 << 0, transmitEmpty: 1 << 1, linkChanged: 1 << 2, fewDescriptors: 1 << 4, overrun: 1 << 6, received: 1 << 7, mdioDone: 1 << 9,
  receiveQueue0: 1 << 20, transmitQueue0: 1 << 22, transmitQueue1: 1 << 23, other: 1 << 24,
} as const;
const asserted = 0x80000000;
/** Causes that arrive in MSI-X as `other`. */
const others = cause.linkChanged | cause.overrun | cause.mdioDone;

/** Where IVAR says which vector a cause has. */
const vectors: readonly { readonly cause: number; readonly shift: number }[] = [
  { cause: cause.receiveQueue0, shift: 0 }, { cause: 1 << 21, shift: 4 }, { cause: cause.transmitQueue0, shift: 8 }, { cause: cause.transmitQueue1, shift: 12 }, { cause: cause.other, shift: 16 },
];

export interface InterruptPath {
  readonly mode: 'line' | 'msi' | 'msix';
  setLine(asserted: boolean): void;
  signal(vector: number): void;
}

export class Interrupts {
  readonly #registers: RegisterFile;
  readonly #path: InterruptPath;
  #causes = 0;
  #mask = 0;

  constructor(registers: RegisterFile, path: InterruptPath) {
    this.#registers = registers;
    this.#path = path;
  }

  reset(): void {
    this.#causes = 0;
    this.#mask = 0;
    this.#path.setLine(false);
  }

  get mask(): number {
    return this.#mask;
  }

  raise(causes: number): void {
    if (causes === 0) return;
    const more = this.#path.mode === 'msix' && (causes & others) !== 0 ? cause.other : 0;
    this.#causes = (this.#causes | causes | more) >>> 0;
    this.#deliver(causes | more);
  }

  /** IMS: what was raised before is delivered now. */
  unmask(bits: number): void {
    this.#mask = (this.#mask | bits) >>> 0;
    this.#deliver(bits);
  }

  /** IMC */
  hide(bits: number): void {
    this.#mask = (this.#mask & ~bits) >>> 0;
    this.#updateLine();
  }

  /** ICR: reading takes the causes, and masks those in IAM when that is wanted. */
  take(): number {
    const pending = (this.#causes & this.#mask) !== 0;
    const value = (this.#causes | (pending ? asserted : 0)) >>> 0;
    if (pending && this.#registers.has(register.ctrlExt, ctrlExt.autoMask)) this.#mask = (this.#mask & ~this.#registers.get(register.iam)) >>> 0;
    this.#causes = 0;
    this.#updateLine();
    return value;
  }

  /** ICR: ones that are written clear their causes. */
  clear(bits: number): void {
    this.#causes = (this.#causes & ~bits) >>> 0;
    this.#updateLine();
  }

  save(): Readonly<Record<string, unknown>> {
    return { causes: this.#causes, mask: this.#mask };
  }

  check(reader: StateReader): () => void {
    const causes = reader.uint('causes', 32);
    const mask = reader.uint('mask', 32);
    return () => {
      this.#causes = causes;
      this.#mask = mask;
      this.#updateLine();
    };
  }

  #deliver(fresh: number): void {
    const { mode } = this.#path;
    if (mode === 'msix') this.#sendVectors(fresh);
    else if (mode === 'msi' && (this.#causes & this.#mask & fresh) !== 0) this.#path.signal(0);
    this.#updateLine();
  }

  #sendVectors(fresh: number): void {
    const ivar = this.#registers.get(register.ivar);
    for (const row of vectors) {
      const entry = ivar >>> row.shift;
      if ((fresh & this.#causes & this.#mask & row.cause) === 0 || (entry & 8) === 0) continue;
      const cleared = row.cause & this.#registers.get(register.eiac);
      this.#causes = (this.#causes & ~cleared) >>> 0;
      if (this.#registers.has(register.ctrlExt, ctrlExt.autoMaskMessages)) this.#mask = (this.#mask & ~cleared) >>> 0;
      this.#path.signal(entry & 7);
    }
  }

  #updateLine(): void {
    this.#path.setLine((this.#causes & this.#mask) !== 0);
  }
}
