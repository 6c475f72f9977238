/** Windows of regions (core/cpu/jit/windowAccess.ts): an empty one opens nothing. */
import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { Guest } from '../helpers/guest-program.ts';

describe('windows after a reset', () => {
  it('have the tag of a page that no access names; 0 would be page 0', () => {
    const { cpu } = new Guest('always');
    const empty = cpu.view.getBigUint64(L.WINDOW_EMPTY, true);
    expect(BigInt.asUintN(64, -empty) >> 60n, 'not canonical').toBe(4n);
    for (const base of [L.TLB_SUPERVISOR, L.TLB_USER]) {
      for (let at = 0; at < L.WINDOW_COUNT * L.WINDOW_SIZE; at += L.WINDOW_WRITE) expect(cpu.view.getBigUint64(base + L.WINDOWS + at, true)).toBe(empty);
    }
  });
});
