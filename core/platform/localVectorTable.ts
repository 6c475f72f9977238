/** The local vector table and the two local interrupt pins. @sdm 3A 11.5.1 */

import { deliveryMode } from './interrupts.ts';
import { lvtActiveLow, lvtLevel, lvtMasked, lvtRemoteIrr, lvtRows } from './localApicRegisters.ts';
import type { InterruptMessage } from './interrupts.ts';
import type { StateReader } from './state.ts';

/** Entries by their places in `lvtRows`. */
export const lvtEntry = { timer: 0, lint0: 3, lint1: 4, error: 5 } as const;

/** Takes what an entry delivers; false when it was not accepted. */
export type LocalAcceptor = (message: Pick<InterruptMessage, 'mode' | 'vector' | 'level'>) => boolean;

export class LocalVectorTable {
  private readonly accept: LocalAcceptor;
  private readonly entries = new Uint32Array(lvtRows.length).fill(lvtMasked);
  private readonly pins = [false, false];

  constructor(accept: LocalAcceptor) {
    this.accept = accept;
  }

  reset(): void {
    this.entries.fill(lvtMasked);
  }

  read(entry: number): number {
    return this.entries[entry] ?? 0;
  }

  /** @param held whether the APIC is disabled by software, which holds every entry masked */
  write(entry: number, value: number, held: boolean): void {
    const row = lvtRows[entry];
    if (row === undefined) return;
    const kept = (value & lvtLevel) !== 0 ? this.read(entry) & lvtRemoteIrr : 0;
    this.entries[entry] = (value & row.writable) | kept | (held ? lvtMasked : 0);
    // A level that waits on a pin is delivered as soon as the entry lets it.
    this.serviceLevel(entry);
  }

  /** @sdm 3A 11.4.7.2 */
  maskAll(): void {
    this.entries.forEach((value, entry) => (this.entries[entry] = value | lvtMasked));
  }

  /** The level on LINT0 (0) or LINT1 (1), from outside. Returns whether it changed. */
  setPin(number: 0 | 1, asserted: boolean): boolean {
    if (this.pins[number] === asserted) return false;
    this.pins[number] = asserted;
    const entry = lvtEntry.lint0 + number;
    if (this.active(entry) && (this.read(entry) & lvtLevel) === 0) this.deliver(entry);
    else this.serviceLevel(entry);
    return true;
  }

  /** Delivers what an entry says, unless it is masked. ExtINT is no event: it follows LINT0's level, see `external`. */
  deliver(entry: number): void {
    const value = this.read(entry);
    // The timer and error entries have no delivery mode: those bits are reserved, so this reads as fixed.
    const mode = (value >> 8) & 7;
    if ((value & lvtMasked) === 0 && mode !== deliveryMode.extInt) this.accept({ mode, vector: value & 0xff, level: false });
  }

  /** The 8259A's request at LINT0. `through` asks whether the entry passes it on; without an APIC in between it always counts. */
  external(through: boolean): boolean {
    if (this.pins[0] !== true) return false;
    const value = this.read(lvtEntry.lint0);
    return !through || ((value & lvtMasked) === 0 && ((value >> 8) & 7) === deliveryMode.extInt);
  }

  /** A level-triggered interrupt with this vector has ended. */
  endOfInterrupt(vector: number): void {
    for (const entry of [lvtEntry.lint0, lvtEntry.lint1]) {
      if ((this.read(entry) & 0xff) !== vector) continue;
      this.entries[entry] = this.read(entry) & ~lvtRemoteIrr;
      this.serviceLevel(entry);
    }
  }

  save(): { readonly lvt: readonly number[]; readonly lint0: boolean; readonly lint1: boolean } {
    return { lvt: [...this.entries], lint0: this.pins[0] === true, lint1: this.pins[1] === true };
  }

  /** Checks a saved table; the returned function puts it in place. */
  load(reader: StateReader): () => void {
    const entries = reader.uints('lvt', 19, lvtRows.length);
    const pins = [reader.boolean('lint0'), reader.boolean('lint1')];
    return () => {
      this.entries.set(entries);
      pins.forEach((level, pin) => (this.pins[pin] = level));
    };
  }

  private active(entry: number): boolean {
    return this.pins[entry - lvtEntry.lint0] === ((this.read(entry) & lvtActiveLow) === 0);
  }

  /** Delivers a level-triggered fixed interrupt of a pin that is active, unless one is on its way already. */
  private serviceLevel(entry: number): void {
    const value = this.read(entry);
    if ((value & lvtLevel) === 0 || (value & (lvtMasked | lvtRemoteIrr)) !== 0 || !this.active(entry)) return;
    if (((value >> 8) & 7) !== deliveryMode.fixed) return;
    if (this.accept({ mode: deliveryMode.fixed, vector: value & 0xff, level: true })) this.entries[entry] = value | lvtRemoteIrr;
  }
}
