import { describe, expect, it } from 'vitest';
import { register as r } from '../../core/isa/registers.ts';
import { CODE, Guest } from '../helpers/guest-program.ts';
import type { Tier } from '../helpers/guest-program.ts';

const ENTRIES = 400;

/** Where each of many VM entries of all lengths ends in a loop whose first instructions are interpreted, as LAHF is. They run into code that a jump has led to once. */
function ends(tier: Tier, interpreted: number, compiled: number): readonly string[] {
  const guest = new Guest(tier);
  const { cpu } = guest;
  guest.load(64, CODE, (a) => {
    a.emit('JMP', 'middle').label('loop').emit('LAHF');
    for (let i = 0; i < interpreted; i++) a.emit('INC', r.rbx);
    a.label('middle');
    for (let i = 0; i < compiled; i++) a.emit('INC', r.rcx);
    a.emit('JMP', 'loop');
  });
  const began = cpu.instructions;
  return Array.from({ length: ENTRIES }, (_, i) => {
    cpu.enter(1 + (i * 37) % 1_500);
    return `${cpu.instructions - began} at ${Number(cpu.linearRip) - CODE}`;
  });
}

describe('an exact VM entry', () => {
  it.each([[0, 900], [10, 900], [400, 200], [400, 900]])('ends at the same instruction in compiled code, where %i instructions are interpreted in front of %i', (interpreted, compiled) => {
    expect(ends('exact always', interpreted, compiled)).toEqual(ends('exact', interpreted, compiled));
  });
});
