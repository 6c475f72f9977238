import { describe, expect, it } from 'vitest';
import { byte, dword, mem, offsetOf, qword, register as r } from '../../core/isa/registers.ts';
import { CODE, DATA, Guest, TIERS } from '../helpers/guest-program.ts';
import type { Stop } from '../helpers/guest-program.ts';

const PAGE = 0x1000;

describe.each(TIERS)('self-modifying code, regions %s', (tier) => {
  it('the next instruction, changed just before it runs, runs changed', () => {
    const guest = new Guest(tier);
    const stop = guest.run64(a => a.emit('MOV', r.rbx, offsetOf('target')).emit('MOV', byte(mem(r.rbx, 1)), 42).label('target')
      .emit('MOV', r.eax, 1).emit('HLT'));
    expect([stop.kind, guest.get('rax')]).toEqual(['hlt', 42]);
  });

  it('a loop that changes its own body sees every change', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('XOR', r.eax, r.eax).emit('MOV', r.ecx, 100).emit('MOV', r.rbx, offsetOf('body'));
      a.label('loop').label('body').emit('ADD', r.eax, 1).emit('INC', byte(mem(r.rbx, 2))).emit('DEC', r.ecx).emit('JNZ', 'loop');
      a.emit('HLT');
    });
    // Immediates of 1, 2, ... 100; a byte of ADD r32, imm8.
    expect([stop.kind, guest.get('rax')]).toEqual(['hlt', 5050]);
  });

  it('code on the same page that ran before runs changed the next time', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.rbx, offsetOf('function')).emit('CALL', 'function').emit('MOV', r.esi, r.eax).emit('MOV', dword(mem(r.rbx, 1)), 7);
      a.emit('CALL', 'function').emit('HLT').align(64).label('function').emit('MOV', r.eax, 5).emit('RET');
    });
    expect([stop.kind, guest.get('rsi'), guest.get('rax')]).toEqual(['hlt', 5, 7]);
  });

  it.each(['by a store', 'by REP MOVSB'] as const)('code on another page that ran often runs changed after it was overwritten %s', (how) => {
    const guest = new Guest(tier);
    guest.load(64, DATA, a => a.emit('MOV', r.eax, 5).emit('RET'));
    guest.load(64, DATA + PAGE, a => a.emit('MOV', r.eax, 9).emit('RET'));
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA).emit('MOV', r.ebp, 500).emit('XOR', r.r8d, r.r8d);
      a.label('loop').emit('CALL', r.rbx).emit('ADD', r.r8d, r.eax).emit('DEC', r.ebp).emit('JNZ', 'loop');
      if (how === 'by a store') a.emit('MOV', dword(mem(r.rbx, 1)), 9);
      else a.emit('MOV', r.esi, DATA + PAGE).emit('MOV', r.edi, DATA).emit('MOV', r.ecx, 6).emit('REP MOVSB');
      a.emit('CALL', r.rbx).emit('HLT');
    });
    expect([stop.kind, guest.get('r8'), guest.get('rax')]).toEqual(['hlt', 2500, 9]);
  });

  it('a loop that called code often calls what has taken its place, which is never compiled', () => {
    const guest = new Guest(tier);
    guest.load(64, DATA, a => a.emit('MOV', r.eax, 5).emit('RET'));
    guest.load(64, DATA + PAGE, a => a.emit('LAHF').emit('MOV', r.al, 7).emit('RET'));
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA).emit('MOV', r.ebp, 500).emit('XOR', r.r8d, r.r8d).emit('XOR', r.r9d, r.r9d);
      a.label('loop').emit('CALL', r.rbx).emit('MOVZX', r.eax, r.al).emit('ADD', r.r8d, r.eax).emit('DEC', r.ebp).emit('JNZ', 'loop');
      a.emit('TEST', r.r9d, r.r9d).emit('JNZ', 'end').emit('INC', r.r9d);
      a.emit('MOV', r.eax, dword(mem(r.rbx, PAGE))).emit('MOV', dword(mem(r.rbx)), r.eax).emit('MOV', r.ebp, 100).emit('JMP', 'loop');
      a.label('end').emit('HLT');
    });
    expect([stop.kind, guest.get('r8')]).toEqual(['hlt', 500 * 5 + 100 * 7]);
  });

  it('a store through another linear address of the same page changes the code', () => {
    const guest = new Guest(tier);
    guest.page(DATA + PAGE, DATA);
    guest.load(64, DATA, a => a.emit('MOV', r.eax, 5).emit('RET'));
    const stop = guest.run64(a => a.emit('MOV', r.ebx, DATA).emit('CALL', r.rbx).emit('MOV', r.esi, r.eax)
      .emit('MOV', byte(mem(r.rbx, PAGE + 1)), 6).emit('CALL', r.rbx).emit('HLT'));
    expect([stop.kind, guest.get('rsi'), guest.get('rax')]).toEqual(['hlt', 5, 6]);
  });

  it('code that runs through two linear addresses is changed in both', () => {
    const guest = new Guest(tier);
    guest.page(DATA + PAGE, DATA);
    guest.load(64, DATA, a => a.emit('MOV', r.eax, 5).emit('RET'));
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA).emit('LEA', r.rdi, mem(r.rbx, PAGE)).emit('CALL', r.rbx).emit('CALL', r.rdi);
      a.emit('MOV', byte(mem(r.rbx, 1)), 6);
      a.emit('CALL', r.rdi).emit('MOV', r.esi, r.eax).emit('CALL', r.rbx).emit('HLT');
    });
    expect([stop.kind, guest.get('rsi'), guest.get('rax')]).toEqual(['hlt', 6, 6]);
  });

  it('REP MOVSB that overwrites the page it runs on goes on with what it wrote', () => {
    const guest = new Guest(tier);
    guest.load(64, DATA, a => a.emit('MOV', r.eax, 77).emit('HLT'));
    const stop = guest.run64((a) => {
      a.emit('MOV', r.esi, DATA).emit('MOV', r.rdi, offsetOf('after')).emit('MOV', r.ecx, 6).emit('REP MOVSB').label('after');
      a.emit('MOV', r.eax, 1).emit('UD2');
    });
    expect([stop.kind, guest.get('rax')]).toEqual(['hlt', 77]);
  });

  it('a return address that CALL pushes over its target is what runs', () => {
    const guest = new Guest(tier);
    const target = CODE + 0x200;
    guest.load(64, target, a => a.emit('MOV', r.eax, 1).emit('UD2').data(new Uint8Array(8)));
    // The return address ends in F4, a HLT.
    guest.load(64, CODE + 0xf4 - 10, a => a.emit('MOV', r.esp, target + 8).emit('CALL', target));
    guest.load(64, CODE, a => a.emit('JMP', CODE + 0xf4 - 10));
    const stop = guest.run();
    expect([stop.kind, stop.rip, guest.get('rax')]).toEqual(['hlt', target, 0]);
  });

  it('a page that is remapped runs the other code after INVLPG', () => {
    const guest = new Guest(tier);
    guest.load(64, DATA, a => a.emit('MOV', r.eax, 5).emit('RET'));
    guest.load(64, DATA + PAGE, a => a.emit('MOV', r.eax, 9).emit('RET'));
    const entry = 0x7000 + (DATA >>> 12) * 8;
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, DATA).emit('CALL', r.rbx).emit('MOV', r.esi, r.eax).emit('MOV', r.edx, entry);
      a.emit('MOV', dword(mem(r.rdx)), DATA + PAGE + 7);
      a.emit('INVLPG', mem(r.rbx)).emit('CALL', r.rbx).emit('HLT');
    });
    expect([stop.kind, guest.get('rsi'), guest.get('rax')]).toEqual(['hlt', 5, 9]);
  });

  describe('a function that calls another page when it is told to', () => {
    const caller = DATA;
    const callee = DATA + PAGE;
    const entry = 0x7000 + (callee >>> 12) * 8;
    /** Runs the function both ways, makes a region of it, takes the other page away, and calls it `times` without need of that; then with, when it is `then`. */
    function withoutPage(times: number, then: number): { readonly stop: Stop; readonly result: number; readonly dropped: number | null } {
      const guest = new Guest(tier);
      guest.load(64, callee, a => a.emit('ADD', r.eax, 100_000).emit('RET'));
      guest.load(64, caller, a => a.emit('TEST', r.edi, r.edi).emit('JZ', 'done').emit('CALL', callee).label('done').emit('INC', r.eax).emit('RET'));
      guest.load(64, CODE, (a) => {
        a.emit('XOR', r.eax, r.eax).emit('MOV', r.ebx, callee).emit('MOV', r.ebp, caller).emit('MOV', r.edx, entry);
        a.emit('MOV', r.edi, 1).emit('CALL', r.rbp).emit('XOR', r.edi, r.edi).emit('CALL', r.rbp).emit('HLT');
        a.emit('MOV', dword(mem(r.rdx)), 0).emit('INVLPG', mem(r.rbx)).emit('MOV', r.ecx, times);
        a.label('next').emit('CALL', r.rbp).emit('DEC', r.ecx).emit('JNZ', 'next');
        a.emit('MOV', dword(mem(r.rdx)), then).emit('INVLPG', mem(r.rbx)).emit('MOV', r.edi, 1).emit('CALL', r.rbp).emit('HLT');
      });
      const { jit } = guest.cpu;
      const first = guest.run();
      jit?.compile(caller, 1, caller - first.rip);
      const before = jit?.counters.stale ?? 0;
      const stop = guest.resume();
      return { stop, result: guest.get('rax'), dropped: jit && jit.counters.stale - before };
    }

    it('goes on without the page, and finds it when it is back', () => {
      const { stop, result, dropped } = withoutPage(50, callee + 7);
      expect([stop.kind, result, dropped ?? 0]).toEqual(['hlt', 200_053, 0]);
    });

    it('is given up when the page stays away', () => {
      const { stop, result, dropped } = withoutPage(3_000, callee + 7);
      expect([stop.kind, result, dropped ?? 1]).toEqual(['hlt', 203_003, 1]);
    });

    it('faults at the page when it needs it', () => {
      const { stop, result } = withoutPage(3, 0);
      expect([stop.kind, stop.vector, result]).toEqual(['exception', 14, 100_005]);
    });
  });
});

describe.each(TIERS)('instructions that cross pages, regions %s', (tier) => {
  /** MOV EAX, imm32 with its first `before` bytes on the first page. */
  function crossing(guest: Guest, before: number, value: number): number {
    const start = DATA + PAGE - before;
    guest.load(64, start, a => a.emit('MOV', r.eax, value).emit('HLT'));
    guest.load(64, CODE, a => a.emit('MOV', r.ebx, start).emit('JMP', r.rbx));
    return start;
  }

  it.each([1, 2, 3, 4])('run with %i bytes on the first page, whatever the second maps to', (before) => {
    const guest = new Guest(tier);
    crossing(guest, before, 0x12345678);
    // The second half moves to another physical page.
    guest.cpu.ram.copyWithin(0x300000, DATA + PAGE, DATA + 2 * PAGE);
    guest.cpu.ram.fill(0, DATA + PAGE, DATA + 2 * PAGE);
    guest.page(DATA + PAGE, 0x300000);
    expect([guest.run().kind, guest.get('rax')]).toEqual(['hlt', 0x12345678]);
  });

  it('fault at the first byte of the second page when that is absent, and RIP is that of the instruction', () => {
    const guest = new Guest(tier);
    const start = crossing(guest, 2, 1);
    guest.page(DATA + PAGE, 0, 0);
    const stop = guest.run();
    expect([stop.vector, stop.error, stop.rip, guest.cr2]).toEqual([14, 0x10, start, BigInt(DATA + PAGE)]);
  });

  it('run changed after their second half was changed', () => {
    const guest = new Guest(tier);
    const start = DATA + PAGE - 2;
    guest.load(64, start, a => a.emit('MOV', r.eax, 5).emit('RET'));
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, start).emit('CALL', r.rbx).emit('MOV', r.esi, r.eax).emit('MOV', byte(mem(r.rbx, 2)), 1).emit('CALL', r.rbx);
      a.emit('HLT');
    });
    expect([stop.kind, guest.get('rsi'), guest.get('rax')]).toEqual(['hlt', 5, 0x105]);
  });

  it('longer than 15 bytes are #GP, also across pages', () => {
    const guest = new Guest(tier);
    const start = DATA + PAGE - 8;
    guest.poke(start, [...new Array<number>(15).fill(0x66), 0x90]);
    guest.load(64, CODE, a => a.emit('MOV', r.ebx, start).emit('JMP', r.rbx));
    const stop = guest.run();
    expect([stop.vector, stop.error, stop.rip]).toEqual([13, 0, start]);
  });
});

describe.each(TIERS)('accesses that cross pages, regions %s', (tier) => {
  const edge = DATA + PAGE - 4;

  it('load and store both halves, wherever the pages lie', () => {
    const guest = new Guest(tier);
    guest.page(DATA + PAGE, 0x300000);
    const stop = guest.run64(a => a.emit('MOV', r.ebx, edge).emit('MOV', r.rax, 0x1122334455667788n).emit('MOV', qword(mem(r.rbx)), r.rax)
      .emit('MOV', r.rcx, mem(r.rbx)).emit('HLT'));
    expect([stop.kind, guest.read(edge, 4), guest.read(0x300000, 4), guest.get('rcx') === guest.get('rax')]).toEqual(['hlt', 0x55667788, 0x11223344, true]);
  });

  it.each(['MOV', 'ADD', 'XADD', 'XCHG', 'CMPXCHG', 'BTS'] as const)('%s whose second page is read-only changes nothing', (name) => {
    const guest = new Guest(tier);
    guest.write(edge, 0x1111111122222222n, 8);
    guest.page(DATA + PAGE, DATA + PAGE, 5);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.ebx, edge).emit('MOV', r.rax, 0x1111111122222222n).emit('MOV', r.ecx, 5).label('fault');
      a.emit(name, qword(mem(r.rbx)), r.rcx).emit('HLT');
    });
    // A read-modify-write faults as a write: its read is one. @sdm 3A 4.7
    expect([stop.vector, stop.error, guest.cr2]).toEqual([14, 3, BigInt(DATA + PAGE)]);
    expect([guest.read(edge, 4), guest.read(edge + 4, 4), guest.get('rcx')]).toEqual([0x22222222, 0x11111111, 5]);
  });

  it('PUSH that cannot write its second page leaves RSP', () => {
    const guest = new Guest(tier);
    guest.page(DATA + PAGE, 0, 0);
    const stop = guest.run64(a => a.emit('MOV', r.esp, DATA + PAGE + 4).emit('PUSH', r.rax).emit('HLT'));
    expect([stop.vector, stop.error, stop.rsp, guest.cr2]).toEqual([14, 2, DATA + PAGE + 4, BigInt(DATA + PAGE)]);
  });

  it('the first page faults before the second', () => {
    const guest = new Guest(tier);
    guest.page(DATA, 0, 0);
    guest.page(DATA + PAGE, 0, 0);
    const stop = guest.run64(a => a.emit('MOV', r.ebx, edge).emit('MOV', r.rax, mem(r.rbx)).emit('HLT'));
    expect([stop.vector, stop.error, guest.cr2]).toEqual([14, 0, BigInt(edge)]);
  });
});

describe.each(TIERS)('faults in the middle of string instructions, regions %s', (tier) => {
  const last = DATA + PAGE;

  it.each([
    ['REP MOVSB', 1], ['REP MOVSQ', 8], ['REP STOSD', 4],
  ] as const)('%s has done all before the fault, and the registers say so', (name, size) => {
    const guest = new Guest(tier);
    guest.cpu.ram.fill(0x5a, 0x300000, 0x300000 + 2 * PAGE);
    guest.page(last, 0, 0);
    const count = (PAGE / size) * 2;
    const stop = guest.run64((a) => {
      a.emit('MOV', r.esi, 0x300000).emit('MOV', r.edi, DATA).emit('MOV', r.ecx, count).emit('MOV', r.rax, 0x5a5a5a5an).label('fault');
      a.emit(name).emit('HLT');
    });
    expect([stop.vector, stop.error, guest.cr2, guest.get('rdi'), guest.get('rcx')]).toEqual([14, 2, BigInt(last), last, count / 2]);
    expect(guest.cpu.ram.subarray(DATA, last).every(value => value === 0x5a)).toBe(true);
    expect(guest.read(stop.rip, 1), 'RIP is at the prefix').toBe(0xf3);
    if (name !== 'REP STOSD') expect(guest.get('rsi')).toBe(0x300000 + PAGE);
  });

  it('goes on where it stopped once the page is there', () => {
    const guest = new Guest(tier);
    guest.page(last, 0, 0);
    guest.load(64, 0x110000, a => a.emit('ADD', r.rsp, 8).emit('MOV', r.edx, 0x7000 + (last >>> 12) * 8)
      .emit('MOV', dword(mem(r.rdx)), last + 7).emit('INC', r.r15).emit('IRETQ'));
    guest.gate(14, 0x110000, { ist: 1 });
    const stop = guest.run64(a => a.emit('MOV', r.edi, DATA).emit('MOV', r.ecx, 2 * PAGE).emit('MOV', r.al, 7).emit('REP STOSB')
      .emit('HLT'));
    expect([stop.kind, guest.get('rcx'), guest.get('r15')]).toEqual(['hlt', 0, 1]);
    expect(guest.cpu.ram.subarray(DATA, DATA + 2 * PAGE).every(value => value === 7)).toBe(true);
  });

  it('backwards, too', () => {
    const guest = new Guest(tier);
    guest.page(DATA, 0, 0);
    const stop = guest.run64(a => a.emit('MOV', r.edi, last + 0xff).emit('MOV', r.ecx, 0x200).emit('MOV', r.al, 9).emit('STD')
      .emit('REP STOSB').emit('HLT'));
    expect([stop.vector, stop.error, guest.cr2, guest.get('rdi'), guest.get('rcx')]).toEqual([14, 2, BigInt(last - 1), last - 1, 0x100]);
  });

  it('REPE CMPSB compares up to the fault; the flags are those from before it', () => {
    const guest = new Guest(tier);
    guest.page(last, 0, 0);
    const stop = guest.run64(a => a.emit('MOV', r.esi, 0x300000).emit('MOV', r.edi, last - 16).emit('MOV', r.ecx, 100)
      .emit('CMP', r.ecx, 101).emit('REPE CMPSB').emit('HLT'));
    // The flags are no input of the instruction, so it can go on. @sdm 2B REP
    expect([stop.vector, stop.error, guest.get('rcx'), stop.flags & 0x41]).toEqual([14, 0, 84, 0x01]);
  });

  it('an element that crosses into the absent page is not written at all', () => {
    const guest = new Guest(tier);
    guest.page(last, 0, 0);
    const stop = guest.run64(a => a.emit('MOV', r.edi, last - 6).emit('MOV', r.ecx, 3).emit('MOV', r.rax, -1).emit('REP STOSD')
      .emit('HLT'));
    expect([stop.vector, guest.get('rcx'), guest.read(last - 6, 4), guest.read(last - 2, 2)]).toEqual([14, 2, 0xffffffff, 0]);
  });
});

