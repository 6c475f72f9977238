import { beforeEach, describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { instantiate } from '../helpers/cpu-wasm.ts';
import type { CpuWasm } from '../helpers/cpu-wasm.ts';
import { P, paging, privilege, takeFault } from '../helpers/page-tables.ts';

let cpu: CpuWasm;
beforeEach(() => {
  cpu = instantiate();
});

describe('segments', () => {
  const segment = (number: number, values: { base?: bigint; limit?: number; access?: number }) => {
    const at = L.SEGMENTS + number * L.SEGMENT_SIZE;
    if (values.base !== undefined) cpu.write64(at + L.SEG_BASE, values.base);
    if (values.limit !== undefined) cpu.write32(at + L.SEG_LIMIT, values.limit);
    if (values.access !== undefined) cpu.write32(at + L.SEG_ACCESS, values.access);
  };
  /** The linear address, or the vector of the fault. */
  const address = (number: number, offset: bigint, size: number, write: number) => {
    const la = cpu.callBig('segmentAddress', number, offset, size, write);
    const fault = takeFault(cpu);
    if (fault) expect(fault.error).toBe(0);
    return fault ? fault.vector : la;
  };

  it('add their base and wrap at 4 GiB', () => {
    segment(L.DS, { base: 0xffff_f000n });
    expect(address(L.DS, 0x2000n, 4, 0)).toBe(0x1000n);
  });

  it('expand-up ones end with their limit', () => {
    segment(L.DS, { limit: 0xffff });
    expect(address(L.DS, 0xfffcn, 4, 1)).toBe(0xfffcn);
    expect(address(L.DS, 0xfffdn, 4, 1)).toBe(13);
    expect(address(L.DS, 0xffff_fffen, 4, 0)).toBe(13);
    segment(L.SS, { limit: 0xffff });
    expect(address(L.SS, 0x1_0000n, 1, 0)).toBe(12);
  });

  it('expand-down ones begin after their limit and end with their size', () => {
    segment(L.DS, { limit: 0xfff, access: 0x97 });
    expect(address(L.DS, 0xfffn, 1, 0)).toBe(13);
    expect(address(L.DS, 0x1000n, 4, 1)).toBe(0x1000n);
    expect(address(L.DS, 0xfffdn, 4, 1)).toBe(13);
    segment(L.DS, { access: 0x4097 });
    expect(address(L.DS, 0xfffdn, 4, 1)).toBe(0xfffdn);
    expect(address(L.DS, 0xffff_fffdn, 4, 1)).toBe(13);
  });

  it('allow what their type allows', () => {
    const rows = [
      // access rights, readable, writable
      [0x91, true, false], [0x93, true, true], [0x99, false, false], [0x9b, true, false], [0x1_0093, false, false], [0x13, false, false],
    ] as const;
    for (const [access, readable, writable] of rows) {
      segment(L.DS, { access });
      expect([access, address(L.DS, 0n, 1, 0)]).toEqual([access, readable ? 0n : 13]);
      expect([access, address(L.DS, 0n, 1, 1)]).toEqual([access, writable ? 0n : 13]);
    }
  });

  it('in real mode have limits and no types', () => {
    cpu.write32(L.REAL_SEGMENTS, 1);
    segment(L.CS, { access: 0x9b, limit: 0xffff });
    expect(address(L.CS, 0x10n, 2, 1)).toBe(0x10n);
    expect(address(L.CS, 0xffffn, 2, 1)).toBe(13);
  });

  it('in 64-bit mode only FS and GS have a base, and only the canonical form is checked', () => {
    paging(cpu, '4-level');
    segment(L.DS, { base: 0x5000n, limit: 0, access: 0x1_0000 });
    segment(L.FS, { base: 0x7fff_ffff_f000n });
    expect(address(L.DS, 0x1000n, 8, 1)).toBe(0x1000n);
    expect(address(L.FS, 0x10n, 8, 1)).toBe(0x7fff_ffff_f010n);
    expect(address(L.FS, 0xff9n, 8, 1)).toBe(13);
    expect(address(L.FS, 0x1000n, 8, 1)).toBe(13);
    expect(address(L.SS, 0x8000_0000_0000n, 8, 1)).toBe(12);
  });
});

describe('the stack', () => {
  const RSP = L.GPR + 32;

  it('wraps in its width and keeps the rest of the register', () => {
    cpu.write32(L.STACK_SIZE, 0);
    cpu.write64(RSP, 0x1234_0002n);
    cpu.call('push', 0xabcdn, 2);
    cpu.call('push', 0x5678n, 2);
    expect(cpu.read64(RSP)).toBe(0x1234_fffen);
    expect([cpu.call('readU16', 0xfffen), cpu.call('readU16', 0n)]).toEqual([0x5678, 0xabcd]);
    expect(cpu.callBig('pop', 2)).toBe(0x5678n);
    expect(cpu.callBig('pop', 2)).toBe(0xabcdn);
    expect(cpu.read64(RSP)).toBe(0x1234_0002n);
  });

  it('pointer stays when a push or pop faults', () => {
    const tables = paging(cpu, '4-level');
    tables.map(0x1000n, 0x9000n, P);
    privilege(cpu, 3);
    cpu.write64(RSP, 0x1010n);
    cpu.call('push', 1n, 8);
    expect(takeFault(cpu)).toMatchObject({ vector: 14, error: 7, address: 0x1008n });
    expect(cpu.callBig('pop', 8)).toBe(0n);
    expect(takeFault(cpu)).toMatchObject({ vector: 14, error: 5 });
    expect(cpu.read64(RSP)).toBe(0x1010n);
  });
});
