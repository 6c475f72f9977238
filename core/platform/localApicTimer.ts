/** The local APIC timer: one-shot, periodic and TSC-deadline. @sdm 3A 11.5.4 */

import { crystalHz, minimumPeriodNs, tscPerNs } from './clock.ts';
import { timerMode } from './localApicRegisters.ts';
import type { StateReader } from './state.ts';
import type { Timer, VirtualClock } from './clock.ts';

const nsPerCrystalTick = 1e9 / crystalHz;

export class LocalApicTimer {
  private readonly clock: VirtualClock;
  private readonly timer: Timer;
  private readonly expired: () => void;
  private mode: number = timerMode.oneShot;
  private initial = 0;
  private divideRegister = 0;
  /** When the count that runs was started, or its last period began; null: the count stands at zero. */
  private startNs: number | null = null;
  /** IA32_TSC_DEADLINE; zero while disarmed. */
  private deadline = 0n;
  private tscOffset = 0n;

  /** @param expired called when the count reaches zero or the deadline has passed, whether the LVT entry is masked or not */
  constructor(clock: VirtualClock, name: string, expired: () => void) {
    this.clock = clock;
    this.expired = expired;
    this.timer = clock.timer(name, now => this.fire(now));
  }

  reset(): void {
    this.mode = timerMode.oneShot;
    this.initial = 0;
    this.divideRegister = 0;
    this.stop();
  }

  /** LVT bits 18:17. A change to or from TSC-deadline mode disarms. */
  setMode(mode: number): void {
    if (mode === this.mode) return;
    const disarm = (mode === timerMode.tscDeadline) !== (this.mode === timerMode.tscDeadline);
    this.mode = mode;
    if (disarm) this.stop();
    else this.schedule();
  }

  get initialCount(): number {
    return this.initial;
  }

  writeInitialCount(value: number): void {
    if (this.mode === timerMode.tscDeadline) return;
    this.initial = value;
    this.startNs = value === 0 ? null : this.clock.nowNs();
    this.schedule();
  }

  get currentCount(): number {
    if (this.startNs === null || this.mode === timerMode.tscDeadline) return 0;
    const elapsed = Math.floor((this.clock.nowNs() - this.startNs) / this.tickNs);
    if (this.mode === timerMode.periodic) return this.initial - (elapsed % this.initial);
    return Math.max(0, this.initial - elapsed);
  }

  get divide(): number {
    return this.divideRegister;
  }

  /** The count that is left goes on at the new rate. */
  writeDivide(value: number): void {
    const left = this.currentCount;
    this.divideRegister = value & 0xb;
    if (this.startNs === null) return;
    this.startNs = this.clock.nowNs() - (this.initial - left) * this.tickNs;
    this.schedule();
  }

  readDeadline(): bigint {
    return this.deadline;
  }

  writeDeadline(value: bigint): void {
    if (this.mode !== timerMode.tscDeadline) return;
    this.deadline = value;
    this.schedule();
  }

  setTscOffset(offset: bigint): void {
    this.tscOffset = offset;
    if (this.mode === timerMode.tscDeadline) this.schedule();
  }

  save(): Record<string, unknown> {
    return {
      mode: this.mode, initial: this.initial, divide: this.divideRegister, startNs: this.startNs,
      deadline: this.deadline.toString(), tscOffset: BigInt.asUintN(64, this.tscOffset).toString(),
    };
  }

  /** Checks a saved timer; the returned function puts it in place. */
  load(reader: StateReader): () => void {
    const mode = reader.integer('mode', 0, 3);
    const initial = reader.uint('initial', 32);
    const divide = reader.uint('divide', 4) & 0xb;
    const startNs = reader.timeOrNull('startNs');
    if (startNs !== null && initial === 0) reader.refuse('startNs', 'null while the initial count is zero');
    const deadline = reader.uint64('deadline');
    const tscOffset = reader.uint64('tscOffset');
    return () => {
      this.mode = mode;
      this.initial = initial;
      this.divideRegister = divide;
      this.startNs = startNs;
      this.deadline = deadline;
      this.tscOffset = tscOffset;
      this.schedule();
    };
  }

  /** Bits 3, 1 and 0 encode 2, 4, ... 128 and, as 111b, 1. @sdm 3A figure 11-10 */
  private get tickNs(): number {
    const code = ((this.divideRegister >> 1) & 4) | (this.divideRegister & 3);
    return (1 << ((code + 1) & 7)) * nsPerCrystalTick;
  }

  private stop(): void {
    this.startNs = null;
    this.deadline = 0n;
    this.timer.cancel();
  }

  private schedule(): void {
    if (this.mode === timerMode.tscDeadline) this.scheduleDeadline();
    else if (this.startNs === null) this.timer.cancel();
    else this.timer.arm(this.startNs + this.initial * this.tickNs);
  }

  private scheduleDeadline(): void {
    if (this.deadline === 0n) {
      this.timer.cancel();
      return;
    }
    // The vCPU's TSC is the clock's plus the offset; what lies behind it is due now, what lies beyond 2^52 ns never comes.
    const tsc = BigInt.asUintN(64, BigInt(this.clock.tsc()) + this.tscOffset);
    const left = this.deadline > tsc ? Number(this.deadline - tsc) : 0;
    this.timer.arm(this.clock.nowNs() + Math.ceil(left / tscPerNs));
  }

  private fire(now: number): void {
    if (this.mode === timerMode.tscDeadline) {
      this.deadline = 0n;
    } else if (this.mode === timerMode.periodic && this.startNs !== null) {
      const period = this.initial * this.tickNs;
      this.startNs += Math.floor((now - this.startNs) / period) * period;
      this.timer.arm(period < minimumPeriodNs ? now + minimumPeriodNs : this.startNs + period);
    } else if (this.mode !== timerMode.periodic) {
      this.startNs = null;
    }
    this.expired();
  }
}
