import { describe, expect, it } from 'vitest';
import type { Processor } from '../../../core/cpu/processor.ts';
import { TURN, Turns } from '../../../core/vmm/turns.ts';
import type { Vcpu } from '../../../core/vmm/vcpu.ts';

/** Of a processor and its vCPUs what the length of entries depends on. */
function turnsOf(vcpus: number, exact: boolean): Turns {
  const cpu = { exact, instructions: 0 } as unknown as Processor;
  return new Turns(cpu, Array.from({ length: vcpus }, (_, index) => ({ index, apic: {} }) as unknown as Vcpu));
}

describe('the length of the only vCPU\'s entries', () => {
  it('grows while they are short, up to four turns, and shrinks while they are long, down to one', () => {
    const turns = turnsOf(1, false);
    const after = (milliseconds: number): number => {
      turns.lasted(milliseconds);
      return turns.budget;
    };
    expect(turns.budget).toBe(TURN);
    expect([0.01, 0.01, 0.01].map(after)).toEqual([2 * TURN, 4 * TURN, 4 * TURN]);
    expect([0.1, 1, 1, 1].map(after)).toEqual([4 * TURN, 2 * TURN, TURN, TURN]);
  });

  it('does not depend on the host by the instruction clock', () => {
    const turns = turnsOf(1, true);
    turns.lasted(0.01);
    expect(turns.budget).toBe(TURN);
  });
});
