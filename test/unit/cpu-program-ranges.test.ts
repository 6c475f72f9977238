import { describe, expect, it } from 'vitest';
import { dword, mem, qword, register as r } from '../../core/isa/registers.ts';
import { RANGE_CROSSINGS } from '../../core/cpu/layout.ts';
import { CODE, DATA, Guest, TIERS } from '../helpers/guest-program.ts';

/** Accesses near each other share one check: that must not be seen. */
const PAGE = 0x1000;
const entryOf = (address: number): number => 0x7000 + (address >>> 12) * 8;

describe.each(TIERS)('a structure reached through one register, regions %s', (tier) => {
  it('may lie across two pages', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA + PAGE - 12).emit('MOV', r.ecx, 5000);
      a.label('loop').emit('INC', dword(mem(r.rbx))).emit('INC', dword(mem(r.rbx, 8))).emit('INC', dword(mem(r.rbx, 12))).emit('INC', dword(mem(r.rbx, 20)));
      a.emit('DEC', r.ecx).emit('JNZ', 'loop');
      a.emit('MOV', r.eax, dword(mem(r.rbx))).emit('ADD', r.eax, dword(mem(r.rbx, 8))).emit('ADD', r.eax, dword(mem(r.rbx, 12))).emit('ADD', r.eax, dword(mem(r.rbx, 20)));
      a.emit('HLT');
    });
    expect([stop.kind, guest.get('rax')]).toEqual(['hlt', 20_000]);
  });

  it('is no longer left to the interpreter where it goes on lying across two pages', () => {
    const guest = new Guest(tier);
    const times = 9_500;
    guest.load(64, CODE + PAGE, (a) => {
      a.emit('INC', dword(mem(r.rbx))).emit('INC', dword(mem(r.rbx, 12))).emit('INC', dword(mem(r.rdx))).emit('INC', dword(mem(r.rdx, 8))).emit('RET');
    });
    const stop = guest.run64((a) => {
      a.emit('MOV', r.eax, CODE + PAGE).emit('MOV', r.ebx, DATA + PAGE - 12).emit('MOV', r.edx, DATA + 2 * PAGE).emit('MOV', r.ecx, times);
      a.label('loop').emit('CALL', r.rax).emit('DEC', r.ecx).emit('JNZ', 'loop').emit('HLT');
    });
    expect([stop.kind, guest.read(DATA + PAGE - 12, 4), guest.read(DATA + PAGE, 4), guest.read(DATA + 2 * PAGE, 4), guest.read(DATA + 2 * PAGE + 8, 4)])
      .toEqual(['hlt', times, times, times, times]);
    // Every iteration would be one: samples, where they begin anew, are further apart.
    expect(guest.cpu.view.getUint32(RANGE_CROSSINGS, true)).toBe(0);
  });

  it('may have a field across two pages', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA + PAGE - 12).emit('MOV', r.ecx, 300).emit('XOR', r.eax, r.eax);
      a.label('loop').emit('MOV', dword(mem(r.rbx)), r.ecx).emit('MOV', qword(mem(r.rbx, 8)), r.rcx).emit('ADD', r.rax, qword(mem(r.rbx, 8)));
      a.emit('DEC', r.ecx).emit('JNZ', 'loop').emit('HLT');
    });
    expect([stop.kind, guest.get('rax')]).toEqual(['hlt', 45_150]);
  });

  it('is read before the write to it faults', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.rax, r.cr0).emit('OR', r.eax, 0x10000).emit('MOV', r.cr0, r.rax);
      a.emit('MOV', r.ebx, DATA).emit('MOV', dword(mem(r.rbx)), 77).emit('MOV', r.edx, entryOf(DATA)).emit('MOV', r.esi, 2);
      a.label('again').emit('MOV', r.ecx, 50);
      a.label('loop').emit('XOR', r.eax, r.eax).emit('MOV', r.eax, dword(mem(r.rbx))).emit('MOV', dword(mem(r.rbx, 4)), r.ecx).emit('DEC', r.ecx).emit('JNZ', 'loop');
      a.emit('MOV', dword(mem(r.rdx)), DATA + 5).emit('INVLPG', mem(r.rbx)).emit('DEC', r.esi).emit('JNZ', 'again').emit('HLT');
    });
    expect([stop.kind, stop.vector, guest.get('rax'), guest.get('rcx')]).toEqual(['exception', 14, 77, 50]);
  });

  it('faults at its first field when the page is gone', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA).emit('MOV', r.edx, entryOf(DATA)).emit('MOV', r.esi, 2);
      a.label('again').emit('MOV', r.ecx, 50);
      a.label('loop').emit('MOV', r.eax, r.ecx).emit('ADD', r.eax, dword(mem(r.rbx, 8))).emit('ADD', r.eax, dword(mem(r.rbx))).emit('DEC', r.ecx).emit('JNZ', 'loop');
      a.emit('MOV', dword(mem(r.rdx)), 0).emit('INVLPG', mem(r.rbx)).emit('DEC', r.esi).emit('JNZ', 'again').emit('HLT');
    });
    expect([stop.kind, stop.vector, guest.get('rax'), guest.get('rcx')]).toEqual(['exception', 14, 50, 50]);
  });

  it('is followed when the register moves, and left when it gets another value', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA).emit('MOV', r.eax, DATA + 2 * PAGE).emit('MOV', r.ecx, 60).emit('XOR', r.edi, r.edi);
      a.emit('MOV', qword(mem(r.rbx)), r.rax).emit('MOV', dword(mem(r.rbx, 8)), 3).emit('MOV', dword(mem(r.rbx, 16)), 5).emit('MOV', dword(mem(r.rax, 8)), 700);
      a.label('loop').emit('ADD', r.edi, dword(mem(r.rbx, 8))).emit('ADD', r.rbx, 8).emit('ADD', r.edi, dword(mem(r.rbx, 8))).emit('LEA', r.rbx, mem(r.rbx, -8));
      a.emit('MOV', r.rdx, r.rbx).emit('MOV', r.rbx, qword(mem(r.rbx))).emit('ADD', r.edi, dword(mem(r.rbx, 8))).emit('MOV', r.rbx, r.rdx);
      a.emit('DEC', r.ecx).emit('JNZ', 'loop').emit('HLT');
    });
    expect([stop.kind, guest.get('rdi')]).toEqual(['hlt', 60 * 708]);
  });

  it('is not confused with another when two registers are exchanged', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA).emit('MOV', r.eax, DATA + 2 * PAGE).emit('MOV', r.ecx, 60).emit('XOR', r.edi, r.edi);
      a.emit('MOV', dword(mem(r.rbx)), 1).emit('MOV', dword(mem(r.rbx, 8)), 3).emit('MOV', dword(mem(r.rax)), 10).emit('MOV', dword(mem(r.rax, 8)), 700);
      a.label('loop').emit('ADD', r.edi, dword(mem(r.rbx))).emit('ADD', r.edi, dword(mem(r.rax))).emit('XCHG', r.rax, r.rbx);
      a.emit('SUB', r.edi, dword(mem(r.rax))).emit('ADD', r.edi, dword(mem(r.rbx, 8))).emit('XCHG', r.rbx, r.rax);
      a.emit('DEC', r.ecx).emit('JNZ', 'loop').emit('HLT');
    });
    expect([stop.kind, guest.get('rdi')]).toEqual(['hlt', 60 * 710]);
  });

  it('may be the stack', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ecx, 60).emit('XOR', r.edi, r.edi);
      a.label('loop').emit('PUSH', r.rcx).emit('PUSH', 1000).emit('SUB', r.rsp, 16).emit('MOV', qword(mem(r.rsp, 8)), r.rcx).emit('ADD', r.rdi, qword(mem(r.rsp, 16)));
      a.emit('POP', r.rax).emit('POP', r.rax).emit('ADD', r.rdi, r.rax).emit('POP', r.rdx).emit('ADD', r.rdi, r.rdx).emit('POP', r.rax).emit('SUB', r.rdi, r.rax);
      a.emit('DEC', r.ecx).emit('JNZ', 'loop').emit('HLT');
    });
    expect([stop.kind, guest.get('rdi')]).toEqual(['hlt', 60 * 2000]);
  });

  it('is left when a helper may have changed anything', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA).emit('MOV', r.esi, 40).emit('XOR', r.r8d, r.r8d);
      a.label('loop').emit('MOV', dword(mem(r.rbx)), 1).emit('MOV', dword(mem(r.rbx, 4)), 2);
      a.emit('LEA', r.rdi, mem(r.rbx, 4)).emit('MOV', r.eax, 9).emit('MOV', r.ecx, 1).emit('STOSD').emit('MOV', r.edx, 1).emit('XOR', r.eax, r.eax).emit('DIV', r.ebx);
      a.emit('ADD', r.r8d, dword(mem(r.rbx))).emit('ADD', r.r8d, dword(mem(r.rbx, 4))).emit('DEC', r.esi).emit('JNZ', 'loop').emit('HLT');
    });
    expect([stop.kind, guest.get('r8')]).toEqual(['hlt', 400]);
  });
});
