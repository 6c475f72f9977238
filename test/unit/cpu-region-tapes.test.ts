/** Tapes: the code of an instruction form is made once and played for each instruction of it. */
import { expect, it } from 'vitest';
import { Decoder } from '../../core/isa/decoder.ts';
import { invalidRow, rowsOf } from '../../core/isa/table/index.ts';
import { discover } from '../../core/cpu/jit/discover.ts';
import { analyse } from '../../core/cpu/jit/flow.ts';
import { InstructionCache } from '../../core/cpu/jit/instructions.ts';
import { compileRegion } from '../../core/cpu/jit/region.ts';
import { instantiate } from '../helpers/cpu-wasm.ts';

const PAGE = 0x1000;
const cpu = instantiate();
const rows = rowsOf(undefined);

/** The module of the 64-bit code that begins at a place of the page. */
function compile(instructions: InstructionCache, offset: number, large = true): Uint8Array {
  const region = discover(offset, {
    instruction: (page, at) => instructions.at(page.host + at, page.host + PAGE, 64),
    page: number => (number === 0 ? { host: PAGE, table: 0 } : null), across: () => null, odds: () => null, isMarked: () => false, isDecoded: () => true, isTaken: () => true,
    isEntry: () => false, likelyTarget: () => null,
  }, { blocks: 16, instructions: 64, callDepth: 1, weighed: false });
  const identity = { plain: 0, stackSize: 2, user: false, large, apart: new Set<number>(), targets: new Map<number, number>(), counted: new Set<number>(), moving: null };
  return compileRegion(region, analyse(region.blocks, region.entry), 64, cpu.signatures, identity);
}

function cache(bytes: Uint8Array): InstructionCache {
  return new InstructionCache(bytes, new Decoder(rows, invalidRow));
}

/** Instructions of few forms, with what makes the code of a form differ: no displacement, no index, flags that are known, accesses that share a range. */
const CODES: Readonly<Record<string, readonly number[]>> = {
  'loads without displacement': [0x48, 0x8b, 0x03, 0x48, 0x8b, 0x0a],
  'loads that share a range': [0x48, 0x8b, 0x43, 0x08, 0x48, 0x8b, 0x4b, 0x10],
  'loads with an index': [0x48, 0x8b, 0x04, 0xb3, 0x48, 0x8b, 0x44, 0xb3, 0x08],
  'a load from an address': [0x48, 0x8b, 0x04, 0x25, 0x00, 0x20, 0x00, 0x00],
  'a comparison and its branch': [0x48, 0x39, 0xd8, 0x7c, 0xfb],
  'a test and its branch': [0x48, 0x85, 0xc0, 0x7e, 0xfb],
  'a shift by CL and its branch': [0x48, 0xd3, 0xe0, 0x7c, 0xfb],
  'pushes and pops': [0x53, 0x51, 0x59, 0x5b],
  'a read, changed and written': [0x48, 0x01, 0x03, 0x48, 0x01, 0x43, 0x08],
  'parts of registers': [0x88, 0xe0, 0x66, 0x89, 0xd8, 0xb3, 0x05],
  'a call and its return': [0xe8, 0x01, 0x00, 0x00, 0x00, 0xc3, 0x48, 0xff, 0xc0, 0xc3],
};
const ROOM = 32;

const memory = new Uint8Array(2 * PAGE).fill(0xf4);
Object.values(CODES).forEach((code, i) => memory.set(code, PAGE + i * ROOM));
const all = cache(memory);

const cases = [true, false].flatMap(large => Object.keys(CODES).map((name, i) => [name, large ? 'large' : 'small', i, large] as const));

it.each(cases)('%s in a %s region: the same code whatever was compiled before', (_name, _size, i, large) => {
  const alone = compile(cache(memory), i * ROOM, large);
  expect(WebAssembly.validate(alone as Uint8Array<ArrayBuffer>)).toBe(true);
  // All others first, in either order; then twice from the same tapes.
  for (let other = 0; other < ROOM * Object.keys(CODES).length; other += ROOM) compile(all, other, large);
  expect(compile(all, i * ROOM, large)).toEqual(alone);
  expect(compile(all, i * ROOM, large)).toEqual(alone);
});

it('gives different operands of one form different code', () => {
  const loads = new Uint8Array(2 * PAGE).fill(0xf4);
  loads.set([0x48, 0x8b, 0x43, 0x08], PAGE);
  loads.set([0x48, 0x8b, 0x4b, 0x10], PAGE + ROOM);
  const shared = cache(loads);
  expect(shared.at(PAGE, 2 * PAGE, 64)?.form).toBe(shared.at(PAGE + ROOM, 2 * PAGE, 64)?.form);
  expect(compile(shared, 0)).not.toEqual(compile(shared, ROOM));
});

it('takes a code that has changed for what it is', () => {
  const changing = new Uint8Array(2 * PAGE).fill(0xf4);
  changing.set([0x48, 0xff, 0xc0], PAGE);
  const instructions = cache(changing);
  expect(instructions.at(PAGE, 2 * PAGE, 64)?.decoded.row.name).toBe('INC');
  changing.set([0x48, 0xff, 0xc8], PAGE);
  expect(instructions.at(PAGE, 2 * PAGE, 64)?.decoded.row.name).toBe('DEC');
});
