import { describe, expect, it } from 'vitest';
import { dword, mem, register as r } from '../../core/isa/registers.ts';
import { CODE, Guest, TIERS } from '../helpers/guest-program.ts';

/** A program that writes another function into the same place again and again, and runs each until it is hot. */
const FUNCTION = CODE + 0x2000;
const FUNCTIONS = 1_200;
const TIMES = 4_000;
const BUDGET = 40_000_000;

describe.each(TIERS)('code that changes, compiled %s', tier => {
  it('has the effect of what was written last, and regions of what is gone are given up', () => {
    const guest = new Guest(tier);
    guest.load(64, FUNCTION, a => a.emit('MOV', r.eax, 0x12345678).emit('MOV', r.ecx, TIMES).label('loop').emit('ADD', r.rdx, r.rax).emit('DEC', r.ecx).emit('JNZ', 'loop').emit('RET'));
    guest.set('rdx', 0);
    const { counters } = guest.cpu.jit ?? {};
    const before = { ...counters };
    guest.load(64, CODE, a => a
      .emit('MOV', r.ebx, FUNCTIONS).emit('MOV', r.esi, FUNCTION).label('next')
      .emit('MOV', dword(mem(r.rsi, 1)), r.ebx).emit('CALL', r.rsi)
      .emit('DEC', r.ebx).emit('JNZ', 'next').emit('HLT'));
    expect(guest.run(BUDGET).kind).toBe('hlt');
    expect(guest.get('rdx')).toBe(TIMES * FUNCTIONS * (FUNCTIONS + 1) / 2);
    if (!counters) return;
    const made = counters.regions - (before.regions ?? 0);
    expect(made).toBeGreaterThanOrEqual(FUNCTIONS);
    // What the last sweep has left is what was made since, and what lives.
    expect(counters.swept - (before.swept ?? 0)).toBeGreaterThan(made / 2);
    expect(counters.evictions).toBe(before.evictions);
  });
});
