import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { instantiate } from '../helpers/cpu-wasm.ts';
import { AC, CR0_WP, CR4, EFER_NXE, P, U, W, XD, paging, privilege, takeFault } from '../helpers/page-tables.ts';

const LA = 0x40_5000n;
const KINDS = ['read', 'write', 'fetch', 'implicit read', 'implicit write'] as const;
type Kind = (typeof KINDS)[number];

interface Situation {
  readonly user: boolean;
  readonly kind: Kind;
  readonly leaf: bigint;
  readonly upper: bigint;
  readonly wp: boolean;
  readonly smep: boolean;
  readonly smap: boolean;
  readonly ac: boolean;
  /** PKRU bits of the page's key; undefined: CR4.PKE is 0. */
  readonly key: number | undefined;
}

/** Access rights as the manual lists them, case by case (@sdm 3A 4.6.1, 4.6.2). */
function allowed(s: Situation): { access: boolean; key: boolean } {
  const userPage = (s.leaf & s.upper & U) !== 0n;
  const writable = (s.leaf & s.upper & W) !== 0n;
  const disabled = ((s.leaf | s.upper) & XD) !== 0n;
  const implicit = s.kind.startsWith('implicit');
  const userMode = s.user && !implicit;
  const write = s.kind.endsWith('write');
  let key = true;
  if (userPage && s.kind !== 'fetch' && s.key !== undefined) {
    if (s.key & 1) key = false;
    if (s.key & 2 && write && (userMode || s.wp)) key = false;
  }
  let access: boolean;
  if (userMode) {
    if (s.kind === 'fetch') access = userPage && !disabled;
    else access = userPage && (!write || writable);
  } else if (s.kind === 'fetch') {
    access = userPage ? !s.smep && !disabled : !disabled;
  } else {
    const reachable = !userPage || !s.smap || (s.ac && !implicit);
    access = reachable && (!write || !s.wp || writable);
  }
  return { access, key };
}

const bits = [...Array(8).keys()].map((i) => P | (i & 1 ? W : 0n) | (i & 2 ? U : 0n) | (i & 4 ? XD : 0n));
const booleans = [false, true];

describe.each(['PAE', '4-level'] as const)('access rights with %s paging', (mode) => {
  it('are those of the manual in every combination, first by the walk and then by what it left in the look-aside tables', () => {
    const cpu = instantiate();
    const tables = paging(cpu, mode);
    tables.map(LA, 0x9000n, P);
    const cr4 = cpu.read32(L.CR4);
    const keys = mode === 'PAE' ? [undefined] : [undefined, 0, 1, 2, 3];
    cpu.write32(L.EFER, cpu.read32(L.EFER) | EFER_NXE);
    const wrong: string[] = [];
    for (const leaf of bits) for (const upper of bits) {
      tables.map(LA, 0x9000n, leaf | (mode === 'PAE' ? 0n : 3n << 59n), { upper });
      for (const wp of booleans) for (const smep of booleans) for (const smap of booleans) for (const ac of booleans) for (const key of keys) {
        cpu.write32(L.CR0, 0x8000_0011 | (wp ? CR0_WP : 0));
        cpu.write32(L.CR4, cr4 | (smep ? CR4.SMEP : 0) | (smap ? CR4.SMAP : 0) | (key === undefined ? 0 : CR4.PKE));
        cpu.write32(L.PKRU, (key ?? 0) << 6);
        cpu.write32(L.EFLAGS, ac ? 2 | AC : 2);
        cpu.call('flushAll');
        // Twice in opposite orders: an entry that one kind of access left must not serve another.
        for (const kinds of [KINDS, [...KINDS].reverse()]) for (const kind of kinds) for (const user of booleans) {
          const situation: Situation = { user, kind, leaf, upper, wp, smep, smap, ac, key };
          const right = allowed(situation);
          privilege(cpu, user ? 3 : 0);
          if (kind === 'read') cpu.call('readU8', LA);
          else if (kind === 'write') cpu.call('writeU8', LA, 1);
          else if (kind === 'fetch') cpu.call('translateExecute', LA);
          else if (kind === 'implicit read') cpu.call('sysReadU8', LA);
          else cpu.call('sysWriteU8', LA, 1);
          const implicit = kind.startsWith('implicit');
          const error = 1 | (kind.endsWith('write') ? 2 : 0) | (user && !implicit ? 4 : 0) | (kind === 'fetch' ? 16 : 0) | (right.key ? 0 : 32);
          const expected = right.access && right.key ? undefined : error;
          const found = takeFault(cpu)?.error;
          if (found !== expected) wrong.push(`${JSON.stringify(situation, (_, v: unknown) => (typeof v === 'bigint' ? v.toString(16) : v))}: ${found} instead of ${expected}`);
        }
      }
    }
    expect(wrong.slice(0, 5)).toEqual([]);
  });
});
