/** VM-exit instruction information: how an instruction named its operands. @sdm 3C 28.2.5, tables 28-8 to 28-14 */
import type { Decoded } from '../isa/decoder.ts';
import { GPR, STATE, ZERO } from '../cpu/layout.ts';

const NO_REGISTER = ZERO - STATE;
const FIRST_REGISTER = GPR - STATE;
const INDEX_INVALID = 1 << 22;
const BASE_INVALID = 1 << 27;
const REGISTER_OPERAND = 1 << 10;

const number = (slot: number): number => (slot - FIRST_REGISTER) >> 3;

/** Scale, address size, segment, index and base of a memory operand. */
function memory({ scale, addressSize, segmentNumber, index, e, ripRelative }: Decoded): number {
  const size = addressSize === 64 ? 2 : addressSize === 32 ? 1 : 0;
  const indexBits = index === NO_REGISTER ? INDEX_INVALID : (number(index) << 18) | scale;
  const baseBits = e === NO_REGISTER || ripRelative ? BASE_INVALID : number(e) << 23;
  return indexBits | baseBits | (size << 7) | (segmentNumber << 15);
}

const rm = (decoded: Decoded): number => (decoded.memory ? memory(decoded) : REGISTER_OPERAND | (number(decoded.e) << 3));
const register2 = (decoded: Decoded): number => number(decoded.g) << 28;
const table = (identity: number) => (decoded: Decoded): number => memory(decoded) | (decoded.opSize === 16 ? 0 : 1 << 11) | (identity << 28);
const selector = (identity: number) => (decoded: Decoded): number => rm(decoded) | (identity << 28);
const random = (decoded: Decoded): number => (number(decoded.e) << 3) | ((decoded.opSize === 64 ? 2 : decoded.opSize === 32 ? 1 : 0) << 11);
const invalidate = (decoded: Decoded): number => memory(decoded) | register2(decoded);
const transfer = (decoded: Decoded): number => rm(decoded) | register2(decoded);

/** Instructions whose exits describe their operands. */
const CODECS: Readonly<Record<string, (decoded: Decoded) => number>> = {
  SGDT: table(0), SIDT: table(1), LGDT: table(2), LIDT: table(3), SLDT: selector(0), STR: selector(1), LLDT: selector(2), LTR: selector(3),
  RDRAND: random, RDSEED: random, INVEPT: invalidate, INVVPID: invalidate, INVPCID: invalidate, VMREAD: transfer, VMWRITE: transfer,
  VMCLEAR: memory, VMPTRLD: memory, VMPTRST: memory, VMXON: memory, XSAVES: memory, XRSTORS: memory,
};

export interface OperandInformation {
  readonly information: number;
  /** The displacement; for an operand relative to RIP, the address itself. */
  readonly displacement: bigint;
}

/** `rip`: the instruction's own address. */
export function instructionInformation(decoded: Decoded, rip: bigint): OperandInformation {
  const codec = CODECS[decoded.row.name];
  if (!codec) return { information: 0, displacement: 0n };
  const displacement = decoded.memory ? BigInt(decoded.displacement) + (decoded.ripRelative ? rip : 0n) : 0n;
  return { information: codec(decoded) >>> 0, displacement: BigInt.asUintN(64, displacement) };
}
