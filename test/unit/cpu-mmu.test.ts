import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { instantiate } from '../helpers/cpu-wasm.ts';
import type { CpuWasm } from '../helpers/cpu-wasm.ts';
import { A, AC, CR0_WP, CR4, D, EFER_NXE, P, PS, U, W, XD, paging, privilege, ram, takeFault } from '../helpers/page-tables.ts';
import type { Mode, Tables } from '../helpers/page-tables.ts';

const PAGED: readonly Mode[] = ['32-bit', 'PAE', '4-level', '5-level'];
const LA = 0x40_5000n;

function start(mode: Mode): { cpu: CpuWasm; tables: Tables } {
  const cpu = instantiate();
  return { cpu, tables: paging(cpu, mode) };
}

function setBits(cpu: CpuWasm, register: number, bits: number): void {
  cpu.write32(register, cpu.read32(register) | bits);
  cpu.call('flushBanks');
}

type Kind = 'read' | 'write' | 'fetch' | 'implicit';

/** Does one access and returns the error code of its page fault, or 'ok'. */
function attempt(cpu: CpuWasm, kind: Kind, la = LA): number | 'ok' {
  if (kind === 'read') cpu.call('readU8', la);
  else if (kind === 'write') cpu.call('writeU8', la, 1);
  else if (kind === 'fetch') cpu.call('translateExecute', la);
  else cpu.call('sysReadU8', la);
  const fault = takeFault(cpu);
  if (!fault) return 'ok';
  expect(fault.vector).toBe(14);
  expect(fault.address).toBe(la);
  return fault.error ?? -1;
}

describe('without paging', () => {
  it('a linear address is the physical one', () => {
    const cpu = instantiate();
    cpu.call('writeU32', 0x12345n, 0xdead_beef);
    expect(cpu.read32(ram(0x12345))).toBe(0xdead_beef);
    expect(cpu.call('readU16', 0x12346n)).toBe(0xadbe);
    expect(takeFault(cpu)).toBeUndefined();
  });

  it('an access across 4 GiB wraps to address 0', () => {
    const cpu = instantiate();
    cpu.write32(ram(0), 0x1122_3344);
    expect(cpu.call('readU32', 0xffff_fffen) >>> 0).toBe(0x3344_a5a5);
    expect(cpu.log).toEqual([{ kind: 'read', address: 0xffff_fffe, size: 2, value: 0xa5a5n }]);
  });
});

describe.each(PAGED)('%s paging', (mode) => {
  it('translates, and sets the accessed flag in every entry used, the dirty flag in the leaf on a write only', () => {
    const { cpu, tables } = start(mode);
    tables.map(LA, 0x9000n, P | W);
    cpu.write32(ram(0x9010), 0x55aa_1234);
    expect(cpu.call('readU32', LA + 0x10n)).toBe(0x55aa_1234);
    expect(tables.get(LA, 1)).toBe(0x9000n | P | W | A);
    expect(tables.get(LA, 2) & (A | D)).toBe(A);
    cpu.call('writeU8', LA + 0x11n, 0x77);
    expect(tables.get(LA, 1)).toBe(0x9000n | P | W | A | D);
    expect(tables.get(LA, 2) & (A | D)).toBe(A);
    expect(cpu.read32(ram(0x9010))).toBe(0x55aa_7734);
    expect(takeFault(cpu)).toBeUndefined();
  });

  it('a page that is not present faults with the kind of the access alone in the error code', () => {
    const { cpu, tables } = start(mode);
    tables.map(LA, 0x9000n, 0n);
    expect(attempt(cpu, 'read')).toBe(0);
    expect(attempt(cpu, 'write')).toBe(2);
    privilege(cpu, 3);
    expect(attempt(cpu, 'read')).toBe(4);
    expect(attempt(cpu, 'write')).toBe(6);
    expect(attempt(cpu, 'implicit')).toBe(0);
    tables.set(LA, 2, 0n);
    expect(attempt(cpu, 'write')).toBe(6);
  });

  it('reports an instruction fetch only with SMEP or with NX enabled', () => {
    const { cpu, tables } = start(mode);
    tables.map(LA, 0x9000n, 0n);
    expect(attempt(cpu, 'fetch')).toBe(0);
    setBits(cpu, L.CR4, CR4.SMEP);
    expect(attempt(cpu, 'fetch')).toBe(16);
    cpu.write32(L.CR4, cpu.read32(L.CR4) & ~CR4.SMEP);
    setBits(cpu, L.EFER, EFER_NXE);
    expect(attempt(cpu, 'fetch')).toBe(mode === '32-bit' ? 0 : 16);
  });

  it('grants user accesses only when every level does', () => {
    for (const [leaf, upper] of [[P | W, P | W | U], [P | W | U, P | W]] as const) {
      const { cpu, tables } = start(mode);
      tables.map(LA, 0x9000n, leaf, { upper });
      privilege(cpu, 3);
      expect(attempt(cpu, 'read')).toBe(5);
      expect(attempt(cpu, 'write')).toBe(7);
      privilege(cpu, 0);
      expect(attempt(cpu, 'read')).toBe('ok');
      expect(attempt(cpu, 'write')).toBe('ok');
    }
  });

  it('grants writes only when every level does, to supervisors also unless CR0.WP is set', () => {
    for (const [leaf, upper] of [[P | U, P | W | U], [P | W | U, P | U]] as const) {
      const { cpu, tables } = start(mode);
      tables.map(LA, 0x9000n, leaf, { upper });
      privilege(cpu, 3);
      expect(attempt(cpu, 'write')).toBe(7);
      expect(tables.get(LA, 1) & D).toBe(0n);
      privilege(cpu, 0);
      expect(attempt(cpu, 'write')).toBe('ok');
      setBits(cpu, L.CR0, CR0_WP);
      expect(attempt(cpu, 'write')).toBe(3);
      expect(attempt(cpu, 'read')).toBe('ok');
    }
  });

  it('SMEP forbids supervisors to fetch from user pages', () => {
    const { cpu, tables } = start(mode);
    tables.map(LA, 0x9000n, P | U);
    expect(cpu.call('translateExecute', LA + 5n)).toBe(0x9005);
    setBits(cpu, L.CR4, CR4.SMEP);
    expect(attempt(cpu, 'fetch')).toBe(17);
    privilege(cpu, 3);
    expect(attempt(cpu, 'fetch')).toBe('ok');
  });

  it('SMAP forbids supervisors to reach user pages unless EFLAGS.AC is set, implicit accesses always', () => {
    const { cpu, tables } = start(mode);
    tables.map(LA, 0x9000n, P | W | U);
    setBits(cpu, L.CR4, CR4.SMAP);
    expect(attempt(cpu, 'read')).toBe(1);
    expect(attempt(cpu, 'write')).toBe(3);
    cpu.write32(L.EFLAGS, 2 | AC);
    cpu.call('flushAccessCheck');
    expect(attempt(cpu, 'read')).toBe('ok');
    expect(attempt(cpu, 'write')).toBe('ok');
    expect(attempt(cpu, 'implicit')).toBe(1);
    cpu.write32(L.EFLAGS, 2);
    cpu.call('flushAccessCheck');
    expect(attempt(cpu, 'read')).toBe(1);
    expect(attempt(cpu, 'write')).toBe(3);
    privilege(cpu, 3);
    expect(attempt(cpu, 'write')).toBe('ok');
  });

  it('structures that no memory backs read as ones, and never crash', () => {
    const { cpu, tables } = start(mode);
    tables.map(LA, 0x9000n, P | W);
    tables.set(LA, 2, 0xfee0_0000n | P | W | U);
    const outcome = attempt(cpu, 'read');
    // Of 64-bit entries of ones some bit is reserved; a 32-bit one is a page of MMIO.
    expect(outcome).toBe(mode === '32-bit' ? 'ok' : 9);
    if (mode === '32-bit') expect(cpu.log.at(-1)).toMatchObject({ kind: 'read', address: 0xffff_f000 });
  });

  it('flags of structures in ROM cannot be set, and need not be', () => {
    const { cpu, tables } = start(mode);
    tables.map(LA, 0x9000n, P | W);
    cpu.ept.map(0x100000, 0x20000, L.PAGE_ROM);
    expect(attempt(cpu, 'write')).toBe('ok');
    expect(tables.get(LA, 1)).toBe(0x9000n | P | W);
  });
});

describe('large pages', () => {
  it('32-bit paging maps 4 MiB, and 40 bits of address with PSE-36', () => {
    const { cpu, tables } = start('32-bit');
    tables.map(0x80_0000n, 0x40_0000n, P | W | PS, { level: 2 });
    cpu.write32(ram(0x41_2344), 0x1357_9bdf);
    expect(cpu.call('readU32', 0x81_2344n)).toBe(0x1357_9bdf);
    expect(tables.get(0x80_0000n, 2)).toBe(0x40_0000n | P | W | PS | A);
    tables.map(0x80_0000n, (0x12n << 13n), P | W | PS, { level: 2 });
    cpu.call('flushBanks');
    cpu.call('readU32', 0x81_2344n);
    expect(cpu.log.at(-1)?.address).toBe(0x12_0001_2344);
    tables.map(0x80_0000n, 0x20_0000n, P | W | PS, { level: 2 });
    cpu.call('flushBanks');
    expect(attempt(cpu, 'write', 0x80_0000n)).toBe(11);
  });

  it('the PS flag of a page-directory entry is ignored without CR4.PSE', () => {
    const { cpu, tables } = start('32-bit');
    cpu.write32(L.CR4, 0);
    tables.map(LA, 0x9000n, P | W, { upper: P | W | PS });
    expect(cpu.call('readU32', LA)).toBe(cpu.read32(ram(0x9000)));
    expect(takeFault(cpu)).toBeUndefined();
  });

  it.each(['PAE', '4-level', '5-level'] as const)('%s paging maps 2 MiB; bits 20:13 are reserved', (mode) => {
    const { cpu, tables } = start(mode);
    tables.map(0x60_0000n, 0x20_0000n, P | W | PS | 0x1000n, { level: 2 });
    cpu.write32(ram(0x31_2344), 0x1357_9bdf);
    expect(cpu.call('readU32', 0x71_2344n)).toBe(0x1357_9bdf);
    for (let bit = 13n; bit <= 20n; bit++) {
      tables.map(0x60_0000n, 0x20_0000n | (1n << bit), P | W | PS, { level: 2 });
      cpu.call('flushBanks');
      expect(attempt(cpu, 'read', 0x60_0000n)).toBe(9);
    }
  });

  it('4-level paging maps 1 GiB; bits 29:13 are reserved', () => {
    const { cpu, tables } = start('4-level');
    tables.map(0x4000_0000n, 0n, P | W | PS, { level: 3 });
    cpu.write32(ram(0x51_2344), 0x1357_9bdf);
    expect(cpu.call('readU32', 0x4051_2344n)).toBe(0x1357_9bdf);
    tables.map(0x4000_0000n, 1n << 29n, P | W | PS, { level: 3 });
    cpu.call('flushBanks');
    expect(attempt(cpu, 'read', 0x4000_0000n)).toBe(9);
  });
});

describe('reserved bits', () => {
  it('the PS flag of a PML4 or PML5 entry is reserved', () => {
    for (const level of [4, 5]) {
      const { cpu, tables } = start('5-level');
      tables.map(LA, 0x9000n, P | W);
      tables.set(LA, level, tables.get(LA, level) | PS);
      expect(attempt(cpu, 'read')).toBe(9);
    }
  });

  it('address bits the processor does not have are reserved at every level', () => {
    for (const level of [1, 2, 3, 4]) {
      const { cpu, tables } = start('4-level');
      tables.map(LA, 0x9000n, P | W);
      tables.set(LA, level, tables.get(LA, level) | (1n << 45n));
      privilege(cpu, 3);
      expect(attempt(cpu, 'write')).toBe(15);
    }
  });

  it('bits 62:52 are reserved with PAE paging only', () => {
    for (const mode of ['PAE', '4-level'] as const) {
      const { cpu, tables } = start(mode);
      tables.map(LA, 0x9000n, P | W | (1n << 55n));
      expect(attempt(cpu, 'read')).toBe(mode === 'PAE' ? 9 : 'ok');
    }
  });

  it.each(['PAE', '4-level'] as const)('%s: bit 63 is reserved without NXE and forbids fetches with it', (mode) => {
    for (const level of [1, 2]) {
      const { cpu, tables } = start(mode);
      tables.map(LA, 0x9000n, P | W);
      tables.set(LA, level, tables.get(LA, level) | XD);
      expect(attempt(cpu, 'read')).toBe(9);
      setBits(cpu, L.EFER, EFER_NXE);
      expect(attempt(cpu, 'read')).toBe('ok');
      expect(attempt(cpu, 'fetch')).toBe(17);
    }
  });
});

describe('PDPTE registers', () => {
  it('are loaded together, or not at all when a present entry has a reserved bit', () => {
    const { cpu } = start('PAE');
    for (let i = 0; i < 4; i++) cpu.write64(ram(0x7020 + i * 8), BigInt(0x20_0000 + i * 0x1000) | P | 0x18n);
    expect(cpu.call('loadPdptes', 0x7020n)).toBe(1);
    expect(cpu.read64(L.PDPTE + 16)).toBe(0x20_2019n);
    cpu.write64(ram(0x7020), 0x30_0000n | P);
    cpu.write64(ram(0x7038), 0x30_0000n | P | W);
    expect(cpu.call('loadPdptes', 0x7020n)).toBe(0);
    expect(cpu.read64(L.PDPTE)).toBe(0x20_0019n);
    cpu.write64(ram(0x7038), W);
    expect(cpu.call('loadPdptes', 0x7020n)).toBe(1);
    expect(attempt(cpu, 'read', 0xc000_0000n)).toBe(0);
  });
});

describe('protection keys', () => {
  function keyed(bits: bigint): CpuWasm {
    const { cpu, tables } = start('4-level');
    tables.map(LA, 0x9000n, P | W | bits | (5n << 59n));
    setBits(cpu, L.CR4, CR4.PKE);
    return cpu;
  }
  const pkru = (cpu: CpuWasm, value: number) => {
    cpu.write32(L.PKRU, value);
    cpu.call('flushBanks');
  };

  it('AD forbids data accesses to user pages at any privilege, not fetches', () => {
    const cpu = keyed(U);
    pkru(cpu, 1 << 10);
    expect(attempt(cpu, 'read')).toBe(0x21);
    privilege(cpu, 3);
    expect(attempt(cpu, 'read')).toBe(0x25);
    expect(attempt(cpu, 'write')).toBe(0x27);
    expect(attempt(cpu, 'fetch')).toBe('ok');
    pkru(cpu, 1 << 8);
    expect(attempt(cpu, 'write')).toBe('ok');
  });

  it('WD forbids writes, to supervisors only with CR0.WP', () => {
    const cpu = keyed(U);
    pkru(cpu, 2 << 10);
    expect(attempt(cpu, 'read')).toBe('ok');
    expect(attempt(cpu, 'write')).toBe('ok');
    setBits(cpu, L.CR0, CR0_WP);
    expect(attempt(cpu, 'write')).toBe(0x23);
    privilege(cpu, 3);
    expect(attempt(cpu, 'write')).toBe(0x27);
  });

  it('supervisor pages have no key', () => {
    const cpu = keyed(0n);
    pkru(cpu, 0xffff_ffff);
    expect(attempt(cpu, 'write')).toBe('ok');
  });
});

describe('linear addresses', () => {
  it('that are not canonical raise #GP(0), #SS(0) for the stack', () => {
    for (const [mode, bad] of [['4-level', 1n << 47n], ['5-level', 1n << 56n]] as const) {
      const { cpu } = start(mode);
      cpu.call('readU32', bad);
      expect(takeFault(cpu)).toMatchObject({ vector: 13, error: 0 });
      cpu.call('writeU32', bad - 2n, 1);
      expect(takeFault(cpu)).toMatchObject({ vector: 13, error: 0 });
      cpu.call('slowReadStack', bad, 8);
      expect(takeFault(cpu)).toMatchObject({ vector: 12, error: 0 });
      cpu.call('translateExecute', bad);
      expect(takeFault(cpu)).toMatchObject({ vector: 13, error: 0 });
    }
  });

  it('bit 47 and above alike are ordinary addresses with 5-level paging', () => {
    const { cpu } = start('5-level');
    expect(attempt(cpu, 'read', 1n << 47n)).toBe(0);
  });
});

describe('accesses across pages', () => {
  const second = LA + 0x1000n;

  it('check both pages before they touch either', () => {
    const { cpu, tables } = start('4-level');
    tables.map(LA, 0x9000n, P | W);
    tables.map(second, 0x7000n, 0n);
    cpu.call('writeU64', LA + 0xffcn, 0x1122_3344_5566_7788n);
    expect(takeFault(cpu)).toMatchObject({ vector: 14, error: 2, address: second });
    expect(cpu.read32(ram(0x9ffc))).toBe(0);
    tables.map(second, 0x7000n, P | W);
    cpu.call('writeU64', LA + 0xffdn, 0x1122_3344_5566_7788n);
    expect(takeFault(cpu)).toBeUndefined();
    expect(Array.from(cpu.bytes.subarray(ram(0x9ffd), ram(0xa000)))).toEqual([0x88, 0x77, 0x66]);
    expect(Array.from(cpu.bytes.subarray(ram(0x7000), ram(0x7005)))).toEqual([0x55, 0x44, 0x33, 0x22, 0x11]);
    expect(cpu.callBig('readU64', LA + 0xffdn)).toBe(0x1122_3344_5566_7788n);
    expect(tables.get(second, 1) & D).toBe(D);
  });

  it('a fault on the first page wins', () => {
    const { cpu, tables } = start('4-level');
    tables.map(LA, 0x9000n, 0n);
    cpu.call('readU16', LA + 0xfffn);
    expect(takeFault(cpu)).toMatchObject({ address: LA + 0xfffn });
  });

  it('a read-modify-write sees the current bytes and commits to both', () => {
    const { cpu, tables } = start('4-level');
    tables.map(LA, 0x9000n, P | W);
    tables.map(second, 0x7000n, P | W);
    cpu.call('writeU32', LA + 0xffen, 0xaabb_ccdd);
    expect(cpu.call('slowWrite', LA + 0xffen, 4)).toBe(L.BOUNCE);
    expect(cpu.read32(L.BOUNCE)).toBe(0xaabb_ccdd);
    cpu.write32(L.BOUNCE, 0x0102_0304);
    cpu.call('commitWrite');
    expect(cpu.call('readU32', LA + 0xffen)).toBe(0x0102_0304);
  });

  it('64 bytes may cross', () => {
    const { cpu, tables } = start('4-level');
    tables.map(LA, 0x9000n, P | W);
    tables.map(second, 0x7000n, P | W);
    for (let i = 0; i < 32; i++) cpu.bytes[ram(0x9fe0 + i)] = i;
    for (let i = 0; i < 32; i++) cpu.bytes[ram(0x7000 + i)] = 32 + i;
    const host = cpu.call('slowRead', LA + 0xfe0n, 64);
    expect(Array.from(cpu.bytes.subarray(host, host + 64))).toEqual(Array.from({ length: 64 }, (_, i) => i));
  });
});

describe('memory-mapped I/O', () => {
  it('is done once for each access, in units of up to 8 bytes', () => {
    const cpu = instantiate();
    expect(cpu.callBig('readU64', 0xfee0_0000n)).toBe(0xa5a5_a5a5_a5a5_a5a5n);
    cpu.call('writeU16', 0xfee0_0010n, 0x1234);
    cpu.call('writeU64', 0xfee0_0020n, 0x8899_aabb_ccdd_eeffn);
    expect(cpu.log).toEqual([
      { kind: 'read', address: 0xfee0_0000, size: 8, value: 0xa5a5_a5a5_a5a5_a5a5n },
      { kind: 'write', address: 0xfee0_0010, size: 2, value: 0x1234n },
      { kind: 'write', address: 0xfee0_0020, size: 8, value: 0x8899_aabb_ccdd_eeffn },
    ]);
    cpu.log.length = 0;
    cpu.call('slowRead', 0xfee0_0000n, 16);
    cpu.call('slowRead', 0xfee0_0000n, 10);
    expect(cpu.log.map((access) => access.size)).toEqual([8, 8, 8, 2]);
  });

  it('is read first by a read-modify-write and not by a store', () => {
    const cpu = instantiate();
    expect(cpu.call('slowWrite', 0xfee0_0000n, 4)).toBe(L.BOUNCE);
    expect(cpu.log.map((access) => access.kind)).toEqual(['read']);
    cpu.call('slowStore', 0xfee0_0000n, 4);
    expect(cpu.log.map((access) => access.kind)).toEqual(['read']);
  });

  it('is never installed', () => {
    const cpu = instantiate();
    cpu.call('readU8', 0xfee0_0000n);
    cpu.call('readU8', 0xfee0_0000n);
    cpu.call('writeU8', 0xfee0_0000n, 1);
    cpu.call('writeU8', 0xfee0_0000n, 1);
    expect(cpu.log).toHaveLength(4);
  });

  it('above 4 GiB is reached through paging', () => {
    const { cpu, tables } = start('4-level');
    tables.map(LA, 0x80_0000_0000n, P | W);
    cpu.call('readU32', LA + 4n);
    expect(cpu.log[0]).toMatchObject({ address: 0x80_0000_0004, size: 4 });
    expect(attempt(cpu, 'read')).toBe('ok');
    cpu.call('translateExecute', LA);
    expect(takeFault(cpu)).toMatchObject({ vector: 6 });
  });

  it('an access half in RAM is split at the page', () => {
    const cpu = instantiate(0x10000);
    cpu.call('writeU32', 0xffffn, 0x4433_2211);
    expect(cpu.bytes[ram(0xffff)]).toBe(0x11);
    expect(cpu.log).toEqual([
      { kind: 'write', address: 0x10000, size: 2, value: 0x3322n },
      { kind: 'write', address: 0x10002, size: 1, value: 0x44n },
    ]);
  });

  it('writes to ROM are dropped', () => {
    const cpu = instantiate();
    cpu.ept.map(0x20000, 0x1000, L.PAGE_ROM);
    cpu.write32(ram(0x20000), 0x1234_5678);
    cpu.call('readU32', 0x20000n);
    cpu.call('writeU32', 0x20000n, 0);
    cpu.call('writeU32', 0x20000n, 0);
    expect(cpu.call('readU32', 0x20000n)).toBe(0x1234_5678);
    expect(takeFault(cpu)).toBeUndefined();
  });
});
