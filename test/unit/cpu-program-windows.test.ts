import { describe, expect, it } from 'vitest';
import { dword, mem, qword, register as r } from '../../core/isa/registers.ts';
import { CODE, CODE3, DATA, DATA3, Guest, STACK, TIERS } from '../helpers/guest-program.ts';

/** What a loop of accesses through one register may keep about the page must not outlive the page. */
const PAGE = 0x1000;
const entryOf = (address: number): number => 0x7000 + (address >>> 12) * 8;

describe.each(TIERS)('a hot loop through one register, regions %s', (tier) => {
  it('sees the other page after the translation was changed and INVLPG', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA).emit('MOV', dword(mem(r.rbx)), 1).emit('MOV', dword(mem(r.rbx, PAGE)), 1000);
      a.emit('XOR', r.eax, r.eax).emit('MOV', r.edx, entryOf(DATA)).emit('MOV', r.esi, 2);
      a.label('again').emit('MOV', r.ecx, 50).label('loop').emit('ADD', r.eax, dword(mem(r.rbx))).emit('DEC', r.ecx).emit('JNZ', 'loop');
      a.emit('MOV', dword(mem(r.rdx)), DATA + PAGE + 7).emit('INVLPG', mem(r.rbx)).emit('DEC', r.esi).emit('JNZ', 'again').emit('HLT');
    });
    expect([stop.kind, guest.get('rax')]).toEqual(['hlt', 50 + 50_000]);
  });

  it('goes from page to page and back', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA).emit('XOR', r.eax, r.eax).emit('MOV', r.ecx, 200);
      a.label('loop').emit('INC', dword(mem(r.rbx))).emit('XOR', r.rbx, PAGE).emit('ADD', r.eax, dword(mem(r.rbx))).emit('DEC', r.ecx).emit('JNZ', 'loop');
      a.emit('HLT');
    });
    // Before the n-th addition the page counted n - 1 over 2, the other one being a step ahead.
    expect([stop.kind, guest.get('rax')]).toEqual(['hlt', Array.from({ length: 200 }, (_, i) => Math.floor(i / 2) + (i & 1)).reduce((a, b) => a + b)]);
  });

  it('reads and writes across the end of a page', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA + PAGE - 16).emit('MOV', r.ecx, 24).emit('XOR', r.eax, r.eax);
      a.label('loop').emit('MOV', qword(mem(r.rbx)), r.rcx).emit('ADD', r.rax, qword(mem(r.rbx))).emit('INC', r.rbx).emit('DEC', r.ecx).emit('JNZ', 'loop');
      a.emit('HLT');
    });
    expect([stop.kind, guest.get('rax')]).toEqual(['hlt', 300]);
  });

  it('faults at the first write after the page became read-only', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.rax, r.cr0).emit('OR', r.eax, 0x10000).emit('MOV', r.cr0, r.rax);
      a.emit('MOV', r.ebx, DATA).emit('MOV', r.edx, entryOf(DATA)).emit('MOV', r.esi, 2);
      a.label('again').emit('MOV', r.ecx, 50).label('loop').emit('MOV', dword(mem(r.rbx)), r.ecx).emit('DEC', r.ecx).emit('JNZ', 'loop');
      a.emit('MOV', dword(mem(r.rdx)), DATA + 5).emit('INVLPG', mem(r.rbx)).emit('DEC', r.esi).emit('JNZ', 'again').emit('HLT');
    });
    expect([stop.kind, stop.vector, guest.get('rcx')]).toEqual(['exception', 14, 50]);
  });

  it('meets #GP at an address that is not canonical', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA).emit('MOV', r.ecx, 50);
      a.label('loop').emit('MOV', r.eax, dword(mem(r.rbx))).emit('DEC', r.ecx).emit('JNZ', 'loop');
      a.emit('MOV', r.rbx, 0x4000000000000000n).emit('MOV', r.ecx, 7).emit('JMP', 'loop');
    });
    expect([stop.kind, stop.vector, guest.get('rcx')]).toEqual(['exception', 13, 7]);
  });

  it('stops at a data breakpoint', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA).emit('LEA', r.rax, mem(r.rbx, 40)).emit('MOV', r.dr0, r.rax).emit('XOR', r.eax, r.eax);
      a.emit('MOV', r.edx, 0x000d0001).emit('MOV', r.dr7, r.rdx).emit('MOV', r.ecx, 100);
      a.label('loop').emit('MOV', dword(mem(r.rbx)), r.ecx).emit('ADD', r.rbx, 4).emit('DEC', r.ecx).emit('JNZ', 'loop').emit('HLT');
    });
    expect([stop.kind, stop.vector]).toEqual(['exception', 1]);
    // The eleventh store is at the watched address; the trap comes behind it.
    expect([guest.get('rbx') - DATA, guest.get('rcx')]).toEqual([40, 90]);
  });

  it('has nothing open at privilege 3 that privilege 0 had', () => {
    const guest = new Guest(tier);
    const [shared, behind, user] = [CODE + 0x1000, CODE + 0x2000, CODE + 0x3000];
    guest.page(DATA, DATA, 3);
    guest.load(64, shared, a => a.emit('MOV', r.esp, DATA).emit('MOV', r.ecx, 50).label('loop').emit('ADD', r.eax, dword(mem(r.rsp))).emit('DEC', r.ecx).emit('JNZ', 'loop').emit('JMP', r.rdx));
    guest.load(64, behind, (a) => {
      a.emit('MOV', r.esp, STACK).emit('MOV', r.ebp, r.eax).emit('PUSH', DATA3).emit('PUSH', STACK).emit('PUSH', 2).emit('PUSH', CODE3).emit('PUSH', user).emit('IRETQ');
    });
    guest.load(64, user, a => a.emit('MOV', r.eax, 1).emit('MOV', r.edx, user).emit('JMP', r.rsi));
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA).emit('MOV', dword(mem(r.rbx)), 2).emit('XOR', r.eax, r.eax).emit('MOV', r.edx, behind).emit('MOV', r.esi, shared).emit('JMP', r.rsi);
    });
    expect([stop.kind, stop.vector, stop.error, guest.get('rbp'), guest.get('rax')]).toEqual(['exception', 14, 5, 100, 1]);
  });
});
