/** A vCPU's time-stamp counter: the machine's, plus the TSC offset of the VMCS. @sdm 3B 18.17.3 */
import type { Processor } from '../cpu/processor.ts';
import { TSC_OFFSET } from '../cpu/layout.ts';
import { tscPerNs } from '../platform/clock.ts';
import type { VirtualClock } from '../platform/clock.ts';
import type { Component, DeviceState } from '../platform/device.ts';
import { StateReader } from '../platform/state.ts';
import type { VcpuInterrupts } from '../platform/interrupts.ts';

const IA32_TIME_STAMP_COUNTER = 0x10;
const IA32_TSC_ADJUST = 0x3b;

export class TimeStamp implements Component {
  readonly name: string;
  readonly version = 1;
  private readonly cpu: Processor;
  private readonly clock: VirtualClock;
  private readonly index: number;
  private readonly vcpu: VcpuInterrupts;
  private adjust = 0n;

  constructor(cpu: Processor, index: number, clock: VirtualClock, vcpu: VcpuInterrupts) {
    this.name = `tsc ${index}`;
    this.cpu = cpu;
    this.index = index;
    this.clock = clock;
    this.vcpu = vcpu;
  }

  /** At reset the counter starts from zero. @sdm 3A table 10-1 */
  reset(): void {
    this.adjust = 0n;
    this.setOffset(-BigInt(Math.floor(this.clock.tsc())));
  }

  /** The counter at a virtual time. */
  at(ns: number): bigint {
    return BigInt(Math.floor(ns * tscPerNs)) + this.offset;
  }

  private get now(): bigint {
    return this.at(this.clock.nowNs());
  }

  ownsMsr(msr: number): boolean {
    return msr === IA32_TIME_STAMP_COUNTER || msr === IA32_TSC_ADJUST;
  }

  /** Reads of the counter itself need no exit: the processor answers them. */
  readMsr(msr: number): readonly [number, number] {
    const value = msr === IA32_TSC_ADJUST ? this.adjust : this.now;
    const bits = BigInt.asUintN(64, value);
    return [Number(bits & 0xffffffffn), Number(bits >> 32n)];
  }

  /** Whichever of the two is written, the other moves by the same amount. */
  writeMsr(msr: number, low: number, high: number): void {
    const value = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
    const before = msr === IA32_TSC_ADJUST ? this.adjust : this.now;
    this.adjust = BigInt.asUintN(64, this.adjust + value - before);
    this.setOffset(this.offset + value - before);
  }

  saveState(): DeviceState {
    return { version: this.version, adjust: this.adjust.toString(), offset: this.offset.toString() };
  }

  /** Load it after the processor, which holds the offset, and after the clock. */
  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const adjust = reader.uint64('adjust');
    const offset = reader.uint64('offset');
    this.adjust = adjust;
    this.setOffset(offset);
  }

  private get offset(): bigint {
    return this.cpu.view.getBigUint64(this.cpu.fieldOf(this.index, TSC_OFFSET), true);
  }

  private setOffset(offset: bigint): void {
    const bits = BigInt.asUintN(64, offset);
    this.cpu.view.setBigUint64(this.cpu.fieldOf(this.index, TSC_OFFSET), bits, true);
    this.vcpu.setTscOffset(bits);
  }
}
