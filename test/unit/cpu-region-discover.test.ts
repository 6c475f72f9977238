import { describe, expect, it } from 'vitest';
import { discover, keyOffset, targetPlaces } from '../../core/cpu/jit/discover.ts';
import type { Region } from '../../core/cpu/jit/discover.ts';
import { InstructionCache } from '../../core/cpu/jit/instructions.ts';
import { Decoder } from '../../core/isa/decoder.ts';
import { invalidRow, rowsOf } from '../../core/isa/table/index.ts';

const PAGE = 0x1000;
const JMP_MEMORY = [0xff, 0x25, 0, 0, 0, 0];
const CALL_REGISTER = [0xff, 0xd0];
const INC_RET = [0x48, 0xff, 0xc0, 0xc3];
const TARGET = 0x40;

/** The region of code at the start of a page whose indirect jumps and calls are said to go to `target`. */
function regionOf(code: readonly number[], target: number | null, others: readonly number[] = [], odds: Readonly<Record<number, number>> | null = null, blocks = 16): Region {
  const memory = new Uint8Array(2 * PAGE).fill(0xf4);
  memory.set(code, PAGE);
  if (code.length <= TARGET) memory.set(INC_RET, PAGE + TARGET);
  const instructions = new InstructionCache(memory, new Decoder(rowsOf(undefined), invalidRow));
  return discover(0, {
    instruction: (page, at) => instructions.at(page.host + at, page.host + PAGE, 64),
    page: number => (number === 0 ? { host: PAGE, table: 0 } : null), across: () => null,
    odds: (_page, at) => odds?.[at] ?? null, isMarked: () => false, isDecoded: () => true, isTaken: () => true,
    isEntry: (_page, at) => others.includes(at), likelyTarget: () => target,
  }, { blocks, instructions: 64, callDepth: 1, weighed: odds !== null });
}

function offsets(region: Region): readonly number[] {
  return [...region.blocks.keys()].map(keyOffset).sort((a, b) => a - b);
}

describe('indirect jumps and calls in a region', () => {
  it('ends at one of which nothing is known', () => {
    const region = regionOf(JMP_MEMORY, null);
    expect(offsets(region)).toEqual([0]);
    expect(region.blocks.get(region.entry)!.likely).toBe(-1);
  });

  it('goes on where one is likely to go', () => {
    const region = regionOf(JMP_MEMORY, TARGET);
    expect(offsets(region)).toEqual([0, TARGET]);
    expect(keyOffset(region.blocks.get(region.entry)!.likely)).toBe(TARGET);
  });

  it('takes in the callee of a call, whose return goes on behind the call', () => {
    const region = regionOf([...CALL_REGISTER, ...INC_RET], TARGET);
    expect(offsets(region)).toEqual([0, CALL_REGISTER.length, TARGET]);
    const callee = region.blocks.get(region.blocks.get(region.entry)!.likely)!;
    expect(keyOffset(callee.likely)).toBe(CALL_REGISTER.length);
  });

  it('notes where the first few go, and neither returns nor direct branches', () => {
    const jumps = Array.from({ length: 6 }, (_, i) => [0x75, JMP_MEMORY.length, ...JMP_MEMORY.map((byte, at) => (at === 2 ? i : byte))]).flat();
    const region = regionOf([...jumps, 0xeb, 0xfe], null);
    expect([...targetPlaces(region).values()]).toEqual([0, 1, 2, 3]);
    expect(targetPlaces(regionOf(INC_RET, null)).size).toBe(0);
  });
});

describe('a region beside others', () => {
  const JZ = [0x74, 0x02];
  const INC = [0x48, 0xff, 0xc0];
  const SHORT = [...JZ, 0xeb, 0xfe, ...INC, 0xf4];

  it('ends at a branch to where another begins', () => {
    expect(offsets(regionOf(SHORT, null))).toEqual([0, 2, 4]);
    const region = regionOf(SHORT, null, [4]);
    expect(offsets(region)).toEqual([0, 2]);
    expect(region.blocks.get(region.entry)!.taken).toBe(-1);
  });

  it('goes on all the same where control goes most of the time', () => {
    expect(offsets(regionOf(SHORT, null, [4], { 0: 0.9 }))).toEqual([0, 2, 4]);
    expect(offsets(regionOf(SHORT, null, [4], { 0: 0.1 }))).toEqual([0, 2]);
  });

  it('ends before an instruction at which another begins', () => {
    const region = regionOf([...INC, ...INC, 0xf4], null, [INC.length]);
    const entry = region.blocks.get(region.entry)!;
    expect(entry.instructions.length).toBe(1);
    expect(entry.end).toBe(INC.length);
    expect(entry.next).toBe(-1);
  });

  it('takes in a callee that another begins at', () => {
    expect(offsets(regionOf([...CALL_REGISTER, ...INC_RET], TARGET, [TARGET]))).toEqual([0, CALL_REGISTER.length, TARGET]);
  });

  it('begins where it begins itself', () => {
    expect(offsets(regionOf([0xeb, 0xfe], null, [0]))).toEqual([0]);
  });
});

describe('a region of few blocks', () => {
  const INC = [0xff, 0xc0];
  const JMP_BACK = [0xeb, 0xfe];
  /** Five branches one behind another, of four bytes each with what they pass; each leads to a block of its own. */
  const branches = Array.from({ length: 5 }, (_, i) => [0x74, 0x1e + i * 12, ...INC]).flat();
  const code = [...branches, ...JMP_BACK, ...new Array<number>(10).fill(0x90), ...Array.from({ length: 5 }, () => [...JMP_BACK, ...new Array<number>(14).fill(0x90)]).flat()];
  const aside = (i: number): number => i * 4 + 2 + 0x1e + i * 12;

  it('takes what is fewest branches away where nothing is known', () => {
    expect(offsets(regionOf(code, null, [], null, 5))).toEqual([0, 2, 6, aside(0), aside(1)]);
  });

  it('takes what runs most', () => {
    const seldom = Object.fromEntries(branches.flatMap((_, at) => (at % 4 === 0 ? [[at, 0.01]] : [])));
    expect(offsets(regionOf(code, null, [], seldom, 5))).toEqual([0, 2, 6, 10, 14]);
    expect(offsets(regionOf(code, null, [], { ...seldom, 4: 0.99 }, 4))).toEqual([0, 2, aside(0), aside(1)]);
  });
});
