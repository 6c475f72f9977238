/**
 * The emulated machine of the cases: a Processor at privilege 3 under 4-level paging, with the native memory map, Linux's selectors, and
 * an IDT whose handlers halt, so that the handler's address tells the vector.
 */
import { helperBytes, compiled } from '../../helpers/cpu-wasm.ts';
import { loadFx, storeFx } from '../../helpers/fxState.ts';
import { exitReason } from '../../../core/cpu/host.ts';
import { Processor } from '../../../core/cpu/processor.ts';
import { ReferenceProcessor } from '../../../core/cpu/reference.ts';
import * as L from '../../../core/cpu/layout.ts';
import type { Case, Outcome } from './layout.ts';
import { LINE, LOCAL_SEGMENTS, MEMORY_SIZE, PAGE, REGIONS, descriptorType, emptyOutcome, localSegment, mapped, selectorNames } from './layout.ts';

/** What the helpers declare as the smallest memory. */
const RAM_BYTES = 128 << 20;
/** Guest-physical: the memory of the case, the supervisor's page tables. */
const MEMORY_GPA = 0x40_0000;
const TABLES_GPA = 0x10_0000;
const SYSTEM_GPA = 0x20_0000;
/** Linear: the supervisor's pages. */
const SYSTEM = 0xffff_8000_0000_0000n;
const GDT = 0;
const LDT = 0x800;
const IDT = 0x1000;
const TSS = 0x2000;
const HANDLERS = 0x3000;
const STACK_TOP = 0x5fc0;
const SYSTEM_PAGES = 6;
const HLT = 0xf4;
const KERNEL_CS = 0x10;

const NO_ADDRESS = 0xffffffff;

const STATE_BYTES = 0x1000;
/** What a reload of the state keeps: bookkeeping of the look-aside tables and of decoded code. */
const KEPT: readonly number[] = [L.TLB_LOG_COUNT, L.CODE_NEXT, L.CODE_GENERATION, L.CODE_TABLES_FOR];

/** Exceptions that push an error code. @sdm 3A table 6-1 */
export const WITH_ERROR: ReadonlySet<number> = new Set([8, 10, 11, 12, 13, 14, 17, 21]);

/** Bits 63:0 of GDT entries as Linux has them, by selector. */
const DESCRIPTORS: readonly (readonly [number, bigint])[] = [
  [0x08, 0x00cf_9b00_0000_ffffn], [0x10, 0x00af_9b00_0000_ffffn], [0x18, 0x00cf_9300_0000_ffffn],
  [0x20, 0x00cf_fb00_0000_ffffn], [0x28, 0x00cf_f300_0000_ffffn], [0x30, 0x00af_fb00_0000_ffffn],
];

const ACCESS_CODE64 = 0xa0fb;
const ACCESS_CODE32 = 0xc0fb;
const ACCESS_DATA = 0xc0f3;
const ACCESS_UNUSABLE = 0x10000;

export type Engine = 'interpreter' | 'reference';

export class EmulatedMachine {
  readonly cpu: Processor;
  private readonly reference: ReferenceProcessor;
  private readonly memory: Buffer;
  /** The memory of the case at its start. */
  private readonly expected: Buffer;
  private readonly pattern: Uint8Array;
  private readonly template: Uint8Array;
  private changed: number[] = [];

  /** `pattern`: what memory holds besides the patches. `regions`: the interpreter engine compiles all that it decodes. */
  constructor(pattern: Uint8Array, regions = false) {
    this.pattern = pattern;
    this.cpu = new Processor({
      helpers: compiled.module, helperBytes, ramBytes: RAM_BYTES, jit: regions ? 'always' : 'off',
      host: { mmioRead: () => 0, mmioReadHigh: () => 0, mmioWrite: () => {}, portRead: () => 0, portWrite: () => {}, timestamp: () => 0, random: () => 0 },
    });
    this.reference = new ReferenceProcessor(this.cpu);
    this.memory = Buffer.from(this.cpu.memory.buffer, L.RAM_BASE + MEMORY_GPA, MEMORY_SIZE);
    this.expected = Buffer.from(pattern);
    this.memory.set(pattern);
    this.buildSystem();
    this.buildState();
    this.template = this.cpu.bytes.slice(L.STATE, L.STATE + STATE_BYTES);
  }

  private physical64(gpa: number, value: bigint): void {
    this.cpu.view.setBigUint64(L.RAM_BASE + gpa, BigInt.asUintN(64, value), true);
  }

  private buildSystem(): void {
    const { cpu } = this;
    let next = TABLES_GPA + PAGE;
    const map = (linear: bigint, gpa: number, bits: bigint): void => {
      let table = TABLES_GPA;
      for (let level = 3; level >= 0; level--) {
        const at = table + Number((linear >> BigInt(12 + 9 * level)) & 0x1ffn) * 8;
        if (level === 0) this.physical64(at, BigInt(gpa) | bits);
        else {
          const entry = cpu.view.getBigUint64(L.RAM_BASE + at, true);
          if (entry === 0n) {
            this.physical64(at, BigInt(next) | 7n);
            table = next;
            next += PAGE;
          } else table = Number(entry & 0xffff_f000n);
        }
      }
    };
    let gpa = MEMORY_GPA;
    for (const region of REGIONS) {
      for (let i = 0; i < region.pages; i++, gpa += PAGE) {
        map(region.address + BigInt(i * PAGE), gpa, 5n | (region.write ? 2n : 0n) | (region.execute ? 0n : 1n << 63n));
      }
    }
    for (let i = 0; i < SYSTEM_PAGES; i++) map(SYSTEM + BigInt(i * PAGE), SYSTEM_GPA + i * PAGE, 3n);
    for (const [selector, bits] of DESCRIPTORS) this.physical64(SYSTEM_GPA + GDT + selector, bits);
    for (const segment of LOCAL_SEGMENTS) {
      const { base, limit, wide, present } = segment;
      const access = BigInt(descriptorType(segment) | 0x60 | (present ? 0x80 : 0));
      this.physical64(SYSTEM_GPA + LDT + (segment.selector & ~7), BigInt(limit & 0xffff) | ((base & 0xff_ffffn) << 16n) | (access << 40n)
        | (BigInt((limit >> 16) & 15) << 48n) | ((wide ? 1n : 0n) << 54n) | ((base >> 24n) << 56n));
    }
    const tss = SYSTEM + BigInt(TSS);
    this.physical64(SYSTEM_GPA + GDT + 0x40, 0x67n | ((tss & 0xff_ffffn) << 16n) | (0x8bn << 40n) | (((tss >> 24n) & 0xffn) << 56n));
    this.physical64(SYSTEM_GPA + GDT + 0x48, tss >> 32n);
    this.physical64(SYSTEM_GPA + TSS + 4, SYSTEM + BigInt(STACK_TOP));
    cpu.view.setUint16(L.RAM_BASE + SYSTEM_GPA + TSS + 0x66, 0x68, true);
    for (let vector = 0; vector < 256; vector++) {
      const handler = SYSTEM + BigInt(HANDLERS + vector);
      // Linux lets privilege 3 use INT3 and INTO.
      const dpl = vector === 3 || vector === 4 ? 3n : 0n;
      const at = SYSTEM_GPA + IDT + vector * 16;
      this.physical64(at, (handler & 0xffffn) | (BigInt(KERNEL_CS) << 16n) | ((0x8en | (dpl << 5n)) << 40n) | (((handler >> 16n) & 0xffffn) << 48n));
      this.physical64(at + 8, handler >> 32n);
    }
    cpu.bytes.fill(HLT, L.RAM_BASE + SYSTEM_GPA + HANDLERS, L.RAM_BASE + SYSTEM_GPA + HANDLERS + PAGE);
  }

  private segment(index: number, selector: number, base: bigint, access: number, limit = 0xffffffff): void {
    const { view } = this.cpu;
    const at = L.SEGMENTS + index * L.SEGMENT_SIZE;
    view.setBigUint64(at + L.SEG_BASE, base, true);
    view.setUint32(at + L.SEG_LIMIT, limit, true);
    view.setUint16(at + L.SEG_SELECTOR, selector, true);
    view.setUint32(at + L.SEG_ACCESS, access, true);
  }

  private buildState(): void {
    const { cpu } = this;
    const { view } = cpu;
    const wide = (offset: number, value: bigint): void => view.setBigUint64(offset, value, true);
    // Without 5-level paging: with it, bases may have 57 bits.
    cpu.setLimits({ cr4: 0xffff_efffn, efer: 0xd01n, xcr0: 3n, physicalAddressBits: 40 });
    wide(L.CR0, 0x8005_0033n);
    wide(L.CR3, BigInt(TABLES_GPA));
    // PAE MCE PGE OSFXSR OSXMMEXCPT UMIP FSGSBASE OSXSAVE SMEP
    wide(L.CR4, 0x0015_0ee0n);
    wide(L.EFER, 0xd01n);
    wide(L.XCR0, 3n);
    wide(L.DR6, 0xffff_0ff0n);
    wide(L.DR7, 0x400n);
    wide(L.MSR_PAT, 0x0007_0406_0007_0406n);
    wide(L.GDTR_BASE, SYSTEM + BigInt(GDT));
    view.setUint32(L.GDTR_LIMIT, 0x7f, true);
    wide(L.IDTR_BASE, SYSTEM + BigInt(IDT));
    view.setUint32(L.IDTR_LIMIT, 0xfff, true);
    this.segment(L.TR, 0x40, SYSTEM + BigInt(TSS), 0x8b, 0x67);
    if (LOCAL_SEGMENTS.length > 0) this.segment(L.LDTR, 0x50, SYSTEM + BigInt(LDT), 0x82, LOCAL_SEGMENTS.length * 8 - 1);
    else this.segment(L.LDTR, 0, 0n, ACCESS_UNUSABLE, 0);
    view.setUint32(L.CPL, 3, true);
    cpu.call('flushBanks');
    cpu.call('dropAllCode');
  }

  // ---- one case ---------------------------------------------------------------------------------------------------------------

  private put(address: bigint, data: Uint8Array): void {
    mapped(address, data.length, (at, from, to) => {
      this.memory.set(data.subarray(from, to), at);
      this.expected.set(data.subarray(from, to), at);
    });
  }

  private revert(address: bigint, length: number): void {
    mapped(address, length, (at, from, to) => {
      const pattern = this.pattern.subarray(at, at + to - from);
      this.memory.set(pattern, at);
      this.expected.set(pattern, at);
    });
  }

  private load(item: Case): void {
    const { cpu } = this;
    const { view, bytes } = cpu;
    for (const patch of item.patches) this.put(patch.address, patch.data);
    this.put(item.codeAddress, item.code);
    const kept = KEPT.map(offset => view.getUint32(offset, true));
    bytes.set(this.template, L.STATE);
    KEPT.forEach((offset, i) => view.setUint32(offset, kept[i]!, true));
    for (let i = 0; i < 16; i++) view.setBigUint64(L.GPR + i * 8, item.gpr(i), true);
    view.setBigUint64(L.RIP, item.rip, true);
    if (!this.localSegment(L.CS, item.selector('cs'))) this.segment(L.CS, item.selector('cs'), 0n, item.codeSize === 64 ? ACCESS_CODE64 : ACCESS_CODE32);
    this.dataSegment(L.SS, item.selector('ss'), 0n);
    this.dataSegment(L.DS, item.selector('ds'), 0n);
    this.dataSegment(L.ES, item.selector('es'), 0n);
    this.dataSegment(L.FS, item.selector('fs'), item.fsBase);
    this.dataSegment(L.GS, item.selector('gs'), item.gsBase);
    cpu.call('updateMode');
    cpu.call('writeFlags', BigInt(item.flags), 0xffff_ffffn);
    loadFx(cpu, item.fx);
    for (let page = 0; page < REGIONS[0]!.pages; page++) cpu.call('invalidateCode', (MEMORY_GPA >>> 12) + page);
  }

  private localSegment(index: number, selector: number): boolean {
    const segment = localSegment(selector);
    if (segment) this.segment(index, selector, segment.base, descriptorType(segment) | 0xe0 | (segment.wide ? 0x4000 : 0), segment.limit);
    return segment !== undefined;
  }

  private dataSegment(index: number, selector: number, base: bigint): void {
    if (this.localSegment(index, selector)) return;
    this.segment(index, selector, selector === 0 ? base : 0n, selector === 0 ? ACCESS_UNUSABLE : ACCESS_DATA);
  }

  /** Where the event that ended the case left the processor. */
  private unload(exit: number): Outcome {
    const { cpu } = this;
    const { view } = cpu;
    const out = emptyOutcome();
    for (let i = 0; i < 16; i++) out.gpr[i] = view.getBigUint64(L.GPR + i * 8, true);
    const rip = view.getBigUint64(L.RIP, true);
    const vector = Number(rip - SYSTEM) - HANDLERS;
    if (exit !== exitReason.hlt || vector < 0 || vector > 255) {
      out.vector = -1;
      out.failure = `VM exit ${exit} at ${rip.toString(16)}`;
    } else {
      out.vector = vector;
      let frame = L.RAM_BASE + SYSTEM_GPA + Number(out.gpr[4]! - SYSTEM);
      if (WITH_ERROR.has(vector)) {
        out.error = view.getUint32(frame, true);
        frame += 8;
      }
      out.rip = view.getBigUint64(frame, true);
      out.selectors[0] = view.getUint16(frame + 8, true);
      out.flags = view.getUint32(frame + 16, true);
      out.gpr[4] = view.getBigUint64(frame + 24, true);
      out.selectors[1] = view.getUint16(frame + 32, true);
    }
    const indexes = [L.CS, L.SS, L.DS, L.ES, L.FS, L.GS];
    selectorNames.forEach((_, i) => {
      if (i > 1) out.selectors[i] = view.getUint16(L.SEGMENTS + indexes[i]! * L.SEGMENT_SIZE + L.SEG_SELECTOR, true);
    });
    out.fsBase = view.getBigUint64(L.SEGMENTS + L.FS * L.SEGMENT_SIZE + L.SEG_BASE, true);
    out.gsBase = view.getBigUint64(L.SEGMENTS + L.GS * L.SEGMENT_SIZE + L.SEG_BASE, true);
    out.address = view.getBigUint64(L.CR2, true);
    out.instructions = cpu.instructions;
    storeFx(cpu, out.fx);
    this.collect(out);
    return out;
  }

  /** Notes the lines of memory that changed and puts them back. */
  private collect(out: Outcome): void {
    const { memory, expected } = this;
    for (let page = 0; page < MEMORY_SIZE; page += PAGE) {
      if (memory.compare(expected, page, page + PAGE, page, page + PAGE) === 0) continue;
      for (let at = page; at < page + PAGE; at += LINE) {
        if (memory.compare(expected, at, at + LINE, at, at + LINE) === 0) continue;
        out.lines.set(at / LINE, new Uint8Array(memory.subarray(at, at + LINE)));
        out.lineCount++;
        memory.set(expected.subarray(at, at + LINE), at);
        this.changed.push(at >>> 12);
      }
    }
  }

  run(item: Case, engine: Engine, flush = false): Outcome {
    const { cpu } = this;
    if (flush) cpu.call('flushBanks');
    this.load(item);
    const out = this.unload(engine === 'interpreter' ? this.interpret() : this.evaluate());
    for (const patch of item.patches) this.revert(patch.address, patch.data.length);
    this.revert(item.codeAddress, item.code.length);
    // Code that the case wrote or fetched elsewhere must not be found again.
    for (const page of this.changed) cpu.call('invalidateCode', (MEMORY_GPA >>> 12) + page);
    this.changed = [];
    return out;
  }

  private interpret(): number {
    // Lets go of regions when there are too many.
    this.cpu.jit?.sample(NO_ADDRESS);
    for (let i = 0; i < 64; i++) {
      const exit = this.cpu.enter(100_000);
      if (exit !== 0 && exit !== exitReason.preemptionTimer) return exit;
    }
    return exitReason.preemptionTimer;
  }

  private evaluate(): number {
    for (let i = 0; i < 200_000; i++) {
      const exit = this.reference.step();
      if (exit !== 0) return exit;
    }
    return exitReason.preemptionTimer;
  }
}
