/** Builds paging structures in guest RAM, entry by entry, for tests of address translation. */
import * as L from '../../core/cpu/layout.ts';
import type { CpuWasm } from './cpu-wasm.ts';

export const P = 1n;
export const W = 2n;
export const U = 4n;
export const A = 0x20n;
export const D = 0x40n;
export const PS = 0x80n;
export const G = 0x100n;
export const XD = 1n << 63n;

export const CR0_WP = 0x1_0000;
export const CR4 = { PSE: 0x10, PAE: 0x20, PGE: 0x80, LA57: 0x1000, SMEP: 0x10_0000, SMAP: 0x20_0000, PKE: 0x40_0000 } as const;
export const EFER_NXE = 0x800;
export const AC = 0x4_0000;

export type Mode = 'none' | '32-bit' | 'PAE' | '4-level' | '5-level';

/** Host address of a guest-physical one. */
export function ram(gpa: number | bigint): number {
  return L.RAM_BASE + Number(gpa);
}

export interface Tables {
  readonly root: bigint;
  /** Guest-physical address of the entry that maps `la` at a level: 1 = page table. */
  entryAt(la: bigint, level: number): bigint;
  /** Makes the leaf at `level` (2: large page) map `la` to `gpa` with `bits`; upper entries get `upper`. */
  map(la: bigint, gpa: bigint, bits: bigint, options?: { level?: number; upper?: bigint }): void;
  get(la: bigint, level: number): bigint;
  set(la: bigint, level: number, value: bigint): void;
}

/** Switches the processor to a paging mode with empty tables from guest-physical 0x100000 on. */
export function paging(cpu: CpuWasm, mode: Mode): Tables {
  const wide = mode !== '32-bit';
  const levels = { none: 0, '32-bit': 2, PAE: 2, '4-level': 4, '5-level': 5 }[mode];
  let next = 0x10_0000n;
  const allocate = (): bigint => {
    const page = next;
    next += 0x1000n;
    return page;
  };
  const root = allocate();
  const read = (gpa: bigint) => (wide ? cpu.read64(ram(gpa)) : BigInt(cpu.read32(ram(gpa))));
  const write = (gpa: bigint, value: bigint) => {
    if (wide) cpu.write64(ram(gpa), BigInt.asUintN(64, value));
    else cpu.write32(ram(gpa), Number(BigInt.asUintN(32, value)));
  };
  const indexBits = wide ? 9n : 10n;
  const shift = (level: number) => 12n + indexBits * BigInt(level - 1);
  const address = wide ? 0x000f_ffff_ffff_f000n : 0xffff_f000n;
  const tableOf = (la: bigint, level: number): bigint => {
    if (level !== levels) return read(entryAt(la, level + 1)) & address;
    return mode === 'PAE' ? cpu.read64(L.PDPTE + Number((la >> 30n) & 3n) * 8) & address : root;
  };
  function entryAt(la: bigint, level: number): bigint {
    return tableOf(la, level) + ((la >> shift(level)) & ((1n << indexBits) - 1n)) * (wide ? 8n : 4n);
  }
  cpu.write32(L.CR0, mode === 'none' ? 0x11 : 0x8000_0011);
  cpu.write64(L.CR3, root);
  cpu.write32(L.CR4, mode === '32-bit' ? CR4.PSE : CR4.PAE | (mode === '5-level' ? CR4.LA57 : 0));
  const long = mode === '4-level' || mode === '5-level';
  cpu.write32(L.EFER, long ? 0x500 : 0);
  cpu.write32(L.CODE_SIZE, long ? 2 : 1);
  cpu.write32(L.STACK_SIZE, long ? 2 : 1);
  if (mode === 'PAE') for (let i = 0; i < 4; i++) cpu.write64(L.PDPTE + i * 8, allocate() | P);
  cpu.call('flushBanks');
  return {
    root,
    entryAt,
    get: (la, level) => read(entryAt(la, level)),
    set: (la, level, value) => write(entryAt(la, level), value),
    map(la, gpa, bits, options = {}) {
      const leaf = options.level ?? 1;
      for (let level = levels; level > leaf; level--) {
        if (!(read(entryAt(la, level)) & P)) write(entryAt(la, level), allocate());
        write(entryAt(la, level), (read(entryAt(la, level)) & address) | (options.upper ?? P | W | U));
      }
      write(entryAt(la, leaf), gpa | bits);
    },
  };
}

/** Sets the privilege level and the look-aside tables that go with it. */
export function privilege(cpu: CpuWasm, level: number): void {
  cpu.write32(L.CPL, level);
  cpu.write32(L.TLB_BASE, level === 3 ? L.TLB_USER : L.TLB_SUPERVISOR);
}

export interface Fault {
  readonly vector: number;
  readonly error: number | undefined;
  readonly address: bigint;
}

/** The pending fault, which is taken away; undefined when there is none. */
export function takeFault(cpu: CpuWasm): Fault | undefined {
  const fault = cpu.read32(L.FAULT);
  cpu.write32(L.FAULT, 0);
  if (fault === 0) return undefined;
  return {
    vector: fault & 0xff,
    error: fault & L.FAULT_HAS_ERROR ? cpu.read32(L.FAULT_ERROR) : undefined,
    address: cpu.read64(L.FAULT_ADDRESS),
  };
}
