import { describe, expect, it } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { AX, Bench, CODE0_64, CX, DX, EXIT, FAULTED, OK, SP, SYNC, TSS } from '../helpers/cpu-tables.ts';

const CR0 = 0;
const CR3 = 3;
const CR4 = 4;

/** Moves to a control register; the fault, or the register's new value in hexadecimal. */
function move(bench: Bench, register: number, value: bigint): string {
  const status = bench.cpu.call('movToCr', register, value);
  if (status === FAULTED) return bench.fault();
  expect([OK, SYNC]).toContain(status);
  expect(bench.cpu.call('movFromCr', register)).toBe(OK);
  return bench.cpu.read64(L.ARGUMENTS).toString(16);
}

describe('CR0', () => {
  const rows: readonly [string, bigint, string][] = [
    ['fixes ET and ignores reserved bits', 0x1fc0n | 1n, '11'],
    ['refuses paging without protection', 0x8000_0000n, '13(0x0)'],
    ['refuses NW without CD', 0x2000_0011n, '13(0x0)'],
    ['refuses its upper half', 0x1_0000_0011n, '13(0x0)'],
    ['accepts paging', 0x8000_0011n, '80000011'],
  ];
  for (const [name, value, result] of rows) it(name, () => expect(move(new Bench(), CR0, value)).toBe(result));

  it('activates IA-32e mode with paging, and only with PAE', () => {
    const bench = new Bench();
    bench.cpu.write64(L.EFER, 0x100n);
    expect(move(bench, CR0, 0x8000_0011n)).toBe('13(0x0)');
    bench.cpu.write64(L.CR4, 0x20n);
    expect(move(bench, CR0, 0x8000_0011n)).toBe('80000011');
    expect(bench.cpu.read64(L.EFER)).toBe(0x500n);
    expect(move(bench, CR4, 0n)).toBe('13(0x0)');
    expect(move(bench, CR0, 0x11n)).toBe('11');
    expect(bench.cpu.read64(L.EFER)).toBe(0x100n);
  });

  it('refuses to leave paging from 64-bit code', () => {
    const bench = new Bench();
    bench.setLong(0);
    bench.cpu.write64(L.CR0, 0x8000_0011n);
    expect(move(bench, CR0, 0x11n)).toBe('13(0x0)');
  });

  it('loads the PDPTE registers for PAE paging and refuses reserved bits in them', () => {
    const bench = new Bench();
    bench.cpu.write64(L.CR4, 0x20n);
    bench.cpu.write64(L.CR3, 0x10_0020n);
    bench.poke64(0x10_0020, 0x10_2001n);
    expect(move(bench, CR0, 0x8000_0011n)).toBe('80000011');
    expect(bench.cpu.read64(L.PDPTE)).toBe(0x10_2001n);
    bench.poke64(0x10_0040, 0x10_2007n);
    expect(move(bench, CR3, 0x10_0040n)).toBe('13(0x0)');
    expect(bench.cpu.read64(L.CR3)).toBe(0x10_0020n);
  });

  it('enters and leaves real-address mode', () => {
    const bench = new Bench();
    bench.setReal();
    expect(move(bench, CR0, 0x11n)).toBe('11');
    expect(bench.cpu.read32(L.REAL_SEGMENTS)).toBe(0);
    expect(bench.cpu.call('lmsw', 0, 0, 0n)).toBe(SYNC);
    expect(bench.cpu.read32(L.REAL_SEGMENTS)).toBe(0);
    expect(move(bench, CR0, 0x10n)).toBe('10');
    expect(bench.cpu.read32(L.REAL_SEGMENTS)).toBe(1);
  });

  it('LMSW changes four bits, CLTS one', () => {
    const bench = new Bench();
    bench.cpu.call('lmsw', 0xffff, 0, 0n);
    expect(bench.cpu.read64(L.CR0)).toBe(0x1fn);
    bench.cpu.call('clts');
    expect(bench.cpu.read64(L.CR0)).toBe(0x17n);
  });
});

describe('CR3, CR4 and CR8', () => {
  it('refuse reserved bits', () => {
    const bench = new Bench();
    expect(move(bench, CR3, 0x12_3018n)).toBe('123018');
    expect(move(bench, CR3, 0x8000_0000_0000_0000n)).toBe('13(0x0)');
    expect(move(bench, CR3, 0x0000_8000_0000_0000n | 0x000f_0000_0000_0000n)).toBe('13(0x0)');
    expect(move(bench, CR4, 0x8000_0000n)).toBe('13(0x0)');
    expect(move(bench, 8, 16n)).toBe('13(0x0)');
    expect(move(bench, 8, 15n)).toBe('f');
    expect(move(bench, 1, 0n)).toBe('6');
  });

  it('take bit 63 of CR3 as a hint with PCIDE', () => {
    const bench = new Bench();
    bench.setLong(0);
    expect(move(bench, CR4, 0x2_0020n)).toBe('20020');
    expect(move(bench, CR3, 0x8000_0000_0012_3005n)).toBe('123005');
  });

  it('enable PCIDE only in IA-32e mode with PCID 0', () => {
    const bench = new Bench();
    expect(move(bench, CR4, 0x2_0020n)).toBe('13(0x0)');
    bench.setLong(0);
    bench.cpu.write64(L.CR3, 5n);
    expect(move(bench, CR4, 0x2_0020n)).toBe('13(0x0)');
    expect(move(bench, CR4, 0x1020n)).toBe('13(0x0)');
  });
});

describe('INVPCID', () => {
  it('checks type and descriptor', () => {
    const bench = new Bench();
    bench.setLong(0);
    const run = (type: bigint, pcid: bigint, address: bigint): string => {
      bench.poke64(0x8000, pcid);
      bench.poke64(0x8008, address);
      return bench.cpu.call('invpcid', type, 0x8000n) === FAULTED ? bench.fault() : 'ok';
    };
    expect(run(4n, 0n, 0n)).toBe('13(0x0)');
    expect(run(2n, 0x1000n, 0n)).toBe('13(0x0)');
    expect(run(1n, 1n, 0n)).toBe('13(0x0)');
    expect(run(0n, 0n, 0x8000_0000_0000n)).toBe('ok');
    bench.cpu.write64(L.CR4_ALLOWED, bench.cpu.read64(L.CR4_ALLOWED) & ~0x1000n);
    expect(run(0n, 0n, 0x8000_0000_0000n)).toBe('13(0x0)');
    expect([run(0n, 0n, 0n), run(1n, 0n, 0n), run(2n, 0n, 0n), run(3n, 0n, 0n)]).toEqual(['ok', 'ok', 'ok', 'ok']);
  });
});

describe('debug registers', () => {
  it('keep their fixed bits', () => {
    const bench = new Bench();
    const read = (register: number): string => {
      bench.cpu.call('movFromDr', register);
      return bench.cpu.read64(L.ARGUMENTS).toString(16);
    };
    bench.cpu.call('movToDr', 6, 0n);
    bench.cpu.call('movToDr', 7, 0xffff_dfffn);
    expect([read(6), read(7)]).toEqual(['ffff0ff0', 'ffff07ff']);
    bench.cpu.call('movToDr', 7, 0n);
    expect(read(7)).toBe('400');
    expect([bench.cpu.call('movToDr', 7, 0x1_0000_0000n), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
  });

  it('alias 4 and 5 unless CR4.DE', () => {
    const bench = new Bench();
    expect(bench.cpu.call('movFromDr', 4)).toBe(OK);
    expect(bench.cpu.read64(L.ARGUMENTS)).toBe(0xffff_0ff0n);
    bench.cpu.write64(L.CR4, 8n);
    expect([bench.cpu.call('movFromDr', 4), bench.fault()]).toEqual([FAULTED, '6']);
  });

  it('raise #DB with BD while GD is set, which delivery clears', () => {
    const bench = new Bench();
    bench.vector(1, 14, 8, 0x9000);
    bench.cpu.call('movToDr', 7, 0x2000n);
    expect(bench.cpu.call('movFromDr', 0)).toBe(FAULTED);
    bench.cpu.call('deliverPending');
    expect([bench.cpu.read64(L.DR6) & 0x2000n, bench.cpu.read64(L.DR7) & 0x2000n]).toEqual([0x2000n, 0n]);
  });
});

describe('model-specific registers', () => {
  const write = (bench: Bench, index: number, value: bigint): string => {
    bench.setGpr(CX, index);
    bench.setGpr(AX, value & 0xffff_ffffn);
    bench.setGpr(DX, value >> 32n);
    const status = bench.cpu.call('wrmsr');
    return status === FAULTED || status === EXIT ? bench.fault() : 'ok';
  };
  const read = (bench: Bench, index: number): bigint => {
    bench.setGpr(CX, index);
    expect(bench.cpu.call('rdmsr')).toBe(OK);
    return (bench.gpr(DX) << 32n) | bench.gpr(AX);
  };

  const rows: readonly [string, number, bigint, string][] = [
    ['LSTAR', 0xc000_0082, 0xffff_8000_1234_5678n, 'ok'],
    ['LSTAR that is canonical when 57 bits wide, as the processor can be', 0xc000_0082, 0x8000_0000_0000n, 'ok'],
    ['LSTAR that is not canonical', 0xc000_0082, 0x100_0000_0000_0000n, '13(0x0)'],
    ['FS base', 0xc000_0100, 0x7fff_ffff_f000n, 'ok'],
    ['GS base that is not canonical', 0xc000_0101, 1n << 63n, '13(0x0)'],
    ['KERNEL_GS_BASE', 0xc000_0102, 0xffff_8880_0000_0000n, 'ok'],
    ['SFMASK', 0xc000_0084, 0x4_7700n, 'ok'],
    ['SFMASK with an upper half', 0xc000_0084, 1n << 32n, '13(0x0)'],
    ['TSC_AUX with an upper half', 0xc000_0103, 1n << 32n, '13(0x0)'],
    ['PAT', 0x277, 0x0407_0605_0001_0406n, 'ok'],
    ['PAT with a reserved type', 0x277, 0x0407_0605_0002_0406n, '13(0x0)'],
    ['SYSENTER_EIP that is not canonical', 0x176, 0x100_0000_0000_0000n, '13(0x0)'],
    ['STAR', 0xc000_0081, 0x0023_0010_0000_0000n, 'ok'],
    ['EFER with a bit that is not allowed', 0xc000_0080, 0x2n, '13(0x0)'],
  ];
  for (const [name, index, value, result] of rows) {
    it(`WRMSR of ${name}: ${result}`, () => {
      const bench = new Bench();
      expect(write(bench, index, value)).toBe(result);
      if (result === 'ok') expect(read(bench, index)).toBe(value);
    });
  }

  it('keep LMA read-only and LME fixed while paging is on', () => {
    const bench = new Bench();
    expect(write(bench, 0xc000_0080, 0xd01n)).toBe('ok');
    expect(read(bench, 0xc000_0080)).toBe(0x901n);
    bench.cpu.write64(L.CR0, 0x8000_0011n);
    expect(write(bench, 0xc000_0080, 0x801n)).toBe('13(0x0)');
  });

  it('are root mode’s otherwise', () => {
    const bench = new Bench();
    expect(write(bench, 0x1b, 0n)).toBe('exit 32');
    bench.setGpr(CX, 0x1b);
    expect([bench.cpu.call('rdmsr'), bench.fault()]).toEqual([EXIT, 'exit 31']);
  });

  it('SWAPGS exchanges two bases', () => {
    const bench = new Bench();
    write(bench, 0xc000_0101, 0x1000n);
    write(bench, 0xc000_0102, 0x2000n);
    expect(bench.cpu.call('swapgs')).toBe(OK);
    expect([bench.base(L.GS), read(bench, 0xc000_0102)]).toEqual([0x2000n, 0x1000n]);
  });
});

describe('time, extended state and protection keys', () => {
  it('RDTSC is refused to users with TSD and adds the offset', () => {
    const bench = new Bench();
    bench.cpu.write64(L.TSC_OFFSET, 0x1_2345_6789n);
    expect(bench.cpu.call('rdtsc')).toBe(OK);
    expect([bench.gpr(DX), bench.gpr(AX)]).toEqual([1n, 0x2345_6789n]);
    bench.setProgram(3);
    bench.cpu.write64(L.CR4, 4n);
    expect([bench.cpu.call('rdtscp'), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
  });

  it('XSETBV wants x87, SSE under AVX, and nothing that is not allowed', () => {
    const bench = new Bench();
    const set = (value: number): string => {
      bench.setGpr(AX, value);
      return bench.cpu.call('xsetbv') === FAULTED ? bench.fault() : 'ok';
    };
    expect(set(3)).toBe('6');
    bench.cpu.write64(L.CR4, 0x4_0000n);
    expect([set(3), set(7), set(5), set(2), set(0xb)]).toEqual(['ok', 'ok', '13(0x0)', '13(0x0)', '13(0x0)']);
    bench.cpu.call('xgetbv');
    expect(bench.gpr(AX)).toBe(7n);
    bench.setGpr(CX, 1);
    expect([bench.cpu.call('xgetbv'), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
  });

  it('RDPKRU and WRPKRU need PKE and zero registers', () => {
    const bench = new Bench();
    expect([bench.cpu.call('rdpkru'), bench.fault()]).toEqual([FAULTED, '6']);
    bench.cpu.write64(L.CR4, 0x40_0000n);
    bench.setGpr(AX, 0x5555_5554);
    expect(bench.cpu.call('wrpkru')).toBe(SYNC);
    bench.setGpr(AX, 0);
    bench.cpu.call('rdpkru');
    expect(bench.gpr(AX)).toBe(0x5555_5554n);
    bench.setGpr(DX, 1);
    expect([bench.cpu.call('wrpkru'), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
  });
});

describe('port access', () => {
  const port = (bench: Bench, number: number, size: number): string => {
    bench.cpu.call('portIn', number, size, 0);
    return bench.fault();
  };

  it('exits with the qualification of the instruction', () => {
    const bench = new Bench();
    expect(bench.cpu.call('portIn', 0x3f8, 1, 0)).toBe(EXIT);
    expect([bench.fault(), bench.cpu.read64(L.EXIT_QUALIFICATION)]).toEqual(['exit 30', 0x3f8_0008n]);
    bench.cpu.call('portOut', 0x80, 4, 1);
    expect(bench.cpu.read64(L.EXIT_QUALIFICATION)).toBe(0x80_0043n);
  });

  it('goes by the bitmap above IOPL', () => {
    const bench = new Bench();
    bench.setProgram(3);
    bench.poke16(TSS + 102, 104);
    bench.poke16(TSS + 104 + (0x3f8 >> 3), 0x00fe);
    const answers = [port(bench, 0x3f8, 1), port(bench, 0x3f8, 2), port(bench, 0x3f9, 1), port(bench, 0x3ff, 1)];
    expect(answers).toEqual(['exit 30', '13(0x0)', '13(0x0)', '13(0x0)']);
    expect(port(bench, 0x400, 4)).toBe('exit 30');
    bench.poke16(TSS + 104 + 0x7f, 0x0180);
    expect([port(bench, 0x3fe, 1), port(bench, 0x3fe, 2), port(bench, 0x400, 1)]).toEqual(['exit 30', '13(0x0)', '13(0x0)']);
    bench.flags = 0x3002;
    expect(port(bench, 0x3f9, 1)).toBe('exit 30');
  });

  it('is refused beyond the limit of the TSS, and goes by the bitmap at any IOPL in virtual-8086 mode', () => {
    const bench = new Bench();
    bench.setVirtual(3);
    bench.poke16(TSS + 102, 0x2fff);
    expect(port(bench, 0, 1)).toBe('13(0x0)');
    bench.poke16(TSS + 102, 104);
    expect(port(bench, 0, 1)).toBe('exit 30');
  });
});

describe('fast system calls', () => {
  const long = (ring: number): Bench => {
    const bench = new Bench();
    bench.setLong(ring);
    bench.cpu.write64(L.MSR_STAR, 0x0023_0010_0000_0000n);
    bench.cpu.write64(L.MSR_LSTAR, 0xffff_8000_0000_1234n);
    bench.cpu.write64(L.MSR_SFMASK, 0x4_0700n);
    return bench;
  };
  const R11 = 11;

  it('SYSCALL saves RIP and RFLAGS, masks flags and enters ring 0', () => {
    const bench = long(3);
    bench.flags = 0x646;
    expect(bench.cpu.call('syscall')).toBe(2);
    expect([bench.gpr(CX), bench.gpr(R11), bench.flags, bench.cpl]).toEqual([0x1002n, 0x646n, 0x46, 0]);
    expect(bench.cpu.read64(L.RIP)).toBe(0xffff_8000_0000_1234n);
    expect([bench.selector(L.CS), bench.selector(L.SS), bench.access(L.CS), bench.access(L.SS)]).toEqual([0x10, 0x18, 0xa09b, 0xc093]);
    expect(bench.cpu.read32(L.TLB_BASE)).toBe(L.TLB_SUPERVISOR);
  });

  it('SYSRET goes back, to 64-bit or compatibility code', () => {
    const bench = long(0);
    bench.setGpr(CX, 0x7fff_1234_5678);
    bench.setGpr(R11, 0x3_3246);
    expect(bench.cpu.call('sysret', 8)).toBe(2);
    expect([bench.rip, bench.flags, bench.cpl]).toEqual([0x7fff_1234_5678, 0x3246, 3]);
    expect([bench.selector(L.CS), bench.selector(L.SS), bench.access(L.CS)]).toEqual([0x33, 0x2b, 0xa0fb]);
    const other = long(0);
    other.setGpr(CX, 0x7fff_1234_5678);
    expect(other.cpu.call('sysret', 4)).toBe(2);
    expect([other.rip, other.selector(L.CS), other.access(L.CS), other.cpu.read32(L.CODE_SIZE)]).toEqual([0x1234_5678, 0x23, 0xc0fb, 1]);
  });

  it('SYSRET to an address that is not canonical faults in ring 0', () => {
    const bench = long(0);
    bench.setGpr(CX, 0x8000_0000_0000n);
    expect([bench.cpu.call('sysret', 8), bench.fault(), bench.cpl, bench.selector(L.CS)]).toEqual([FAULTED, '13(0x0)', 0, CODE0_64]);
  });

  it('are undefined without SCE, SYSCALL outside 64-bit mode too', () => {
    const bench = long(0);
    bench.cpu.write64(L.EFER, 0xd00n);
    expect([bench.cpu.call('syscall'), bench.fault()]).toEqual([FAULTED, '6']);
    expect([bench.cpu.call('sysret', 8), bench.fault()]).toEqual([FAULTED, '6']);
    const legacy = new Bench();
    legacy.cpu.write64(L.EFER, 1n);
    expect([legacy.cpu.call('syscall'), legacy.fault()]).toEqual([FAULTED, '6']);
  });

  it('SYSENTER and SYSEXIT use the registers for them', () => {
    const bench = new Bench();
    bench.setProgram(3);
    bench.flags = 0x202;
    expect([bench.cpu.call('sysenter'), bench.fault()]).toEqual([FAULTED, '13(0x0)']);
    bench.cpu.write64(L.MSR_SYSENTER_CS, 0x60n);
    bench.cpu.write64(L.MSR_SYSENTER_ESP, 0x9_0000n);
    bench.cpu.write64(L.MSR_SYSENTER_EIP, 0xc000_1000n);
    expect(bench.cpu.call('sysenter')).toBe(2);
    expect([bench.cpl, bench.rip, bench.gpr(SP), bench.flags]).toEqual([0, 0xc000_1000, 0x9_0000n, 2]);
    expect([bench.selector(L.CS), bench.selector(L.SS)]).toEqual([0x60, 0x68]);
    bench.setGpr(CX, 0x7000);
    bench.setGpr(DX, 0x4000);
    expect(bench.cpu.call('sysexit', 4)).toBe(2);
    expect([bench.cpl, bench.rip, bench.gpr(SP), bench.selector(L.CS), bench.selector(L.SS)]).toEqual([3, 0x4000, 0x7000n, 0x73, 0x7b]);
    bench.cpu.call('sysexit', 8);
    expect([bench.selector(L.CS), bench.selector(L.SS)]).toEqual([0x83, 0x8b]);
  });
});
