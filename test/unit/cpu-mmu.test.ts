import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { instantiate } from '../helpers/cpu-wasm.ts';
import type { CpuWasm } from '../helpers/cpu-wasm.ts';

const ram = (gpa: number) => L.RAM_BASE + gpa;

/** 4-level paging with CR3 = 0x1000 and one table a level: `la` maps through entries that the caller sets. */
function longMode(): CpuWasm {
  const cpu = instantiate();
  cpu.write32(L.CR0, 0x8001_0011);
  cpu.write64(L.CR3, 0x1000n);
  cpu.write32(L.CR4, 0xa0);
  cpu.write32(L.EFER, 0xd01);
  cpu.write32(L.CODE_SIZE, 2);
  cpu.write32(L.STACK_SIZE, 2);
  return cpu;
}

describe('the helpers without paging', () => {
  it('reads and writes guest RAM at its physical address', () => {
    const cpu = instantiate();
    cpu.call('writeU32', 0x12345n, 0xdead_beef);
    expect(cpu.read32(ram(0x12345))).toBe(0xdead_beef);
    expect(cpu.call('readU16', 0x12346n)).toBe(0xadbe);
    expect(cpu.read32(L.FAULT)).toBe(0);
  });
});

describe('4-level paging', () => {
  it('translates through four levels and sets accessed and dirty flags', () => {
    const cpu = longMode();
    cpu.write64(ram(0x1000), 0x2007n);
    cpu.write64(ram(0x2000), 0x3007n);
    cpu.write64(ram(0x3000), 0x4007n);
    cpu.write64(ram(0x4000 + 5 * 8), 0x9007n);
    cpu.write32(ram(0x9010), 0x55aa_1234);
    expect(cpu.call('readU32', 0x5010n)).toBe(0x55aa_1234);
    expect(cpu.read64(ram(0x1000))).toBe(0x2027n);
    expect(cpu.read64(ram(0x4000 + 5 * 8))).toBe(0x9027n);
    cpu.call('writeU8', 0x5011n, 0x77);
    expect(cpu.read64(ram(0x4000 + 5 * 8))).toBe(0x9067n);
    expect(cpu.call('readU32', 0x5010n)).toBe(0x55aa_7734);
    expect(cpu.read32(L.FAULT)).toBe(0);
  });
});
