/** Instructions as regions need them. Code is looked at many times before it is compiled: what was decoded once is kept, with the bytes it was. */
import type { CodeSize, Decoded, Decoder } from '../../isa/decoder.ts';
import { DecodeFault, NeedMoreBytes } from '../../isa/decoder.ts';
import type { Program, Statement } from '../../isa/ir.ts';
import { buildProgram, formOf } from '../forms.ts';
import { isRare } from '../programUses.ts';

export interface Instruction {
  readonly decoded: Decoded;
  readonly program: Program;
  /** Whether it calls a helper, which may store and so drop decoded code. Stores of the region itself never do. */
  readonly callsHelper: boolean;
}

interface Known {
  /** Where its bytes begin in `kept`. */
  readonly at: number;
  readonly length: number;
  readonly instruction: Instruction | null;
}

interface FormFacts {
  readonly program: Program;
  readonly compilable: boolean;
  readonly callsHelper: boolean;
}

/** Beyond it all are forgotten: each takes some 500 bytes. */
const LIMIT = 16_384;
/** Room for the bytes of one. */
const BYTES = 16;
const SIZE_BITS: Readonly<Record<CodeSize, number>> = { 16: 0, 32: 1, 64: 2 };

/** Value helpers that look at nothing but their arguments; programs that call others are left to the interpreter. */
const PURE_HELPERS = new Set(['multiplyHigh', 'multiplyHighSigned', 'rotateCarryLeft', 'rotateCarryRight', 'crc32c', 'depositBits', 'extractBits']);

export class InstructionCache {
  private readonly memory: Uint8Array;
  private readonly decoder: Decoder;
  private readonly known = new Map<number, Known>();
  /** Bytes of the known instructions. */
  private readonly kept = new Uint8Array(LIMIT * BYTES);
  private readonly forms = new Map<number, FormFacts>();

  constructor(memory: Uint8Array, decoder: Decoder) {
    this.memory = memory;
    this.decoder = decoder;
  }

  /** The instruction that begins at a place in memory and ends before `limit`; null when there is none that can be compiled. */
  at(place: number, limit: number, codeSize: CodeSize): Instruction | null {
    const key = place * 4 + SIZE_BITS[codeSize];
    const known = this.known.get(key);
    if (known && this.holds(place, known)) return known.instruction;
    let decoded: Decoded;
    try {
      decoded = { ...this.decoder.decode(this.memory, place, limit, codeSize) };
    } catch (error) {
      if (error instanceof NeedMoreBytes || error instanceof DecodeFault) return null;
      throw error;
    }
    const { program, compilable, callsHelper } = this.factsOf(decoded, codeSize);
    const instruction = compilable ? { decoded, program, callsHelper } : null;
    if (!known && this.known.size >= LIMIT) this.known.clear();
    const at = known?.at ?? this.known.size * BYTES;
    for (let i = 0; i < decoded.length; i++) this.kept[at + i] = this.memory[place + i]!;
    this.known.set(key, { at, length: decoded.length, instruction });
    return instruction;
  }

  private holds(place: number, { at, length }: Known): boolean {
    for (let i = 0; i < length; i++) if (this.memory[place + i] !== this.kept[at + i]) return false;
    return true;
  }

  private factsOf(decoded: Decoded, codeSize: CodeSize): FormFacts {
    const shape = formOf(decoded, codeSize);
    const known = this.forms.get(shape.key);
    if (known) return known;
    const program = buildProgram(decoded, shape, codeSize, true);
    const facts = { program, compilable: compilable(program.statements), callsHelper: callsHelper(program.statements) };
    this.forms.set(shape.key, facts);
    return facts;
  }
}

function compilable(statements: readonly Statement[]): boolean {
  return statements.every(statement => {
    if (statement.kind === 'let') return statement.node.kind !== 'call' || PURE_HELPERS.has(statement.node.helper);
    if (statement.kind === 'when') return compilable(statement.then) && compilable(statement.otherwise);
    return true;
  });
}

function callsHelper(statements: readonly Statement[]): boolean {
  return statements.some(statement => (statement.kind === 'instruction' && !isRare(statement))
    || (statement.kind === 'when' && (callsHelper(statement.then) || callsHelper(statement.otherwise))));
}
