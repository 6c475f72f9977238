import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { Bench, GDT, IDT, SP, STACK3, TSS, TSS2 } from '../helpers/cpu-tables.ts';

/** A small generator, the same on every run. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

type Step = readonly [name: string, args: (pick: (below: number) => number) => (number | bigint)[], mayLeave: boolean];

/** Instructions, and whether they may fault in another task than they began in. */
const STEPS: readonly Step[] = [
  ['loadSegment', (pick) => [[L.ES, L.SS, L.DS, L.FS, L.GS][pick(5)]!, pick(0x120)], false],
  ['lldt', (pick) => [pick(0x120)], false],
  ['ltr', (pick) => [pick(0x120)], false],
  ['lar', (pick) => [pick(0x120)], false],
  ['farJump', (pick) => [pick(0x22) * 8, BigInt(pick(0x10000)), [2, 4, 8][pick(3)]!], true],
  ['farCall', (pick) => [pick(0x22) * 8, BigInt(pick(0x10000)), [2, 4, 8][pick(3)]!], true],
  ['farReturn', (pick) => [pick(16), [2, 4, 8][pick(3)]!], false],
  ['iret', (pick) => [[2, 4, 8][pick(3)]!], true],
  ['interrupt', (pick) => [pick(0x60)], true],
  ['enter', (pick) => [pick(0x10000), pick(256), [2, 4, 8][pick(3)]!], false],
  ['portIn', (pick) => [pick(0x10000), 1 << pick(3), 0], false],
];

/** Code, conforming code and data of privileges 0 and 3, an available TSS, a call gate. */
const PLAUSIBLE = [0x9a, 0xfa, 0x9e, 0x92, 0xf2, 0x89, 0xec] as const;

describe('tables full of garbage', () => {
  it('end in a fault or a transfer, never in a trap of the host, and a fault changes nothing', () => {
    const pick = random(0x5eed);
    for (let round = 0; round < 60; round++) {
      const bench = new Bench();
      const long = pick(2) === 1;
      for (let i = 0; i < 0x1000; i += 4) for (const table of [GDT, IDT, TSS, TSS2]) bench.poke32(table + i, pick(2 ** 32));
      // Many descriptors and gates make sense, so that transfers succeed too.
      for (let i = 8; i < 0x100; i += 8) {
        const access = pick(2) ? PLAUSIBLE[pick(PLAUSIBLE.length)]! : 0x80 | pick(128);
        const flags = pick(2) ? (long ? 0xa : 0xc) : pick(16);
        if (pick(4)) bench.descriptor(i, { base: access & 0x10 ? 0 : TSS2, limit: pick(0x10_0000), access, flags });
      }
      for (let i = 0; i < 0x60; i++) {
        if (pick(4)) bench.vector(i, [5, 6, 7, 14, 15][pick(5)]!, pick(0x20) * 8, pick(0x1_0000), { dpl: 3, long, ist: pick(3) && long ? 1 : 0 });
      }
      for (let i = 0; i < 200; i++) {
        const ring = pick(2) * 3;
        bench.cpu.write32(L.EFLAGS, 2 | (pick(2) ? 0x4000 : 0) | (pick(4) << 12));
        bench.cpu.write32(L.INTERRUPTIBILITY, 0);
        bench.segment(L.TR, { selector: 0x1f8, base: TSS, limit: pick(2) ? 0x2fff : pick(0x70), access: pick(2) ? 0x8b : 0x83 });
        bench.cpu.write32(L.REAL_SEGMENTS, 0);
        if (long) bench.setLong(ring);
        else bench.setProgram(ring);
        for (let slot = 0; slot < 64; slot += 4) bench.poke32(STACK3 + slot, pick(3) ? pick(0x20) * 8 + ring : pick(2 ** 32));
        const [name, args, mayLeave] = STEPS[pick(STEPS.length)]!;
        const task = bench.selector(L.TR);
        const before = [bench.cpl, bench.rip, bench.gpr(SP), bench.selector(L.CS), bench.selector(L.SS)];
        const status = bench.cpu.call(name, ...args(pick));
        expect([0, 1, 2, 3, 4]).toContain(status);
        const fault = bench.cpu.read32(L.FAULT);
        expect([name, status, fault !== 0]).toEqual([name, status, status === 1 || status === 3]);
        const switched = mayLeave && bench.selector(L.TR) !== task;
        if (status === 1 && !switched) {
          expect([name, bench.cpl, bench.rip, bench.gpr(SP), bench.selector(L.CS), bench.selector(L.SS)]).toEqual([name, ...before]);
        }
        if (status === 1) expect([2, 3]).toContain(bench.cpu.call('deliverPending'));
        bench.cpu.write32(L.FAULT, 0);
      }
    }
  });
});
