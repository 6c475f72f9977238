/** The memory that a walk reads: a vCPU's state and guest RAM, with nothing changed. */
import { PAGE_MMIO, RAM_BASE } from '../cpu/layout.ts';
import type { RootEpt } from '../vmm/rootEpt.ts';

/** The memory of a vCPU: its state and the guest's RAM (core/cpu/layout.ts). */
export interface StateView {
  readonly view: DataView;
  readonly ept: RootEpt;
  /** Told before RAM is read: it may still have to come from a snapshot. */
  noteDeviceRead?(gpa: number, size: number): void;
}

/** One paging-structure entry on the way. */
export interface WalkStep {
  readonly level: string;
  /** Guest-physical address of the entry; null for a register. */
  readonly at: bigint | null;
  readonly entry: bigint;
  /** Names of the bits that are set. */
  readonly bits: readonly string[];
}

/** A paging-structure entry; what no memory backs reads as ones, as the processor's own walk has it. */
export function entryAt(cpu: StateView, at: bigint, bytes: 4 | 8): bigint {
  if (at >> 32n !== 0n || cpu.ept.kindOf(Number(at >> 12n)) === PAGE_MMIO) return (1n << BigInt(bytes * 8)) - 1n;
  cpu.noteDeviceRead?.(Number(at), bytes);
  const host = (RAM_BASE + Number(at)) >>> 0;
  if (host + bytes > cpu.view.byteLength) return (1n << BigInt(bytes * 8)) - 1n;
  return bytes === 8 ? cpu.view.getBigUint64(host, true) : BigInt(cpu.view.getUint32(host, true));
}
