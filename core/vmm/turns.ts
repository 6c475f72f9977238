/**
 * Whose turn it is. The vCPUs of a machine run one after the other on its one thread, so whatever one does is whole before another sees it,
 * and under the instruction clock the order is the same each time. A turn ends when it has lasted TURN instructions, when the vCPU halts, and at
 * a PAUSE while another one could run: it waits for something that only another one can do. docs/smp.md has the measurements.
 */
import type { Processor } from '../cpu/processor.ts';
import { PRIMARY_PAUSE } from '../vmx/control-bits.ts';
import type { Component, DeviceState } from '../platform/device.ts';
import { StateReader } from '../platform/state.ts';
import type { Vcpu } from './vcpu.ts';

/** Instructions of a turn, and between two looks at the clock at least. */
export const TURN = 50_000;
/** A vCPU that is the only one runs about so long, in milliseconds, before somebody looks at the clock; and so many instructions at most. */
const LOOK_MS = 0.1;
const LONGEST = 4 * TURN;

export class Turns implements Component {
  readonly name = 'turns';
  readonly version = 1;
  /** The vCPU that runs, or ran last. */
  current: Vcpu;
  private readonly cpu: Processor;
  private readonly vcpus: readonly Vcpu[];
  /** Count of the machine's instructions at which the turn is over. */
  private until = 0;
  /** Instructions that a vCPU may run when it is the only one. */
  private alone = TURN;

  constructor(cpu: Processor, vcpus: readonly Vcpu[]) {
    const [first] = vcpus;
    if (!first) throw new Error('a machine has at least one vCPU');
    this.cpu = cpu;
    this.vcpus = vcpus;
    this.current = first;
    for (const vcpu of vcpus) {
      vcpu.apic.onInterruptRequest = () => {
        if (vcpu !== this.current) this.setPauseExits(true);
      };
    }
  }

  /** Chooses the vCPU that runs next, and selects it; false when all are halted. */
  next(): boolean {
    const { cpu, vcpus } = this;
    if (vcpus.length === 1) return this.current.ready();
    // A debugger steps one vCPU; the others stand still.
    if (cpu.debug.stepping) return this.take(vcpus[cpu.debug.vcpu]!);
    const over = cpu.instructions >= this.until;
    for (let i = over ? 1 : 0; i < vcpus.length + (over ? 1 : 0); i++) {
      const vcpu = vcpus[(this.current.index + i) % vcpus.length]!;
      if (!vcpu.mayRun || !this.take(vcpu)) continue;
      if (i > 0) this.until = cpu.instructions + TURN;
      this.setPauseExits(vcpus.some(other => other !== vcpu && other.mayRun));
      return true;
    }
    return false;
  }

  private take(vcpu: Vcpu): boolean {
    if (vcpu !== this.current) this.current.takeNmi();
    this.cpu.select(vcpu.index);
    this.current = vcpu;
    return vcpu.ready();
  }

  private setPauseExits(on: boolean): void {
    this.cpu.setRootControls(PRIMARY_PAUSE, on ? PRIMARY_PAUSE : 0);
  }

  /** Instructions that the next VM entry may run. */
  get budget(): number {
    return this.vcpus.length === 1 ? this.alone : Math.max(1, this.until - this.cpu.instructions);
  }

  /** The budget was used up in so many milliseconds. By the instruction clock entries must not depend on the host's time. */
  lasted(milliseconds: number): void {
    if (this.cpu.exact) return;
    if (milliseconds < LOOK_MS / 2) this.alone = Math.min(LONGEST, this.alone * 2);
    else if (milliseconds > LOOK_MS * 2) this.alone = Math.max(TURN, this.alone / 2);
  }

  /** The turn ends here. */
  end(): void {
    this.until = 0;
  }

  reset(): void {
    this.current = this.vcpus[0]!;
    this.until = 0;
  }

  saveState(): DeviceState {
    return { version: this.version, current: this.current.index, left: Math.max(0, this.until - this.cpu.instructions) };
  }

  /** Load it after the processors, whose instructions it counts. */
  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const current = reader.integer('current', 0, this.vcpus.length - 1);
    const left = reader.integer('left', 0, TURN);
    this.current = this.vcpus[current]!;
    this.until = this.cpu.instructions + left;
  }
}
