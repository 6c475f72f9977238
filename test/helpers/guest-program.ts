/**
 * A bare processor with RAM, descriptor tables and page tables, on which a test runs programs of its own: code goes in by the assembler, the
 * program runs to a HLT, and any exception stops it in a handler that keeps the frame.
 */
import { Assembler } from '../../core/isa/assembler.ts';
import type { CodeSize } from '../../core/isa/decoder.ts';
import { findModel } from '../../core/cpu/models.ts';
import { exitReason } from '../../core/cpu/host.ts';
import type { Translations } from '../../core/cpu/jit/translation.ts';
import { Processor } from '../../core/cpu/processor.ts';
import { resetProcessor } from '../../core/vmm/resetState.ts';
import type { InitialVcpuState, SegmentState } from '../../core/boot/loader.ts';
import * as L from '../../core/cpu/layout.ts';
import { helperSignatures } from '../../core/cpu/helpers.ts';
import { COLD_FIRST, prebuild } from '../../core/cpu/interpreter/prebuilt.ts';
import { compiled, helperBytes } from './cpu-wasm.ts';

export const TIERS = ['off', 'always'] as const;
/**
 * `prebuilt`: off, with the code that the build emits. `forgetful`: off, with room for so few forms that they are forgotten all the time.
 * `exact`, `exact always`: VM entries end at the same instructions in either.
 */
export type Tier = (typeof TIERS)[number] | 'prebuilt' | 'forgetful' | 'exact' | 'exact always';

export const GDT = 0x1000;
export const IDT = 0x2000;
export const TSS = 0x3000;
export const TSS32 = 0x3100;
export const TSS32B = 0x3200;
/** PML4, PDPT, PD, and the tables of the first 4 MB; the rest of the first 16 MB has 2 MB pages. */
export const PML4 = 0x4000;
const PAGE_TABLES = 0x7000;
export const IDT32 = 0xa000;
const HANDLERS = 0x10000;
/** Tops of stacks: of the program, of privilege 0, of the interrupt stack table. */
export const STACK = 0x22000;
export const STACK0 = 0x24000;
export const IST1 = 0x26000;
export const IST2 = 0x28000;
export const CODE = 0x100000;
export const DATA = 0x200000;

export const CODE0 = 0x08;
export const DATA0 = 0x10;
export const CODE3_32 = 0x1b;
export const DATA3 = 0x23;
export const CODE3 = 0x2b;
const TSS_SELECTOR = 0x30;
export const CODE0_32 = 0x40;
export const CODE0_16 = 0x48;
export const DATA0_16 = 0x50;
export const TSS32_SELECTOR = 0x58;
export const TSS32B_SELECTOR = 0x60;
export const CALL_GATE = 0x68;

/** The tests use 16 MB of it; the helpers ask for a memory of this size. */
const RAM_BYTES = 128 << 20;
const HAS_ERROR = new Set([8, 10, 11, 12, 13, 14, 17]);
const REGISTERS = ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const;
export type RegisterName = (typeof REGISTERS)[number];

const DESCRIPTORS: readonly (readonly [selector: number, bits: bigint])[] = [
  [CODE0, 0x00af9b000000ffffn], [DATA0, 0x00cf93000000ffffn], [CODE3_32 & ~3, 0x00cffb000000ffffn], [DATA3 & ~3, 0x00cff3000000ffffn],
  [CODE3 & ~3, 0x00affb000000ffffn], [CODE0_32, 0x00cf9b000000ffffn], [CODE0_16, 0x00009b000000ffffn], [DATA0_16, 0x000093000000ffffn],
  [TSS_SELECTOR, 0x00008b0000000067n | (BigInt(TSS) << 16n)], [TSS32_SELECTOR, 0x00008b0000000067n | (BigInt(TSS32) << 16n)],
  [TSS32B_SELECTOR, 0x0000890000000067n | (BigInt(TSS32B) << 16n)],
];

export interface Stop {
  /** `exit` is a VM exit that is neither HLT nor a triple fault. */
  readonly kind: 'hlt' | 'exception' | 'triple-fault' | 'exit' | 'timeout';
  readonly vector: number;
  readonly error: number;
  /** Of the frame that the exception pushed; of the processor else. */
  readonly rip: number;
  readonly cs: number;
  readonly flags: number;
  readonly rsp: number;
  readonly ss: number;
  readonly reason: number;
}

const processors = new Map<Tier, Processor>();

function processorFor(tier: Tier, translations?: Translations): Processor {
  let cpu = translations ? undefined : processors.get(tier);
  if (!cpu) {
    cpu = new Processor({
      helpers: compiled.module, helperBytes, ramBytes: RAM_BYTES, jit: translations ? 'on' : tier.endsWith('always') ? 'always' : 'off', exact: tier.startsWith('exact'), translations,
      formLimit: tier === 'forgetful' ? COLD_FIRST + 3 : undefined,
      prebuilt: tier === 'prebuilt' ? prebuild(helperSignatures(helperBytes)) : undefined,
      host: { mmioRead: () => 0, mmioReadHigh: () => 0, mmioWrite: () => undefined, portRead: () => 0, portWrite: () => undefined, timestamp: () => 0, random: () => 0 },
    });
    cpu.setLimits({ cr4: 0x77_1fffn, efer: 0xd01n, xcr0: 3n, physicalAddressBits: 40 });
    if (!translations) processors.set(tier, cpu);
  }
  return cpu;
}

export class Guest {
  readonly cpu: Processor;

  /**
   * All tables in place, in 64-bit mode at privilege 0 with interrupts off; RIP is CODE, RSP is STACK.
   * @param translations given: a processor of its own, which compiles what is hot and keeps it there
   */
  constructor(tier: Tier, translations?: Translations) {
    this.cpu = processorFor(tier, translations);
    this.cpu.ram.fill(0, 0, 0x400000);
    for (const [selector, bits] of DESCRIPTORS) this.write(GDT + selector, bits, 8);
    this.buildPageTables();
    this.buildInterruptTables();
    this.write(TSS + 4, STACK0, 8);
    this.write(TSS + 0x24, IST1, 8);
    this.write(TSS + 0x2c, IST2, 8);
    this.write(TSS + 0x66, 0x68, 2);
    this.write(TSS32 + 4, STACK0, 4);
    this.write(TSS32 + 8, DATA0, 4);
    this.write(TSS32 + 0x66, 0x68, 2);
    this.start({});
  }

  private buildPageTables(): void {
    this.write(PML4, PML4 + 0x1000 + 7, 8);
    this.write(PML4 + 0x1000, PML4 + 0x2000 + 7, 8);
    for (let i = 0; i < 8; i++) this.write(PML4 + 0x2000 + i * 8, i < 2 ? PAGE_TABLES + i * 0x1000 + 7 : i * 0x200000 + 0x87, 8);
    for (let page = 0; page < 1024; page++) this.write(PAGE_TABLES + page * 8, page * 0x1000 + 7, 8);
  }

  private buildInterruptTables(): void {
    for (let vector = 0; vector < 256; vector++) {
      const handler = HANDLERS + vector * 16;
      this.write(handler, vector < 128 ? 0xf4006a | (vector << 8) : 0xf4006a, 3);
      this.gate(vector, handler, { ist: 1, dpl: vector >= 0x80 ? 3 : 0 });
      this.gate32(vector, CODE0_32, handler, { dpl: vector >= 0x80 ? 3 : 0 });
    }
  }

  /** A 64-bit gate; an interrupt gate unless `trap`. */
  gate(vector: number, handler: number, { ist = 0, dpl = 0, trap = false }: { ist?: number; dpl?: number; trap?: boolean } = {}): void {
    const at = IDT + vector * 16;
    this.write(at, (handler & 0xffff) | (CODE0 << 16), 4);
    this.write(at + 4, (((handler & 0xffff0000) | ((trap ? 0x8f : 0x8e) << 8) | (dpl << 13) | ist) >>> 0), 4);
    this.write(at + 8, 0, 8);
  }

  /** A 32-bit interrupt gate, or another type. */
  gate32(vector: number, selector: number, handler: number, { dpl = 0, type = 0x8e }: { dpl?: number; type?: number } = {}): void {
    this.write(IDT32 + vector * 8, (handler & 0xffff) | (selector << 16), 4);
    this.write(IDT32 + vector * 8 + 4, ((handler & 0xffff0000) | (type << 8) | (dpl << 13)) >>> 0, 4);
  }

  /** Processor state: 64-bit mode unless `changes` say otherwise. */
  start(changes: Partial<InitialVcpuState>): void {
    const model = findModel('max');
    if (!model) throw new Error('there is no model max');
    const flat = (selector: number, access: number): SegmentState => ({ selector, base: 0, limit: 0xffffffff, access });
    resetProcessor(this.cpu, {
      mode: 'long64', rip: CODE, rsp: STACK, rax: 0, rbx: 0, rsi: 0, cr0: 0x80010031, cr3: PML4, cr4: 0x620, efer: 0xd01,
      gdt: { base: GDT, limit: 0xff }, idt: { base: IDT, limit: 0xfff }, cs: flat(CODE0, 0xa09b), data: flat(DATA0, 0xc093),
      tr: { selector: TSS_SELECTOR, base: TSS, limit: 0x67, access: 0x8b }, ldtr: { selector: 0, base: 0, limit: 0, access: 0x10000 }, ...changes,
    }, model);
  }

  /** Flat 32-bit protected mode without paging. */
  start32(changes: Partial<InitialVcpuState> = {}): void {
    this.start({
      mode: 'protected32', cr0: 0x11, cr3: 0, cr4: 0, efer: 0, cs: { selector: CODE0_32, base: 0, limit: 0xffffffff, access: 0xc09b },
      idt: { base: IDT32, limit: 0x7ff }, tr: { selector: TSS32_SELECTOR, base: TSS32, limit: 0x67, access: 0x8b }, ...changes,
    });
  }

  /** Real mode, all segments at 0 with limits of 64 KB; the vector table is at 0. */
  startReal(rip: number): void {
    const segment = (access: number): SegmentState => ({ selector: 0, base: 0, limit: 0xffff, access });
    this.start({
      mode: 'protected32', rip, rsp: 0x7000, cr0: 0x10, cr3: 0, cr4: 0, efer: 0, cs: segment(0x9b), data: segment(0x93), idt: { base: 0, limit: 0x3ff }, gdt: { base: GDT, limit: 0xff },
    });
  }

  /** Assembles a program to an address. */
  load(code: CodeSize, address: number, write: (a: Assembler) => void): Assembler {
    const a = new Assembler(code, address);
    write(a);
    this.poke(address, a.finish());
    return a;
  }

  /** Assembles 64-bit code at CODE and runs it. */
  run64(write: (a: Assembler) => void): Stop {
    this.load(64, CODE, write);
    return this.run();
  }

  poke(address: number, bytes: Uint8Array | readonly number[]): void {
    this.cpu.ram.set(bytes, address);
    this.cpu.call('flushBanks');
    this.cpu.call('dropAllCode');
  }

  write(address: number, value: number | bigint, size: number): void {
    for (let i = 0; i < size; i++) this.cpu.ram[address + i] = Number((BigInt(value) >> BigInt(8 * i)) & 0xffn);
  }

  read(address: number, size: number): number {
    let value = 0;
    for (let i = size - 1; i >= 0; i--) value = value * 256 + this.cpu.ram[address + i]!;
    return value;
  }

  /** Replaces the entry of a 4 KB page in the first 4 MB; bits 7 are present, writable, user. */
  page(linear: number, physical: number, bits: number | bigint = 7): void {
    this.write(PAGE_TABLES + (linear >>> 12) * 8, BigInt(physical) | BigInt(bits), 8);
    this.cpu.call('flushBanks');
  }

  get(name: RegisterName): number {
    return Number(BigInt.asIntN(64, this.cpu.view.getBigUint64(L.GPR + REGISTERS.indexOf(name) * 8, true)));
  }

  set(name: RegisterName, value: number | bigint): void {
    this.cpu.view.setBigUint64(L.GPR + REGISTERS.indexOf(name) * 8, BigInt.asUintN(64, BigInt(value)), true);
  }

  get rip(): number {
    return Number(this.cpu.view.getBigUint64(L.RIP, true));
  }

  get cr2(): bigint {
    return this.cpu.view.getBigUint64(L.CR2, true);
  }

  get cpl(): number {
    return this.cpu.view.getUint32(L.CPL, true);
  }

  get flags(): number {
    return Number(this.cpu.call('readFlags'));
  }

  selector(index: number): number {
    return this.cpu.view.getUint16(L.SEGMENTS + index * L.SEGMENT_SIZE + L.SEG_SELECTOR, true);
  }

  /** Goes on behind an instruction that exited, HLT most of all. */
  resume(): Stop {
    this.cpu.skip();
    return this.run();
  }

  /** Runs to a HLT, an exception, or another VM exit. */
  run(budget = 100_000): Stop {
    for (let left = budget; left > 0; left -= 10_000) {
      const reason = this.cpu.enter(10_000);
      switch (reason) {
        case exitReason.preemptionTimer: case exitReason.controlRegister: case 0: continue;
        case exitReason.hlt: return this.halted();
        case exitReason.tripleFault: return this.stop('triple-fault', reason);
        default: return this.stop('exit', reason);
      }
    }
    return this.stop('timeout', 0);
  }

  private stop(kind: Stop['kind'], reason: number): Stop {
    return { kind, reason, vector: -1, error: 0, rip: this.rip, cs: this.selector(L.CS), flags: this.flags, rsp: this.get('rsp'), ss: this.selector(L.SS) };
  }

  private halted(): Stop {
    const handler = this.rip - HANDLERS;
    if (handler < 0 || handler >= 256 * 16) return this.stop('hlt', exitReason.hlt);
    const vector = handler >> 4;
    const size = this.cpu.view.getUint32(L.CODE_SIZE, true) === 2 ? 8 : 4;
    const base = Number(this.cpu.view.getBigUint64(L.SEGMENTS + L.SS * L.SEGMENT_SIZE + L.SEG_BASE, true));
    const pointer = this.cpu.view.getUint32(L.STACK_SIZE, true) === 0 ? this.get('rsp') & 0xffff : this.get('rsp');
    let at = base + pointer + size;
    const error = HAS_ERROR.has(vector) ? this.read(at, size) : 0;
    if (HAS_ERROR.has(vector)) at += size;
    const word = (index: number): number => this.read(at + index * size, size);
    return { kind: 'exception', vector, error, rip: word(0), cs: word(1) & 0xffff, flags: word(2), rsp: word(3), ss: word(4) & 0xffff, reason: exitReason.hlt };
  }
}
