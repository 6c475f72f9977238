import { describe, expect, it } from 'vitest';
import { dword, mem, offsetOf, qword, register as r, word } from '../../core/isa/registers.ts';
import { ENTRY_INTR_INFO, INTERRUPTIBILITY, INTERRUPT_WINDOW } from '../../core/cpu/layout.ts';
import type { Assembler } from '../../core/isa/assembler.ts';
import {
  CALL_GATE, CODE, CODE0, CODE3, DATA, DATA0, DATA3, GDT, Guest, IST1, STACK, STACK0, TIERS, TSS,
} from '../helpers/guest-program.ts';

const USER_STACK = 0x2a000;
const USER_CODE = 0x140000;
const MSR = { star: 0xc0000081, lstar: 0xc0000082, mask: 0xc0000084 } as const;
/** The gate through which user programs end. */
const END = 0x80;

/** Goes to user code in 64-bit mode by IRETQ. */
function toUser(a: Assembler, flags = 2): void {
  a.emit('PUSH', DATA3).emit('PUSH', USER_STACK).emit('PUSH', flags).emit('PUSH', CODE3).emit('PUSH', USER_CODE).emit('IRETQ');
}

function writeMsr(a: Assembler, msr: number, low: number, high: number): void {
  a.emit('MOV', r.ecx, msr).emit('MOV', r.eax, low).emit('MOV', r.edx, high).emit('WRMSR');
}

describe.each(TIERS)('changes of privilege in 64-bit mode, regions %s', (tier) => {
  it('IRETQ goes to ring 3, and INT comes back on the stack of the TSS with the whole frame', () => {
    const guest = new Guest(tier);
    guest.gate(END, 0x10000 + END * 16, { dpl: 3 });
    const user = guest.load(64, USER_CODE, a => a.emit('MOV', r.ax, r.cs).label('int').emit('INT', END).label('after'));
    const stop = guest.run64(a => toUser(a, 0x202));
    expect([stop.vector, stop.rip, stop.cs, stop.rsp, stop.ss]).toEqual([END, user.addressOf('after'), CODE3, USER_STACK, DATA3]);
    expect(stop.flags & 0x202).toBe(0x202);
    expect([guest.get('rax'), guest.cpl]).toEqual([CODE3, 0]);
    // Five words and the handler's own.
    expect(guest.get('rsp')).toBe(STACK0 - 48);
  });

  it('the handler returns to ring 3 by IRETQ with RSP and flags restored', () => {
    const guest = new Guest(tier);
    guest.load(64, 0x150000, a => a.emit('INC', r.rbx).emit('IRETQ'));
    guest.gate(0x90, 0x150000, { dpl: 3 });
    guest.load(64, USER_CODE, a => a.emit('STC').emit('MOV', r.rbp, r.rsp).emit('INT', 0x90).emit('SETB', r.al).emit('INT', 0x90)
      .emit('SUB', r.rbp, r.rsp).emit('INT', END));
    const stop = guest.run64(a => toUser(a));
    expect([stop.vector, stop.cs, guest.get('rbx'), guest.get('rax') & 0xff, guest.get('rbp')]).toEqual([END, CODE3, 2, 1, 0]);
  });

  it('SYSCALL and SYSRET: RCX, R11, masked flags, selectors from STAR', () => {
    const guest = new Guest(tier);
    const kernel = guest.load(64, 0x150000, (a) => {
      a.label('entry').emit('MOV', r.r8, r.rcx).emit('MOV', r.r9, r.r11).emit('PUSHFQ').emit('POP', r.r10).emit('MOV', r.r12w, r.cs);
      a.emit('MOV', r.r13w, r.ss).emit('SYSRETQ');
    });
    const user = guest.load(64, USER_CODE, (a) => {
      a.emit('STC').emit('STD').emit('SYSCALL').label('back').emit('PUSHFQ').emit('POP', r.r14).emit('MOV', r.r15w, r.cs);
      a.emit('MOV', r.bx, r.ss).emit('CLD').emit('INT', END);
    });
    const stop = guest.run64((a) => {
      writeMsr(a, MSR.star, 0, (0x18 << 16) | CODE0);
      writeMsr(a, MSR.lstar, kernel.addressOf('entry'), 0);
      writeMsr(a, MSR.mask, 0x400, 0);
      a.emit('XOR', r.r12d, r.r12d).emit('XOR', r.r13d, r.r13d).emit('XOR', r.r15d, r.r15d).emit('XOR', r.ebx, r.ebx);
      toUser(a);
    });
    expect([stop.kind, stop.vector]).toEqual(['exception', END]);
    expect(guest.get('r8')).toBe(user.addressOf('back'));
    expect([guest.get('r9') & 0x401, guest.get('r10') & 0x401, guest.get('r14') & 0x401], 'R11, flags inside, flags after').toEqual([0x401, 0x001, 0x401]);
    expect([guest.get('r12'), guest.get('r13'), guest.get('r15'), guest.get('rbx')]).toEqual([CODE0, DATA0, CODE3, DATA3]);
  });

  it.each([
    ['CLI', 13], ['HLT', 13], ['MOV to CR3', 13], ['RDMSR', 13], ['LGDT', 13], ['INVLPG', 13], ['an INT whose gate is for ring 0', 13],
  ] as const)('%s in ring 3 is #GP, and the stack is that of the handler', (what, vector) => {
    const guest = new Guest(tier);
    const emit: Record<string, (a: Assembler) => void> = {
      CLI: a => a.emit('CLI'), HLT: a => a.emit('HLT'), 'MOV to CR3': a => a.emit('MOV', r.cr3, r.rax), RDMSR: a => a.emit('RDMSR'), LGDT: a => a.emit('LGDT', mem(r.rsp)),
      INVLPG: a => a.emit('INVLPG', mem(r.rsp)), 'an INT whose gate is for ring 0': a => a.emit('INT', 0x21),
    };
    guest.load(64, USER_CODE, a => emit[what]!(a));
    const stop = guest.run64(a => toUser(a));
    expect([stop.vector, stop.error, stop.rip, stop.cs]).toEqual([vector, what.startsWith('an INT') ? 0x21 * 8 + 2 : 0, USER_CODE, CODE3]);
    expect(guest.get('rsp')).toBe(IST1 - 56);
  });

  it('a call gate goes inward on the stack of the TSS, and RETFQ back', () => {
    const guest = new Guest(tier);
    guest.load(64, 0x150000, a => a.emit('MOV', r.rbx, r.rsp).emit('MOV', r.rcx, qword(mem(r.rsp)))
      .emit('MOV', r.rdx, qword(mem(r.rsp, 16))).emit('RETFQ'));
    // Offset 15:0, selector, type CH DPL 3, offset 31:16; offset 63:32.
    guest.write(GDT + CALL_GATE, BigInt(0x150000 & 0xffff) | (BigInt(CODE0) << 16n) | (0xecn << 40n) | (BigInt(0x150000 >>> 16) << 48n), 8);
    const user = guest.load(64, USER_CODE, (a) => {
      a.emit('MOV', r.rbp, r.rsp).emit('CALL FAR', dword(mem(r.rsi))).label('after').emit('SUB', r.rbp, r.rsp).emit('INT', END);
    });
    guest.write(DATA, 0, 4);
    guest.write(DATA + 4, CALL_GATE | 3, 2);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.esi, DATA);
      toUser(a);
    });
    expect([stop.vector, stop.cs, guest.get('rbp')]).toEqual([END, CODE3, 0]);
    expect([guest.get('rbx'), guest.get('rcx'), guest.get('rdx')], 'RSP inside, return address, old RSP').toEqual([STACK0 - 32, user.addressOf('after'), USER_STACK]);
  });

  it('the interrupt stack table is used even without a change of privilege, aligned to 16 bytes', () => {
    const guest = new Guest(tier);
    const stop = guest.run64(a => a.emit('MOV', r.esp, STACK - 3).label('ud').emit('UD2'));
    expect([stop.vector, stop.rsp, guest.get('rsp')]).toEqual([6, STACK - 3, IST1 - 48]);
  });

  it('without IST the stack is aligned as well', () => {
    const guest = new Guest(tier);
    guest.gate(6, 0x10000 + 6 * 16);
    const stop = guest.run64(a => a.emit('MOV', r.esp, STACK - 3).emit('UD2'));
    expect([stop.vector, stop.rsp, guest.get('rsp')]).toEqual([6, STACK - 3, STACK - 16 - 48]);
  });
});

describe.each(TIERS)('when interrupts are taken, regions %s', (tier) => {
  /** Runs until an interrupt could be taken and tells where. */
  function windowAt(guest: Guest): number {
    guest.cpu.view.setUint32(INTERRUPT_WINDOW, 1, true);
    const stop = guest.run();
    guest.cpu.view.setUint32(INTERRUPT_WINDOW, 0, true);
    expect([stop.kind, stop.reason]).toEqual(['exit', 7]);
    return stop.rip;
  }

  it('only after the instruction that follows STI', () => {
    const guest = new Guest(tier);
    const a = guest.load(64, CODE, p => p.emit('NOP').emit('STI').emit('INC', r.rax).label('here').emit('INC', r.rax).emit('HLT'));
    expect([windowAt(guest), guest.get('rax')]).toEqual([a.addressOf('here'), 1]);
  });

  it('not between STI and HLT: the HLT happens', () => {
    const guest = new Guest(tier);
    guest.load(64, CODE, p => p.emit('STI').emit('HLT'));
    guest.cpu.view.setUint32(INTERRUPT_WINDOW, 1, true);
    const stop = guest.run();
    guest.cpu.view.setUint32(INTERRUPT_WINDOW, 0, true);
    expect([stop.kind, stop.rip]).toEqual(['hlt', CODE + 1]);
  });

  it('only after the instruction that follows MOV SS', () => {
    const guest = new Guest(tier);
    const a = guest.load(64, CODE, (p) => {
      p.emit('MOV', r.ebx, DATA0).emit('STI').emit('MOV', r.ss, r.bx).emit('MOV', r.rsp, r.rsp).label('here').emit('NOP').emit('HLT');
    });
    // STI's own shadow ends at MOV SS, whose begins there.
    expect(windowAt(guest)).toBe(a.addressOf('here'));
  });

  it('STI while interrupts are on has no shadow', () => {
    const shadowAtHalt = (program: (a: Assembler) => void): boolean => {
      const guest = new Guest(tier);
      expect(guest.run64(a => { program(a); a.emit('HLT'); }).kind).toBe('hlt');
      return !guest.cpu.interruptible;
    };
    expect(shadowAtHalt(a => a.emit('STI'))).toBe(true);
    expect(shadowAtHalt(a => a.emit('STI').emit('NOP'))).toBe(false);
    expect(shadowAtHalt(a => a.emit('STI').emit('NOP').emit('STI'))).toBe(false);
  });

  it('an injected interrupt is delivered through its gate and clears IF', () => {
    const guest = new Guest(tier);
    guest.load(64, CODE, p => p.emit('STI').emit('NOP').emit('HLT'));
    guest.cpu.inject(0, 0x31);
    const stop = guest.run();
    expect([stop.vector, stop.rip, guest.flags & 0x200]).toEqual([0x31, CODE, 0]);
  });

  it('an NMI blocks further ones until IRET', () => {
    const guest = new Guest(tier);
    guest.load(64, 0x150000, a => a.emit('HLT').emit('IRETQ'));
    guest.gate(2, 0x150000);
    guest.load(64, CODE, a => a.emit('NOP').emit('HLT'));
    guest.cpu.inject(2, 2);
    expect(guest.run().rip).toBe(0x150000);
    expect([guest.cpu.nmiBlocked, guest.cpu.view.getUint32(INTERRUPTIBILITY, true) & 8]).toEqual([true, 8]);
    expect(guest.resume().rip).toBe(CODE + 1);
    expect(guest.cpu.nmiBlocked).toBe(false);
    expect(guest.cpu.view.getUint32(ENTRY_INTR_INFO, true) >>> 31).toBe(0);
  });
});

describe.each(TIERS)('debugging, regions %s', (tier) => {
  const DR6 = (guest: Guest): number => Number(guest.cpu.view.getBigUint64(0x10290, true) & 0xffffn);

  it('TF traps after the instruction that follows POPF', () => {
    const guest = new Guest(tier);
    const a = guest.load(64, CODE, (p) => {
      p.emit('PUSHFQ').emit('OR', qword(mem(r.rsp)), 0x100).emit('POPFQ').emit('INC', r.rax).label('after').emit('INC', r.rax).emit('HLT');
    });
    const stop = guest.run();
    expect([stop.vector, stop.rip, stop.flags & 0x100, guest.get('rax'), DR6(guest) & 0x4000]).toEqual([1, a.addressOf('after'), 0x100, 1, 0x4000]);
    expect(guest.flags & 0x100, 'off in the handler').toBe(0);
  });

  it('TF traps after every iteration of a repeated string instruction', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.edi, DATA).emit('MOV', r.ecx, 5).emit('PUSHFQ').emit('OR', qword(mem(r.rsp)), 0x100).emit('POPFQ').emit('REP STOSB');
      a.emit('HLT');
    });
    expect([stop.vector, guest.get('rcx'), guest.read(stop.rip, 1)]).toEqual([1, 4, 0xf3]);
  });

  it('INT3 traps with RIP behind it; INTO only with OF', () => {
    const guest = new Guest(tier);
    const int3 = guest.run64(a => a.emit('NOP').emit('INT3').emit('HLT'));
    expect([int3.vector, int3.rip]).toEqual([3, CODE + 2]);
    const legacy = new Guest(tier);
    legacy.start32();
    legacy.load(32, CODE, a => a.emit('XOR', r.eax, r.eax).emit('INTO').emit('MOV', r.eax, 0x7fffffff).emit('INC', r.eax).emit('INTO')
      .label('after').emit('HLT'));
    const into = legacy.run();
    expect([into.vector, into.rip, legacy.get('rax') >>> 0]).toEqual([4, CODE + 2 + 1 + 5 + 1 + 1, 0x80000000]);
  });

  it('an instruction breakpoint is a fault before the instruction, RF gets past it', () => {
    const guest = new Guest(tier);
    guest.load(64, 0x150000, a => a.emit('INC', r.r15).emit('OR', dword(mem(r.rsp, 16)), 0x10000).emit('IRETQ'));
    guest.gate(1, 0x150000);
    const stop = guest.run64((a) => {
      a.emit('MOV', r.rax, offsetOf('here')).emit('MOV', r.dr0, r.rax).emit('MOV', r.eax, 0x402).emit('MOV', r.dr7, r.rax);
      a.emit('XOR', r.eax, r.eax);
      a.label('here').emit('INC', r.rax).emit('HLT');
    });
    expect([stop.kind, guest.get('rax'), guest.get('r15'), DR6(guest) & 15]).toEqual(['hlt', 1, 1, 1]);
  });

  it('a data breakpoint is a trap after the store', () => {
    const guest = new Guest(tier);
    const stop = guest.run64((a) => {
      // Write, 4 bytes, breakpoint 1.
      a.emit('MOV', r.eax, DATA + 8).emit('MOV', r.dr1, r.rax).emit('MOV', r.eax, 0x400 | 8 | (0xd << 20)).emit('MOV', r.dr7, r.rax);
      a.emit('MOV', r.ebx, DATA);
      a.emit('MOV', dword(mem(r.rbx)), 1).emit('MOV', r.ecx, mem(r.rbx, 8)).emit('MOV', word(mem(r.rbx, 10)), 2).emit('NOP').emit('HLT');
    });
    expect([stop.vector, guest.read(DATA + 10, 2), DR6(guest) & 15, guest.read(stop.rip, 2)]).toEqual([1, 2, 2, 0xf490]);
  });

  it('breakpoints that DR7 does not enable do nothing', () => {
    const guest = new Guest(tier);
    const stop = guest.run64(a => a.emit('MOV', r.eax, DATA).emit('MOV', r.dr0, r.rax).emit('MOV', r.ebx, DATA)
      .emit('MOV', dword(mem(r.rbx)), 1).emit('HLT'));
    expect(stop.kind).toBe('hlt');
  });
});

describe.each(TIERS)('faults while an exception is delivered, regions %s', (tier) => {
  it('an absent gate for #UD is #NP; an absent gate for #NP then is #DF', () => {
    const guest = new Guest(tier);
    guest.write(0x2000 + 6 * 16 + 5, 0x0e, 1);
    const missing = guest.run64(a => a.emit('UD2'));
    // IDT and EXT: the event that was being delivered was an exception, not INT n.
    expect([missing.vector, missing.error, missing.rip]).toEqual([11, 6 * 8 + 2 + 1, CODE]);
    const twice = new Guest(tier);
    twice.write(0x2000 + 13 * 16 + 5, 0x0e, 1);
    twice.write(0x2000 + 11 * 16 + 5, 0x0e, 1);
    const double = twice.run64(a => a.emit('MOV', r.eax, 0x55).emit('MOV', r.ds, r.ax));
    expect([double.vector, double.error, double.rip]).toEqual([8, 0, CODE + 5]);
  });

  it('a page fault on the stack of a page fault is #DF; one on the stack of #DF is a triple fault', () => {
    const bad = (guest: Guest): void => {
      guest.page(IST1 - 0x1000, 0, 0);
      guest.write(0x2000 + 8 * 16 + 4, 2, 1);
    };
    const guest = new Guest(tier);
    bad(guest);
    const double = guest.run64(a => a.emit('MOV', r.eax, mem(r.rsp, 0x7000_0000)));
    expect([double.kind, double.vector, double.error, double.rip]).toEqual(['exception', 8, 0, CODE]);
    expect(guest.cr2, 'the second fault').toBe(BigInt(IST1 - 8));
    const worse = new Guest(tier);
    bad(worse);
    worse.write(0x2000 + 8 * 16 + 4, 1, 1);
    expect(worse.run64(a => a.emit('MOV', r.eax, mem(r.rsp, 0x7000_0000))).kind).toBe('triple-fault');
  });

  it('a fault of the second kind after a benign one is just that fault', () => {
    const guest = new Guest(tier);
    // #UD whose handler's stack is absent: #UD is benign, so the page fault is delivered, on another stack.
    guest.page(IST1 - 0x1000, 0, 0);
    guest.write(0x2000 + 14 * 16 + 4, 2, 1);
    const stop = guest.run64(a => a.emit('UD2'));
    expect([stop.vector, stop.error, stop.rip, guest.cr2]).toEqual([14, 2, CODE, BigInt(IST1 - 8)]);
  });

  it('an interrupt table that is too short ends in a triple fault', () => {
    const guest = new Guest(tier);
    const stop = guest.run64(a => a.emit('MOV', r.ebx, DATA).emit('LIDT', mem(r.rbx)).emit('INT3'));
    expect(stop.kind).toBe('triple-fault');
  });

  it('a stack of the TSS that is not canonical is #SS with EXT alone in the error code', () => {
    const guest = new Guest(tier);
    guest.write(TSS + 0x24, 0x8000_0000_0000_0000n, 8);
    guest.write(0x2000 + 8 * 16 + 4, 2, 1);
    guest.write(0x2000 + 12 * 16 + 4, 2, 1);
    const stop = guest.run64(a => a.emit('UD2'));
    expect([stop.vector, stop.error, stop.rip]).toEqual([12, 1, CODE]);
  });
});
