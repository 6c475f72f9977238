import { beforeEach, describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { instantiate } from '../helpers/cpu-wasm.ts';
import type { CpuWasm } from '../helpers/cpu-wasm.ts';
import { A, P, W, paging, ram, takeFault } from '../helpers/page-tables.ts';

const PAGE = 0x20_3000;
let cpu: CpuWasm;

beforeEach(() => {
  cpu = instantiate();
  cpu.call('dropAllCode');
});

/** Makes the page look as if the bytes [from, to) of it had been decoded. */
function decode(gpa: number, from: number, to: number): void {
  const descriptor = cpu.call('allocateCode', 32);
  cpu.write32(descriptor + 24, gpa >>> 12);
  cpu.write32(L.PAGE_CODE + (gpa >>> 12) * 4, descriptor);
  cpu.call('markDecoded', descriptor, from, to);
  cpu.call('dropPageWrites', gpa >>> 12);
}

const holdsCode = (gpa: number) => cpu.read32(L.PAGE_CODE + (gpa >>> 12) * 4) !== 0;
const writeEntry = (la: number) => cpu.read64(L.TLB_SUPERVISOR + L.TLB_WRITE + ((la >>> 8) & L.TLB_DATA_MASK)) === BigInt.asUintN(64, -BigInt(la & ~0xfff));

describe('writes to a page with decoded code', () => {
  it('drop it when they hit decoded bytes, and are fast afterwards', () => {
    cpu.call('writeU8', BigInt(PAGE), 1);
    expect(writeEntry(PAGE)).toBe(true);
    decode(PAGE, 0x100, 0x120);
    expect(writeEntry(PAGE)).toBe(false);
    cpu.call('writeU8', BigInt(PAGE + 0x110), 0x90);
    expect(holdsCode(PAGE)).toBe(false);
    expect(cpu.bytes[ram(PAGE + 0x110)]).toBe(0x90);
    cpu.call('writeU8', BigInt(PAGE + 0x110), 0x91);
    expect(writeEntry(PAGE)).toBe(true);
  });

  it('leave it when they hit other bytes, and go on being seen', () => {
    decode(PAGE, 0x100, 0x120);
    cpu.call('writeU32', BigInt(PAGE + 0x800), 5);
    expect(holdsCode(PAGE)).toBe(true);
    expect(writeEntry(PAGE)).toBe(false);
    expect(cpu.read32(ram(PAGE + 0x800))).toBe(5);
  });

  it('are seen on both sides of a page boundary', () => {
    for (const side of [0, 1]) {
      decode(PAGE + side * 0x1000, side ? 0 : 0xff0, side ? 16 : 0x1000);
      cpu.call('writeU32', BigInt(PAGE + 0xffe), 0);
      expect(holdsCode(PAGE + side * 0x1000)).toBe(false);
    }
  });

  it('are seen in string instructions, whatever the direction', () => {
    for (const flags of [2, 0x402]) {
      decode(PAGE, 0x100, 0x120);
      cpu.write32(L.EFLAGS, flags);
      cpu.write64(L.GPR, 0xccn);
      cpu.write64(L.GPR + 8, 0x1000n);
      cpu.write64(L.GPR + 56, BigInt(PAGE + (flags === 2 ? -0x800 : 0x800)));
      while (cpu.call('stos', 1, 4, L.DS, 1) === 2);
      expect(holdsCode(PAGE)).toBe(false);
      expect(cpu.bytes[ram(PAGE + 0x110)]).toBe(0xcc);
    }
  });

  it('are seen when the processor sets an accessed flag there', () => {
    const tables = paging(cpu, '4-level');
    tables.map(0x5000n, 0x9000n, P | W);
    const entry = Number(tables.entryAt(0x5000n, 1));
    decode(entry & ~0xfff, entry & 0xfc0, (entry & 0xfc0) + 64);
    cpu.call('readU8', 0x5000n);
    expect(tables.get(0x5000n, 1) & A).toBe(A);
    expect(holdsCode(entry & ~0xfff)).toBe(false);
    expect(takeFault(cpu)).toBeUndefined();
  });

  it('that fault leave it', () => {
    const tables = paging(cpu, '4-level');
    tables.map(0x5000n, BigInt(PAGE), P | W);
    tables.map(0x6000n, 0n, 0n);
    decode(PAGE, 0xf00, 0x1000);
    cpu.call('writeU32', 0x5ffen, 0);
    expect(takeFault(cpu)).toMatchObject({ vector: 14, address: 0x6000n });
    expect(holdsCode(PAGE)).toBe(true);
  });
});

describe('the memory of dropped code', () => {
  const invalidate = (gpa: number): void => void cpu.call('writeU8', BigInt(gpa), 0);
  /** Decoded code with a table, as lookup and decode make it. */
  function table(gpa: number): number {
    decode(gpa, 0x100, 0x120);
    const descriptor = cpu.read32(L.PAGE_CODE + (gpa >>> 12) * 4);
    const at = cpu.call('allocateTable');
    cpu.write32(descriptor + 8, at);
    cpu.write32(at + 0x100 * 4, cpu.call('allocateRun', descriptor, 3) + 32);
    return at;
  }

  it('is used again, empty', () => {
    const before = table(PAGE);
    invalidate(PAGE + 0x110);
    const end = cpu.read32(L.CODE_NEXT);
    expect(table(PAGE + 0x5000)).toBe(before);
    expect(cpu.read32(L.CODE_NEXT) - end, 'a descriptor is all that is new').toBe(32);
    expect(cpu.read32(before)).toBe(0);
  });

  it('is not when a region on another page takes the table for a sign that its code is unchanged', () => {
    const before = table(PAGE);
    cpu.write32(cpu.read32(L.PAGE_CODE + (PAGE >>> 12) * 4) + 28, 1);
    invalidate(PAGE + 0x110);
    expect(table(PAGE)).not.toBe(before);
    expect(cpu.read32(before + 0x100 * 4)).toBe(0);
  });
});
