import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { instantiate } from '../helpers/cpu-wasm.ts';
import { privilege, ram, takeFault } from '../helpers/page-tables.ts';

const RAM = 1 << 20;
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const u64 = fc.oneof(
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc.bigInt({ min: 0n, max: 0x20_0000n }),
  fc.constantFrom(0xffff_ffffn, 0xffff_fffen, 0x7fff_ffff_ffffn, 0xffff_ffff_ffff_ffffn, 0xfffff_ffffn, 0xf_fffen),
);
/** Paging-structure entries with a fair chance to be taken: small addresses, any bits. */
const entry = fc.oneof(fc.bigInt({ min: 0n, max: 0xf_ffffn }).map((value) => value | 1n), fc.bigInt({ min: 0n, max: 0xf_ffffn }).map((value) => value | 7n), u64);

const hostile = fc.record({
  cr0: u32, cr4: u32, efer: u32, eflags: u32, pkru: u32, codeSize: fc.nat(2), cpl: fc.nat(3), stack: fc.nat(2), real: fc.nat(1),
  cr3: fc.oneof(fc.bigInt({ min: 0n, max: 0xf_ffffn }), u64), dr7: u32, dr: fc.array(u64, { minLength: 4, maxLength: 4 }),
  pdptes: fc.array(entry, { minLength: 4, maxLength: 4 }),
  structures: fc.array(entry, { minLength: 64, maxLength: 64 }),
  segments: fc.array(fc.record({ base: u64, limit: u32, access: u32 }), { minLength: 8, maxLength: 8 }),
  gpr: fc.array(u64, { minLength: 16, maxLength: 16 }),
  addresses: fc.array(u64, { minLength: 6, maxLength: 6 }),
});

describe('whatever state a guest puts the processor in', () => {
  it('memory accesses, strings and flushes end with a result or a fault and touch nothing outside guest memory', () => {
    const cpu = instantiate(RAM);
    const guard = 0x5a;
    // What lies beyond the end of RAM and before the look-aside tables must stay as it is.
    cpu.bytes.fill(guard, ram(RAM), ram(RAM) + 0x1_0000);
    cpu.bytes.fill(guard, 0x18000, L.VCPU_STATES);
    fc.assert(
      fc.property(hostile, (s) => {
        for (let page = 0; page < RAM; page += 512) cpu.write64(ram(page), s.structures[(page >>> 9) % 64] ?? 0n);
        cpu.write32(L.CR0, s.cr0);
        cpu.write32(L.CR4, s.cr4);
        cpu.write32(L.EFER, s.efer);
        cpu.write64(L.CR3, s.cr3);
        cpu.write32(L.EFLAGS, s.eflags & ~0x8d5);
        cpu.write32(L.PKRU, s.pkru);
        cpu.write32(L.CODE_SIZE, s.codeSize);
        cpu.write32(L.STACK_SIZE, s.stack);
        cpu.write32(L.REAL_SEGMENTS, s.real);
        cpu.write64(L.DR7, BigInt(s.dr7));
        s.dr.forEach((value, i) => cpu.write64(L.DR0 + i * 8, value));
        s.pdptes.forEach((value, i) => cpu.write64(L.PDPTE + i * 8, value));
        s.segments.forEach((segment, i) => {
          cpu.write64(L.SEGMENTS + i * L.SEGMENT_SIZE + L.SEG_BASE, segment.base);
          cpu.write32(L.SEGMENTS + i * L.SEGMENT_SIZE + L.SEG_LIMIT, segment.limit);
          cpu.write32(L.SEGMENTS + i * L.SEGMENT_SIZE + L.SEG_ACCESS, segment.access);
        });
        privilege(cpu, s.cpl);
        cpu.call('flushBanks');
        cpu.log.length = 0;
        const check = () => {
          const fault = takeFault(cpu);
          if (fault) expect([6, 12, 13, 14, 17]).toContain(fault.vector);
        };
        for (const la of s.addresses) {
          for (const name of ['readU8', 'readU16', 'readU32', 'readU64', 'sysReadU64', 'translateExecute', 'flushPage', 'cmpxchg8b', 'cmpxchg16b']) {
            cpu.call(name, la);
            check();
          }
          cpu.call('writeU32', la, 0x5555_5555);
          check();
          cpu.call('sysWriteU64', la, 0x5555_5555_5555_5555n);
          check();
          for (const name of ['slowRead', 'slowStore', 'probeWrite']) {
            cpu.call(name, la, 64);
            check();
          }
          cpu.call('loadPdptes', la);
          if (cpu.call('slowWrite', la, 32) === L.BOUNCE) cpu.call('commitWrite');
          check();
        }
        cpu.call('flushAccessCheck');
        cpu.call('flushNonGlobal');
        for (const name of ['movs', 'stos', 'lods', 'cmps', 'scas', 'ins', 'outs']) {
          for (const size of [1, 2, 4, 8]) {
            s.gpr.forEach((value, i) => cpu.write64(L.GPR + i * 8, i === 1 ? value & 0x3ffn : value));
            cpu.call(name, size, [2, 4, 8][s.codeSize] ?? 8, s.cpl + 2, 1);
            check();
          }
        }
        cpu.call('push', 1n, 8);
        check();
        cpu.call('pop', 4);
        check();
      }),
      { numRuns: 400 },
    );
    expect(cpu.bytes.subarray(ram(RAM), ram(RAM) + 0x1_0000).every((byte) => byte === guard)).toBe(true);
    expect(cpu.bytes.subarray(L.WINDOWS_FOR + 4, L.VCPU_STATES).every((byte) => byte === guard)).toBe(true);
  });
});
