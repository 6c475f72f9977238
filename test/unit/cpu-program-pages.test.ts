import { describe, expect, it } from 'vitest';
import { byte, mem, qword, register as r } from '../../core/isa/registers.ts';
import { CODE, DATA, Guest, TIERS } from '../helpers/guest-program.ts';

const PAGE = 0x1000;
const NEXT = CODE + PAGE;
/** A function whose ADD begins three bytes before the page ends; the highest bytes of its operand lie on the next page. */
const CALLEE = NEXT - 5;
const ADDED = 0x0101_0101;
/** Enough for more than one sample. */
const TIMES = 2_000;
const entryOf = (address: number): number => 0x7000 + (address >>> 12) * 8;

function guestWithCallee(tier: (typeof TIERS)[number]): Guest {
  const guest = new Guest(tier);
  guest.load(64, CALLEE, (a) => {
    a.emit('INC', r.ebx).emit('ADD', r.eax, ADDED).emit('RET');
  });
  return guest;
}

/** What EAX is after so many additions of an operand. */
const sum = (times: number, operand: number): number => Math.imul(times, operand) >>> 0;

describe.each(TIERS)('an instruction on two pages, regions %s', (tier) => {
  it('does what it does', () => {
    const guest = guestWithCallee(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.edx, CALLEE).emit('MOV', r.ecx, TIMES).emit('XOR', r.ebx, r.ebx).emit('XOR', r.eax, r.eax);
      a.label('loop').emit('CALL', r.rdx).emit('DEC', r.ecx).emit('JNZ', 'loop').emit('HLT');
    });
    expect([stop.kind, guest.get('rax'), guest.get('rbx')]).toEqual(['hlt', sum(TIMES, ADDED), TIMES]);
  });

  it('is another one when its end is written to', () => {
    const guest = guestWithCallee(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.edx, CALLEE).emit('MOV', r.edi, NEXT).emit('XOR', r.eax, r.eax).emit('MOV', r.esi, 2);
      a.label('again').emit('MOV', r.ecx, TIMES);
      a.label('loop').emit('CALL', r.rdx).emit('DEC', r.ecx).emit('JNZ', 'loop');
      a.emit('MOV', byte(mem(r.rdi)), 3).emit('DEC', r.esi).emit('JNZ', 'again').emit('HLT');
    });
    // The immediate's bytes on the next page begin with its second, or third, as the ADD has a ModRM byte or none.
    const changed = guest.read(CALLEE + 2, 1) === 0x05 ? 0x0103_0101 : 0x0101_0301;
    expect([stop.kind, guest.get('rax')]).toEqual(['hlt', (sum(TIMES, ADDED) + sum(TIMES, changed)) % 2 ** 32]);
  });

  it('is another one each time when its end is written to just before', () => {
    const guest = guestWithCallee(tier);
    const times = 300;
    const stop = guest.run64((a) => {
      a.emit('MOV', r.edx, CALLEE).emit('MOV', r.edi, NEXT).emit('XOR', r.eax, r.eax).emit('MOV', r.ecx, times);
      a.label('loop').emit('MOV', byte(mem(r.rdi)), r.cl).emit('CALL', r.rdx).emit('DEC', r.ecx).emit('JNZ', 'loop').emit('HLT');
    });
    const shift = guest.read(CALLEE + 2, 1) === 0x05 ? 16 : 8;
    let expected = 0;
    for (let i = times; i > 0; i--) expected = (expected + ((ADDED & ~(0xff << shift)) | ((i & 0xff) << shift))) >>> 0;
    expect([stop.kind, guest.get('rax')]).toEqual(['hlt', expected]);
  });

  it('is another one when its end is mapped elsewhere', () => {
    const guest = guestWithCallee(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.edx, CALLEE).emit('MOV', r.edi, NEXT).emit('MOV', r.ebp, DATA).emit('XOR', r.eax, r.eax).emit('MOV', r.esi, 2);
      // A copy whose operand is another one.
      a.emit('MOV', r.rbx, qword(mem(r.rdi))).emit('MOV', qword(mem(r.rbp)), r.rbx).emit('MOV', byte(mem(r.rbp)), 9);
      a.label('again').emit('MOV', r.ecx, TIMES);
      a.label('loop').emit('CALL', r.rdx).emit('DEC', r.ecx).emit('JNZ', 'loop');
      a.emit('MOV', r.ebx, entryOf(NEXT)).emit('MOV', qword(mem(r.rbx)), DATA + 7).emit('INVLPG', mem(r.rdi)).emit('DEC', r.esi).emit('JNZ', 'again').emit('HLT');
    });
    const changed = guest.read(CALLEE + 2, 1) === 0x05 ? 0x0109_0101 : 0x0101_0901;
    expect([stop.kind, guest.get('rax')]).toEqual(['hlt', (sum(TIMES, ADDED) + sum(TIMES, changed)) % 2 ** 32]);
  });

  it('is not begun when its end is not mapped', () => {
    const guest = guestWithCallee(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.edx, CALLEE).emit('MOV', r.edi, NEXT).emit('XOR', r.eax, r.eax).emit('XOR', r.ebx, r.ebx).emit('MOV', r.esi, 2);
      a.label('again').emit('MOV', r.ecx, TIMES);
      a.label('loop').emit('CALL', r.rdx).emit('DEC', r.ecx).emit('JNZ', 'loop');
      a.emit('MOV', r.ebp, entryOf(NEXT)).emit('MOV', qword(mem(r.rbp)), 0).emit('INVLPG', mem(r.rdi)).emit('DEC', r.esi).emit('JNZ', 'again').emit('HLT');
    });
    expect([stop.kind, stop.vector, guest.get('rax'), guest.get('rbx'), Number(guest.cr2)]).toEqual(['exception', 14, sum(TIMES, ADDED), TIMES + 1, NEXT]);
  });
});
