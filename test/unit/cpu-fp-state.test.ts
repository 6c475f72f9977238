import { beforeEach, describe, expect, test } from 'vitest';
import * as L from '../../core/cpu/layout.ts';
import { instantiate } from '../helpers/cpu-wasm.ts';
import type { CpuWasm } from '../helpers/cpu-wasm.ts';

const OK = 0;
const EXIT = 3;
const FAULTED = 1;
const AREA = 0x8000;
const RAM = L.RAM_BASE;
const NM = 0x107;
const GP = 0x90d;
const MF = 0x110;
const UD = 0x106;
/** Beyond RAM: MMIO. */
const FLD1 = 0xe8;

let cpu: CpuWasm;

const u16 = (address: number): number => cpu.view.getUint16(address, true);
const setU16 = (address: number, value: number): void => cpu.view.setUint16(address, value, true);
const register = (opcode: number, modrm: number): number => cpu.call('x87Register', opcode & 7, modrm);
const memory = (opcode: number, reg: number, linear: number, opSize = 4): number =>
  cpu.call('x87Memory', opcode & 7, reg, BigInt(linear), BigInt(linear), L.DS, opSize);
const fault = (): number => {
  const value = cpu.read32(L.FAULT);
  cpu.write32(L.FAULT, 0);
  return value;
};
const state = (): Uint8Array => cpu.bytes.slice(L.X87, L.XMM + 256);
const request = (components: number): void => {
  cpu.write64(L.GPR, BigInt(components));
  cpu.write64(L.GPR + 16, 0n);
};

beforeEach(() => {
  cpu = instantiate(1 << 20);
  cpu.write32(L.CR0, 0x31);
  cpu.write32(L.CR4, 0x40600);
  cpu.write64(L.XCR0, 0x203n);
  cpu.write32(L.MXCSR, 0x1f80);
  register(0xdb, 0xe3);
});

describe('x87 availability', () => {
  test('CR0.EM or CR0.TS makes every escape opcode #NM before anything else', () => {
    for (const bits of [4, 8]) {
      cpu.write32(L.CR0, 0x31 | bits);
      for (const run of [() => register(0xd9, FLD1), () => memory(0xd9, 0, AREA), () => memory(0xd9, 7, AREA), () => register(0xdf, 0xe0), () => register(0xdb, 0xe3)]) {
        const before = state();
        expect(run()).toBe(FAULTED);
        expect(fault()).toBe(NM);
        expect(state()).toEqual(before);
      }
    }
  });

  test('FWAIT is #NM only when MP and TS are both set', () => {
    cpu.write32(L.CR0, 0x39);
    expect(cpu.call('fwait')).toBe(OK);
    cpu.write32(L.CR0, 0x3b);
    expect(cpu.call('fwait')).toBe(FAULTED);
    expect(fault()).toBe(NM);
  });

  test('undefined encodings are #UD', () => {
    for (const [opcode, modrm] of [[0xd9, 0xd1], [0xd9, 0xe2], [0xd9, 0xef], [0xda, 0xe0], [0xdb, 0xe5], [0xdb, 0xf8], [0xdd, 0xf0], [0xde, 0xd8], [0xdf, 0xe1], [0xdf, 0xf8]] as const) {
      expect(register(opcode, modrm)).toBe(FAULTED);
      expect(fault()).toBe(UD);
    }
    for (const [opcode, reg] of [[0xd9, 1], [0xdb, 4], [0xdb, 6], [0xdd, 5]] as const) {
      expect(memory(opcode, reg, AREA)).toBe(FAULTED);
      expect(fault()).toBe(UD);
    }
  });
});

describe('pending x87 exceptions', () => {
  /** 1/0 with ZE unmasked. */
  const divideByZero = (): void => {
    setU16(L.FCW, 0x37b);
    register(0xd9, FLD1);
    register(0xd9, 0xee);
    register(0xde, 0xf9);
    expect(u16(L.FSW) & 0x8084).toBe(0x8084);
  };

  test('are #MF at the next waiting instruction when CR0.NE is set, and not at FNSTSW, FNCLEX, FNINIT', () => {
    divideByZero();
    expect(register(0xd9, FLD1)).toBe(FAULTED);
    expect(fault()).toBe(MF);
    expect(cpu.call('fwait')).toBe(FAULTED);
    expect(fault()).toBe(MF);
    expect(cpu.call('mmxEnter')).toBe(FAULTED);
    expect(fault()).toBe(MF);
    expect(register(0xdf, 0xe0)).toBe(OK);
    expect(register(0xdb, 0xe2)).toBe(OK);
    expect(register(0xd9, FLD1)).toBe(OK);
  });

  test('assert FERR# and wait when CR0.NE is clear, go on with IGNNE#, until the exception is cleared', () => {
    cpu.write32(L.CR0, 0x11);
    divideByZero();
    expect([register(0xd9, FLD1), cpu.read32(L.FAULT) & 0xff]).toEqual([EXIT, 0]);
    expect([cpu.read32(L.FERR), cpu.read32(L.ACTIVITY), cpu.read32(L.EXIT_REASON)]).toEqual([L.FERR_ASSERTED, 1, 52]);
    cpu.write32(L.FAULT, 0);
    cpu.write32(L.FERR, L.FERR_ASSERTED | L.FERR_IGNORED);
    expect(register(0xd9, FLD1)).toBe(OK);
    register(0xdb, 0xe2);
    expect(cpu.read32(L.FERR)).toBe(0);
  });

  test('an unmasked exception leaves operands and stack as they were', () => {
    divideByZero();
    expect(u16(L.FSW) >> 11 & 7).toBe(6);
    expect(cpu.bytes[L.FTAGS]).toBe(0xc0);
  });
});

describe('x87 memory operands', () => {
  test('FIP, FDP, FOP and selectors are those of the last non-control instruction', () => {
    cpu.write64(L.RIP, 0x5678n);
    cpu.view.setFloat64(RAM + AREA, 1.5, true);
    memory(0xdd, 0, AREA);
    expect([cpu.read64(L.FIP), cpu.read64(L.FDP), u16(L.FCS), u16(L.FDS), u16(L.FOP)]).toEqual([0x5678n, BigInt(AREA), 8, 16, 0x500]);
    cpu.write64(L.RIP, 0x9999n);
    memory(0xd9, 7, AREA);
    expect(cpu.read64(L.FIP)).toBe(0x5678n);
  });

  test('a store whose second page is not writable changes no state, and no memory but a significand of 8 bytes in front of it', () => {
    // Page tables with one page mapped at 0x5000, none behind it.
    const directory = 0x10000;
    const table = 0x11000;
    cpu.write32(RAM + directory, table | 3);
    cpu.write32(RAM + table + 5 * 4, 0x5000 | 3);
    cpu.write64(L.CR3, BigInt(directory));
    cpu.write32(L.CR0, 0x8001_0031);
    cpu.call('flushAll');
    register(0xd9, FLD1);
    const before = state();
    cpu.bytes.fill(0xaa, RAM + 0x5ff0, RAM + 0x6000);
    expect(memory(0xdb, 7, 0x5ffa)).toBe(FAULTED);
    expect(fault() & 0xff).toBe(14);
    expect(cpu.read64(L.FAULT_ADDRESS)).toBe(0x6000n);
    expect(cpu.bytes.subarray(RAM + 0x5ffa, RAM + 0x6000)).toEqual(new Uint8Array(6).fill(0xaa));
    expect(state()).toEqual(before);
    expect(memory(0xdb, 7, 0x5ff8)).toBe(FAULTED);
    fault();
    expect(cpu.bytes.subarray(RAM + 0x5ff8, RAM + 0x6000)).toEqual(Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0x80));
    expect(state()).toEqual(before);
    expect(memory(0xdd, 6, 0x5fc0)).toBe(FAULTED);
    fault();
    expect(cpu.call('fxsave', 0x5f00n, 4)).toBe(FAULTED);
    expect(state()).toEqual(before);
  });
});

test.each([['FSTP m80', 0xdb, 7, 0x80], ['FBSTP', 0xdf, 6, 0x00]] as const)('%s across the end of its segment writes what lies in front of that and is #GP(0)', (_name, opcode, reg, last) => {
  cpu.write32(L.SEGMENTS + L.DS * L.SEGMENT_SIZE + L.SEG_LIMIT, AREA + 8);
  register(0xd9, FLD1);
  const before = state();
  cpu.bytes.fill(0xaa, RAM + AREA, RAM + AREA + 16);
  expect(memory(opcode, reg, AREA)).toBe(FAULTED);
  expect(fault()).toBe(GP);
  expect(cpu.bytes.subarray(RAM + AREA + 7, RAM + AREA + 10)).toEqual(Uint8Array.of(last, 0xaa, 0xaa));
  expect(state()).toEqual(before);
  cpu.write32(L.SEGMENTS + L.DS * L.SEGMENT_SIZE + L.SEG_LIMIT, AREA + 9);
  expect(memory(opcode, reg, AREA)).toBe(OK);
});

describe('stores that an unmasked exception withholds', () => {
  const IE_SF_ES = 0xc1;
  test.each([['FST m32', 0xd9, 2], ['FISTP m16', 0xdf, 3], ['FISTTP m64', 0xdd, 1], ['FSTP m80', 0xdb, 7], ['FBSTP', 0xdf, 6]] as const)('%s does not look at its address', (_name, opcode, reg) => {
    cpu.write32(L.CR0, 0x8001_0031);
    cpu.write64(L.CR3, 0x1_0000n);
    cpu.call('flushAll');
    setU16(L.FCW, 0x37e);
    expect(cpu.call('x87Withholds', opcode & 7, reg)).toBe(1);
    expect(memory(opcode, reg, 0x6000)).toBe(OK);
    expect(u16(L.FSW) & 0xff).toBe(IE_SF_ES);
    register(0xdb, 0xe3);
    expect(cpu.call('x87Withholds', opcode & 7, reg)).toBe(0);
    expect(memory(opcode, reg, 0x6000)).toBe(FAULTED);
    expect(fault() & 0xff).toBe(14);
  });
});

describe('environments', () => {
  const fill = (): void => {
    register(0xd9, 0xeb);
    register(0xd9, 0xee);
    setU16(L.FOP, 0x5a7);
    cpu.write64(L.FIP, 0x1234_5678n);
    cpu.write64(L.FDP, 0x0abc_def0n);
    setU16(L.FCS, 0x1b);
    setU16(L.FDS, 0x23);
  };
  const words = (count: number, size: 2 | 4): number[] => Array.from({ length: count }, (_, i) =>
    size === 2 ? u16(RAM + AREA + i * 2) : cpu.read32(RAM + AREA + i * 4) >>> 0);

  test('FNSTENV writes the protected-mode formats, then masks all exceptions', () => {
    fill();
    setU16(L.FCW, 0x340);
    memory(0xd9, 6, AREA, 4);
    expect(words(7, 4)).toEqual([0xffff0340, 0xffff3000, 0xffff1fff, 0x12345678, 0x05a7001b, 0x0abcdef0, 0xffff0023]);
    expect(u16(L.FCW)).toBe(0x37f);
    memory(0xd9, 6, AREA, 2);
    expect(words(7, 2)).toEqual([0x37f, 0x3000, 0x1fff, 0x5678, 0x1b, 0xdef0, 0x23]);
  });

  test('FNSTENV writes linear addresses and the opcode in the real-mode formats', () => {
    fill();
    cpu.write64(L.FIP, 0x5678n);
    cpu.write64(L.FDP, 0xdef0n);
    setU16(L.FCS, 0x1000);
    setU16(L.FDS, 0x2000);
    cpu.write32(L.REAL_SEGMENTS, 1);
    memory(0xd9, 6, AREA, 2);
    expect(words(7, 2)).toEqual([0x37f, 0x3000, 0x1fff, 0x5678, 0x15a7, 0xdef0, 0x2000]);
    memory(0xd9, 6, AREA, 4);
    expect(words(7, 4)).toEqual([0xffff037f, 0xffff3000, 0xffff1fff, 0xffff5678, 0x000015a7, 0xffffdef0, 0x00002000]);
  });

  test('FRSTOR brings back what FNSAVE saved, in every format; FNSAVE initialises', () => {
    for (const real of [0, 1]) {
      for (const opSize of [2, 4]) {
        cpu.write32(L.REAL_SEGMENTS, real);
        register(0xdb, 0xe3);
        register(0xd9, 0xeb);
        register(0xd9, FLD1);
        const registers = cpu.bytes.slice(L.X87, L.X87 + 128);
        const words = [u16(L.FCW), u16(L.FSW), cpu.bytes[L.FTAGS]];
        memory(0xdd, 6, AREA, opSize);
        expect([u16(L.FCW), u16(L.FSW), cpu.bytes[L.FTAGS]]).toEqual([0x37f, 0, 0]);
        cpu.bytes.fill(0, L.X87, L.X87 + 128);
        memory(0xdd, 4, AREA, opSize);
        expect([u16(L.FCW), u16(L.FSW), cpu.bytes[L.FTAGS]]).toEqual(words);
        expect(cpu.bytes.slice(L.X87, L.X87 + 128)).toEqual(registers);
      }
    }
  });

  test('FLDENV with an unmasked flag makes the exception pending', () => {
    memory(0xd9, 6, AREA, 4);
    cpu.write32(RAM + AREA, 0x37e);
    cpu.write32(RAM + AREA + 4, 1);
    expect(memory(0xd9, 4, AREA, 4)).toBe(OK);
    expect(u16(L.FSW)).toBe(0x8081);
    expect(cpu.call('fwait')).toBe(FAULTED);
    expect(fault()).toBe(MF);
  });
});

describe('MMX', () => {
  test('mmxEnter makes all registers valid with TOP 0; EMMS empties them', () => {
    register(0xd9, FLD1);
    expect(cpu.call('mmxEnter')).toBe(OK);
    expect([u16(L.FSW) & 0x3800, cpu.bytes[L.FTAGS]]).toEqual([0, 0xff]);
    expect(cpu.call('emms')).toBe(OK);
    expect(cpu.bytes[L.FTAGS]).toBe(0);
  });

  test('CR0.EM is #UD for MMX, CR0.TS #NM', () => {
    cpu.write32(L.CR0, 0x35);
    cpu.call('mmxEnter');
    expect(fault()).toBe(UD);
    cpu.write32(L.CR0, 0x39);
    cpu.call('emms');
    expect(fault()).toBe(NM);
  });
});

describe('save areas', () => {
  const randomise = (): void => {
    register(0xd9, 0xeb);
    register(0xd9, FLD1);
    for (let i = 0; i < 256; i++) cpu.bytes[L.XMM + i] = (i * 37 + 11) & 0xff;
    cpu.write32(L.MXCSR, 0x9fa5);
    cpu.write32(L.PKRU, 0x5555_0004);
  };
  const registers = (): unknown => [cpu.bytes.slice(L.X87, L.X87 + 128), u16(L.FCW), u16(L.FSW), cpu.bytes[L.FTAGS], cpu.read32(L.MXCSR),
    cpu.bytes.slice(L.XMM, L.XMM + 256), cpu.read32(L.PKRU)];
  const clear = (): void => {
    register(0xdb, 0xe3);
    cpu.bytes.fill(0, L.X87, L.X87 + 128);
    cpu.bytes.fill(0, L.XMM, L.XMM + 256);
    cpu.write32(L.MXCSR, 0x1f80);
    cpu.write32(L.PKRU, 0);
  };

  beforeEach(() => {
    cpu.write32(L.CODE_SIZE, 2);
    cpu.write64(L.EFER, 0x500n);
  });

  test('alignment: 16 bytes for FXSAVE and FXRSTOR, 64 for XSAVE and its kin, else #GP(0)', () => {
    for (const name of ['fxsave', 'fxrstor']) {
      expect(cpu.call(name, BigInt(AREA + 8), 4)).toBe(FAULTED);
      expect(fault()).toBe(GP);
    }
    for (const name of ['xsave', 'xsaveopt', 'xsavec', 'xsaves', 'xrstor', 'xrstors']) {
      expect(cpu.call(name, BigInt(AREA + 16), 4)).toBe(FAULTED);
      expect(fault()).toBe(GP);
    }
  });

  test('XSAVE needs CR4.OSXSAVE (#UD); XSAVES and XRSTORS need privilege 0 (#GP)', () => {
    cpu.write32(L.CR4, 0x600);
    cpu.call('xsave', BigInt(AREA), 4);
    expect(fault()).toBe(UD);
    cpu.write32(L.CR4, 0x40600);
    cpu.write32(L.CPL, 3);
    for (const name of ['xsaves', 'xrstors']) {
      cpu.call(name, BigInt(AREA), 4);
      expect(fault()).toBe(GP);
    }
  });

  test('FXSAVE and FXRSTOR are inverse; outside 64-bit mode XMM8 to XMM15 are not touched', () => {
    randomise();
    cpu.write32(L.PKRU, 0);
    const before = registers();
    cpu.call('fxsave', BigInt(AREA), 8);
    clear();
    cpu.call('fxrstor', BigInt(AREA), 8);
    expect(registers()).toEqual(before);
    cpu.write32(L.CODE_SIZE, 1);
    cpu.bytes.fill(0, L.XMM, L.XMM + 256);
    cpu.call('fxrstor', BigInt(AREA), 4);
    expect(cpu.read32(L.XMM + 7 * 16)).not.toBe(0);
    expect(cpu.bytes.subarray(L.XMM + 128, L.XMM + 256).every(byte => byte === 0)).toBe(true);
  });

  test('reserved bits of MXCSR are #GP(0) and load nothing', () => {
    cpu.call('fxsave', BigInt(AREA), 4);
    randomise();
    const before = registers();
    cpu.write32(RAM + AREA + 24, 0x10000);
    expect(cpu.call('fxrstor', BigInt(AREA), 4)).toBe(FAULTED);
    expect(fault()).toBe(GP);
    expect(registers()).toEqual(before);
    expect(cpu.call('ldmxcsr', 0x10000)).toBe(FAULTED);
    expect(fault()).toBe(GP);
    expect(cpu.call('ldmxcsr', 0xffff)).toBe(OK);
    expect(cpu.read32(L.MXCSR)).toBe(0xffff);
  });

  for (const [save, restore] of [['xsave', 'xrstor'], ['xsaveopt', 'xrstor'], ['xsavec', 'xrstor'], ['xsaves', 'xrstors']] as const) {
    test(`${restore} brings back what ${save} saved`, () => {
      randomise();
      const before = registers();
      request(0x203);
      expect(cpu.call(save, BigInt(AREA), 8)).toBe(OK);
      expect(cpu.read64(RAM + AREA + 512)).toBe(0x203n);
      expect(cpu.read64(RAM + AREA + 520)).toBe(save === 'xsave' || save === 'xsaveopt' ? 0n : 0x8000_0000_0000_0203n);
      clear();
      // PKRU changes what pages allow: the caller has to look translations up again.
      expect(cpu.call(restore, BigInt(AREA), 8)).toBe(4);
      expect(registers()).toEqual(before);
    });
  }

  test('a component whose XSTATE_BV bit is clear is initialised, one that is not asked for stays', () => {
    randomise();
    request(0x203);
    cpu.call('xsave', BigInt(AREA), 8);
    cpu.write64(RAM + AREA + 512, 0n);
    const x87 = cpu.bytes.slice(L.X87, L.X87 + 128);
    request(2);
    expect(cpu.call('xrstor', BigInt(AREA), 8)).toBe(OK);
    expect(cpu.bytes.subarray(L.XMM, L.XMM + 256).every(byte => byte === 0)).toBe(true);
    expect(cpu.bytes.slice(L.X87, L.X87 + 128)).toEqual(x87);
    expect(cpu.read32(L.PKRU)).toBe(0x5555_0004);
  });

  test('components in their initial configuration have no XSTATE_BV bit, and XSAVEOPT and XSAVEC leave their bytes alone', () => {
    clear();
    request(0x203);
    cpu.bytes.fill(0xcc, RAM + AREA, RAM + AREA + 1024);
    cpu.write64(RAM + AREA + 512, 0n);
    cpu.call('xsaveopt', BigInt(AREA), 8);
    expect(cpu.read64(RAM + AREA + 512)).toBe(0n);
    expect(cpu.read32(RAM + AREA + 160) >>> 0).toBe(0xcccccccc);
    cpu.call('xsavec', BigInt(AREA), 8);
    expect(cpu.read64(RAM + AREA + 512)).toBe(0n);
    expect(cpu.read32(RAM + AREA) >>> 0).toBe(0xcccccccc);
  });

  test('a malformed header is #GP(0) and loads nothing', () => {
    const headers: readonly (readonly [at: number, value: bigint])[] = [
      [512, 4n], [520, 1n], [528, 1n], [520, 0x8000_0000_0000_0400n], [520, 0x8000_0000_0000_0000n], [536, 1n],
    ];
    for (const [at, value] of headers) {
      randomise();
      request(0x203);
      cpu.call(at === 536 ? 'xsavec' : 'xsave', BigInt(AREA), 8);
      if (at !== 536) cpu.bytes.fill(0, RAM + AREA + 520, RAM + AREA + 576);
      cpu.write64(RAM + AREA + at, value);
      const before = registers();
      expect(cpu.call('xrstor', BigInt(AREA), 8)).toBe(FAULTED);
      expect(fault()).toBe(GP);
      expect(registers()).toEqual(before);
    }
    request(3);
    cpu.bytes.fill(0, RAM + AREA + 512, RAM + AREA + 576);
    expect(cpu.call('xrstors', BigInt(AREA), 8)).toBe(FAULTED);
    expect(fault()).toBe(GP);
  });
});

describe('SSE approximations', () => {
  /** RCPSS (0) or RSQRTSS (1) of single-precision bits. */
  const approximate = (operation: 0 | 1, bits: number): number => {
    cpu.write32(L.XSCRATCH, bits);
    expect(cpu.call('sseReciprocal', operation, 0, L.XMM, L.XSCRATCH)).toBe(OK);
    return cpu.read32(L.XMM) >>> 0;
  };

  test.each([
    [0, 0x3f80_0000, 0x3f7f_f000], [0, 0x3fff_ffff, 0x3f00_0800], [0, 0xbf80_0000, 0xbf7f_f000], [0, 0x0080_0000, 0x7e7f_f000], [0, 0x7e7f_ffff, 0x0080_0800],
    [0, 0x7e80_0000, 0], [0, 0x8000_0001, 0xff80_0000], [0, 0xff80_0000, 0x8000_0000], [0, 0x7f80_0001, 0x7fc0_0001],
    [1, 0x3f80_0000, 0x3f7f_f000], [1, 0x4000_0000, 0x3f34_f800], [1, 0x7f7f_ffff, 0x1f80_0800], [1, 0x0080_0000, 0x5eff_f000], [1, 0xbf80_0000, 0xffc0_0000],
    [1, 0x8000_0000, 0xff80_0000],
  ] as const)('operation %i of %i is what an Intel processor gives', (operation, bits, result) => {
    expect(approximate(operation, bits)).toBe(result);
  });

  test('lie within the error that the manual allows', () => {
    for (let bits = 0x3f80_0000; bits < 0x4080_0000; bits += 1237) {
      const value = new Float32Array(Uint32Array.of(bits).buffer)[0]!;
      const [reciprocal, root] = new Float32Array(Uint32Array.of(approximate(0, bits), approximate(1, bits)).buffer) as unknown as [number, number];
      expect(Math.abs(reciprocal * value - 1)).toBeLessThan(1.5 / 4096);
      expect(Math.abs(root * Math.sqrt(value) - 1)).toBeLessThan(1.5 / 4096);
    }
  });
});

describe('SSE exceptions', () => {
  test('are #XM, or #UD when CR4.OSXMMEXCPT is clear; the destination stays', () => {
    cpu.write32(L.MXCSR, 0x1f80 & ~0x200);
    cpu.view.setFloat32(L.XMM, 1, true);
    cpu.write32(L.XSCRATCH, 0);
    expect(cpu.call('ssePacked', 4, 0, L.XMM, L.XSCRATCH)).toBe(FAULTED);
    expect(fault()).toBe(0x113);
    expect(cpu.read32(L.MXCSR)).toBe(0x1d84);
    expect(cpu.view.getFloat32(L.XMM, true)).toBe(1);
    cpu.write32(L.CR4, 0x40200);
    cpu.call('ssePacked', 4, 0, L.XMM, L.XSCRATCH);
    expect(fault()).toBe(UD);
  });
});
