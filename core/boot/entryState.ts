/** The processor states that boot protocols ask for: flat 32-bit protected mode, and 64-bit mode over an identity map. */

import type { InitialVcpuState, MemoryWrite, SegmentState } from './loader.ts';

const cr0Pe = 0x1;
const cr0Et = 0x10;
const cr0Pg = 0x80000000;
const cr4Pae = 0x20;
const eferLme = 0x100;
const eferLma = 0x400;

/** Low memory that the loaders use; it lies below everything an image may be loaded at. */
export const lowMemory = {
  gdt: 0x8000,
  /** PML4, PDPT and four page directories, a page each. */
  pageTables: 0x9000,
  /** Grows down; a page lies under it. */
  stackTop: 0x10000,
  bootParams: 0x10000,
  commandLine: 0x20000,
  /** The end of what may be used: the extended BIOS data area begins. */
  end: 0x9fc00,
} as const;

const code32: SegmentState = { selector: 0x10, base: 0, limit: 0xffffffff, access: 0xc09b };
const code64: SegmentState = { selector: 0x10, base: 0, limit: 0xffffffff, access: 0xa09b };
const flatData: SegmentState = { selector: 0x18, base: 0, limit: 0xffffffff, access: 0xc093 };
const taskState: SegmentState = { selector: 0, base: 0, limit: 0xffff, access: 0x8b };
const unusable: SegmentState = { selector: 0, base: 0, limit: 0xffff, access: 0x10000 };

interface EntryRegisters {
  readonly rip: number;
  readonly rax?: number;
  readonly rbx?: number;
  readonly rsi?: number;
}

export interface EntryState {
  readonly writes: readonly MemoryWrite[];
  readonly vcpu: InitialVcpuState;
}

/** Paging off, flat segments, interrupts off. */
export function protectedEntry(registers: EntryRegisters): EntryState {
  return {
    writes: [globalDescriptors(0x00cf9b00)],
    vcpu: { ...common(registers), mode: 'protected32', cr0: cr0Pe | cr0Et, cr3: 0, cr4: 0, efer: 0, cs: code32 },
  };
}

/** 64-bit mode with the first 4 GB mapped to themselves by 2 MB pages. */
export function longEntry(registers: EntryRegisters): EntryState {
  return {
    writes: [globalDescriptors(0x00af9b00), identityMap()],
    vcpu: {
      ...common(registers), mode: 'long64', cs: code64,
      cr0: (cr0Pe | cr0Et | cr0Pg) >>> 0, cr3: lowMemory.pageTables, cr4: cr4Pae, efer: eferLme | eferLma,
    },
  };
}

function common({ rip, rax = 0, rbx = 0, rsi = 0 }: EntryRegisters) {
  return {
    rip, rax, rbx, rsi, rsp: lowMemory.stackTop, gdt: { base: lowMemory.gdt, limit: 0x1f }, idt: { base: 0, limit: 0xffff },
    data: flatData, tr: taskState, ldtr: unusable,
  };
}

/** Four descriptors: two null, code at 10H, data at 18H. */
function globalDescriptors(codeHigh: number): MemoryWrite {
  const data = new Uint8Array(0x20);
  const view = new DataView(data.buffer);
  view.setUint32(0x10, 0x0000ffff, true);
  view.setUint32(0x14, codeHigh, true);
  view.setUint32(0x18, 0x0000ffff, true);
  view.setUint32(0x1c, 0x00cf9300, true);
  return { address: lowMemory.gdt, data };
}

function identityMap(): MemoryWrite {
  const page = 0x1000;
  const presentWritable = 3;
  const large = 0x80;
  const data = new Uint8Array(6 * page);
  const view = new DataView(data.buffer);
  const base = lowMemory.pageTables;
  view.setUint32(0, (base + page) | presentWritable, true);
  for (let gigabyte = 0; gigabyte < 4; gigabyte++) {
    view.setUint32(page + gigabyte * 8, (base + (2 + gigabyte) * page) | presentWritable, true);
  }
  for (let entry = 0; entry < 4 * 512; entry++) view.setUint32(2 * page + entry * 8, (entry * 0x200000 + large + presentWritable) >>> 0, true);
  return { address: base, data };
}

/** The processor after RESET#: real mode, 16 bytes below 4 GB. @sdm 3A table 10-1 */
export const resetVector: InitialVcpuState = {
  mode: 'real16', rip: 0xfff0, rsp: 0, rax: 0, rbx: 0, rsi: 0, cr0: 0x60000010, cr3: 0, cr4: 0, efer: 0,
  gdt: { base: 0, limit: 0xffff }, idt: { base: 0, limit: 0xffff },
  cs: { selector: 0xf000, base: 0xffff0000, limit: 0xffff, access: 0x9b },
  data: { selector: 0, base: 0, limit: 0xffff, access: 0x93 },
  tr: taskState,
  ldtr: { selector: 0, base: 0, limit: 0xffff, access: 0x82 },
};

/** The processor where a system that was suspended to RAM wants to wake: a real-mode address below 1 MiB. @acpi 16.3.2 */
export function wakingState(vector: number): InitialVcpuState {
  const base = vector & ~0xf;
  return { ...resetVector, rip: vector & 0xf, cs: { selector: base >> 4, base, limit: 0xffff, access: 0x9b } };
}
