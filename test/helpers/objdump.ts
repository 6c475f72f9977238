/** GNU objdump as a second opinion on encodings, and the differences of style between its text and ours. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CodeSize } from '../../core/isa/decoder.ts';

export interface Dumped {
  readonly at: number;
  readonly text: string;
}

const MACHINE: Readonly<Record<CodeSize, readonly string[]>> = { 64: ['i386:x86-64'], 32: ['i386'], 16: ['i8086'] };

/** Disassembles a run of instructions from address 0. */
export function objdump(code: CodeSize, bytes: Uint8Array): Dumped[] {
  const folder = mkdtempSync(join(tmpdir(), 'vanderpool-objdump-'));
  try {
    const file = join(folder, 'code');
    writeFileSync(file, bytes);
    // It comes with the compiler that the differential tests need: binutils.
    const text = execFileSync('objdump', ['-D', '-b', 'binary', '-M', 'intel', '-m', MACHINE[code][0]!, '--insn-width=16', file], { encoding: 'utf8', maxBuffer: 1 << 28 });
    return [...text.matchAll(/^ *([0-9a-f]+):\t[0-9a-f ]+\t(.*)$/gm)].map(([, at, line]) => ({ at: parseInt(at!, 16), text: line! }));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Where the styles differ, not the instructions. */
const STYLE: readonly (readonly [RegExp, string])[] = [
  [/ *#.*$/, ''], [/ *<.*>$/, ''], [/\bst\((\d)\)/g, 'st$1'], [/\bst\b(?!\d)/g, 'st0'], [/^movabs\b/, 'mov'], [/\b(?:near|short) /g, ''],
  // A prefix that an instruction ignores.
  [/^(?:data16|rex\.w|addr32) /, ''],
  [/^(rep |repe |repz |repn[ez] )?(movs|cmps|stos|lods|scas|ins|outs) .*?\b(byte|word|dword|qword) ptr.*$/, '$1$2:$3'],
  [/:byte$/, 'b'], [/:word$/, 'w'], [/:dword$/, 'd'], [/:qword$/, 'q'], [/^repz /, 'repe '], [/^repnz /, 'repne '],
  [/\*1\b/g, ''], [/\+0x0\]/g, ']'], [/\b[cdes]s:(0x[0-9a-f]+)/, '[$1]'], [/\b(fs|gs):(0x[0-9a-f]+)/, '$1:[$2]'],
  [/(byte|word|dword|qword|fword|tbyte|oword|xmmword) ptr (0x[0-9a-f]+)/, '$1 ptr [$2]'],
  [/,\s+/g, ','], [/\s+/g, ' '], [/^sal\b/, 'shl'], [/^xlat .*$/, 'xlatb'], [/^(jmp|call) far /, '$1 '],
  // Sizes of operands that are no numbers are written by one of the two only.
  [/(?:byte|word|dword|qword|fword|tbyte|oword|xmmword) ptr (?=(?:fs:|gs:)?\[)/g, ''], [/^(s[gi]dt|l[gi]dt) (0x[0-9a-f]+)$/, '$1 [$2]'],
  [/^(sysret|sysexit|iret)d$/, '$1'], [/^(pushf|popf|pusha|popa|ret|retf|enter|leave|call|jmp|iret)[wd]\b/, '$1'], [/^push[wd]\b/, 'push'], [/^(ud0|ud1)[bwlq]\b/, '$1'],
];

/** Text of either disassembler without the differences of style. */
export function plainText(text: string): string {
  return STYLE.reduce((result, [pattern, replacement]) => result.replace(pattern, replacement), text.toLowerCase().trim());
}

/** The size word of a memory operand, or nothing. */
export function sizeWord(text: string): string {
  return /\b(byte|word|dword|qword|tbyte|xmmword) ptr/.exec(text.toLowerCase())?.[1] ?? '';
}
