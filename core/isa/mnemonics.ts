/**
 * Mnemonics of forms. A row names an instruction; where the manual names its forms apart (MOVSB, CDQE, JNZ, IRETQ...), the operand size,
 * the address size, REX.W or the opcode decides. Assembler and disassembler agree because both ask here.
 */
import type { Row } from './rows.ts';

export interface FormSize {
  readonly opSize: 16 | 32 | 64;
  readonly addressSize: 16 | 32 | 64;
  readonly rexW: boolean;
}

/** Conditions by number (SDM 1, appendix B), the name the disassembler writes first. */
export const CONDITIONS: readonly (readonly string[])[] = [
  ['O'], ['NO'], ['B', 'C', 'NAE'], ['AE', 'NB', 'NC'], ['E', 'Z'], ['NE', 'NZ'], ['BE', 'NA'], ['A', 'NBE'], ['S'], ['NS'], ['P', 'PE'],
  ['NP', 'PO'], ['L', 'NGE'], ['GE', 'NL'], ['LE', 'NG'], ['G', 'NLE'],
];
const CONDITIONAL = new Set(['J', 'SET', 'CMOV']);
/** Names by operand size 16, 32, 64. */
const BY_OPERAND_SIZE: Readonly<Record<string, readonly [string, string, string]>> = {
  CBW: ['CBW', 'CWDE', 'CDQE'], CWD: ['CWD', 'CDQ', 'CQO'],
};
const BY_ADDRESS_SIZE: Readonly<Record<string, readonly [string, string, string]>> = { JCXZ: ['JCXZ', 'JECXZ', 'JRCXZ'] };
/** The name alone means the default operand size of the code; W, D and Q say it. */
const SUFFIXED = new Set(['PUSHF', 'POPF', 'PUSHA', 'POPA', 'IRET', 'RETF', 'SYSRET', 'SYSEXIT', 'ENTER', 'LEAVE']);
/** Names of the forms with REX.W. */
const WIDE: Readonly<Record<string, string>> = {
  MOVD: 'MOVQ', PEXTRD: 'PEXTRQ', PINSRD: 'PINSRQ', FXSAVE: 'FXSAVE64', FXRSTOR: 'FXRSTOR64', XSAVE: 'XSAVE64', XRSTOR: 'XRSTOR64',
  XSAVEOPT: 'XSAVEOPT64', XSAVEC: 'XSAVEC64', XSAVES: 'XSAVES64', XRSTORS: 'XRSTORS64',
};
const RENAMED: Readonly<Record<string, string>> = { JMPF: 'JMP FAR', CALLF: 'CALL FAR', XLAT: 'XLATB' };
/** Other spellings that the assembler takes. */
export const ALIASES: Readonly<Record<string, string>> = {
  SAL: 'SHL', LOOPZ: 'LOOPE', LOOPNZ: 'LOOPNE', XLAT: 'XLATB', WAIT: 'FWAIT', RETN: 'RET', INT3: 'INT3', ICEBP: 'INT1',
};

const sizeIndex = (size: 16 | 32 | 64): 0 | 1 | 2 => (size === 16 ? 0 : size === 32 ? 1 : 2);
const SUFFIX = ['W', 'D', 'Q'] as const;

/** `PUSH ES` is a row of the mnemonic PUSH with a fixed operand. */
export function splitName(row: Row): readonly [name: string, fixed: string | null] {
  const space = row.name.indexOf(' ');
  return space < 0 ? [row.name, null] : [row.name.slice(0, space), row.name.slice(space + 1)];
}

/** The mnemonic of a form; `defaultSize` is the operand size without a prefix. */
export function mnemonic(row: Row, form: FormSize, defaultSize: 16 | 32 | 64): string {
  const [name] = splitName(row);
  if (CONDITIONAL.has(name)) return name + CONDITIONS[row.byte & 15]![0]!;
  const byOperand = BY_OPERAND_SIZE[name];
  if (byOperand) return byOperand[sizeIndex(form.opSize)];
  const byAddress = BY_ADDRESS_SIZE[name];
  if (byAddress) return byAddress[sizeIndex(form.addressSize)];
  // INS and OUTS know no 64-bit ports.
  const size = form.opSize === 64 && (row.byte & 0xfc) === 0x6c ? 32 : form.opSize;
  if (row.has.string) return name + ((row.byte & 1) === 0 ? 'B' : SUFFIX[sizeIndex(size)]);
  if (SUFFIXED.has(name)) return form.opSize === defaultSize ? name : name + SUFFIX[sizeIndex(form.opSize)];
  if (form.rexW && WIDE[name] !== undefined) return WIDE[name];
  return RENAMED[name] ?? name;
}

/** Every spelling of a form's mnemonic. */
export function spellings(row: Row, form: FormSize, defaultSize: 16 | 32 | 64): readonly string[] {
  const [name] = splitName(row);
  if (CONDITIONAL.has(name)) return CONDITIONS[row.byte & 15]!.map(condition => name + condition);
  const first = mnemonic(row, form, defaultSize);
  return SUFFIXED.has(name) && form.opSize === defaultSize ? [first, name + SUFFIX[sizeIndex(form.opSize)]] : [first];
}

/** Whether operand size, address size or REX.W chooses the mnemonic, so that the assembler must ask for each of them. */
export function variesBy(row: Row): { readonly opSize: boolean; readonly addressSize: boolean; readonly rexW: boolean } {
  const [name] = splitName(row);
  const string = row.has.string && (row.byte & 1) === 1;
  return { opSize: string || SUFFIXED.has(name) || name in BY_OPERAND_SIZE, addressSize: name in BY_ADDRESS_SIZE, rexW: name in WIDE };
}

// ---- x87: the rows know the opcode; operands are implied by it ----------------------------------------------------------------

/** Bits of the memory operand of an x87 row, null where it has no numeric type (environments, state). */
const X87_WIDTH: Readonly<Record<number, number | readonly (number | null)[]>> = {
  0xd8: 32, 0xda: 32, 0xdc: 64, 0xde: 16, 0xd9: [32, null, 32, 32, null, 16, null, 16], 0xdb: [32, 32, 32, 32, null, 80, null, 80],
  0xdd: [64, 64, 64, 64, null, null, null, 16], 0xdf: [16, 16, 16, 16, 80, 64, 80, 64],
};

export function x87MemoryWidth(row: Row): number | null {
  const width = row.map === 0 ? X87_WIDTH[row.byte] : undefined;
  if (width === undefined) return null;
  return typeof width === 'number' ? width : (width[row.digit] ?? null);
}

export type StackOperand = 'i' | '0' | 'AX';

/** Operands of an x87 row without memory: `i` is ST(i) from ModRM, `0` is ST(0). */
export function stackOperands(row: Row): readonly StackOperand[] {
  if (row.modrm >= 0) return row.name === 'FNSTSW' ? ['AX'] : [];
  switch (row.byte) {
    case 0xd8: return row.name.startsWith('FCOM') ? ['i'] : ['0', 'i'];
    case 0xda: case 0xdb: case 0xdf: return ['0', 'i'];
    case 0xdc: case 0xde: return ['i', '0'];
    default: return ['i'];
  }
}
