import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { instantiate } from '../helpers/cpu-wasm.ts';
import type { CpuWasm } from '../helpers/cpu-wasm.ts';
import { P, U, W, paging, privilege, ram, takeFault } from '../helpers/page-tables.ts';

const RAX = L.GPR;
const RCX = L.GPR + 8;
const RSI = L.GPR + 48;
const RDI = L.GPR + 56;
const DF = 0x400;
const OK = 0;
const FAULTED = 1;
const JUMP = 2;

let cpu: CpuWasm;
beforeEach(() => {
  cpu = instantiate();
});

function set(values: { rax?: bigint; rcx?: bigint; rsi?: bigint; rdi?: bigint; df?: boolean }): void {
  cpu.write64(RAX, values.rax ?? 0n);
  cpu.write64(RCX, values.rcx ?? 0n);
  cpu.write64(RSI, values.rsi ?? 0n);
  cpu.write64(RDI, values.rdi ?? 0n);
  cpu.write32(L.EFLAGS, values.df ? 2 | DF : 2);
}

/** Runs an instruction to its end, as the outer loop does. */
function finish(name: string, ...args: number[]): number {
  for (let calls = 0; calls < 1000; calls++) {
    const status = cpu.call(name, ...args);
    if (status !== JUMP) return status;
  }
  throw new Error(`${name} does not end`);
}

const flags = () => ({
  zf: cpu.read64(L.F_RES) === 0n,
  sf: cpu.read64(L.F_RES) >> 63n === 1n,
  cf: cpu.read64(L.F_CX) < cpu.read64(L.F_CY),
  of: (cpu.callBig('readFlags') & 0x800n) !== 0n,
  af: (cpu.callBig('readFlags') & 0x10n) !== 0n,
});

const sizes = fc.constantFrom(1, 2, 4, 8);
const base = 0x20_0000;

describe('MOVS', () => {
  it('is the element-wise copy for any overlap, direction and size', () => {
    fc.assert(
      fc.property(sizes, fc.boolean(), fc.integer({ min: 0, max: 5000 }), fc.integer({ min: -4200, max: 4200 }), fc.integer({ min: 0, max: 700 }), (
        size, df, start, distance, count,
      ) => {
        const area = 40_000;
        const bytes = Uint8Array.from({ length: area }, (_, i) => (i * 7 + (i >> 8)) & 0xff);
        cpu.bytes.set(bytes, ram(base));
        const from = 15_000 + start;
        const step = df ? -size : size;
        for (let i = 0; i < count; i++) bytes.copyWithin(from + distance + i * step, from + i * step, from + i * step + size);
        set({ rcx: BigInt(count), rsi: BigInt(base + from), rdi: BigInt(base + from + distance), df });
        expect(finish('movs', size, 4, L.DS, 1)).toBe(OK);
        expect(cpu.read64(RCX)).toBe(0n);
        expect(cpu.read64(RSI)).toBe(BigInt(base + from + count * step));
        expect(cpu.read64(RDI)).toBe(BigInt(base + from + distance + count * step));
        expect(Buffer.compare(Buffer.from(cpu.bytes.slice(ram(base), ram(base) + area)), Buffer.from(bytes))).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  it('moves one element without a prefix and leaves RCX alone', () => {
    set({ rcx: 0n, rsi: 0x1000n, rdi: 0x2000n });
    cpu.write32(ram(0x1000), 0x1234_5678);
    expect(cpu.call('movs', 4, 4, L.DS, 0)).toBe(OK);
    expect(cpu.read32(ram(0x2000))).toBe(0x1234_5678);
    expect([cpu.read64(RCX), cpu.read64(RSI), cpu.read64(RDI)]).toEqual([0n, 0x1004n, 0x2004n]);
  });

  it('does nothing when the count is zero, but clears the upper halves of what a 32-bit address size repeats with', () => {
    const registers = { rcx: 0x1234_0000_0000n, rsi: 0xabcd_0000_0010n, rdi: 0xabcd_0000_0020n };
    set({ ...registers, rcx: 0n });
    expect(cpu.call('movs', 1, 8, L.DS, 1)).toBe(OK);
    expect([cpu.read64(RCX), cpu.read64(RSI), cpu.read64(RDI)]).toEqual([0n, registers.rsi, registers.rdi]);
    for (const [name, source, target] of [['movs', 0x10n, 0x20n], ['stos', registers.rsi, 0x20n], ['lods', registers.rsi, registers.rdi], ['cmps', registers.rsi, registers.rdi]] as const) {
      set(registers);
      expect(cpu.call(name, 1, 4, L.DS, 1)).toBe(OK);
      expect([cpu.read64(RCX), cpu.read64(RSI), cpu.read64(RDI)], name).toEqual([0n, source, target]);
    }
  });

  it('comes back for interrupts while iterations remain', () => {
    set({ rcx: 0x30000n, rsi: 0x20_0000n, rdi: 0x40_0000n });
    expect(cpu.call('movs', 1, 4, L.DS, 1)).toBe(JUMP);
    const done = 0x30000n - cpu.read64(RCX);
    expect(done).toBeGreaterThan(0n);
    expect(cpu.read64(RSI)).toBe(0x20_0000n + done);
    expect(finish('movs', 1, 4, L.DS, 1)).toBe(OK);
    expect(cpu.read64(RDI)).toBe(0x43_0000n);
  });

  it('does one iteration a call while instructions are stepped', () => {
    cpu.write32(L.STEP_REASON, 1);
    set({ rcx: 3n, rsi: 0x1000n, rdi: 0x2000n });
    expect(cpu.call('movs', 2, 4, L.DS, 1)).toBe(JUMP);
    expect([cpu.read64(RCX), cpu.read64(RSI), cpu.read64(RDI)]).toEqual([2n, 0x1002n, 0x2002n]);
    expect(cpu.call('movs', 2, 4, L.DS, 1)).toBe(JUMP);
    expect(cpu.call('movs', 2, 4, L.DS, 1)).toBe(OK);
  });

  it('wraps 16-bit indexes and keeps the upper register halves', () => {
    set({ rcx: 0xaaaa_0004n, rsi: 0xbbbb_fffen, rdi: 0xcccc_1000n });
    cpu.write32(L.CODE_SIZE, 0);
    cpu.bytes.set([1, 2], ram(0xfffe));
    cpu.bytes.set([3, 4], ram(0));
    expect(finish('movs', 1, 2, L.DS, 1)).toBe(OK);
    expect(Array.from(cpu.bytes.subarray(ram(0x1000), ram(0x1004)))).toEqual([1, 2, 3, 4]);
    expect([cpu.read64(RCX), cpu.read64(RSI), cpu.read64(RDI)]).toEqual([0xaaaa_0000n, 0xbbbb_0002n, 0xcccc_1004n]);
  });

  it('zero-extends 32-bit indexes in 64-bit mode', () => {
    const tables = paging(cpu, '4-level');
    tables.map(0x1000n, 0x9000n, P | W);
    set({ rcx: 0xffff_ffff_0000_0008n, rsi: 0xffff_ffff_0000_1000n, rdi: 0xffff_ffff_0000_1800n });
    expect(finish('movs', 8, 4, L.DS, 1)).toBe(OK);
    expect([cpu.read64(RCX), cpu.read64(RSI), cpu.read64(RDI)]).toEqual([0n, 0x1040n, 0x1840n]);
  });

  it('takes the source from the segment given and the destination from ES', () => {
    cpu.write64(L.SEGMENTS + L.FS * L.SEGMENT_SIZE + L.SEG_BASE, 0x5000n);
    cpu.write64(L.SEGMENTS + L.ES * L.SEGMENT_SIZE + L.SEG_BASE, 0x6000n);
    cpu.write32(ram(0x5010), 0x1122_3344);
    set({ rcx: 1n, rsi: 0x10n, rdi: 0x20n });
    expect(finish('movs', 4, 4, L.FS, 1)).toBe(OK);
    expect(cpu.read32(ram(0x6020))).toBe(0x1122_3344);
  });

  it.each([false, true])('stops precisely at a page fault of the destination (DF %s)', (df) => {
    const tables = paging(cpu, '4-level');
    for (let i = 0n; i < 8n; i++) tables.map(0x1_0000n + i * 0x1000n, 0x30_0000n + i * 0x1000n, P | W | U);
    const hole = df ? 0x1_4000n : 0x1_5000n;
    tables.map(hole, 0n, 0n);
    set({ rcx: 0x1000n, rsi: 0x1_1010n, rdi: df ? 0x1_5010n : 0x1_4ff0n, df });
    cpu.bytes.fill(0x5a, ram(0x30_0000), ram(0x30_8000));
    expect(finish('movs', 1, 8, L.DS, 1)).toBe(FAULTED);
    const done = df ? 0x11n : 0x10n;
    expect(takeFault(cpu)).toEqual({ vector: 14, error: 2, address: df ? 0x1_4fffn : hole });
    expect(cpu.read64(RCX)).toBe(0x1000n - done);
    expect(cpu.read64(RDI)).toBe(df ? 0x1_5010n - done : 0x1_4ff0n + done);
    expect(cpu.read64(RSI)).toBe(df ? 0x1_1010n - done : 0x1_1010n + done);
  });

  it('stops precisely at the segment limit', () => {
    cpu.write32(L.SEGMENTS + L.ES * L.SEGMENT_SIZE + L.SEG_LIMIT, 0x20ff);
    set({ rcx: 0x100n, rsi: 0x4000n, rdi: 0x2000n });
    cpu.call('writeU8', 0x2000n, 0);
    cpu.call('readU8', 0x4000n);
    expect(finish('movs', 4, 4, L.DS, 1)).toBe(FAULTED);
    expect(takeFault(cpu)).toMatchObject({ vector: 13, error: 0 });
    expect([cpu.read64(RCX), cpu.read64(RDI)]).toEqual([0xc0n, 0x2100n]);
  });

  it('moves to and from devices one element at a time', () => {
    set({ rcx: 2n, rsi: 0xfee0_0000n, rdi: 0xfec0_0000n });
    expect(finish('movs', 4, 4, L.DS, 1)).toBe(OK);
    expect(cpu.log.map(({ kind, address }) => [kind, address])).toEqual([
      ['read', 0xfee0_0000], ['write', 0xfec0_0000], ['read', 0xfee0_0004], ['write', 0xfec0_0004],
    ]);
  });
});

describe('STOS', () => {
  it('is the element-wise fill in either direction', () => {
    fc.assert(
      fc.property(sizes, fc.boolean(), fc.integer({ min: 0, max: 5000 }), fc.integer({ min: 0, max: 1500 }), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), (
        size, df, start, count, value,
      ) => {
        const area = 40_000;
        const bytes = new Uint8Array(area).fill(0xee);
        cpu.bytes.set(bytes, ram(base));
        const view = new DataView(new ArrayBuffer(8));
        view.setBigUint64(0, value, true);
        const at = 15_000 + start;
        const step = df ? -size : size;
        for (let i = 0; i < count; i++) bytes.set(new Uint8Array(view.buffer, 0, size), at + i * step);
        set({ rax: value, rcx: BigInt(count), rdi: BigInt(base + at), df });
        expect(finish('stos', size, 4, L.DS, 1)).toBe(OK);
        expect([cpu.read64(RCX), cpu.read64(RDI)]).toEqual([0n, BigInt(base + at + count * step)]);
        expect(Buffer.compare(Buffer.from(cpu.bytes.slice(ram(base), ram(base) + area)), Buffer.from(bytes))).toBe(0);
      }),
      { numRuns: 200 },
    );
  });

  it('stops precisely at a read-only page', () => {
    const tables = paging(cpu, 'PAE');
    tables.map(0x1_0000n, 0x30_0000n, P | W | U);
    tables.map(0x1_1000n, 0x30_1000n, P | U);
    privilege(cpu, 3);
    set({ rax: 0x1_0203n, rcx: 0x2000n, rdi: 0x1_0000n });
    expect(finish('stos', 4, 4, L.DS, 1)).toBe(FAULTED);
    expect(takeFault(cpu)).toEqual({ vector: 14, error: 7, address: 0x1_1000n });
    expect([cpu.read64(RCX), cpu.read64(RDI)]).toEqual([0x2000n - 0x400n, 0x1_1000n]);
    expect(cpu.read32(ram(0x30_0ffc))).toBe(0x1_0203);
  });
});

describe('LODS', () => {
  it('loads the accumulator by its size', () => {
    cpu.write64(ram(0x1000), 0x8182_8384_8586_8788n);
    const results = [1, 2, 4, 8].map((size) => {
      set({ rax: 0x1111_1111_1111_1111n, rsi: 0x1000n });
      expect(cpu.call('lods', size, 4, L.DS, 0)).toBe(OK);
      expect(cpu.read64(RSI)).toBe(0x1000n + BigInt(size));
      return cpu.read64(RAX);
    });
    expect(results).toEqual([0x1111_1111_1111_1188n, 0x1111_1111_1111_8788n, 0x8586_8788n, 0x8182_8384_8586_8788n]);
  });
});

describe('CMPS and SCAS', () => {
  it('set the flags of a subtraction', () => {
    fc.assert(
      fc.property(sizes, fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), (size, x, y) => {
        const bits = BigInt(size * 8);
        const a = BigInt.asUintN(size * 8, x);
        const b = BigInt.asUintN(size * 8, y);
        cpu.write64(ram(0x1000), x);
        cpu.write64(ram(0x2000), y);
        const signed = BigInt.asIntN(size * 8, a) - BigInt.asIntN(size * 8, b);
        const expected = {
          zf: a === b,
          sf: BigInt.asIntN(size * 8, a - b) < 0n,
          cf: a < b,
          of: signed !== BigInt.asIntN(size * 8, signed),
          af: (a & 15n) < (b & 15n),
        };
        set({ rsi: 0x1000n, rdi: 0x2000n, rax: x });
        expect(cpu.call('cmps', size, 4, L.DS, 0)).toBe(OK);
        expect(flags()).toEqual(expected);
        expect(BigInt.asUintN(size * 8, cpu.read64(L.F_RES))).toBe(BigInt.asUintN(Number(bits), a - b));
        set({ rdi: 0x2000n, rax: x });
        expect(cpu.call('scas', size, 4, L.DS, 0)).toBe(OK);
        expect(flags()).toEqual(expected);
      }),
      { numRuns: 200 },
    );
  });

  it('end where the repetition ends, in either direction, across pages', () => {
    fc.assert(
      fc.property(sizes, fc.boolean(), fc.constantFrom(1, 2), fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 0, max: 3500 }), fc.integer({ min: 0, max: 4095 }), (
        size, df, rep, count, odd, offset,
      ) => {
        const step = df ? -size : size;
        const a = base + 0x1_0000 + offset;
        const b = base + 0x3_0000 + ((offset * 5) & 0xfff);
        const usual = rep === 1 ? 0x77 : 0x78;
        cpu.bytes.fill(0x77, ram(base), ram(base + 0x2_0000));
        cpu.bytes.fill(usual, ram(base + 0x2_0000), ram(base + 0x4_0000));
        // The element that is different (REPE) or equal (REPNE).
        cpu.bytes.fill(rep === 1 ? 0x78 : 0x77, ram(b + odd * step), ram(b + odd * step + size));
        const done = BigInt(Math.min(count, odd + 1));
        const state = { rcx: BigInt(count), rsi: BigInt(a), rdi: BigInt(b), rax: 0x7777_7777_7777_7777n, df };
        for (const scan of [false, true]) {
          set(state);
          expect(scan ? finish('scas', size, 4, L.DS, rep) : finish('cmps', size, 4, L.DS, rep)).toBe(OK);
          expect(cpu.read64(RCX)).toBe(state.rcx - done);
          expect(cpu.read64(RDI)).toBe(state.rdi + done * BigInt(step));
          expect(flags().zf).toBe((rep === 1) === odd >= count);
        }
      }),
      { numRuns: 200 },
    );
  });

  it('with a count of zero leave the flags alone', () => {
    set({ rcx: 0n });
    cpu.write64(L.F_RES, 0x1234n);
    expect(cpu.call('cmps', 1, 4, L.DS, 1)).toBe(OK);
    expect(cpu.call('scas', 1, 4, L.DS, 2)).toBe(OK);
    expect(cpu.read64(L.F_RES)).toBe(0x1234n);
  });

  it('a fault leaves the flags as they were before and the registers after the iterations done', () => {
    const tables = paging(cpu, '4-level');
    tables.map(0x1_0000n, 0x30_0000n, P | W | U);
    tables.map(0x1_2000n, 0x30_0000n, P | W | U);
    set({ rcx: 0x2000n, rsi: 0x1_0ff8n, rdi: 0x1_2ff8n });
    cpu.write64(L.F_RES, 0x1234n);
    expect(finish('cmps', 1, 8, L.DS, 1)).toBe(FAULTED);
    // Both elements lie in missing pages: that at DI is read first.
    expect(takeFault(cpu)).toEqual({ vector: 14, error: 0, address: 0x1_3000n });
    expect([cpu.read64(RCX), cpu.read64(RSI)]).toEqual([0x1ff8n, 0x1_1000n]);
    expect(cpu.read64(L.F_RES)).toBe(0x1234n);
  });

  it('leave the flags alone while iterations remain', () => {
    set({ rcx: 0x2_0000n, rsi: 0x20_0000n, rdi: 0x40_0000n });
    cpu.write64(L.F_RES, 0x1234n);
    expect(cpu.call('cmps', 1, 8, L.DS, 1)).toBe(JUMP);
    expect(cpu.read64(L.F_RES)).toBe(0x1234n);
    expect(finish('cmps', 1, 8, L.DS, 1)).toBe(OK);
    expect(flags().zf).toBe(true);
  });
});
