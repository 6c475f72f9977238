import { beforeEach, describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { instantiate } from '../helpers/cpu-wasm.ts';
import type { CpuWasm } from '../helpers/cpu-wasm.ts';
import { D, P, U, W, paging, privilege, ram, takeFault } from '../helpers/page-tables.ts';

const RAX = L.GPR;
const RCX = L.GPR + 8;
const RDX = L.GPR + 16;
const RBX = L.GPR + 24;
const RSI = L.GPR + 48;
const RDI = L.GPR + 56;
const OK = 0;
const FAULTED = 1;
const JUMP = 2;

let cpu: CpuWasm;
beforeEach(() => {
  cpu = instantiate();
});

describe('INS and OUTS', () => {
  it('move elements between a port and memory', () => {
    let next = 0x11;
    cpu.device.port = () => next++;
    cpu.write64(RCX, 3n);
    cpu.write64(RDX, 0x1_01f0n);
    cpu.write64(RDI, 0x2000n);
    expect(cpu.call('ins', 1, 4, L.DS, 1)).toBe(OK);
    expect(Array.from(cpu.bytes.subarray(ram(0x2000), ram(0x2004)))).toEqual([0x11, 0x12, 0x13, 0]);
    expect([cpu.read64(RCX), cpu.read64(RDI)]).toEqual([0n, 0x2003n]);
    cpu.log.length = 0;
    cpu.write32(ram(0x3000), 0x4433_2211);
    cpu.write64(RSI, 0x3002n);
    cpu.write64(RCX, 2n);
    cpu.write32(L.EFLAGS, 0x402);
    expect(cpu.call('outs', 2, 4, L.DS, 1)).toBe(OK);
    expect(cpu.log).toEqual([
      { kind: 'out', address: 0x1f0, size: 2, value: 0x4433n },
      { kind: 'out', address: 0x1f0, size: 2, value: 0x2211n },
    ]);
    expect(cpu.read64(RSI)).toBe(0x2ffen);
  });

  it('know no 8-byte elements', () => {
    cpu.write64(RDI, 0x2000n);
    cpu.write64(RDX, 0x70n);
    expect(cpu.call('ins', 8, 4, L.DS, 0)).toBe(OK);
    expect(cpu.log).toMatchObject([{ kind: 'in', size: 4 }]);
    expect(cpu.read64(RDI)).toBe(0x2004n);
  });

  it('INS reads the port only when the store cannot fault', () => {
    const tables = paging(cpu, '4-level');
    tables.map(0x1_0000n, 0x30_0000n, P | W | U);
    cpu.write64(RCX, 4n);
    cpu.write64(RDI, 0x1_0ffcn);
    expect(cpu.call('ins', 2, 8, L.DS, 1)).toBe(FAULTED);
    expect(takeFault(cpu)).toMatchObject({ vector: 14, error: 2, address: 0x1_1000n });
    expect(cpu.log).toHaveLength(2);
    expect([cpu.read64(RCX), cpu.read64(RDI)]).toEqual([2n, 0x1_1000n]);
  });

  it('check the permission before they touch memory', () => {
    const tables = paging(cpu, '4-level');
    tables.map(0x1_0000n, 0n, 0n);
    privilege(cpu, 3);
    cpu.write64(RDI, 0x1_0000n);
    cpu.write64(RSI, 0x1_0000n);
    expect(cpu.call('ins', 1, 8, L.DS, 0)).toBe(FAULTED);
    expect(takeFault(cpu)).toMatchObject({ vector: 13, error: 0 });
    expect(cpu.call('outs', 1, 8, L.DS, 0)).toBe(FAULTED);
    expect(takeFault(cpu)).toMatchObject({ vector: 13, error: 0 });
    expect(cpu.log).toEqual([]);
  });

  it('come back for interrupts', () => {
    cpu.write64(RCX, 0x2_0000n);
    cpu.write64(RDI, 0x20_0000n);
    expect(cpu.call('ins', 4, 4, L.DS, 1)).toBe(JUMP);
    expect(cpu.read64(RCX)).toBeGreaterThan(0n);
  });
});

describe('CMPXCHG8B and CMPXCHG16B', () => {
  const zf = () => (cpu.callBig('readFlags') & 0x40n) !== 0n;

  function registers(rax: bigint, rdx: bigint): void {
    cpu.write64(RAX, rax);
    cpu.write64(RDX, rdx);
    cpu.write64(RBX, 0xffff_ffff_0bad_cafen);
    cpu.write64(RCX, 0xffff_ffff_dead_beefn);
  }

  it.each([0x1000n, 0x1001n, 0x1ffdn])('CMPXCHG8B exchanges what is equal and loads what is not, at %#', (la) => {
    cpu.call('writeU64', la, 0x1122_3344_5566_7788n);
    cpu.call('writeFlags', 0x8d5n, 0x8d5n);
    registers(0x9999_5566_7788n, 0x9999_1122_3344n);
    expect(cpu.call('cmpxchg8b', la)).toBe(OK);
    expect(zf()).toBe(true);
    expect(cpu.callBig('readU64', la)).toBe(0xdead_beef_0bad_cafen);
    expect(cpu.read64(RAX)).toBe(0x9999_5566_7788n);
    expect(cpu.call('cmpxchg8b', la)).toBe(OK);
    expect(zf()).toBe(false);
    expect([cpu.read64(RAX), cpu.read64(RDX)]).toEqual([0x0bad_cafen, 0xdead_beefn]);
    expect(cpu.callBig('readU64', la)).toBe(0xdead_beef_0bad_cafen);
    // The other status flags stay.
    expect(cpu.callBig('readFlags') & 0x895n).toBe(0x895n);
  });

  it('CMPXCHG16B compares and stores whole registers', () => {
    cpu.write64(ram(0x2000), 1n);
    cpu.write64(ram(0x2008), 2n);
    registers(1n, 2n);
    expect(cpu.call('cmpxchg16b', 0x2000n)).toBe(OK);
    expect(zf()).toBe(true);
    expect([cpu.read64(ram(0x2000)), cpu.read64(ram(0x2008))]).toEqual([0xffff_ffff_0bad_cafen, 0xffff_ffff_dead_beefn]);
    registers(1n, 0xffff_ffff_dead_beefn);
    expect(cpu.call('cmpxchg16b', 0x2000n)).toBe(OK);
    expect(zf()).toBe(false);
    expect([cpu.read64(RAX), cpu.read64(RDX)]).toEqual([0xffff_ffff_0bad_cafen, 0xffff_ffff_dead_beefn]);
  });

  it('CMPXCHG16B raises #GP(0) off its alignment, before a page fault', () => {
    paging(cpu, '4-level');
    expect(cpu.call('cmpxchg16b', 0x2008n)).toBe(FAULTED);
    expect(takeFault(cpu)).toMatchObject({ vector: 13, error: 0 });
  });

  it('take a write cycle even when nothing is exchanged', () => {
    const tables = paging(cpu, '4-level');
    tables.map(0x1000n, 0x9000n, P | W);
    tables.map(0x2000n, 0xa000n, P | U);
    registers(5n, 5n);
    expect(cpu.call('cmpxchg8b', 0x1000n)).toBe(OK);
    expect(tables.get(0x1000n, 1) & D).toBe(D);
    privilege(cpu, 3);
    registers(5n, 5n);
    expect(cpu.call('cmpxchg8b', 0x2000n)).toBe(FAULTED);
    expect(takeFault(cpu)).toMatchObject({ vector: 14, error: 7 });
    expect(cpu.read64(RAX)).toBe(5n);
  });
});
