/**
 * What guests know of KVM and use where CPUID shows it: a clock in memory that follows from the time-stamp counter, the time of day, and the end of
 * interrupts without an exit. A row an MSR; the structures are those of KVM's documentation (virt/kvm/x86/msr).
 */
import type { Component, DeviceState } from '../platform/device.ts';
import type { DmaPort } from '../platform/dma.ts';
import type { EoiBit, EoiOffer } from '../platform/eoiOffer.ts';
import { StateReader } from '../platform/state.ts';
import { tscHz } from '../platform/clock.ts';

/** CPUID leaves 40000000H and 40000001H. Features: clock at the old and the new MSRs, no delays for I/O, end of interrupt, a clock all vCPUs agree on. */
export const KVM_SIGNATURE = 'KVMKVMKVM\0\0\0';
export const KVM_LAST_LEAF = 0x40000001;
export const KVM_FEATURES = (1 << 0) | (1 << 1) | (1 << 3) | (1 << 6) | (1 << 24);

const ENABLED = 1n;
const TSC_STABLE = 1;
/** Numbers and answers of hypercalls (virt/kvm/x86/hypercalls). */
const POLL_INTERRUPTS = 1n;
const HYPERCALL_UNKNOWN = -1000n;
const HYPERCALL_DENIED = -1n;
/** A nanosecond in units of 2^-32 for each tick. */
const TSC_TO_NS = Math.round((1e9 / tscHz) * 2 ** 32);

/** What it stands on. */
export interface KvmParts {
  readonly memory: DmaPort;
  readonly eoi: EoiOffer;
  /** Virtual time. */
  ns(): number;
  /** The vCPU's time-stamp counter at a virtual time. */
  tsc(ns: number): bigint;
  /** Milliseconds since 1970 at virtual time 0. */
  wallMs(): number;
}

type Register = 'wallClock' | 'systemTime' | 'endOfInterrupt';
const MSRS: ReadonlyMap<number, Register> = new Map([
  [0x4b564d00, 'wallClock'], [0x4b564d01, 'systemTime'], [0x4b564d04, 'endOfInterrupt'],
  // Where they were first.
  [0x11, 'wallClock'], [0x12, 'systemTime'],
]);
/** Bits of a value that must be 0. */
const RESERVED: Readonly<Record<Register, bigint>> = { wallClock: 0n, systemTime: 0n, endOfInterrupt: 2n };

export class KvmInterface implements Component {
  readonly name: string;
  readonly version = 1;
  private readonly parts: KvmParts;
  private values: Record<Register, bigint> = { wallClock: 0n, systemTime: 0n, endOfInterrupt: 0n };
  private updates = 0;

  constructor(vcpu: number, parts: KvmParts) {
    this.name = `kvm ${vcpu}`;
    this.parts = parts;
  }

  /** At power-on, and at INIT. */
  reset(): void {
    this.values = { wallClock: 0n, systemTime: 0n, endOfInterrupt: 0n };
    this.parts.eoi.connect(null);
  }

  ownsMsr(msr: number): boolean {
    return MSRS.has(msr);
  }

  readMsr(msr: number): readonly [number, number] {
    const value = this.values[MSRS.get(msr)!];
    return [Number(value & 0xffffffffn), Number(value >> 32n)];
  }

  /** False asks for #GP(0). */
  writeMsr(msr: number, low: number, high: number): boolean {
    const register = MSRS.get(msr)!;
    const value = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
    if (value & RESERVED[register]) return false;
    this.values[register] = value;
    if (register === 'wallClock') this.writeWallClock();
    else if (register === 'systemTime') this.writeSystemTime();
    else this.connectEoi();
    return true;
  }

  /** The answer to a hypercall. No feature is shown whose calls would do something; the one that is always there looks for interrupts, which come by themselves. */
  hypercall(number: bigint, privilege: number): bigint {
    if (privilege !== 0) return HYPERCALL_DENIED;
    return number === POLL_INTERRUPTS ? 0n : HYPERCALL_UNKNOWN;
  }

  /** The time-stamp counter was set: the clock must not move with it. */
  tscChanged(): void {
    this.writeSystemTime();
  }

  /** u32 version, seconds, nanoseconds: the time of day at virtual time 0. */
  private writeWallClock(): void {
    const ms = this.parts.wallMs();
    const seconds = Math.floor(ms / 1000);
    this.publish(addressOf(this.values.wallClock), 12, (view) => {
      view.setUint32(4, seconds, true);
      view.setUint32(8, Math.floor((ms - seconds * 1000) * 1e6), true);
    });
  }

  /** u32 version, u64 counter and time at a moment, u32 factor, i8 shift, u8 flags. */
  private writeSystemTime(): void {
    const { systemTime } = this.values;
    if (!(systemTime & ENABLED)) return;
    const ns = this.parts.ns();
    this.publish(addressOf(systemTime & ~ENABLED), 32, (view) => {
      view.setBigUint64(8, BigInt.asUintN(64, this.parts.tsc(ns)), true);
      view.setBigUint64(16, BigInt(Math.floor(ns)), true);
      view.setUint32(24, TSC_TO_NS, true);
      view.setUint8(29, TSC_STABLE);
    });
  }

  /** Writes a structure with an even version, which is another one than before. What is not memory takes nothing. */
  private publish(address: number, size: number, fill: (view: DataView) => void): void {
    const bytes = new Uint8Array(size);
    const view = new DataView(bytes.buffer);
    fill(view);
    this.updates = (this.updates + 2) >>> 0;
    view.setUint32(0, this.updates, true);
    this.parts.memory.write(address, bytes);
  }

  private connectEoi(): void {
    const { eoi, memory } = this.parts;
    const { endOfInterrupt } = this.values;
    if (!(endOfInterrupt & ENABLED)) return eoi.connect(null);
    const address = addressOf(endOfInterrupt & ~3n);
    const word = new Uint8Array(1);
    const bit: EoiBit = {
      read: () => memory.read(address, word) && (word[0]! & 1) !== 0,
      write: (set) => {
        if (!memory.read(address, word)) return;
        word[0] = set ? word[0]! | 1 : word[0]! & ~1;
        memory.write(address, word);
      },
    };
    eoi.connect(bit);
  }

  saveState(): DeviceState {
    const { wallClock, systemTime, endOfInterrupt } = this.values;
    return { version: this.version, wallClock: wallClock.toString(), systemTime: systemTime.toString(), endOfInterrupt: endOfInterrupt.toString(), updates: this.updates };
  }

  /** What is in memory comes with the memory. */
  loadState(state: unknown): void {
    const reader = StateReader.open(this, state);
    const values = { wallClock: reader.uint64('wallClock'), systemTime: reader.uint64('systemTime'), endOfInterrupt: reader.uint64('endOfInterrupt') };
    const updates = reader.uint('updates', 32);
    if (values.endOfInterrupt & RESERVED.endOfInterrupt) reader.refuse('endOfInterrupt', 'bit 1 clear');
    this.values = values;
    this.updates = updates;
    this.connectEoi();
  }
}

/** An address that memory can have; the rest is nowhere. */
function addressOf(value: bigint): number {
  return Number(value & 0xfffffffffffffn);
}
