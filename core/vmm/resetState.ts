/** The processor's state at power-on and at a boot protocol's entry point. @sdm 3A 10.1.1 */
import type { InitialVcpuState, SegmentState } from '../boot/loader.ts';
import type { CpuModel } from '../cpu/models.ts';
import type { Processor } from '../cpu/processor.ts';
import {
  ACTIVITY, CPL, CR0, CR2, CR3, CR4, CR4_ALLOWED, CR8, CODE_GENERATION, CS, DEBUG, DEBUG_BYTES, DELIVERY, DR0, DR6, DR7, DS, EFER, EFER_ALLOWED, EFLAGS, ENTRY_INTR_INFO, ES,
  FAULT, FCW, FS, F_RES, GDTR_BASE, GDTR_LIMIT, GPR, GS, HELPER_STATE, IDTR_BASE, IDTR_LIMIT, INSTRUCTIONS, INTERRUPTIBILITY, LDTR, MSR_PAT, MXCSR, PENDING_DEBUG,
  PHYS_RESERVED, RAM_SIZE, RIP, RUNNING_VCPU, SEGMENTS, SEGMENT_SIZE, SEG_ACCESS, SEG_BASE, SEG_LIMIT, SEG_SELECTOR, SS, STATE, STEP_REASON, TR, XCR0,
  XCR0_ALLOWED,
} from '../cpu/layout.ts';

/** Fields that describe the machine rather than the processor's state: a reset leaves them. */
const KEPT: readonly (readonly [number, number])[] = [[PHYS_RESERVED, 8], [CR4_ALLOWED, 8], [EFER_ALLOWED, 8], [XCR0_ALLOWED, 8], [RAM_SIZE, 4], [INSTRUCTIONS, 8], [CODE_GENERATION, 4], [DEBUG, DEBUG_BYTES], [RUNNING_VCPU, 4]];
const STATE_BYTES = 0x2000;

/** Clears the processor's state but for what describes the machine. */
export function clearState({ bytes }: Processor): void {
  const kept = KEPT.map(([offset, size]) => bytes.slice(offset, offset + size));
  bytes.fill(0, STATE, STATE + STATE_BYTES);
  KEPT.forEach(([offset], i) => bytes.set(kept[i]!, offset));
}

function writers({ view }: Processor) {
  const wide = (offset: number, value: number): void => view.setBigUint64(offset, BigInt(value), true);
  return {
    wide,
    segment(index: number, state: SegmentState): void {
      const at = SEGMENTS + index * SEGMENT_SIZE;
      wide(at + SEG_BASE, state.base);
      view.setUint32(at + SEG_LIMIT, state.limit, true);
      view.setUint16(at + SEG_SELECTOR, state.selector, true);
      view.setUint32(at + SEG_ACCESS, state.access, true);
    },
  };
}

/** What RDX holds after reset and INIT: the processor's signature. */
function signature({ family, model, stepping }: CpuModel): number {
  return stepping | ((model & 15) << 4) | (family << 8) | ((model >> 4) << 16);
}

/** General registers, flags and debug registers as reset and INIT leave them. */
function resetRegisters(cpu: Processor, model: CpuModel): void {
  const { view, bytes } = cpu;
  const { wide } = writers(cpu);
  bytes.fill(0, GPR, GPR + 16 * 8);
  wide(GPR + 2 * 8, signature(model));
  // No status flag is set: the lazy result is anything but zero, of odd parity.
  bytes.fill(0, F_RES, EFLAGS);
  wide(F_RES, 1);
  view.setUint32(EFLAGS, 2, true);
  view.setUint32(CPL, 0, true);
  for (let i = 0; i < 4; i++) wide(DR0 + i * 8, 0);
  wide(DR6, 0xffff0ff0);
  wide(DR7, 0x400);
}

/** The state at power-on, with what a boot protocol asks for at an image's entry point. */
export function resetProcessor(cpu: Processor, initial: InitialVcpuState, model: CpuModel): void {
  const { view } = cpu;
  const { wide, segment } = writers(cpu);
  clearState(cpu);
  resetRegisters(cpu, model);
  wide(GPR, initial.rax);
  wide(GPR + 3 * 8, initial.rbx);
  wide(GPR + 4 * 8, initial.rsp);
  wide(GPR + 6 * 8, initial.rsi);
  wide(RIP, initial.rip);
  segment(CS, initial.cs);
  for (const index of [DS, ES, SS, FS, GS]) segment(index, initial.data);
  segment(TR, initial.tr);
  segment(LDTR, initial.ldtr);
  wide(GDTR_BASE, initial.gdt.base);
  view.setUint32(GDTR_LIMIT, initial.gdt.limit, true);
  wide(IDTR_BASE, initial.idt.base);
  view.setUint32(IDTR_LIMIT, initial.idt.limit, true);
  wide(CR0, initial.cr0);
  wide(CR3, initial.cr3);
  wide(CR4, initial.cr4);
  wide(EFER, initial.efer);
  wide(XCR0, 1);
  view.setBigUint64(MSR_PAT, 0x0007040600070406n, true);
  view.setUint16(FCW, 0x37f, true);
  view.setUint32(MXCSR, 0x1f80, true);
  cpu.reset();
}

/**
 * INIT: real mode at the reset vector. Unlike a reset it leaves the x87 and SSE registers, XCR0, most MSRs, the time-stamp counter and
 * the cache bits of CR0 alone. @sdm 3A table 10-1
 */
export function initProcessor(cpu: Processor, model: CpuModel): void {
  const { view, bytes } = cpu;
  const { wide, segment } = writers(cpu);
  const cacheBits = view.getUint32(CR0, true) & 0x60000000;
  resetRegisters(cpu, model);
  wide(RIP, 0xfff0);
  segment(CS, { selector: 0xf000, base: 0xffff0000, limit: 0xffff, access: 0x9b });
  for (const index of [DS, ES, SS, FS, GS]) segment(index, { selector: 0, base: 0, limit: 0xffff, access: 0x93 });
  segment(TR, { selector: 0, base: 0, limit: 0xffff, access: 0x8b });
  segment(LDTR, { selector: 0, base: 0, limit: 0xffff, access: 0x82 });
  wide(GDTR_BASE, 0);
  view.setUint32(GDTR_LIMIT, 0xffff, true);
  wide(IDTR_BASE, 0);
  view.setUint32(IDTR_LIMIT, 0xffff, true);
  wide(CR0, cacheBits | 0x10);
  for (const register of [CR2, CR3, CR4, CR8, EFER, PENDING_DEBUG]) wide(register, 0);
  for (const field of [FAULT, INTERRUPTIBILITY, ACTIVITY, DELIVERY, STEP_REASON, ENTRY_INTR_INFO]) view.setUint32(field, 0, true);
  bytes.fill(0, HELPER_STATE, HELPER_STATE + 0x400);
  cpu.restart();
}

/** A start-up message: real mode at the page that its vector names. @sdm 3A 9.4.4 */
export function startProcessor(cpu: Processor, vector: number): void {
  const { wide, segment } = writers(cpu);
  segment(CS, { selector: vector << 8, base: vector << 12, limit: 0xffff, access: 0x9b });
  wide(RIP, 0);
  cpu.view.setUint32(ACTIVITY, 0, true);
  cpu.restart();
}
