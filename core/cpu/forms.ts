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
const ADDRESSING: Record<Form['addressing'], number> = { full: 0, base: 1, rip: 2, ripFar: 3 };
const SIZE_BITS: Record<16 | 32 | 64, number> = { 16: 0, 32: 1, 64: 2 };

export interface DecodedForm {
  readonly key: number;
  readonly opSize: 16 | 32 | 64;
  readonly addressSize: 16 | 32 | 64;
  readonly memory: boolean;
  readonly addressing: Form['addressing'];
  readonly repeat: 0 | 1 | 2;
  readonly rexW: boolean;
}

/** The form of a decoded instruction. What a row's definition does not look at is normalised, so that fewer forms arise. */
export function formOf(decoded: Decoded, codeSize: CodeSize): DecodedForm {
  const { row } = decoded;
  const opSize = row.sized ? decoded.opSize : 32;
  const memory = decoded.memory && !row.has.nomem;
  const addressSize = memory || row.has.addr ? decoded.addressSize : codeSize === 16 ? 16 : codeSize;
  const addressing = !memory ? 'full' : decoded.ripRelative ? (decoded.displacement + PAGE_SIZE < 2 ** 31 ? 'rip' : 'ripFar')
    : !decoded.hasIndex && (codeSize !== 64 || decoded.segment === ZERO - STATE) ? 'base' : 'full';
  const repeat = row.has.rep ? decoded.repeat : 0;
  const rexW = decoded.rexW && row.wide;
  // The rows of one `+r` opcode differ in nothing but the register.
  const key = (row.low > 0 ? row.id - row.low : row.id) * 8192 + (SIZE_BITS[opSize] | (SIZE_BITS[addressSize] << 2) | ((memory ? 1 : 0) << 4) | (rexW ? 32 : 0) | (repeat << 6)
    | (ADDRESSING[addressing] << 8) | (SIZE_BITS[codeSize] << 10));
  return { key, opSize, addressSize, memory, addressing, repeat, rexW };
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
