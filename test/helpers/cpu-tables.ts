/** Descriptor tables, task segments and stacks in guest RAM, for tests of the processor's system helpers. */
import * as L from '../../core/cpu/layout.ts';
import { instantiate } from './cpu-wasm.ts';
import type { CpuWasm } from './cpu-wasm.ts';

export const OK = 0;
export const FAULTED = 1;
export const JUMP = 2;
export const EXIT = 3;
export const SYNC = 4;

export const GDT = 0x10000;
export const IDT = 0x20000;
export const LDT = 0x30000;
/** TSS of the running task, and of another one. */
export const TSS = 0x40000;
export const TSS2 = 0x42000;
/** Tops of stacks for privilege 0, 1, 2, and of the program. */
export const STACK0 = 0x50000;
export const STACK1 = 0x51000;
export const STACK3 = 0x53000;

/** Where RAM lies in the linear memory of the module. */
const ram = (address: number): number => L.RAM_BASE + address;

export const AX = 0;
export const CX = 1;
export const DX = 2;
export const BX = 3;
export const SP = 4;
export const BP = 5;
export const SI = 6;
export const DI = 7;

export interface Descriptor {
  readonly base?: number;
  /** In units of 4 KiB with G. */
  readonly limit?: number;
  /** Byte 5 of the descriptor. */
  readonly access: number;
  /** High nibble of byte 6: G, D/B, L, AVL. */
  readonly flags?: number;
}

/** Segments of the test GDT by selector. Rings 0 to 3 of flat 32-bit code and data lie 0x10 apart from 0x08. */
export const CODE0 = 0x08;
export const DATA0 = 0x10;
export const CODE1 = 0x19;
export const DATA1 = 0x21;
export const CODE3 = 0x3b;
export const DATA3 = 0x43;
export const CONFORMING = 0x48;
export const CODE0_64 = 0x50;
export const CODE3_64 = 0x5b;
export const CODE0_16 = 0x60;
export const TSS_SELECTOR = 0x70;
export const TSS2_SELECTOR = 0x80;
export const LDT_SELECTOR = 0x90;
/** Free for tests: 0xa0 and up. */
export const FREE = 0xa0;
export const GDT_LIMIT = 0xff;

export class Bench {
  readonly cpu: CpuWasm;
  constructor(ramBytes = 2 << 20) {
    this.cpu = instantiate(ramBytes);
    this.cpu.write64(L.GDTR_BASE, BigInt(GDT));
    this.cpu.write32(L.GDTR_LIMIT, GDT_LIMIT);
    this.cpu.write64(L.IDTR_BASE, BigInt(IDT));
    this.cpu.write32(L.IDTR_LIMIT, 0xfff);
    this.cpu.write64(L.CR4_ALLOWED, 0x77_ffffn);
    this.cpu.write64(L.EFER_ALLOWED, 0xd01n);
    this.cpu.write64(L.XCR0_ALLOWED, 7n);
    for (let ring = 0; ring < 4; ring++) {
      this.descriptor(8 + ring * 16, { access: 0x9a | (ring << 5), limit: 0xfffff, flags: 0xc });
      this.descriptor(16 + ring * 16, { access: 0x92 | (ring << 5), limit: 0xfffff, flags: 0xc });
    }
    this.descriptor(CONFORMING, { access: 0x9e, limit: 0xfffff, flags: 0xc });
    this.descriptor(CODE0_64, { access: 0x9a, limit: 0xfffff, flags: 0xa });
    this.descriptor(CODE3_64, { access: 0xfa, limit: 0xfffff, flags: 0xa });
    this.descriptor(CODE0_16, { access: 0x9a, limit: 0xffff });
    this.descriptor(TSS_SELECTOR, { base: TSS, limit: 0x2fff, access: 0x8b });
    this.descriptor(TSS2_SELECTOR, { base: TSS2, limit: 0x67, access: 0x89 });
    this.descriptor(LDT_SELECTOR, { base: LDT, limit: 0xff, access: 0x82 });
    this.segment(L.LDTR, { selector: 0, base: 0, limit: 0, access: 0x1_0000 });
    this.segment(L.TR, { selector: TSS_SELECTOR, base: TSS, limit: 0x2fff, access: 0x8b });
    this.setProgram(0);
    this.flags = 2;
    this.poke32(TSS + 4, STACK0);
    this.poke32(TSS + 8, DATA0);
    this.poke32(TSS + 12, STACK1);
    this.poke32(TSS + 16, DATA1);
  }

  /** Runs flat 32-bit code at a privilege level, RIP 0x1000, the next instruction at 0x1002. */
  setProgram(ring: number): void {
    const code = 8 + ring * 16 + ring;
    for (let index = 0; index < 6; index++) {
      const access = index === L.CS ? 0xc09b : 0xc093;
      this.segment(index, { selector: index === L.CS ? code : code + 8, base: 0, limit: 0xffff_ffff, access: access | (ring << 5) });
    }
    this.cpu.write32(L.CPL, ring);
    this.cpu.write64(L.RIP, 0x1000n);
    this.cpu.write64(L.NEXT_RIP, 0x1002n);
    this.setGpr(SP, STACK3);
    this.cpu.call('updateMode');
  }

  /** IA-32e mode without paging checks: CR0.PG stays 0 so that linear is physical, EFER.LMA is set. 64-bit code at `ring` (0 or 3). */
  setLong(ring: number): void {
    this.cpu.write64(L.EFER, 0xd01n);
    this.setProgram(ring);
    const selector = ring === 0 ? CODE0_64 : CODE3_64;
    this.segment(L.CS, { selector, base: 0, limit: 0xffff_ffff, access: 0xa09b | (ring << 5) });
    // The 64-bit TSS: RSP0, IST1.
    this.poke64(TSS + 4, BigInt(STACK0));
    this.poke64(TSS + 36, BigInt(STACK1));
    this.descriptor(TSS_SELECTOR + 8, { access: 0 });
    this.poke64(GDT + TSS_SELECTOR + 8, 0n);
    this.cpu.call('updateMode');
  }

  setReal(): void {
    this.cpu.write64(L.CR0, 0x10n);
    this.cpu.write64(L.IDTR_BASE, 0n);
    this.cpu.write32(L.IDTR_LIMIT, 0x3ff);
    this.realSegments(0x93);
    this.cpu.call('updateMode');
  }

  setVirtual(iopl: number): void {
    this.realSegments(0xf3);
    this.cpu.write32(L.EFLAGS, 0x2_0202 | (iopl << 12));
    this.setGpr(SP, 0x800);
    this.cpu.call('updateMode');
  }

  private realSegments(access: number): void {
    for (let i = 0; i < 6; i++) this.segment(i, { selector: 0x100 * i, base: 0x1000 * i, limit: 0xffff, access });
  }

  segment(index: number, value: { selector: number; base: number; limit: number; access: number }): void {
    const at = L.SEGMENTS + index * L.SEGMENT_SIZE;
    this.cpu.view.setUint16(at + L.SEG_SELECTOR, value.selector, true);
    this.cpu.write64(at + L.SEG_BASE, BigInt(value.base));
    this.cpu.write32(at + L.SEG_LIMIT, value.limit);
    this.cpu.write32(at + L.SEG_ACCESS, value.access);
  }

  selector(index: number): number {
    return this.cpu.view.getUint16(L.SEGMENTS + index * L.SEGMENT_SIZE + L.SEG_SELECTOR, true);
  }

  base(index: number): bigint {
    return this.cpu.read64(L.SEGMENTS + index * L.SEGMENT_SIZE + L.SEG_BASE);
  }

  access(index: number): number {
    return this.cpu.read32(L.SEGMENTS + index * L.SEGMENT_SIZE + L.SEG_ACCESS);
  }

  limit(index: number): number {
    return this.cpu.read32(L.SEGMENTS + index * L.SEGMENT_SIZE + L.SEG_LIMIT);
  }

  /** Writes a descriptor into the GDT (or, with TI set in the selector, the LDT). */
  descriptor(selector: number, { base = 0, limit = 0, access, flags = 0 }: Descriptor): void {
    const at = (selector & 4 ? LDT : GDT) + (selector & 0xfff8);
    this.poke32(at, ((base & 0xffff) << 16) | (limit & 0xffff));
    this.poke32(at + 4, (base & 0xff00_0000) | (flags << 20) | (limit & 0xf_0000) | (access << 8) | ((base >>> 16) & 0xff));
  }

  /** A call gate (4, 12), task gate (5), interrupt or trap gate (6, 7, 14, 15) as 8 bytes at a linear address. */
  gate(at: number, type: number, selector: number, offset: number, dpl = 0, parameters = 0, present = true): void {
    this.poke32(at, (selector << 16) | (offset & 0xffff));
    this.poke32(at + 4, (offset & 0xffff_0000) | ((present ? 0x80 : 0) << 8) | (dpl << 13) | (type << 8) | parameters);
  }

  /** Entry of the IDT; 16 bytes with `long`. */
  vector(vector: number, type: number, selector: number, offset: number, { dpl = 0, present = true, ist = 0, long = false } = {}): void {
    const at = IDT + vector * (long ? 16 : 8);
    this.gate(at, type, selector, offset, dpl, ist, present);
    if (long) this.poke64(at + 8, 0n);
  }

  poke16(address: number, value: number): void {
    this.cpu.view.setUint16(ram(address), value, true);
  }

  poke32(address: number, value: number): void {
    this.cpu.write32(ram(address), value);
  }

  poke64(address: number, value: bigint): void {
    this.cpu.write64(ram(address), value);
  }

  peek16(address: number): number {
    return this.cpu.view.getUint16(ram(address), true);
  }

  peek32(address: number): number {
    return this.cpu.read32(ram(address));
  }

  peek64(address: number): bigint {
    return this.cpu.read64(ram(address));
  }

  /** The stack's `count` slots from the stack pointer up. */
  stack(count: number, size: 2 | 4 | 8, base = 0): number[] {
    const pointer = base + Number(this.gpr(SP));
    return Array.from({ length: count }, (_, i) => {
      const at = pointer + i * size;
      return size === 2 ? this.peek16(at) : size === 4 ? this.peek32(at) : Number(this.peek64(at));
    });
  }

  gpr(index: number): bigint {
    return this.cpu.read64(L.GPR + index * 8);
  }

  setGpr(index: number, value: number | bigint): void {
    this.cpu.write64(L.GPR + index * 8, BigInt.asUintN(64, BigInt(value)));
  }

  get rip(): number {
    return Number(this.cpu.read64(L.RIP));
  }

  get flags(): number {
    return Number(this.cpu.callBig('readFlags'));
  }

  set flags(value: number) {
    this.cpu.call('writeFlags', BigInt(value), 0xff_ffffn);
    this.cpu.call('updateMode');
  }

  get cpl(): number {
    return this.cpu.read32(L.CPL);
  }

  /** The pending fault as text, e.g. "13(0x8)", "6", or "none"; clears it. */
  fault(): string {
    const fault = this.cpu.read32(L.FAULT);
    this.cpu.write32(L.FAULT, 0);
    if (fault === 0) return 'none';
    if (fault & L.FAULT_EXIT) return `exit ${this.cpu.read32(L.EXIT_REASON)}`;
    const error = fault & L.FAULT_HAS_ERROR ? `(0x${this.cpu.read32(L.FAULT_ERROR).toString(16)})` : '';
    return `${fault & 0xff}${error}`;
  }

  /** Makes an exception pending, as a faulting instruction does, and delivers it. */
  except(vector: number, error?: number): number {
    this.cpu.write32(L.FAULT, vector | L.FAULT_PENDING | (error === undefined ? 0 : L.FAULT_HAS_ERROR));
    this.cpu.write32(L.FAULT_ERROR, error ?? 0);
    return this.cpu.call('deliverPending');
  }
}
