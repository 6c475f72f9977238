/** Instruction forms: what the decoder's result is reduced to, so that instructions that differ only in registers share their code. */
import type { Decoded } from '../isa/decoder.ts';
import type { Program } from '../isa/ir.ts';
import type { Form } from '../isa/values.ts';
import { Ops } from '../isa/ops.ts';
import { operandKinds } from '../isa/rows.ts';
import { withPrechecks } from '../isa/prechecks.ts';
import { ZERO, STATE } from './layout.ts';

type CodeSize = 16 | 32 | 64;

const PAGE_SIZE = 4096;
const ADDRESSINGS = ['full', 'base', 'rip', 'ripFar'] as const satisfies readonly Form['addressing'][];
const FULL = 0;
const BASE = 1;
export const RIP_RELATIVE = 2;
const RIP_FAR = 3;

export interface DecodedForm {
  readonly key: number;
  readonly opSize: 16 | 32 | 64;
  readonly addressSize: 16 | 32 | 64;
  readonly memory: boolean;
  readonly addressing: Form['addressing'];
  readonly repeat: 0 | 1 | 2;
  readonly rexW: boolean;
}

/** Whether the form has a memory operand: what a row's definition does not look at is normalised, here and below, so that fewer forms arise. */
function hasMemory({ row, memory }: Decoded): boolean {
  return memory && !row.has.nomem;
}

function opSizeOf({ row, opSize }: Decoded): 16 | 32 | 64 {
  return row.sized ? opSize : 32;
}

function addressSizeOf(decoded: Decoded, codeSize: CodeSize): 16 | 32 | 64 {
  return hasMemory(decoded) || decoded.row.has.addr ? decoded.addressSize : codeSize;
}

/** How the address of a form's memory operand is made: index of ADDRESSINGS. */
export function addressingOf(decoded: Decoded, codeSize: CodeSize): number {
  if (!hasMemory(decoded)) return FULL;
  if (decoded.ripRelative) return decoded.displacement + PAGE_SIZE < 2 ** 31 ? RIP_RELATIVE : RIP_FAR;
  return !decoded.hasIndex && (codeSize !== 64 || decoded.segment === ZERO - STATE) ? BASE : FULL;
}

/** 0 for 16 bits, 1 for 32, 2 for 64. */
function sizeNumber(size: 16 | 32 | 64): number {
  return size >> 5;
}

/** Names the form of a decoded instruction. Asked for every one of them: it makes no object. */
export function formKey(decoded: Decoded, codeSize: CodeSize): number {
  const { row } = decoded;
  // The rows of one `+r` opcode differ in nothing but the register.
  return (row.low > 0 ? row.id - row.low : row.id) * 8192 + (sizeNumber(opSizeOf(decoded)) | (sizeNumber(addressSizeOf(decoded, codeSize)) << 2) | (hasMemory(decoded) ? 16 : 0)
    | (decoded.rexW && row.wide ? 32 : 0) | ((row.has.rep ? decoded.repeat : 0) << 6) | (addressingOf(decoded, codeSize) << 8) | (sizeNumber(codeSize) << 10));
}

/** The form of a decoded instruction. */
export function formOf(decoded: Decoded, codeSize: CodeSize): DecodedForm {
  const { row } = decoded;
  return {
    key: formKey(decoded, codeSize), opSize: opSizeOf(decoded), addressSize: addressSizeOf(decoded, codeSize), memory: hasMemory(decoded),
    addressing: ADDRESSINGS[addressingOf(decoded, codeSize)]!, repeat: row.has.rep ? decoded.repeat : 0, rexW: decoded.rexW && row.wide,
  };
}

/** The displacement as the instruction holds it, where it is not relative to the page. */
export function ownDisplacement(decoded: Decoded): number {
  return decoded.ripRelative ? decoded.displacement - decoded.length : decoded.displacement;
}

/** Builds a form's program from its row's definition; `available`: without the checks that the x87 or SSE state may be used. */
export function buildProgram(decoded: Decoded, shape: DecodedForm, codeSize: CodeSize, available = false): Program {
  const mode = codeSize === 64 ? 'long' : 'legacy';
  const form: Form = {
    operands: operandKinds(decoded.row, { opSize: shape.opSize, rexW: shape.rexW, memory: shape.memory, mode }),
    opSize: shape.opSize, addressSize: shape.addressSize, memory: shape.memory, mode, codeSize, repeat: shape.repeat,
    addressing: shape.addressing, rexW: shape.rexW,
  };
  return Ops.build(form, withPrechecks(decoded.row, available));
}

/** A name that stays the same between builds: for the list of hot forms and for people. */
export function formName(decoded: Decoded, shape: DecodedForm, codeSize: CodeSize): string {
  const { row } = decoded;
  const where = shape.memory ? `m:${shape.addressing}${shape.addressSize}` : shape.addressSize === codeSize ? 'r' : `r${shape.addressSize}`;
  return `${codeSize} ${row.opcode} ${row.operands || '-'} ${shape.opSize} ${where}${shape.repeat ? ` rep${shape.repeat}` : ''}${shape.rexW ? ' w' : ''}`;
}
