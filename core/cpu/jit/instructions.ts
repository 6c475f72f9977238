/** Instructions as regions need them. Code is looked at many times before it is compiled: what was decoded once is kept, with the bytes it was. */
import type { CodeSize, Decoded, Decoder } from '../../isa/decoder.ts';
import { DecodeFault, NeedMoreBytes } from '../../isa/decoder.ts';
import type { Program, Statement } from '../../isa/ir.ts';
import { buildProgram, formKey, formOf } from '../forms.ts';
import { isRare } from '../programUses.ts';
import { effectsOf } from './ranges.ts';
import type { Effect } from './ranges.ts';
import type { Recorded } from './recorder.ts';
import { useOf } from './registers.ts';
import type { StateUse } from './registers.ts';

export interface Instruction {
  readonly decoded: Decoded;
  readonly form: RegionForm;
}

/** An instruction form, and what regions need to know of it. */
export interface RegionForm extends Recorded {
  readonly program: Program;
  readonly compilable: boolean;
  /** Whether it calls a helper, which may store and so drop decoded code. Stores of the region itself never do. */
  readonly callsHelper: boolean;
  /** What it needs to be available: AVAILABLE_*. */
  readonly needs: number;
  readonly use: StateUse;
  /** What the following of registers (ranges.ts) looks at, and how many accesses are among it. */
  readonly effects: readonly Effect[];
  readonly accesses: number;
}

/** SSE needs all that the x87 does. */
export const AVAILABLE_X87 = 1;
export const AVAILABLE_SSE = 2;

/** Instructions that are remembered, each in the one slot that its address leads to: each takes some 500 bytes. */
const SLOTS = 1 << 15;
const SLOT_SHIFT = 17;
/** Forms that are remembered: a guest that executes more, on purpose, makes them be forgotten. */
const FORM_LIMIT = 4096;
/** Room for the bytes of one. */
const BYTES = 16;

/** Value helpers that look at nothing but their arguments. Programs that call others are left to the interpreter, unless a helper has had all state written back before. */
const PURE_HELPERS = new Set(['multiplyHigh', 'multiplyHighSigned', 'rotateCarryLeft', 'rotateCarryRight', 'crc32c', 'depositBits', 'extractBits']);

export class InstructionCache {
  private readonly memory: Uint8Array;
  private readonly decoder: Decoder;
  /** By slot: where the instruction is, its size of code and its length (0: none), what it is, and the bytes it was. */
  private readonly places = new Uint32Array(SLOTS);
  private readonly sizes = new Uint8Array(SLOTS);
  private readonly lengths = new Uint8Array(SLOTS);
  private readonly known: (Instruction | null)[] = new Array<Instruction | null>(SLOTS).fill(null);
  private readonly kept = new Uint8Array(SLOTS * BYTES);
  private readonly forms = new Map<number, RegionForm>();
  private readonly straddle = new Uint8Array(BYTES);

  constructor(memory: Uint8Array, decoder: Decoder) {
    this.memory = memory;
    this.decoder = decoder;
  }

  /** The instruction that begins at a place in memory and ends before `limit`; null when there is none that can be compiled. */
  at(place: number, limit: number, codeSize: CodeSize): Instruction | null {
    // 2^32 divided by the golden ratio: spreads neighbours and pages alike.
    const slot = Math.imul(place, 0x9e3779b1) >>> SLOT_SHIFT;
    if (this.holds(slot, place, codeSize)) return this.known[slot]!;
    const decoded = this.decode(this.memory, place, limit, codeSize);
    if (!decoded) return null;
    const form = this.formOf(decoded, codeSize);
    const instruction = form.compilable ? { decoded, form } : null;
    this.places[slot] = place;
    this.sizes[slot] = codeSize;
    this.lengths[slot] = decoded.length;
    this.known[slot] = instruction;
    this.kept.set(this.memory.subarray(place, place + decoded.length), slot * BYTES);
    return instruction;
  }

  /** The same for one of which the first `here` bytes end a page and the others begin another one, at `next`. */
  across(place: number, here: number, next: number, codeSize: CodeSize): Instruction | null {
    const { straddle } = this;
    straddle.set(this.memory.subarray(place, place + here));
    straddle.set(this.memory.subarray(next, next + BYTES - here), here);
    const decoded = this.decode(straddle, 0, BYTES, codeSize);
    if (!decoded || decoded.length <= here) return null;
    const form = this.formOf(decoded, codeSize);
    return form.compilable ? { decoded, form } : null;
  }

  private decode(bytes: Uint8Array, from: number, limit: number, codeSize: CodeSize): Decoded | null {
    try {
      return { ...this.decoder.decode(bytes, from, limit, codeSize) };
    } catch (error) {
      if (error instanceof NeedMoreBytes || error instanceof DecodeFault) return null;
      throw error;
    }
  }

  /** Whether a slot is that of an instruction, which is still there. */
  private holds(slot: number, place: number, codeSize: CodeSize): boolean {
    const length = this.lengths[slot]!;
    if (length === 0 || this.places[slot] !== place || this.sizes[slot] !== codeSize) return false;
    const kept = slot * BYTES;
    for (let i = 0; i < length; i++) if (this.memory[place + i] !== this.kept[kept + i]) return false;
    return true;
  }

  private formOf(decoded: Decoded, codeSize: CodeSize): RegionForm {
    const key = formKey(decoded, codeSize);
    let form = this.forms.get(key);
    if (form) return form;
    if (this.forms.size >= FORM_LIMIT) this.forms.clear();
    const program = buildProgram(decoded, formOf(decoded, codeSize), codeSize, true);
    const { statements } = program;
    const { row } = decoded;
    const effects = effectsOf(program);
    form = {
      program, compilable: compilable(statements), callsHelper: callsHelper(statements),
      needs: row.has.sse ? AVAILABLE_SSE | AVAILABLE_X87 : row.has.x87 ? AVAILABLE_X87 : 0, use: useOf(program),
      effects, accesses: effects.filter(({ kind }) => kind === 'access').length, variants: null, tapes: 0,
    };
    this.forms.set(key, form);
    return form;
  }
}

function compilable(statements: readonly Statement[]): boolean {
  // PUSHF: its check writes back what is held, and nothing changes before the image is made.
  let writtenBack = false;
  return statements.every(statement => {
    switch (statement.kind) {
      case 'let': return writtenBack || statement.node.kind !== 'call' || PURE_HELPERS.has(statement.node.helper);
      case 'instruction': writtenBack = !isRare(statement); return true;
      case 'setSlot': case 'setPart': case 'setState': writtenBack = false; return true;
      case 'when': writtenBack = false; return compilable(statement.then) && compilable(statement.otherwise);
      default: return true;
    }
  });
}

function callsHelper(statements: readonly Statement[]): boolean {
  return statements.some(statement => (statement.kind === 'instruction' && !isRare(statement))
    || (statement.kind === 'when' && (callsHelper(statement.then) || callsHelper(statement.otherwise))));
}
