/** Encodes an instruction from its row: enough of an assembler to make test cases for every form. */
import type { Row } from '../../core/isa/rows.ts';

export interface Encoding {
  /** ModRM.reg (0..15) when the row does not fix it. */
  readonly reg?: number;
  /** Register of ModRM.rm (0..15), or the base of a memory operand without displacement (not 4, 5, 12, 13). */
  readonly rm?: number;
  readonly memory?: boolean;
  readonly immediate?: number;
  readonly rexW?: boolean;
  readonly operandPrefix?: boolean;
  /** VEX.vvvv. */
  readonly vvvv?: number;
}

const VEX_PREFIXES: readonly Row['prefix'][] = ['NP', '66', 'F3', 'F2'];
const IMMEDIATE_BYTES: Record<string, number> = { Ib: 1, Ibs: 1, Iw: 2, Iz: 4 };

/** The bytes of an instruction in 64-bit code. */
export function encode(row: Row, how: Encoding): number[] {
  const reg = row.digit >= 0 ? row.digit : how.reg ?? 0;
  const rm = how.rm ?? 0;
  const w = row.w === 1 || (row.w < 0 && how.rexW === true);
  const out: number[] = [];
  if (row.vex) {
    out.push(0xc4, (reg & 8 ? 0 : 0x80) | 0x40 | (rm & 8 ? 0 : 0x20) | row.map);
    out.push((w ? 0x80 : 0) | ((~(how.vvvv ?? 0) & 15) << 3) | VEX_PREFIXES.indexOf(row.prefix));
    return tail(row, how, reg, rm, out);
  }
  if (how.operandPrefix) out.push(0x66);
  if (row.prefix !== 'none' && row.prefix !== 'NP') out.push(parseInt(row.prefix, 16));
  const rex = (w ? 8 : 0) | (reg & 8 ? 4 : 0) | (rm & 8 ? 1 : 0);
  if (rex) out.push(0x40 | rex);
  if (row.map > 0) out.push(0x0f);
  if (row.map > 1) out.push(row.map === 2 ? 0x38 : 0x3a);
  return tail(row, how, reg, rm, out);
}

/** Opcode, ModRM, immediates. */
function tail(row: Row, how: Encoding, reg: number, rm: number, out: number[]): number[] {
  out.push(row.byte);
  if (row.modrm >= 0) out.push(row.modrm);
  else if (row.hasModrm) out.push((how.memory ? 0 : 0xc0) | ((reg & 7) << 3) | (rm & 7));
  for (const letter of row.letters) {
    const bytes = IMMEDIATE_BYTES[letter] ?? 0;
    for (let i = 0; i < bytes; i++) out.push(((how.immediate ?? 0) >> (8 * i)) & 0xff);
  }
  return out;
}
