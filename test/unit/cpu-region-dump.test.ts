import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { dumpRegion } from '../../core/cpu/jit/dump.ts';
import { discover } from '../../core/cpu/jit/discover.ts';
import { InstructionCache } from '../../core/cpu/jit/instructions.ts';
import { Decoder } from '../../core/isa/decoder.ts';
import { invalidRow, rows } from '../../core/isa/table/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'vanderpool-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('the dump of a region', () => {
  it('shows its blocks, where they lead, and keeps its WebAssembly', () => {
    const page = new Uint8Array(4096).fill(0x90);
    // DEC ECX; JNZ back; RET.
    page.set([0xff, 0xc9, 0x75, 0xfc, 0xc3], 0x10);
    const instructions = new InstructionCache(page, new Decoder(rows, invalidRow));
    const region = discover(0x10, {
      instruction: (_page, offset) => instructions.at(offset, page.length, 64),
      page: number => (number === 0 ? { host: 0, table: 0 } : null), isDecoded: () => true, isTaken: () => true, isEntry: () => false, likelyTarget: () => null, across: () => null, odds: () => null, isMarked: () => false,
    }, { blocks: 8, instructions: 16, callDepth: 0, weighed: false });
    const wasm = new Uint8Array([1, 2, 3]);
    dumpRegion(join(folder, 'new'), { index: 7, tier: 0, region, gpa: 0x5010, rip: 0x400010n, codeSize: 64, wasm, samples: 12, milliseconds: 1 }, number => (number === 0 ? page : null));
    expect(readdirSync(join(folder, 'new'))).toEqual(['00007-400010.txt', '00007-400010.wasm']);
    const text = readFileSync(join(folder, 'new', '00007-400010.txt'), 'latin1');
    expect(text).toMatch(/64-bit code at 400010, guest-physical 5010/);
    expect(text).toMatch(/12 samples before/);
    expect(text).toMatch(/block 0, taken 0, next 1\n {2}0000000000400010 {2}dec ecx\n {2}0000000000400012 {2}jne 0x400010/);
    expect(text).toMatch(/block 1\n {2}0000000000400014 {2}ret/);
    expect(readFileSync(join(folder, 'new', '00007-400010.wasm'))).toEqual(Buffer.from(wasm));
  });
});
