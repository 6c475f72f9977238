/**
 * Finds the basic blocks of a region: code reachable from an entry by direct branches without leaving its guest-physical page.
 */
import type { Decoded, Decoder, CodeSize } from '../../isa/decoder.ts';
import { DecodeFault, NeedMoreBytes } from '../../isa/decoder.ts';
import type { Program, Statement } from '../../isa/ir.ts';
import type { DecodedForm } from '../forms.ts';
import { formOf } from '../forms.ts';

/** V8's optimising compiler stays fast below this many blocks; instructions bound the size of one compilation. */
export const BLOCK_LIMIT = 48;
export const INSTRUCTION_LIMIT = 320;

const PAGE_SIZE = 4096;

export interface RegionInstruction {
  /** Offset in the page. */
  readonly offset: number;
  readonly decoded: Decoded;
  readonly program: Program;
}

export interface RegionBlock {
  readonly start: number;
  readonly instructions: RegionInstruction[];
  /** Offset of the direct branch's target when it lies in the region, else -1. */
  taken: number;
  /** Offset at which control goes on when nothing was taken; -1 when it never does. */
  next: number;
  /** The block ends in front of this offset because the interpreter must go on there. */
  bail: boolean;
}

export type ProgramOf = (decoded: Decoded, shape: DecodedForm, codeSize: CodeSize) => Program;

/** Value helpers that look at nothing but their arguments; programs that call others are left to the interpreter. */
const PURE_HELPERS = new Set(['multiplyHigh', 'multiplyHighSigned', 'rotateCarryLeft', 'rotateCarryRight', 'crc32c', 'depositBits', 'extractBits']);

function compilable(statements: readonly Statement[]): boolean {
  return statements.every(statement => {
    if (statement.kind === 'let') return statement.node.kind !== 'call' || PURE_HELPERS.has(statement.node.helper);
    if (statement.kind === 'when') return compilable(statement.then) && compilable(statement.otherwise);
    return true;
  });
}

/** Blocks by start offset, entry first; empty when the entry itself must be interpreted. */
export function discover(bytes: Uint8Array, host: number, entry: number, codeSize: CodeSize, decoder: Decoder, programOf: ProgramOf): Map<number, RegionBlock> {
  const instructions = new Map<number, RegionInstruction>();
  const bails = new Set<number>();
  const leaders = new Set<number>([entry]);
  const work = [entry];
  while (work.length > 0 && leaders.size <= BLOCK_LIMIT && instructions.size < INSTRUCTION_LIMIT) {
    let at = work.pop()!;
    while (at < PAGE_SIZE && !instructions.has(at) && instructions.size < INSTRUCTION_LIMIT) {
      const instruction = decodeAt(bytes, host, at, codeSize, decoder, programOf);
      if (!instruction) {
        bails.add(at);
        break;
      }
      instructions.set(at, instruction);
      const { row, displacement, length } = instruction.decoded;
      if (row.has.has('relative') && row.name !== 'CALL') {
        const target = at + displacement;
        const next = at + length;
        if (target >= 0 && target < PAGE_SIZE && !leaders.has(target)) {
          leaders.add(target);
          work.push(target);
        }
        if (!row.has.has('ends')) leaders.add(next);
      }
      if (row.has.has('ends')) break;
      at += length;
    }
  }
  const blocks = new Map<number, RegionBlock>();
  for (const start of leaders) {
    if (!instructions.has(start) || blocks.size >= BLOCK_LIMIT) continue;
    blocks.set(start, formBlock(start, instructions, leaders));
  }
  return blocks;
}

function formBlock(start: number, instructions: ReadonlyMap<number, RegionInstruction>, leaders: ReadonlySet<number>): RegionBlock {
  const block: RegionBlock = { start, instructions: [], taken: -1, next: -1, bail: false };
  let at = start;
  for (;;) {
    const instruction = instructions.get(at);
    if (!instruction) {
      block.bail = true;
      block.next = at;
      return block;
    }
    block.instructions.push(instruction);
    const { row, displacement, length } = instruction.decoded;
    const next = at + length;
    if (row.has.has('relative') && row.name !== 'CALL') {
      const target = at + displacement;
      block.taken = target >= 0 && target < PAGE_SIZE && leaders.has(target) ? target : -1;
      if (!row.has.has('ends')) block.next = next;
      return block;
    }
    if (row.has.has('ends')) return block;
    if (leaders.has(next) || next >= PAGE_SIZE) {
      block.next = next;
      return block;
    }
    at = next;
  }
}

function decodeAt(bytes: Uint8Array, host: number, at: number, codeSize: CodeSize, decoder: Decoder, programOf: ProgramOf): RegionInstruction | null {
  try {
    const decoded = { ...decoder.decode(bytes, host + at, host + PAGE_SIZE, codeSize) };
    const program = programOf(decoded, formOf(decoded, codeSize), codeSize);
    return compilable(program.statements) ? { offset: at, decoded, program } : null;
  } catch (error) {
    if (error instanceof NeedMoreBytes || error instanceof DecodeFault) return null;
    throw error;
  }
}
