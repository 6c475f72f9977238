import { afterEach, describe, expect, it } from 'vitest';
import { mem, qword, register as r } from '../../core/isa/registers.ts';
import type { Assembler } from '../../core/isa/assembler.ts';
import { EXIT_DEBUGGER, PAGE_MMIO, PAGE_RAM, RIP } from '../../core/cpu/layout.ts';
import type { DebugStop } from '../../core/cpu/debug.ts';
import { CODE, DATA, Guest, TIERS } from '../helpers/guest-program.ts';

const guests: Guest[] = [];
const FAR = 0x160000;

function guestFor(tier: (typeof TIERS)[number]): Guest {
  const guest = new Guest(tier);
  guests.push(guest);
  return guest;
}

afterEach(() => {
  for (const { cpu } of guests.splice(0)) {
    cpu.debug.clear();
    cpu.debug.traceExits(false);
  }
});

/** Runs until the debugger is told of something; null when the program ends before. */
function go(guest: Guest, single = false): DebugStop | null {
  const { debug } = guest.cpu;
  debug.resume(guest.cpu.linearRip, single);
  const stop = guest.run();
  return stop.kind === 'exit' && stop.reason === EXIT_DEBUGGER ? debug.stop : null;
}

/** RCX times: RBX counts, and a QWORD at DATA. */
function counting(a: Assembler): Assembler {
  return a.emit('MOV', r.rdi, DATA).label('loop').emit('INC', r.rbx).label('count').emit('INC', qword(mem(r.rdi))).label('next').emit('DEC', r.rcx).emit('JNZ', 'loop').label('end').emit('HLT');
}

describe.each(TIERS)('breakpoints of a debugger, regions %s', (tier) => {
  it('stop before the instruction, each time it comes, and the program is none the wiser', () => {
    const guest = guestFor(tier);
    const code = guest.load(64, CODE, counting);
    guest.set('rcx', 500);
    guest.cpu.debug.setBreakpoint(BigInt(code.addressOf('count')));
    for (let i = 1; i <= 5; i++) {
      expect(go(guest)).toEqual({ kind: 'breakpoint' });
      expect([guest.rip, guest.get('rbx'), guest.read(DATA, 8)]).toEqual([code.addressOf('count'), i, i - 1]);
    }
    guest.cpu.debug.clearBreakpoint(BigInt(code.addressOf('count')));
    expect(go(guest)).toBeNull();
    expect([guest.rip, guest.get('rbx'), guest.read(DATA, 8)]).toEqual([code.addressOf('end'), 500, 500]);
  });

  it('reach code that has run before as a region', () => {
    const guest = guestFor(tier);
    const code = guest.load(64, CODE, counting);
    guest.set('rcx', 5000);
    guest.run();
    guest.set('rcx', 3);
    guest.cpu.view.setBigUint64(RIP, BigInt(code.addressOf('loop')), true);
    guest.cpu.debug.setBreakpoint(BigInt(code.addressOf('next')));
    expect(go(guest)).toEqual({ kind: 'breakpoint' });
    expect([guest.rip, guest.get('rbx')]).toEqual([code.addressOf('next'), 5001]);
  });

  it('are linear addresses: the same offset of another page does not stop', () => {
    const guest = guestFor(tier);
    guest.load(64, FAR, (a) => a.emit('INC', r.rbx).emit('RET'));
    const code = guest.load(64, CODE, (a) => a.emit('INC', r.rax).emit('MOV', r.rdx, FAR).emit('CALL', r.rdx).emit('HLT'));
    guest.cpu.debug.setBreakpoint(BigInt(FAR + 0x1000));
    expect(code.addressOf).toBeDefined();
    expect(go(guest)).toBeNull();
    expect([guest.get('rax'), guest.get('rbx')]).toEqual([1, 1]);
  });

  it('hold in pages that are mapped later', () => {
    const guest = guestFor(tier);
    guest.load(64, FAR, (a) => a.emit('INC', r.rbx).emit('HLT'));
    guest.page(0x3f0000, 0, 0);
    guest.cpu.debug.setBreakpoint(0x3f0000n);
    guest.load(64, CODE, (a) => a.emit('MOV', r.rdx, 0x3f0000).emit('JMP', r.rdx));
    guest.page(0x3f0000, FAR);
    expect(go(guest)).toEqual({ kind: 'breakpoint' });
    expect(guest.rip).toBe(0x3f0000);
  });

  it("leave the guest's own debug registers and TF alone", () => {
    const guest = guestFor(tier);
    const code = guest.load(64, CODE, (a) => a.emit('PUSHFQ').emit('OR', qword(mem(r.rsp)), 0x100).emit('POPFQ').label('traced').emit('INC', r.rbx).label('trap').emit('HLT'));
    guest.cpu.debug.setBreakpoint(BigInt(code.addressOf('traced')));
    expect(go(guest)).toEqual({ kind: 'breakpoint' });
    guest.cpu.debug.resume(guest.cpu.linearRip, false);
    const stop = guest.run();
    expect([stop.vector, stop.rip, guest.get('rbx')]).toEqual([1, code.addressOf('trap'), 1]);
  });
});

describe.each(TIERS)('single steps of a debugger, regions %s', (tier) => {
  it('run one instruction each', () => {
    const guest = guestFor(tier);
    const code = guest.load(64, CODE, counting);
    guest.set('rcx', 2);
    const seen: number[] = [];
    for (let i = 0; i < 9; i++) {
      expect(go(guest, true)).toEqual({ kind: 'step' });
      seen.push(guest.rip);
    }
    const [loop, count, next] = [code.addressOf('loop'), code.addressOf('count'), code.addressOf('next')];
    expect(seen.slice(0, 4)).toEqual([loop, count, next, next + 3]);
    expect(seen.slice(4)).toEqual([loop, count, next, next + 3, code.addressOf('end')]);
  });

  it('go into the handler of a fault', () => {
    const guest = guestFor(tier);
    guest.load(64, CODE, (a) => a.emit('UD2'));
    expect(go(guest, true)).toEqual({ kind: 'step' });
    expect(guest.rip).toBe(0x10000 + 6 * 16);
  });
});

describe.each(TIERS)('watchpoints of a debugger, regions %s', (tier) => {
  it('stop behind the instruction that wrote, and say where', () => {
    const guest = guestFor(tier);
    const code = guest.load(64, CODE, counting);
    guest.set('rcx', 100);
    guest.cpu.debug.setWatchpoint({ address: BigInt(DATA + 4), length: 4, kind: 'write' });
    for (let i = 1; i <= 3; i++) {
      expect(go(guest)).toEqual({ kind: 'watch', address: BigInt(DATA), watch: 'write' });
      expect([guest.rip, guest.get('rbx'), guest.read(DATA, 8)]).toEqual([code.addressOf('next'), i, i]);
    }
    guest.cpu.debug.clearWatchpoint({ address: BigInt(DATA + 4), length: 4, kind: 'write' });
    expect(go(guest)).toBeNull();
    expect(guest.read(DATA, 8)).toBe(100);
  });

  it('do not stop at other bytes of the page', () => {
    const guest = guestFor(tier);
    guest.load(64, CODE, counting);
    guest.set('rcx', 100);
    guest.cpu.debug.setWatchpoint({ address: BigInt(DATA + 8), length: 8, kind: 'access' });
    expect(go(guest)).toBeNull();
    expect(guest.read(DATA, 8)).toBe(100);
  });

  it('tell reads from writes', () => {
    const guest = guestFor(tier);
    const code = guest.load(64, CODE, (a) => a.emit('MOV', r.rdi, DATA).emit('MOV', qword(mem(r.rdi)), r.rax).emit('MOV', r.rbx, qword(mem(r.rdi))).label('read').emit('HLT'));
    guest.cpu.debug.setWatchpoint({ address: BigInt(DATA), length: 1, kind: 'read' });
    expect(go(guest)).toEqual({ kind: 'watch', address: BigInt(DATA), watch: 'read' });
    expect(guest.rip).toBe(code.addressOf('read'));
  });

  it('stop in the middle of a string instruction, which then goes on', () => {
    const guest = guestFor(tier);
    guest.load(64, CODE, (a) => a.emit('MOV', r.rdi, DATA).emit('MOV', r.rcx, 64).emit('MOV', r.al, 0x5a).emit('CLD').emit('REP STOSB').emit('HLT'));
    guest.cpu.debug.setWatchpoint({ address: BigInt(DATA + 40), length: 1, kind: 'write' });
    expect(go(guest)).toMatchObject({ kind: 'watch', address: BigInt(DATA + 40) });
    expect(guest.read(DATA + 40, 1)).toBe(0x5a);
    expect(go(guest)).toBeNull();
    expect([guest.read(DATA + 63, 1), guest.get('rcx')]).toEqual([0x5a, 0]);
  });

  it('see a write that also faults only once it is made', () => {
    const guest = guestFor(tier);
    guest.page(DATA + 0x1000, 0, 0);
    // The access lies across a page that is not mapped: #PF, and nothing was written.
    guest.load(64, CODE, (a) => a.emit('MOV', r.rdi, DATA + 0xffc).emit('MOV', qword(mem(r.rdi)), r.rax).emit('HLT'));
    guest.cpu.debug.setWatchpoint({ address: BigInt(DATA + 0xffc), length: 4, kind: 'write' });
    guest.cpu.debug.resume(null, false);
    expect(guest.run()).toMatchObject({ kind: 'exception', vector: 14 });
  });

  it('there are sixteen', () => {
    const { debug } = guestFor(tier).cpu;
    const set = Array.from({ length: 17 }, (_, i) => debug.setWatchpoint({ address: BigInt(i * 8), length: 8, kind: 'write' }));
    expect(set.filter((ok) => ok)).toHaveLength(16);
    expect(set.at(-1)).toBe(false);
  });
});

describe.each(TIERS)("instructions that reach a device's memory, regions %s", (tier) => {
  it('run alone when that is asked for, with the same outcome', () => {
    const guest = guestFor(tier);
    const { cpu } = guest;
    cpu.ept.map(FAR, 4096, PAGE_MMIO);
    try {
      cpu.debug.traceExits(true);
      guest.load(64, CODE, (a) => a.emit('MOV', r.rdi, FAR).emit('MOV', r.rcx, 50).label('loop').emit('MOV', r.rax, mem(r.rdi)).emit('INC', r.rbx).emit('DEC', r.rcx).emit('JNZ', 'loop').emit('HLT'));
      expect(guest.run().kind).toBe('hlt');
      expect(guest.get('rbx')).toBe(50);
    } finally {
      cpu.ept.map(FAR, 4096, PAGE_RAM);
    }
  });
});
