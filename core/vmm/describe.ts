/** The processor's registers as text, for people: after a triple fault, and for `inspect`. */
import type { CodeSize } from '../isa/decoder.ts';
import { disassemble } from '../isa/disassembler.ts';
import type { Processor } from '../cpu/processor.ts';
import {
  CODE_SIZE, CPL, CR0, CR2, CR3, CR4, EFER, GDTR_BASE, GDTR_LIMIT, GPR, IDTR_BASE, IDTR_LIMIT, RIP, SEGMENTS, SEGMENT_SIZE, SEG_ACCESS, SEG_BASE,
  SEG_LIMIT, SEG_SELECTOR,
} from '../cpu/layout.ts';

const NAMES = ['RAX', 'RCX', 'RDX', 'RBX', 'RSP', 'RBP', 'RSI', 'RDI', 'R8', 'R9', 'R10', 'R11', 'R12', 'R13', 'R14', 'R15'];
const PAGE_SIZE = 4096;
const CODE_SIZES: readonly CodeSize[] = [16, 32, 64];
const SEGMENT_NAMES = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'LDTR', 'TR'];

export function describeState(cpu: Processor): string {
  const { view } = cpu;
  const wide = (offset: number): string => view.getBigUint64(offset, true).toString(16).padStart(16, '0');
  const word = (offset: number): string => view.getUint32(offset, true).toString(16).padStart(8, '0');
  const flags = cpu.call('readFlags') as unknown as bigint;
  const lines: string[] = [];
  for (let i = 0; i < 16; i += 4) lines.push(NAMES.slice(i, i + 4).map((name, n) => `${name.padEnd(3)} ${wide(GPR + (i + n) * 8)}`).join('  '));
  lines.push(`RIP ${wide(RIP)}  RFLAGS ${flags.toString(16).padStart(8, '0')}  CPL ${view.getUint32(CPL, true)}`);
  SEGMENT_NAMES.forEach((name, i) => {
    const at = SEGMENTS + i * SEGMENT_SIZE;
    lines.push(`${name.padEnd(4)} ${view.getUint16(at + SEG_SELECTOR, true).toString(16).padStart(4, '0')}  base ${wide(at + SEG_BASE)}  limit ${word(at + SEG_LIMIT)}  access ${word(at + SEG_ACCESS)}`);
  });
  lines.push(`GDT  base ${wide(GDTR_BASE)} limit ${word(GDTR_LIMIT)}   IDT  base ${wide(IDTR_BASE)} limit ${word(IDTR_LIMIT)}`);
  lines.push(`CR0 ${wide(CR0)}  CR2 ${wide(CR2)}  CR3 ${wide(CR3)}  CR4 ${wide(CR4)}  EFER ${wide(EFER)}`);
  lines.push(`Next: ${nextInstruction(cpu)}`);
  return lines.join('\n');
}

/** The instruction at RIP, as far as it lies on its page. */
function nextInstruction(cpu: Processor): string {
  const gpa = cpu.call('sampleAddress', 0) >>> 0;
  if (gpa >= cpu.ram.length) return 'RIP cannot be fetched from';
  const page = cpu.ram.subarray(gpa, (gpa & ~(PAGE_SIZE - 1)) + PAGE_SIZE);
  const code = CODE_SIZES[cpu.view.getUint32(CODE_SIZE, true)] ?? 32;
  const { length, text } = disassemble(page, 0, code, cpu.view.getBigUint64(RIP, true));
  return `${text}  (${Buffer.from(page.subarray(0, length)).toString('hex')})`;
}
