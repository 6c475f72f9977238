/** The interrupts that a local APIC holds, and which of them may be delivered: IRR, ISR, TMR, TPR and PPR. @sdm 3A 11.8 */

import { VectorSet } from './vectorSet.ts';
import type { StateReader } from './state.ts';

export class InterruptPriority {
  /** The vector that may be delivered, or -1. */
  deliverable = -1;
  private readonly irr = new VectorSet();
  private readonly isr = new VectorSet();
  private readonly tmr = new VectorSet();
  private task = 0;
  private readonly enabled: () => boolean;
  private readonly request: () => void;

  /**
   * @param enabled whether the APIC delivers anything
   * @param request told whenever one may be delivered
   */
  constructor(enabled: () => boolean, request: () => void) {
    this.enabled = enabled;
    this.request = request;
  }

  get tpr(): number {
    return this.task;
  }

  set tpr(value: number) {
    this.task = value;
    this.update();
  }

  /** @sdm 3A 11.8.3.1 */
  get ppr(): number {
    const inService = this.isr.highest;
    return this.task >> 4 >= inService >> 4 ? this.task : inService & 0xf0;
  }

  /** A word of ISR, TMR and IRR, which follow one another: 0 to 23. */
  word(index: number): number {
    return (index < 8 ? this.isr : index < 16 ? this.tmr : this.irr).word(index & 7);
  }

  /** Takes an interrupt. */
  accept(vector: number, level: boolean): void {
    this.irr.set(vector);
    if (level) this.tmr.set(vector);
    else this.tmr.clear(vector);
    this.update();
  }

  /** The deliverable interrupt goes into service; its vector, or -1. */
  serve(): number {
    const vector = this.deliverable;
    if (vector < 0) return vector;
    this.irr.clear(vector);
    this.isr.set(vector);
    this.update();
    return vector;
  }

  /** The interrupt in service ends; its vector, or -1. */
  end(): number {
    const vector = this.isr.highest;
    if (vector < 0) return vector;
    this.isr.clear(vector);
    this.update();
    return vector;
  }

  /** Something is requested, deliverable or not. */
  get waiting(): boolean {
    return this.irr.highest >= 0;
  }

  /** Requested or in service. */
  holds(vector: number): boolean {
    return this.irr.has(vector) || this.isr.has(vector);
  }

  isLevel(vector: number): boolean {
    return this.tmr.has(vector);
  }

  /** To be called when what `enabled` says may have changed, too. */
  update(): void {
    const request = this.irr.highest;
    this.deliverable = this.enabled() && request >> 4 > this.ppr >> 4 ? request : -1;
    if (this.deliverable >= 0) this.request();
  }

  reset(): void {
    for (const set of [this.irr, this.isr, this.tmr]) set.empty();
    this.tpr = 0;
  }

  save(): { readonly tpr: number; readonly irr: readonly number[]; readonly isr: readonly number[]; readonly tmr: readonly number[] } {
    return { tpr: this.task, irr: this.irr.save(), isr: this.isr.save(), tmr: this.tmr.save() };
  }

  /** Checks what was saved; the returned function puts it in place. */
  load(reader: StateReader): () => void {
    const task = reader.uint('tpr', 8);
    const sets = (['irr', 'isr', 'tmr'] as const).map(field => [this[field], reader.uints(field, 32, 8)] as const);
    return () => {
      this.task = task;
      for (const [set, words] of sets) set.load(words);
      this.update();
    };
  }
}
