/** The processor's state at power-on and at a boot protocol's entry point. @sdm 3A 10.1.1 */
import type { InitialVcpuState, SegmentState } from '../boot/loader.ts';
import type { CpuModel } from '../cpu/models.ts';
import type { Processor } from '../cpu/processor.ts';
import {
  CPL, CR0, CR3, CR4, CS, DR6, DR7, DS, EFER, EFLAGS, ES, FCW, FS, GDTR_BASE, GDTR_LIMIT, GPR, GS, IDTR_BASE, IDTR_LIMIT, LDTR, MSR_PAT, MXCSR, RIP,
  SEGMENTS, SEGMENT_SIZE, SEG_ACCESS, SEG_BASE, SEG_LIMIT, SEG_SELECTOR, SS, STATE, TR, XCR0, F_RES, CR4_ALLOWED, EFER_ALLOWED,
  XCR0_ALLOWED, PHYS_RESERVED, RAM_SIZE, INSTRUCTIONS, CODE_GENERATION,
} from '../cpu/layout.ts';

/** Fields that describe the machine rather than the processor's state: a reset leaves them. */
const KEPT: readonly (readonly [number, number])[] = [[PHYS_RESERVED, 8], [CR4_ALLOWED, 8], [EFER_ALLOWED, 8], [XCR0_ALLOWED, 8], [RAM_SIZE, 4], [INSTRUCTIONS, 8], [CODE_GENERATION, 4]];
const STATE_BYTES = 0x2000;

export function resetProcessor(cpu: Processor, initial: InitialVcpuState, model: CpuModel): void {
  const { view, bytes } = cpu;
  const kept = KEPT.map(([offset, size]) => bytes.slice(offset, offset + size));
  bytes.fill(0, STATE, STATE + STATE_BYTES);
  KEPT.forEach(([offset], i) => bytes.set(kept[i]!, offset));
  const wide = (offset: number, value: number): void => view.setBigUint64(offset, BigInt(value), true);
  const segment = (index: number, state: SegmentState): void => {
    const at = SEGMENTS + index * SEGMENT_SIZE;
    wide(at + SEG_BASE, state.base);
    view.setUint32(at + SEG_LIMIT, state.limit, true);
    view.setUint16(at + SEG_SELECTOR, state.selector, true);
    view.setUint32(at + SEG_ACCESS, state.access, true);
  };
  wide(GPR, initial.rax);
  wide(GPR + 2 * 8, (model.family << 8) | (model.model << 4) | model.stepping);
  wide(GPR + 3 * 8, initial.rbx);
  wide(GPR + 4 * 8, initial.rsp);
  wide(GPR + 6 * 8, initial.rsi);
  wide(RIP, initial.rip);
  // No status flag is set: the lazy result is anything but zero, of odd parity.
  wide(F_RES, 1);
  view.setUint32(EFLAGS, 2, true);
  view.setUint32(CPL, 0, true);
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
  wide(DR6, 0xffff0ff0);
  wide(DR7, 0x400);
  view.setBigUint64(MSR_PAT, 0x0007040600070406n, true);
  view.setUint16(FCW, 0x37f, true);
  view.setUint32(MXCSR, 0x1f80, true);
  cpu.call('flushAll');
  cpu.call('dropAllCode');
  cpu.call('updateMode');
}

