/** Windows of regions (core/cpu/jit/windowAccess.ts): an empty one opens nothing. */
import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { Guest } from '../helpers/guest-program.ts';

describe('windows after a reset', () => {
  it('are for a page that no access names; 0 would be page 0', () => {
    const { cpu } = new Guest('always');
    const empty = cpu.view.getBigUint64(L.WINDOW_EMPTY, true);
    expect(empty >> 60n, 'not canonical').toBe(4n);
    for (let at = L.WINDOWS; at < L.WINDOWS_END; at += L.WINDOW_WRITE) expect(cpu.view.getBigUint64(at, true)).toBe(empty);
  });
});
