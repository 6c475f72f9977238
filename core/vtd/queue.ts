/** The invalidation queue: a ring of descriptors in memory. @vtd 6.5.2 */

import { command, faultStatus } from './registers.ts';
import { field } from './fields.ts';
import { queueError, runDescriptor } from './invalidation.ts';
import { readWide } from './memory.ts';
import type { EventMessage, FaultRecorder } from './events.ts';
import type { InvalidationTargets } from './invalidation.ts';
import type { RegisterFile } from './registers.ts';

/** Descriptors are 128 bits wide, or 256. */
const narrow = 16;
const wide = 32;

export class InvalidationQueue {
  private readonly registers: RegisterFile;
  private readonly recorder: FaultRecorder;
  private readonly event: EventMessage;
  private readonly scalable: boolean;
  private readonly targets: InvalidationTargets;
  private running = false;

  constructor(
    registers: RegisterFile, recorder: FaultRecorder, event: EventMessage, scalable: boolean,
    targets: Omit<InvalidationTargets, 'completed' | 'timedOut'>,
  ) {
    this.registers = registers;
    this.recorder = recorder;
    this.event = event;
    this.scalable = scalable;
    this.targets = { ...targets, completed: () => this.completed(), timedOut: source => this.timedOut(source) };
  }

  get enabled(): boolean {
    return this.registers.has('GSTS', command.queue);
  }

  /** Switching off sets the head back. */
  enable(on: boolean): void {
    if (on === this.enabled) return;
    this.registers.setBit('GSTS', command.queue, on);
    if (on) this.run();
    else this.registers.set('IQH', 0n);
  }

  /** Carries out what software has queued, up to the first descriptor that is wrong. */
  run(): void {
    const { registers } = this;
    // A completion message may lead to a write of the tail; the loop below sees it.
    if (this.running || !this.enabled) return;
    this.running = true;
    try {
      const { base, bytes, step } = this.shape();
      // A tail that software keeps moving is its own loop, not ours: one round of the ring at most.
      for (let left = bytes / step; left > 0; left--) {
        if (registers.has('FSTS', faultStatus.queueError)) return;
        const head = Number(registers.get('IQH'));
        const tail = Number(registers.get('IQT'));
        if (head === tail) return;
        const error = this.step(base, bytes, step, head, tail);
        if (error !== queueError.none) return this.fail(error);
        registers.set('IQH', BigInt((head + step) % bytes));
      }
    } finally {
      this.running = false;
    }
  }

  private shape(): { base: number; bytes: number; step: number } {
    const value = this.registers.get('IQA');
    return { base: field(value, 12, 40) * 4096, bytes: 4096 * 2 ** field(value, 0, 3), step: field(value, 11, 1) === 1 ? wide : narrow };
  }

  private step(base: number, bytes: number, step: number, head: number, tail: number): number {
    if (tail >= bytes || tail % step !== 0) return queueError.tail;
    // Scalable mode needs the wide descriptors.
    if (step === wide && !this.scalable) return queueError.width;
    const value = readWide(this.targets.memory, base + (head % bytes), step / 8);
    return value === null ? queueError.fetch : runDescriptor(value, step === wide, this.scalable, this.targets);
  }

  /** The head stays at the descriptor until software has cleared the status. */
  private fail(error: number): void {
    this.registers.set('IQERCD', (this.registers.get('IQERCD') & ~0xfn) | BigInt(error));
    this.recorder.announce(faultStatus.queueError);
  }

  private completed(): void {
    if (this.registers.has('ICS', 0)) return;
    this.registers.setBit('ICS', 0, true);
    this.event.raise();
  }

  private timedOut(source: number): void {
    this.registers.set('IQERCD', (this.registers.get('IQERCD') & ~(0xffffn << 32n)) | (BigInt(source) << 32n));
    this.recorder.announce(faultStatus.timeout);
  }
}
