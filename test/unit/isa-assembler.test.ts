import { describe, expect, it } from 'vitest';
import { Assembler, AssemblyError, encodings } from '../../core/isa/assembler.ts';
import { Decoder } from '../../core/isa/decoder.ts';
import type { CodeSize } from '../../core/isa/decoder.ts';
import { disassemble } from '../../core/isa/disassembler.ts';
import { encodeRow } from '../../core/isa/encoder.ts';
import type { Operand } from '../../core/isa/registers.ts';
import { absolute, at, dword, far, indexed, inSegment, mem, offsetOf, qword, register as r, word } from '../../core/isa/registers.ts';
import { invalidRow, rows } from '../../core/isa/table/index.ts';
import { objdump, plainText, sizeWord } from '../helpers/objdump.ts';
import { sampleOperands, seeded } from '../helpers/instruction-samples.ts';

const SIZES = [64, 32, 16] as const;

function bytesOf(code: CodeSize, name: string, ...operands: Operand[]): string {
  return Buffer.from(encodings(code, name, operands)[0]!.bytes).toString('hex');
}

/** Encodings of every row that exists in code of a size, with the operands they were made from. */
function* samples(code: CodeSize, rounds: number, seed: number) {
  for (const row of rows) {
    if (row === invalidRow || row.name === 'ESC') continue;
    const random = seeded(row.id + seed);
    for (const opSize of [16, 32, 64] as const) {
      if (opSize === 64 && code !== 64) continue;
      for (let i = 0; i < rounds; i++) {
        const operands = sampleOperands(row, code, opSize, random);
        const encoding = encodeRow(row, operands, code);
        if (encoding) yield { row, operands, bytes: Uint8Array.from(encoding.bytes) };
      }
    }
  }
}

describe('the assembler', () => {
  it.each([
    ['the shortest form of an immediate', 64, 'ADD', [r.rax, 1], '4883c001'],
    ['the form of the accumulator', 64, 'ADD', [r.eax, 1000], '05e8030000'],
    ['a sign-extended 32-bit immediate rather than a 64-bit one', 64, 'MOV', [r.rax, -1], '48c7c0ffffffff'],
    ['a 64-bit immediate when it must be', 64, 'MOV', [r.rax, 0x123456789an], '48b89a78563412000000'],
    ['no displacement where none is needed', 64, 'MOV', [r.eax, mem(r.rbx)], '8b03'],
    ['a displacement of zero for RBP and R13', 64, 'MOV', [r.eax, mem(r.r13)], '418b4500'],
    ['a SIB byte for RSP and R12', 64, 'MOV', [r.eax, mem(r.r12, 8)], '418b442408'],
    ['scale and index', 64, 'LEA', [r.rax, indexed(r.rbx, r.rcx, 4, 0x100)], '488d848b00010000'],
    ['a REX prefix for SPL, none for AH', 64, 'MOV', [r.spl, r.al], '4088c4'],
    ['AH', 64, 'MOV', [r.ah, r.al], '88c4'],
    ['an operand size prefix', 64, 'MOV', [word(mem(r.rax)), 5], '66c7000500'],
    ['an address size prefix', 64, 'MOV', [r.eax, mem(r.ebx)], '678b03'],
    ['a segment override', 64, 'MOV', [r.rax, inSegment(r.gs, absolute(8))], '65488b042508000000'],
    ['16-bit addressing', 16, 'MOV', [r.ax, indexed(r.bx, r.si, 1, 4)], '8b4004'],
    ['a 32-bit register in 16-bit code', 16, 'MOV', [r.eax, 1], '66b801000000'],
    ['a far jump', 16, 'JMP FAR', [far(8, 0x1234)], 'ea34120800'],
    ['LOCK', 64, 'LOCK XADD', [mem(r.rdi), r.eax], 'f00fc107'],
    ['REP with a size', 64, 'REP STOSQ', [], 'f348ab'],
    ['a condition by any of its names', 64, 'SETNBE', [r.al], '0f97c0'],
    ['the return of an interrupt in 64-bit code', 64, 'IRETQ', [], '48cf'],
    ['a control register', 64, 'MOV', [r.cr8, r.rax], '440f22c0'],
    ['an x87 stack register', 64, 'FADDP', [r.st3, r.st0], 'dec3'],
    ['x87 memory by its size', 64, 'FLD', [qword(mem(r.rax))], 'dd00'],
    ['VEX in two bytes is out of reach of these maps, three it is', 64, 'ANDN', [r.eax, r.ebx, r.ecx], 'c4e260f2c1'],
    ['XCHG of R8 with the accumulator, which is not NOP', 64, 'XCHG', [r.r8, r.rax], '4990'],
  ] as const)('chooses %s', (_what, code, name, operands, expected) => {
    expect(bytesOf(code, name, ...operands)).toBe(expected);
  });

  it('says what is wrong with an instruction', () => {
    const fails = (code: CodeSize, name: string, ...operands: Operand[]) => expect(() => encodings(code, name, operands));
    fails(64, 'FROB').toThrow("there is no instruction 'FROB' in 64-bit code");
    fails(64, 'PUSHA').toThrow(AssemblyError);
    fails(64, 'ADD', r.rax, r.ebx).toThrow('no form of ADD takes these operands in 64-bit code: ADD rax, ebx');
    fails(64, 'MOV', r.ah, r.r8b).toThrow('no form');
    fails(32, 'MOV', r.rax, 1).toThrow('no form');
    fails(64, 'ADD', mem(r.rax), 1).toThrow('the size of the memory operand is open');
    fails(64, 'ADD', r.eax, 0x1_0000_0000).toThrow('no form');
    fails(64, 'MOV', r.ecx, absolute(0xfee00000)).toThrow('no form');
    fails(64, 'LOCK MOV', mem(r.rax), r.eax).toThrow('no form');
  });

  it('grows a branch that is out of reach, and only that', () => {
    const near = new Assembler(64, 0x1000).emit('JZ', 'end').data(new Uint8Array(127)).label('end').finish();
    const distant = new Assembler(64, 0x1000).emit('JZ', 'end').data(new Uint8Array(128)).label('end').finish();
    expect([...near.subarray(0, 2)]).toEqual([0x74, 127]);
    expect([...distant.subarray(0, 6)]).toEqual([0x0f, 0x84, 128, 0, 0, 0]);
  });

  it('lets one branch that grows push another out of reach', () => {
    const a = new Assembler(64, 0).label('start').emit('JMP', 'end').data(new Uint8Array(120)).emit('JMP', 'far').emit('JMP', 'start');
    a.label('end').data(new Uint8Array(200)).label('far');
    const image = a.finish();
    expect(disassemble(image, 0, 64).text).toBe(`jmp 0x${a.addressOf('end').toString(16)}`);
    expect(disassemble(image, a.addressOf('end') - 5, 64, BigInt(a.addressOf('end') - 5)).text).toBe('jmp 0x0');
  });

  it('resolves labels in memory operands, immediates, data and backward branches', () => {
    const a = new Assembler(64, 0x100000);
    a.label('start').emit('LEA', r.rsi, at('text', 1)).emit('MOV', r.edi, offsetOf('text')).emit('MOV', dword(at('text')), 5).emit('JMP', 'start');
    a.align(8).label('table').words(8, 'text', 7).label('text').data('ok');
    const image = a.finish();
    const text = a.addressOf('text');
    expect(disassemble(image, 0, 64, 0x100000n).text).toBe(`lea rsi, [rip+0x${(text + 1 - 0x100007).toString(16)}]`);
    expect(disassemble(image, 7, 64).text).toBe(`mov edi, 0x${text.toString(16)}`);
    // The displacement counts from the end of the instruction, behind the immediate.
    expect(disassemble(image, 12, 64).text).toBe(`mov dword ptr [rip+0x${(text - 0x100000 - 22).toString(16)}], 0x5`);
    const view = new DataView(image.buffer);
    expect([view.getBigUint64(a.addressOf('table') - 0x100000, true), view.getBigUint64(a.addressOf('table') - 0x100000 + 8, true)]).toEqual([BigInt(text), 7n]);
  });

  it('names a label that is missing, bound twice, or too far for every form', () => {
    expect(() => new Assembler(64, 0).emit('JMP', 'nowhere').finish()).toThrow("the label 'nowhere' is not bound: JMP nowhere");
    expect(() => new Assembler(64, 0).label('a').label('a')).toThrow("the label 'a' is bound twice");
    expect(() => new Assembler(64, 0).emit('LOOP', 'far').data(new Uint8Array(200)).label('far').finish()).toThrow('out of reach: LOOP far');
  });
});

describe.each(SIZES)('every row in %i-bit code', (code) => {
  it('decodes to itself from what the assembler makes of it', () => {
    const decoder = new Decoder(rows, invalidRow);
    const reached = new Set<number>();
    for (const { row, bytes } of samples(code, 6, 1)) {
      const decoded = decoder.decode(bytes, 0, bytes.length, code);
      expect([decoded.row.opcode, decoded.row.name, decoded.length], Buffer.from(bytes).toString('hex')).toEqual([row.opcode, row.name, bytes.length]);
      reached.add(row.id);
    }
    const missing = rows.filter(row => row !== invalidRow && row.name !== 'ESC' && !reached.has(row.id) && !(code === 64 ? row.has.i64 : row.has.o64));
    // XCHG of rAX with itself is NOP; CMPXCHG16B needs REX.W.
    const expected = missing.filter(row => !(row.byte === 0x90 && row.map === 0) && !(row.w === 1 && code !== 64));
    expect(expected.map(row => `${row.opcode} ${row.name} ${row.operands}`)).toEqual([]);
  });

  it('assembles again to the same instruction from its mnemonic', () => {
    for (const { row, operands, bytes } of samples(code, 2, 2)) {
      const { text } = disassemble(bytes, 0, code);
      const name = /^((?:jmp|call) far|\S+)/.exec(text)![1]!;
      const best = encodings(code, name, operands)[0]!;
      expect(best.bytes.length, text).toBeLessThanOrEqual(bytes.length);
      // The same thing has other names, or the operands change places.
      if (best.fixups.length > 0 || row.name === 'XCHG') continue;
      const again = disassemble(Uint8Array.from(best.bytes), 0, code).text;
      expect(again.replace(/, 1$/, ', 0x1')).toBe(text.replace(/^sal /, 'shl ').replace(/, 1$/, ', 0x1'));
    }
  });
});

/** What objdump writes as another instruction, or not at all. */
const WRITTEN_DIFFERENTLY: Readonly<Record<string, string>> = {
  NOP: 'the reserved NOPs of 0F 0D to 0F 1F are prefetches and hints to it', SALC: 'not in its table', UD1: 'operands are its own', UD0: 'operands are its own',
  CMPPS: 'the predicate is in its mnemonic', CMPPD: 'the predicate', CMPSS: 'the predicate', CMPSD: 'the predicate', PCLMULQDQ: 'the selector is in its mnemonic',
  PBLENDVB: 'it shows the implied XMM0', BLENDVPS: 'it shows XMM0', BLENDVPD: 'it shows XMM0', SHA256RNDS2: 'it shows XMM0',
  LAR: 'it widens the source', LSL: 'it widens the source', PINSRW: 'it widens the source', PEXTRW: 'REX.W changes nothing', PEXTRB: 'REX.W changes nothing',
  SGDT: 'suffixes', SIDT: 'suffixes', LGDT: 'suffixes', LIDT: 'suffixes', SLDT: 'size prefixes', STR: 'size prefixes', SMSW: 'size prefixes',
  CPUID: 'an instruction before it may swallow it',
};

describe.each(SIZES)('GNU objdump on every row in %i-bit code', (code) => {
  it('reads the same instructions from the same bytes', () => {
    const all = [...samples(code, 3, 3)].filter(({ row, operands }) => !(row.name in WRITTEN_DIFFERENTLY)
      && !(row.name === 'MOV' && operands.some(operand => typeof operand === 'object' && operand.kind === 'register' && operand.class === 'segment')));
    const image = Uint8Array.from(all.flatMap(({ bytes }) => [...bytes]));
    const theirs = new Map(objdump(code, image).map(line => [line.at, line.text]));
    let position = 0;
    for (const { bytes } of all) {
      const text = theirs.get(position);
      expect(text, `an instruction begins at ${position}: ${Buffer.from(bytes).toString('hex')}`).toBeDefined();
      const mine = disassemble(image, position, code, BigInt(position)).text;
      expect(plainText(mine), Buffer.from(bytes).toString('hex')).toBe(plainText(text!));
      if (sizeWord(text!) !== '' && sizeWord(mine) !== '') expect(sizeWord(mine), text).toBe(sizeWord(text!));
      position += bytes.length;
    }
    expect(all.length).toBeGreaterThan(5000);
  });
});

describe('the disassembler', () => {
  const text = (code: CodeSize, ...bytes: number[]): string => disassemble(Uint8Array.from(bytes), 0, code, 0x1000n).text;

  it.each([
    [64, [0x48, 0x8b, 0x05, 0x10, 0, 0, 0], 'mov rax, qword ptr [rip+0x10]'],
    [64, [0xf3, 0xa4], 'rep movsb'], [64, [0xf2, 0xae], 'repne scasb'], [64, [0xf3, 0xa6], 'repe cmpsb'], [32, [0x64, 0xa5], 'fs movsd'],
    [64, [0xeb, 0xfe], 'jmp 0x1000'], [16, [0xe9, 0xfd, 0xef], 'jmp 0xfff0'.replace('fff0', '0')],
    [64, [0x74, 0x02], 'je 0x1004'], [64, [0x0f, 0x94, 0xc4], 'sete ah'], [64, [0x40, 0x0f, 0x94, 0xc4], 'sete spl'],
    [64, [0xf0, 0x48, 0x0f, 0xb1, 0x0e], 'lock cmpxchg qword ptr [rsi], rcx'],
    [32, [0x2e, 0x8b, 0x45, 0xfc], 'mov eax, dword ptr cs:[ebp-0x4]'], [32, [0x9a, 1, 0, 0, 0, 8, 0], 'call far 0x8:0x1'],
    [16, [0x8b, 0x46, 0x02], 'mov ax, word ptr [bp+0x2]'], [64, [0xc8, 0x10, 0, 2], 'enter 0x10, 0x2'],
    [64, [0x66, 0x0f, 0x70, 0xc1, 0x1b], 'pshufd xmm0, xmm1, 0x1b'], [64, [0x41, 0x90], 'xchg r8d, eax'], [64, [0x90], 'nop'],
    [64, [0x0f, 0x0b], 'ud2'], [64, [0x06], '(bad)'], [64, [0x0f, 0x0a], '(bad)'], [64, [0x48, 0x8b], '(incomplete)'],
    [64, Array.from({ length: 16 }, () => 0x66), '(bad)'], [64, [0xd9, 0xc9], 'fxch st1'], [64, [0x0f, 0x20, 0xc0], 'mov rax, cr0'], [32, [0x0f, 0x20, 0xc0], 'mov eax, cr0'],
  ] as const)('in %i-bit code reads %j as %s', (code, bytes, expected) => {
    expect(text(code, ...bytes)).toBe(expected);
  });

  it('never throws and always moves on, whatever the bytes', () => {
    const random = seeded(99);
    const bytes = Uint8Array.from({ length: 20_000 }, () => random(256));
    for (const code of SIZES) {
      for (let position = 0; position < bytes.length;) {
        const { length } = disassemble(bytes, position, code, 0n);
        expect(length).toBeGreaterThan(0);
        expect(length).toBeLessThanOrEqual(15);
        position += length;
      }
    }
  });
});

