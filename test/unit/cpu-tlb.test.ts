import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { instantiate } from '../helpers/cpu-wasm.ts';
import type { CpuWasm } from '../helpers/cpu-wasm.ts';
import { AC, CR4, G, P, PS, U, W, paging, privilege, ram, takeFault } from '../helpers/page-tables.ts';
import type { Tables } from '../helpers/page-tables.ts';

const LA = 0x40_5000n;

function start(): { cpu: CpuWasm; tables: Tables } {
  const cpu = instantiate();
  const tables = paging(cpu, '4-level');
  for (let i = 0; i < 16; i++) cpu.write32(ram(0x20_0000 + i * 0x1000), 0x100 + i);
  return { cpu, tables };
}

/** What emitted code does: the host address of an access, when the look-aside table has it. */
function hit(cpu: CpuWasm, table: number, la: bigint, size: bigint): number | undefined {
  const entry = cpu.read32(L.TLB_BASE) + table + ((Number(la & 0xffff_ffffn) >>> 8) & L.TLB_DATA_MASK);
  if (BigInt.asUintN(64, cpu.read64(entry) + la) > 4096n - size) return undefined;
  return (Number(la & 0xffff_ffffn) + cpu.read32(entry + 8)) >>> 0;
}

const reads = (cpu: CpuWasm, la: bigint) => hit(cpu, L.TLB_READ, la, 1n) !== undefined;
const writes = (cpu: CpuWasm, la: bigint) => hit(cpu, L.TLB_WRITE, la, 1n) !== undefined;

describe('look-aside tables', () => {
  it('match nothing when empty, at either end of a slot, in any slot', () => {
    const { cpu } = start();
    for (const base of [L.TLB_SUPERVISOR, L.TLB_USER]) {
      cpu.write32(L.TLB_BASE, base);
      for (let page = 0n; page < 4096n; page++) {
        for (const high of [0n, 0x80_0000_0000n, 0xffff_ffff_ff00_0000n]) {
          const la = high + page * 4096n;
          expect(hit(cpu, L.TLB_READ, la, 1n) ?? hit(cpu, L.TLB_READ, la + 0xfffn, 8n)).toBeUndefined();
          expect(hit(cpu, L.TLB_WRITE, la, 1n) ?? hit(cpu, L.TLB_WRITE, la + 0xfffn, 8n)).toBeUndefined();
        }
      }
    }
  });

  it('hold what was accessed, for that kind of access, inside the page only', () => {
    const { cpu, tables } = start();
    tables.map(LA, 0x20_1000n, P | W);
    cpu.call('readU8', LA);
    expect(hit(cpu, L.TLB_READ, LA + 0x123n, 4n)).toBe(ram(0x20_1123));
    expect(hit(cpu, L.TLB_READ, LA + 0xffdn, 4n)).toBeUndefined();
    expect(hit(cpu, L.TLB_WRITE, LA, 1n)).toBeUndefined();
    cpu.call('writeU8', LA, 1);
    expect(hit(cpu, L.TLB_WRITE, LA + 0xff8n, 8n)).toBe(ram(0x20_1ff8));
  });

  it('keep a translation until it is invalidated, whatever becomes of the tables', () => {
    const { cpu, tables } = start();
    tables.map(LA, 0x20_1000n, P | W);
    expect(cpu.call('readU32', LA)).toBe(0x101);
    tables.map(LA, 0x20_2000n, P | W);
    expect(cpu.call('readU32', LA)).toBe(0x101);
    cpu.call('flushPage', LA + 0x1000n);
    expect(cpu.call('readU32', LA)).toBe(0x101);
    cpu.call('flushPage', LA + 0x345n);
    expect(cpu.call('readU32', LA)).toBe(0x102);
  });

  it('are separate for user and supervisor', () => {
    const { cpu, tables } = start();
    tables.map(LA, 0x20_1000n, P | W);
    cpu.call('readU32', LA);
    privilege(cpu, 3);
    expect(reads(cpu, LA)).toBe(false);
    cpu.call('readU32', LA);
    expect(takeFault(cpu)).toMatchObject({ error: 5 });
  });

  it('lose what is not global in a flush of the non-global, even where slots were taken over', () => {
    const { cpu, tables } = start();
    cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.PGE);
    const other = LA + (1n << 24n);
    tables.map(LA, 0x20_1000n, P | W | G);
    tables.map(LA + 0x1000n, 0x20_2000n, P | W);
    tables.map(other, 0x20_3000n, P | W);
    cpu.call('readU32', LA + 0x1000n);
    cpu.call('readU32', other);
    cpu.call('readU32', LA);
    cpu.call('translateExecute', LA);
    cpu.call('fillExecute', LA, 0x100_0000);
    cpu.call('flushNonGlobal');
    expect(reads(cpu, LA)).toBe(true);
    expect(reads(cpu, LA + 0x1000n)).toBe(false);
    cpu.call('readU32', other);
    cpu.call('flushNonGlobal');
    expect(reads(cpu, other)).toBe(false);
    cpu.call('readU32', LA);
    cpu.write32(L.CR4, cpu.read32(L.CR4) & ~CR4.PGE);
    cpu.call('flushAll');
    cpu.call('readU32', LA);
    cpu.call('flushNonGlobal');
    expect(reads(cpu, LA)).toBe(false);
  });

  it('are emptied entirely when the log of non-global entries has overflowed', () => {
    const { cpu, tables } = start();
    for (let page = 0n; page < 4096n; page++) tables.map(LA + page * 0x1000n, 0x20_0000n + (page & 255n) * 0x1000n, P | W | U);
    const touch = () => {
      for (let page = 0n; page < 4096n; page++) {
        const la = LA + page * 0x1000n;
        cpu.call('writeU8', la, 1);
        cpu.call('translateExecute', la);
        cpu.call('fillExecute', la, 0x100_0000);
      }
    };
    touch();
    privilege(cpu, 3);
    touch();
    cpu.call('flushNonGlobal');
    for (const level of [0, 3]) {
      privilege(cpu, level);
      for (let page = 0n; page < 4096n; page++) expect(reads(cpu, LA + page * 0x1000n) || writes(cpu, LA + page * 0x1000n)).toBe(false);
    }
    expect(cpu.read32(L.TLB_LOG_COUNT)).toBe(0);
  });

  // Few pieces are known one by one; of many only the regions are.
  it.each([4, 100])('lose each of %i pieces of a large page when any of its addresses is invalidated, global or not, again and again', (count) => {
    const sizes = [
      { mode: '32-bit', level: 2, size: 22n },
      { mode: 'PAE', level: 2, size: 21n },
      { mode: '4-level', level: 2, size: 21n },
      { mode: '4-level', level: 3, size: 30n },
    ] as const;
    for (const { mode, level, size } of sizes) {
      const cpu = instantiate();
      const tables = paging(cpu, mode);
      cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.PGE);
      const base = 1n << 30n;
      tables.map(base, 0n, P | W | PS | G, { level });
      const pieces = Array.from({ length: count }, (_, i) => base + (BigInt(i) * 0x1f_f000n / BigInt(count - 1) & ~0xfffn));
      for (let round = 0; round < 3; round++) {
        for (const la of pieces) cpu.call('readU8', la);
        cpu.call('writeU8', base, 1);
        cpu.call('translateExecute', base);
        cpu.call('fillExecute', base, 0x100_0000);
        cpu.call('flushPage', base + (2n << size));
        for (const la of pieces) expect(reads(cpu, la)).toBe(true);
        cpu.call('flushPage', base + (1n << size) - 1n);
        for (const la of pieces) expect(reads(cpu, la) || writes(cpu, la)).toBe(false);
        expect(cpu.read64(L.TLB_SUPERVISOR + L.TLB_EXECUTE) & 0xfffn).not.toBe(0n);
      }
    }
  });

  it('give back write entries of a page that now holds decoded code', () => {
    const { cpu, tables } = start();
    tables.map(LA, 0x20_1000n, P | W | U);
    tables.map(LA + 0x7000n, 0x20_1000n, P | W | U);
    tables.map(LA + 0x1000n, 0x20_2000n, P | W | U);
    for (const la of [LA, LA + 0x7000n, LA + 0x1000n]) cpu.call('writeU8', la, 1);
    privilege(cpu, 3);
    cpu.call('writeU8', LA, 1);
    cpu.call('dropPageWrites', 0x201);
    expect(writes(cpu, LA)).toBe(false);
    expect(reads(cpu, LA)).toBe(true);
    privilege(cpu, 0);
    expect(writes(cpu, LA)).toBe(false);
    expect(writes(cpu, LA + 0x7000n)).toBe(false);
    expect(writes(cpu, LA + 0x1000n)).toBe(true);
  });

  it('hold no page with an enabled data breakpoint; the breakpoint is noted', () => {
    const { cpu, tables } = start();
    tables.map(LA, 0x20_1000n, P | W);
    cpu.write64(L.DR0 + 8, LA + 0x10n);
    cpu.write64(L.DR7, 0x400n | (1n << 3n) | (0xdn << 20n));
    cpu.call('readU32', LA + 0xen);
    expect(cpu.read64(L.PENDING_DEBUG)).toBe(0n);
    cpu.call('writeU32', LA + 0xcn, 1);
    expect(cpu.read64(L.PENDING_DEBUG)).toBe(0n);
    cpu.call('writeU32', LA + 0xdn, 1);
    expect(cpu.read64(L.PENDING_DEBUG)).toBe(0x1002n);
    expect(cpu.read32(L.STEP_REASON)).not.toBe(0);
    expect(reads(cpu, LA) || writes(cpu, LA)).toBe(false);
    cpu.write64(L.PENDING_DEBUG, 0n);
    cpu.write64(L.DR7, 0x400n | (1n << 3n) | (0xfn << 20n));
    cpu.call('readU8', LA + 0x13n);
    expect(cpu.read64(L.PENDING_DEBUG)).toBe(0x1002n);
  });
});

describe('SMAP', () => {
  function guarded(): { cpu: CpuWasm; tables: Tables; ac: (on: boolean) => void } {
    const { cpu, tables } = start();
    cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.SMAP);
    for (let i = 0n; i < 40n; i++) tables.map(LA + i * 0x1000n, 0x20_0000n + i * 0x1000n, P | W | U);
    const ac = (on: boolean) => {
      cpu.write32(L.EFLAGS, on ? 2 | AC : 2);
      cpu.call('flushAccessCheck');
    };
    return { cpu, tables, ac };
  }

  it('entries of user pages serve supervisors only while EFLAGS.AC is set, and come back with it', () => {
    const { cpu, ac } = guarded();
    ac(true);
    cpu.call('writeU8', LA, 1);
    expect(reads(cpu, LA) && writes(cpu, LA)).toBe(true);
    ac(false);
    expect(reads(cpu, LA) || writes(cpu, LA)).toBe(false);
    // Nor do they match the address they were moved to.
    expect(reads(cpu, LA ^ 0x20_0000n)).toBe(false);
    ac(true);
    expect(hit(cpu, L.TLB_WRITE, LA, 8n)).toBe(ram(0x20_0000));
  });

  it('an entry invalidated while it is switched off does not come back', () => {
    for (const flush of ['flushPage', 'flushNonGlobal', 'flushAll']) {
      const { cpu, ac } = guarded();
      ac(true);
      cpu.call('writeU8', LA, 1);
      ac(false);
      if (flush === 'flushPage') cpu.call(flush, LA);
      else cpu.call(flush);
      ac(true);
      expect(reads(cpu, LA) || writes(cpu, LA)).toBe(false);
    }
  });

  it('an entry whose slot was taken meanwhile leaves its successor alone', () => {
    const { cpu, tables, ac } = guarded();
    const successor = LA + (1n << 24n);
    tables.map(successor, 0x20_8000n, P | W);
    ac(true);
    cpu.call('readU8', LA);
    ac(false);
    cpu.call('readU32', successor);
    for (const on of [true, false, true, false]) {
      ac(on);
      expect(hit(cpu, L.TLB_READ, successor, 4n)).toBe(ram(0x20_8000));
      expect(reads(cpu, LA)).toBe(false);
    }
  });

  it('more of them than are remembered are dropped, never forgotten', () => {
    const { cpu, ac } = guarded();
    ac(true);
    for (let i = 0n; i < 40n; i++) cpu.call('writeU8', LA + i * 0x1000n, 1);
    ac(false);
    for (let i = 0n; i < 40n; i++) expect(reads(cpu, LA + i * 0x1000n) || writes(cpu, LA + i * 0x1000n)).toBe(false);
  });

  it('user pages are entered freely for user accesses', () => {
    const { cpu, ac } = guarded();
    privilege(cpu, 3);
    cpu.call('readU8', LA);
    ac(true);
    ac(false);
    expect(reads(cpu, LA)).toBe(true);
  });
});

describe('remapping', () => {
  const MIB2 = 0x20_0000n;
  /** Regions of 2 MiB; the first pages of all of them share their slots. */
  const regions = [0n, 1n << 24n, 2n << 24n, 0x7f00_0000_0000n, 0xffff_8000_0000_0000n].map((base) => base + 0x4000_0000n);

  const step = fc.record({
    region: fc.nat(regions.length - 1),
    page: fc.constantFrom(0n, 1n, 5n, 511n),
    frame: fc.nat(7),
    large: fc.boolean(),
    global: fc.boolean(),
    flush: fc.constantFrom('flushPage', 'flushNonGlobal', 'flushAll'),
    elsewhere: fc.constantFrom(0n, 3n, 510n),
    probes: fc.array(fc.record({ region: fc.nat(regions.length - 1), page: fc.constantFrom(0n, 1n, 5n, 511n), write: fc.boolean() }), { maxLength: 12 }),
  });

  it('followed by the invalidation it needs is seen by every later access', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), (steps) => {
        const cpu = instantiate();
        const tables = paging(cpu, '4-level');
        cpu.write32(L.CR4, cpu.read32(L.CR4) | CR4.PGE);
        const where = new Map<bigint, { target: bigint; global: boolean; large: boolean }>();
        for (const { region, page, frame, large, global, flush, elsewhere, probes } of steps) {
          const base = regions[region] ?? 0n;
          const la = large ? base : base + page * 0x1000n;
          const before = where.get(la);
          const kept = [...where].filter(([at, entry]) => at >= base && at < base + MIB2 && entry.large);
          // A page table takes the place of a large page, or the reverse: all of the region goes.
          if (large || kept.length > 0) for (const at of where.keys()) if (at >= base && at < base + MIB2) where.delete(at);
          const wasTable = !large && kept.length === 0;
          if (!wasTable) tables.map(base, 0n, 0n, { level: 2 });
          const target = large ? BigInt(frame % 4) * MIB2 : 0x80_0000n + BigInt(frame) * 0x1000n;
          tables.map(la, target, P | W | (large ? PS : 0n) | (global ? G : 0n), large ? { level: 2 } : {});
          where.set(la, { target, global, large });
          // INVLPG of any address of the page is enough when a page replaced itself; anything wider needs a full flush.
          const simple = before !== undefined && before.large === large && wasTable !== large;
          if (!simple) cpu.call('flushAll');
          else if (flush === 'flushNonGlobal' && before.global) cpu.call('flushPage', la);
          else if (flush === 'flushPage') cpu.call('flushPage', large ? base + elsewhere * 0x1000n : la + elsewhere);
          else cpu.call(flush);
          for (const probe of probes) {
            const from = (regions[probe.region] ?? 0n) + probe.page * 0x1000n;
            const small = where.get(from);
            const big = where.get(regions[probe.region] ?? 0n);
            const table = probe.write ? L.TLB_WRITE : L.TLB_READ;
            const host = hit(cpu, table, from + 0x10n, 4n) ?? cpu.call(probe.write ? 'slowStore' : 'slowRead', from + 0x10n, 4);
            const fault = takeFault(cpu);
            const expected = small && !small.large ? small.target : big?.large ? big.target + probe.page * 0x1000n : undefined;
            if (expected === undefined) expect(fault?.vector).toBe(14);
            else expect(host).toBe(ram(expected + 0x10n));
          }
        }
      }),
      { numRuns: 100 },
    );
  });
});
