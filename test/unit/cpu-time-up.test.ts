import { describe, expect, it } from 'vitest';
import { exitReason } from '../../core/cpu/host.ts';
import { register as r } from '../../core/isa/registers.ts';
import { CODE, Guest, TIERS } from '../helpers/guest-program.ts';

describe.each(TIERS)('a VM entry during which the time is read, compiled %s', tier => {
  it('ends behind RDTSC when something is due, else with its budget', () => {
    const guest = new Guest(tier);
    guest.load(64, CODE, a => a.label('wait').emit('RDTSC').emit('INC', r.rbx).emit('JMP', 'wait'));
    guest.set('rbx', 0);
    guest.cpu.endEntry();
    expect(guest.cpu.enter(50_000)).toBe(exitReason.preemptionTimer);
    expect(guest.get('rbx')).toBe(0);
    expect(guest.cpu.enter(50_000)).toBe(exitReason.preemptionTimer);
    expect(guest.get('rbx')).toBeGreaterThan(10_000);
  });
});
